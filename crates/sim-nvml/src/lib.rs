//! A stand-in for NVIDIA's management library, loaded under its file name `libnvidia-ml.so.1`.
//!
//! It keeps nothing but a connection: every question goes to the `nightjar-sim` daemon, which also
//! decides what fails. Calls that no simulated card answers say "not supported", as GeForce cards do.
#![cfg(target_os = "linux")]

mod exports;
mod session;
