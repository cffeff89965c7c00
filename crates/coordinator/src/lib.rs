//! The market: hosts offer cards, renters lease them, and every second of use is booked once.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`server`] | starts and ends all of it in one process: [`Coordinator::start`] |
//! | [`operator`] | what the person who runs a market does: pairing codes, renters, the books |
//! | `http` | the renters' interface and enrolment |
//! | `session` | one host's WebSocket |
//! | `market` | what moves leases: matching, reports, usage, silence |
//! | `registry` | which hosts are connected, and what they offer while they are |
//! | `store` | the embedded database: everything that must outlive the process |
//! | `relay` | the tunnel's relay, run in this process |
//!
//! Offers live with the session that told them, for they come anew with each; leases, epochs, usage and money live in the
//! database alone. Time comes from `clock` and is an argument everywhere else.

mod bounds;
mod changes;
mod clock;
mod http;
mod line;
mod market;
pub mod operator;
mod registry;
mod relay;
mod secret;
pub mod server;
mod session;
mod store;

pub use server::{Config, Coordinator, Running, StartError};
