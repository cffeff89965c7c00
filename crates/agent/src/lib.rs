//! The host: one loop that owns all state (`owner`) and the thin adapters around it.
//!
//! ```text
//! sensors ─┐                     ┌─> nightjar-worker (Docker)
//! session ─┼─> owner (core::Host)┼─> tunnel, session
//! control ─┘                     └─> scribe (journal, settings), view model
//! ```

mod answers;
mod clock;
mod config;
pub mod control;
mod enrolment;
mod gate;
mod gpu_programs;
mod handle;
mod helper;
mod history;
mod identity;
mod journal;
mod line_check;
mod look_back;
pub mod loopback;
mod metrics;
pub mod network;
mod owner;
mod papers;
mod power;
mod pulls;
mod repairs;
mod scribe;
mod sensors;
mod session;
pub mod settings_file;
mod signals;
mod start;
mod tunnel;
pub mod update;
mod volumes;

pub use config::AgentConfig;
pub use enrolment::EnrolError;
pub use handle::AgentHandle;
pub use look_back::look_back;
pub use nightjar_worker::EngineAddress;
pub use signals::Signals;
pub use start::{Agent, StartError, system_language};
