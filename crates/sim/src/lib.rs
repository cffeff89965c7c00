//! Stand-ins for the graphics hardware that most machines which build Nightjar lack.
//!
//! `nightjar-sim serve` owns the simulated cards. The libraries built by `nightjar-sim-nvml` and
//! `nightjar-sim-cuda` have the symbol names of NVIDIA's and ask it over a Unix socket; the
//! `nvidia-container-runtime-hook` stand-in carries both libraries and the socket into a container, and where gVisor
//! starts the container, the one for `nvidia-container-cli` does.
//! The product knows nothing of any of them: only the library that the loader finds differs.
//!
//! Everything up to [`machine`] is pure, with time as an argument. It runs on Linux only.

pub mod card;
pub mod control;
pub mod machine;
pub mod model;
pub mod physics;
pub mod scenario;
pub mod wire;

#[cfg(target_os = "linux")]
pub mod client;
#[cfg(target_os = "linux")]
pub mod configure;
#[cfg(target_os = "linux")]
pub mod hook;
#[cfg(target_os = "linux")]
pub mod layout;
#[cfg(target_os = "linux")]
pub mod server;
#[cfg(target_os = "linux")]
mod sysfs;

#[cfg(target_os = "linux")]
pub use client::{Client, Failure};
#[cfg(target_os = "linux")]
pub use layout::{Daemon, Layout, install};
