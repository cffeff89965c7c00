//! What is fixed about each card: the figures that are printed on its box, and those that the physics needs.

/// Appended to the name of every simulated card, so that whatever shows or offers it says so too.
pub const NAME_SUFFIX: &str = " (simulated)";

/// One model of card. Power in watts, clocks in MHz, temperatures in degrees Celsius.
#[derive(Debug, Clone, PartialEq)]
pub struct CardModel {
    /// The word that selects it on a command line or in a scenario.
    pub key: &'static str,
    /// The name that NVIDIA's driver gives it, without [`NAME_SUFFIX`].
    pub name: &'static str,
    pub compute_capability: (i32, i32),
    /// NVML's number of the architecture (8 Ampere, 9 Ada).
    pub architecture: u32,
    pub vram_bytes: u64,
    /// What the driver keeps of the VRAM for itself.
    pub reserved_bytes: u64,
    pub min_limit_watts: f64,
    pub default_limit_watts: f64,
    pub max_limit_watts: f64,
    pub idle_watts: f64,
    /// Drawn by memory and fabric at full load, whatever the clock: no limit makes this part smaller.
    pub static_watts: f64,
    /// Drawn at full load and full clock when nothing limits it.
    pub full_watts: f64,
    pub idle_clock_mhz: u32,
    pub boost_clock_mhz: u32,
    pub idle_memory_clock_mhz: u32,
    pub memory_clock_mhz: u32,
    pub multiprocessors: u32,
    pub cores: u32,
    pub memory_bus_bits: u32,
    /// Single-precision arithmetic at full clock.
    pub teraflops: f64,
    pub pcie_generation: u32,
    pub pcie_width: u32,
    pub pci_device_id: u32,
    pub pci_subsystem_id: u32,
    pub fans: u32,
    pub max_operating_celsius: f64,
    pub slowdown_celsius: f64,
    pub shutdown_celsius: f64,
    /// Kelvin above room per watt with the fans stopped and at full speed.
    pub thermal_resistance: (f64, f64),
    /// Time constant of the heat sink.
    pub thermal_seconds: f64,
    /// NVML calls to which this model answers "not supported", as laptops do to many.
    pub unsupported: &'static [&'static str],
}

const MIB: u64 = 1024 * 1024;

/// Every model that can be asked for.
pub const MODELS: [CardModel; 3] = [
    CardModel {
        key: "rtx4090",
        name: "NVIDIA GeForce RTX 4090",
        compute_capability: (8, 9),
        architecture: 9,
        vram_bytes: 24564 * MIB,
        reserved_bytes: 415 * MIB,
        min_limit_watts: 150.0,
        default_limit_watts: 450.0,
        max_limit_watts: 600.0,
        idle_watts: 18.0,
        static_watts: 62.0,
        full_watts: 440.0,
        idle_clock_mhz: 210,
        boost_clock_mhz: 2745,
        idle_memory_clock_mhz: 405,
        memory_clock_mhz: 10501,
        multiprocessors: 128,
        cores: 16384,
        memory_bus_bits: 384,
        teraflops: 82.6,
        pcie_generation: 4,
        pcie_width: 16,
        pci_device_id: 0x2684_10DE,
        pci_subsystem_id: 0x165B_10DE,
        fans: 2,
        max_operating_celsius: 90.0,
        slowdown_celsius: 94.0,
        shutdown_celsius: 97.0,
        thermal_resistance: (0.60, 0.075),
        thermal_seconds: 25.0,
        unsupported: &[],
    },
    CardModel {
        key: "rtx3060",
        name: "NVIDIA GeForce RTX 3060",
        compute_capability: (8, 6),
        architecture: 8,
        vram_bytes: 12288 * MIB,
        reserved_bytes: 239 * MIB,
        min_limit_watts: 100.0,
        default_limit_watts: 170.0,
        max_limit_watts: 212.0,
        idle_watts: 12.0,
        static_watts: 34.0,
        full_watts: 166.0,
        idle_clock_mhz: 210,
        boost_clock_mhz: 1852,
        idle_memory_clock_mhz: 405,
        memory_clock_mhz: 7501,
        multiprocessors: 28,
        cores: 3584,
        memory_bus_bits: 192,
        teraflops: 12.7,
        pcie_generation: 4,
        pcie_width: 16,
        pci_device_id: 0x2503_10DE,
        pci_subsystem_id: 0x3976_1462,
        fans: 2,
        max_operating_celsius: 93.0,
        slowdown_celsius: 95.0,
        shutdown_celsius: 98.0,
        thermal_resistance: (1.20, 0.18),
        thermal_seconds: 18.0,
        unsupported: &[],
    },
    CardModel {
        key: "rtx4060-laptop",
        name: "NVIDIA GeForce RTX 4060 Laptop GPU",
        compute_capability: (8, 9),
        architecture: 9,
        vram_bytes: 8188 * MIB,
        reserved_bytes: 230 * MIB,
        min_limit_watts: 35.0,
        default_limit_watts: 80.0,
        max_limit_watts: 115.0,
        idle_watts: 4.0,
        static_watts: 16.0,
        full_watts: 100.0,
        idle_clock_mhz: 210,
        boost_clock_mhz: 2370,
        idle_memory_clock_mhz: 405,
        memory_clock_mhz: 8001,
        multiprocessors: 24,
        cores: 3072,
        memory_bus_bits: 128,
        teraflops: 11.6,
        pcie_generation: 4,
        pcie_width: 8,
        pci_device_id: 0x28A0_10DE,
        pci_subsystem_id: 0x1E93_1043,
        fans: 0,
        max_operating_celsius: 87.0,
        slowdown_celsius: 97.0,
        shutdown_celsius: 102.0,
        thermal_resistance: (1.40, 0.50),
        thermal_seconds: 12.0,
        unsupported: &[
            "nvmlDeviceSetPowerManagementLimit",
            "nvmlDeviceGetFanSpeed",
            "nvmlDeviceGetFanSpeed_v2",
            "nvmlDeviceGetTotalEnergyConsumption",
        ],
    },
];

impl CardModel {
    /// The model that `key` names.
    pub fn find(key: &str) -> Result<&'static CardModel, String> {
        MODELS.iter().find(|model| model.key == key).ok_or_else(|| {
            let known: Vec<&str> = MODELS.iter().map(|model| model.key).collect();
            format!("there is no simulated card {key:?}: choose from {}", known.join(", "))
        })
    }

    /// VRAM that programs can have when nobody has any of it.
    pub fn usable_bytes(&self) -> u64 {
        self.vram_bytes.saturating_sub(self.reserved_bytes)
    }
}
