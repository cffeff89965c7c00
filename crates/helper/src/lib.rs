//! The privileged helper. It sets a card's power limit and puts back what it found; and it freezes or ends a worker's
//! container when the Docker Engine cannot, or when the host is gone.
//!
//! | module | holds |
//! | --- | --- |
//! | [`limits`] | whose limit is set where, what comes back, what waits for a confirmation; pure |
//! | [`peer`] | who may ask; pure |
//! | [`memory`] | the file that survives a crash |
//! | `cgroup` | a container's processes by their cgroup, version 1 or 2 |
//! | `process`, `sandbox` | whose process 1 a container's is, also where it runs in gVisor |
//! | `guards` | which containers end with which connection |
//! | `desk` | the cards: the book of limits and the driver, in one hand |
//! | `conversation` | the requests of one connection and their answers, whatever carries them |
//! | `server` | connections on Linux |
//! | `windows` | connections on Windows, where there are no containers to reach |
//!
//! It knows no path and no process id from outside: a container is found by its id in the folders that Docker uses, a
//! card by its UUID.

pub mod limits;
pub mod memory;
pub mod peer;

#[cfg(target_os = "linux")]
pub mod cgroup;
#[cfg(any(target_os = "linux", windows))]
pub mod conversation;
#[cfg(any(target_os = "linux", windows))]
pub mod desk;
#[cfg(target_os = "linux")]
pub mod guards;
#[cfg(target_os = "linux")]
pub mod listen;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
pub mod server;
#[cfg(windows)]
pub mod windows;
