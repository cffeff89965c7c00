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
    /// Its share of the card's multiprocessors in the last seconds.
    #[serde(default)]
    pub sm_percent: Option<u32>,
    /// The program's short name. The driver does not know it; the agent fills it in.
    #[serde(default)]
    pub name: Option<String>,
    /// It runs in a container of ours. Filled in by the agent.
    #[serde(default)]
    pub ours: bool,
}

impl GpuProcess {
    /// As the driver lists it.
    #[must_use]
    pub fn listed(pid: u32, vram_bytes: Option<u64>, graphics: bool) -> Self {
        Self { pid, vram_bytes, graphics, sm_percent: None, name: None, ours: false }
    }

    /// For a sentence.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("PID {}", self.pid))
    }
}

/// Why a card runs slower than it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// Nothing to do.
    Idle,
    /// The power limit is reached.
    PowerCap,
    /// The driver holds a target temperature of core or memory.
    Thermal,
    /// The hardware halves the clock, or worse, because of heat.
    HardwareThermal,
    /// The power supply asked for it.
    PowerBrake,
    /// The hardware halves the clock, or worse, for another cause.
    HardwareSlowdown,
    /// Clocks that somebody has set.
    ClockSetting,
    /// The slowest card of a group sets the pace.
    SyncBoost,
}

/// The card's way to the mainboard, as it is now and as it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PcieLink {
    pub generation: u32,
    pub width: u32,
    /// `None` where the driver does not say.
    pub max_generation: Option<u32>,
    pub max_width: Option<u32>,
}

/// Memory that corrects its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Ecc {
    pub enabled: bool,
    /// Errors since the driver was loaded that could not be corrected.
    pub uncorrected_errors: Option<u64>,
}

/// NVIDIA's version of what a card's multiprocessors can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
pub struct ComputeCapability {
    pub major: u32,
    pub minor: u32,
}

impl std::fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
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
    /// The hottest place of the chip. NVML has no public question for it, so it is only there where another driver
    /// interface tells it.
    #[serde(default)]
    pub hotspot_celsius: Option<f64>,
    #[serde(default)]
    pub memory_temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
    pub power_limits: Option<PowerLimits>,
    pub utilisation_percent: Option<u32>,
    pub fan_percent: Option<u32>,
    pub sm_clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    /// Since the driver was loaded.
    pub energy_millijoules: Option<u64>,
    /// Why the clock is lower than it could be; empty when nothing holds it.
    #[serde(default)]
    pub throttle_reasons: Option<Vec<ThrottleReason>>,
    #[serde(default)]
    pub pcie: Option<PcieLink>,
    #[serde(default)]
    pub ecc: Option<Ecc>,
    #[serde(default)]
    pub compute_capability: Option<ComputeCapability>,
    pub display_attached: Option<bool>,
    /// A desktop is drawn on it.
    #[serde(default)]
    pub display_active: Option<bool>,
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
            hotspot_celsius: None,
            memory_temperature_celsius: None,
            power_watts: None,
            power_limits: None,
            utilisation_percent: None,
            fan_percent: None,
            sm_clock_mhz: None,
            memory_clock_mhz: None,
            energy_millijoules: None,
            throttle_reasons: None,
            pcie: None,
            ecc: None,
            compute_capability: None,
            display_attached: None,
            display_active: None,
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
