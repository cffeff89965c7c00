//! The graphics cards of this PC: readings, processes, energy.
//!
//! [`Sampler`] is what the agent uses. It looks at each card's power state before it asks the driver anything, because
//! a question to NVML wakes a laptop card that the kernel has put to sleep. [`Gpus`] is the seam to the driver, with
//! [`Nvml`] and, for what was recorded elsewhere, [`Recorded`] as its implementations. Every call may block for as long as the driver likes: keep it off async threads.

mod answers;
mod dump;
mod engines;
mod error;
mod nvml;
mod power;
mod sampler;
mod sysfs;
#[cfg(windows)]
mod windows;

pub use answers::{Answer, Answers, Listed, Refused};
pub use dump::{CardDump, DUMP_FORMAT, DriverDump, Dump, Recorded};
pub use engines::EngineUse;
pub use error::GpuError;
pub use nvml::Nvml;
pub use power::MilliwattLimits;
pub use sampler::Sampler;
pub use sysfs::{CardPower, PowerStates};
#[cfg(windows)]
pub use windows::EngineCounters;

use nightjar_core::gpu::{DriverInfo, GpuReading};

/// Which card is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locator<'a> {
    /// By the driver's own count. Finding it touches every card.
    Index(u32),
    /// By PCI bus id, e.g. `00000000:01:00.0`. Touches that card alone.
    BusId(&'a str),
}

impl std::fmt::Display for Locator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => write!(f, "number {index}"),
            Self::BusId(bus_id) => f.write_str(bus_id),
        }
    }
}

/// What a driver can be asked. Any question may wake the card that it concerns.
pub trait Gpus: Send {
    /// Version of the driver, and of the CUDA that it serves.
    fn driver(&self) -> Result<DriverInfo, GpuError>;

    /// How many cards the driver has.
    fn count(&self) -> Result<u32, GpuError>;

    /// All that one card says of itself; what it does not support is `None` or empty.
    fn read(&self, card: Locator<'_>) -> Result<GpuReading, GpuError>;
}
