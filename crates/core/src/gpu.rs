//! What a graphics card says of itself, as values without any driver behind them.
//!
//! A question that a card does not answer ("not supported") is `None`, never an error: a laptop card without a fan
//! is as ordinary as a desktop card with two.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The driver's stable name of one card, e.g. `GPU-4f2a…`. At most 96 characters of ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
pub struct GpuUuid(pub String);

impl std::fmt::Display for GpuUuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Power limits of a card in watts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct PowerLimits {
    pub enforced_watts: f64,
    pub default_watts: f64,
    pub min_watts: f64,
    pub max_watts: f64,
}

/// A process that holds memory on the card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GpuProcess {
    /// As the host's process table counts it.
    pub pid: u32,
    /// `None` where the driver does not tell (WDDM).
    pub vram_bytes: Option<u64>,
    pub graphics: bool,
}

/// One sample of one card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct GpuReading {
    pub uuid: GpuUuid,
    /// As the driver spells it; a simulated card says so here.
    pub name: String,
    /// The driver's index, as `--gpus device=N` wants it.
    pub index: u32,
    /// PCI bus id, e.g. `00000000:01:00.0`.
    pub pci_bus_id: String,
    /// The card sleeps (runtime suspend): nothing else was asked of it, so as not to wake it.
    pub asleep: bool,
    pub vram_total_bytes: u64,
    pub vram_used_bytes: u64,
    pub temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
    pub power_limits: Option<PowerLimits>,
    pub utilisation_percent: Option<u32>,
    pub fan_percent: Option<u32>,
    pub sm_clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    /// Since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    pub display_attached: Option<bool>,
    pub processes: Vec<GpuProcess>,
}

impl GpuReading {
    /// No screen hangs on it and nothing of the desktop draws on it: its owner does not notice what it does.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.display_attached == Some(false) && !self.processes.iter().any(|process| process.graphics)
    }

    /// A card of which nothing is known but its name to the driver.
    #[must_use]
    pub fn unread(uuid: GpuUuid) -> Self {
        Self {
            uuid,
            name: String::new(),
            index: 0,
            pci_bus_id: String::new(),
            asleep: false,
            vram_total_bytes: 0,
            vram_used_bytes: 0,
            temperature_celsius: None,
            power_watts: None,
            power_limits: None,
            utilisation_percent: None,
            fan_percent: None,
            sm_clock_mhz: None,
            memory_clock_mhz: None,
            energy_millijoules: None,
            display_attached: None,
            processes: Vec::new(),
        }
    }
}

/// What the driver as a whole says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DriverInfo {
    /// E.g. `550.54.14`.
    pub version: String,
    /// Highest CUDA version that the driver serves, e.g. 12080 for 12.8; `None` where it does not say.
    pub cuda: Option<u32>,
}

impl DriverInfo {
    /// The branch number before the first dot, which is what minimum versions are stated in.
    #[must_use]
    pub fn major(&self) -> Option<u32> {
        self.version.split('.').next()?.parse().ok()
    }
}

/// Why there are no readings at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GpuTrouble {
    /// The driver's management library is not installed.
    LibraryMissing,
    /// The library is there but the kernel driver does not answer.
    DriverNotLoaded,
    /// The driver was updated under the running system: library and kernel differ until a restart.
    VersionMismatch,
    /// The driver answers and lists no card.
    NoCard,
    /// A card fell off the bus.
    Lost,
    Other {
        detail: String,
    },
}
