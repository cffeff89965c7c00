//! The hands on Docker Engine: a lease becomes a gateway and a worker container, is frozen, thawed, ended and found
//! again.
//!
//! | module | holds |
//! | --- | --- |
//! | [`workers`] | [`Workers`], the way in: one task a lease, commands in order, reports in order |
//! | `lease_task` | one lease's life: serve, lose the Engine, end |
//! | `preparation` | from an offer's terms to a worker that passed its check |
//! | `kernel` | has the kernel under the Engine what a gateway is made of? |
//! | `line` | heartbeats to process 1 of a container and its events |
//! | `load` | a load of our own on an idle card: a steady one, by which power limits are compared, or a check |
//! | `self_check` | what is asked of a card, and how its answer is read |
//! | [`SecondRoad`] | freezing where the Engine does not answer; which road froze thaws |
//! | `removal` | ending containers so that nothing of them is left |
//! | `spec` | terms and settings to container configurations; pure |
//! | `own_networks` | what of the internet is this home |
//! | `engine` | the Engine's calls that are used, each bounded in time, errors in words |
//! | `traffic` | what has passed each gateway that stands |
//! | [`pull`] | images from a registry into the Engine |
//! | `volumes` | what renters keep here, on its way to a worker |
//! | `conduct` | what a tenant runs and writes, as the Engine sees it |
//! | `gvisor` | what an owner's gVisor can do, by its own word |
//! | `probe` | is there an Engine, is it safe, which images has it |
//! | [`catalogue`], [`floors`], [`config`] | data that is shipped, checked when read |

pub mod catalogue;
mod conduct;
pub mod config;
mod engine;
pub mod floors;
mod gvisor;
mod kernel;
mod lease_task;
mod line;
mod load;
mod odd_containers;
mod own_networks;
mod preparation;
mod probe;
pub mod pull;
mod removal;
mod second_road;
mod self_check;
mod spec;
mod steady;
mod traffic;
mod volumes;
pub mod workers;

pub use config::{EngineAddress, WorkersConfig};
pub use engine::EngineError;
pub use load::{LoadWish, Work};
pub use second_road::{Done, RoadError, SecondRoad};
pub use traffic::{GatewayTraffic, Gateways};
pub use workers::{WorkerReport, Workers};
