//! A recorded card: every answer of the driver, errors among them, as JSON for a bug report, and the driver that such a
//! record makes.
//!
//! Nothing in it names a person or this PC: UUID and serial number are cut short, and programs are numbers.

use std::collections::BTreeMap;
use std::fmt::Debug;

use nightjar_core::gpu::{DriverInfo, GpuReading};
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::enum_wrappers::device::{
    Clock, MemoryLocation, PcieUtilCounter, TemperatureThreshold as Threshold,
};
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

use crate::answers::{Answer, Answers, Refused};
use crate::{CardPower, GpuError, Gpus, Locator, PowerStates, nvml};

/// Version of the record's form.
pub const DUMP_FORMAT: u32 = 1;
/// More cards than any mainboard has slots.
const MOST_CARDS: u32 = 64;
/// Characters that are left of a UUID or serial number.
const KEPT: usize = 12;
/// `NVML_ERROR_LIBRARY_NOT_FOUND`
const LIBRARY_NOT_FOUND: u32 = 12;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    pub format: u32,
    pub app_version: String,
    /// E.g. `linux x86_64`.
    pub system: String,
    /// As the kernel shows them before the driver is asked, which wakes every card.
    pub power: Vec<CardPower>,
    pub driver: Answer<DriverDump>,
    /// In the driver's order.
    pub cards: Vec<Answer<CardDump>>,
}

/// What the driver as a whole answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverDump {
    pub version: Answer<String>,
    pub nvml_version: Answer<String>,
    pub cuda: Answer<i32>,
    pub count: Answer<u32>,
}

/// What one card answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CardDump {
    /// What a sample asks.
    pub answers: Answers,
    /// What else may explain it, as the library prints it.
    pub more: BTreeMap<String, Answer<String>>,
}

impl Dump {
    /// Asks everything once. Wakes the cards that sleep.
    #[must_use]
    pub fn record(app_version: &str, power: &PowerStates) -> Self {
        let power = power.read();
        let (driver, cards) = match nvml_wrapper::Nvml::builder().flags(InitFlags::empty()).init() {
            Ok(library) => (Ok(driver(&library)), cards(&library)),
            Err(error) => (Err(not_opened(error)), Vec::new()),
        };
        let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        Self { format: DUMP_FORMAT, app_version: app_version.to_owned(), system, power, driver, cards }
    }

    /// The readings that this program makes of the record.
    ///
    /// # Errors
    /// What the driver that was recorded was told to be wrong with.
    pub fn readings(self) -> Result<(DriverInfo, Vec<GpuReading>), GpuError> {
        Recorded::open(self)?.read_all()
    }
}

fn not_opened(error: NvmlError) -> Refused {
    let refused = Refused { text: error.to_string(), ..Refused::from(NvmlError::Unknown) };
    match GpuError::from_nvml(error, None, None) {
        GpuError::LibraryMissing { detail } => Refused { code: LIBRARY_NOT_FOUND, text: detail },
        GpuError::VersionMismatch => Refused::from(NvmlError::LibRmVersionMismatch),
        GpuError::DriverNotLoaded => Refused::from(NvmlError::DriverNotLoaded),
        GpuError::NoPermission => Refused::from(NvmlError::NoPermission),
        GpuError::Other { code, text } => Refused { code, text },
        GpuError::DriverTooOld { .. } | GpuError::GpuLost { .. } | GpuError::Asleep { .. } => refused,
    }
}

fn driver(library: &nvml_wrapper::Nvml) -> DriverDump {
    DriverDump {
        version: library.sys_driver_version().map_err(Refused::from),
        nvml_version: library.sys_nvml_version().map_err(Refused::from),
        cuda: library.sys_cuda_driver_version().map_err(Refused::from),
        count: library.device_count().map_err(Refused::from),
    }
}

fn cards(library: &nvml_wrapper::Nvml) -> Vec<Answer<CardDump>> {
    let count = library.device_count().unwrap_or(0).min(MOST_CARDS);
    (0..count)
        .map(|index| {
            let device = library.device_by_index(index).map_err(Refused::from)?;
            let mut answers = nvml::ask(&device, None);
            // Two cards stay two, also where they differ in the last digits alone.
            answers.uuid = answers.uuid.map(|uuid| format!("{}-card-{index}", shortened(&uuid)));
            Ok(CardDump { answers, more: more(&device) })
        })
        .collect()
}

fn shortened(name: &str) -> String {
    name.chars().take(KEPT).collect()
}

/// Facts that no sample asks for.
fn more(device: &Device<'_>) -> BTreeMap<String, Answer<String>> {
    let mut more = BTreeMap::new();
    let mut put = |name: &str, answer: Answer<String>| drop(more.insert(name.to_owned(), answer));
    /// `name: how to ask`, printed as it is.
    macro_rules! facts {
        ($($name:literal: $ask:expr;)*) => { $(put($name, printed($ask));)* };
    }
    facts! {
        "architecture": device.architecture();
        "board_part_number": device.board_part_number();
        "brand": device.brand();
        "bus_type": device.bus_type();
        "clock_max_graphics_mhz": device.max_clock_info(Clock::Graphics);
        "clock_max_memory_mhz": device.max_clock_info(Clock::Memory);
        "compute_mode": device.compute_mode();
        "cores": device.num_cores();
        "decoder": device.decoder_utilization();
        "encoder": device.encoder_utilization();
        "ecc_corrected": device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile);
        "ecc_device_memory": device.memory_error_counter(
            MemoryError::Uncorrected, EccCounter::Aggregate, MemoryLocation::Device
        );
        "fans": device.num_fans();
        "fan_1_percent": device.fan_speed(1);
        "memory_bus_bits": device.memory_bus_width();
        "pages_pending_retired": device.are_pages_pending_retired();
        "pcie_replays": device.pcie_replay_counter();
        "pcie_receive_kb_s": device.pcie_throughput(PcieUtilCounter::Receive);
        "performance_state": device.performance_state();
        "power_limit_set_milliwatts": device.power_management_limit();
        "power_source": device.power_source();
        "serial": device.serial().map(|serial| shortened(&serial).chars().take(4).collect::<String>());
        "throttle_reasons_supported": device.supported_throttle_reasons();
        "threshold_max_operating": device.temperature_threshold(Threshold::GpuMax);
        "threshold_memory_max": device.temperature_threshold(Threshold::MemoryMax);
        "threshold_shutdown": device.temperature_threshold(Threshold::Shutdown);
        "threshold_slowdown": device.temperature_threshold(Threshold::Slowdown);
        "vbios": device.vbios_version();
    }
    // Windows' driver has no such mode.
    #[cfg(not(windows))]
    put("persistence", printed(device.is_in_persistent_mode()));
    more
}

fn printed<T: Debug>(answer: Result<T, NvmlError>) -> Answer<String> {
    answer.map(|value| format!("{value:?}")).map_err(Refused::from)
}

/// A driver that answers as one did that was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    driver: DriverDump,
    cards: Vec<Answer<CardDump>>,
}

impl Recorded {
    /// # Errors
    /// As the driver that was recorded: it may not have been there at all.
    pub fn open(dump: Dump) -> Result<Self, GpuError> {
        let driver = dump.driver.map_err(|refused| GpuError::from_refused(refused, None, None))?;
        Ok(Self { driver, cards: dump.cards })
    }

    fn read_all(&self) -> Result<(DriverInfo, Vec<GpuReading>), GpuError> {
        let readings = (0..self.count()?).map(|index| self.read(Locator::Index(index)));
        Ok((self.driver()?, readings.collect::<Result<_, _>>()?))
    }

    fn failed(&self, refused: Refused, card: Option<Locator<'_>>) -> GpuError {
        let card = card.map(|card| card.to_string());
        GpuError::from_refused(refused, card.as_deref(), self.driver.version.as_deref().ok())
    }
}

impl Gpus for Recorded {
    fn driver(&self) -> Result<DriverInfo, GpuError> {
        let version = self.driver.version.clone().map_err(|refused| self.failed(refused, None))?;
        let cuda = self.driver.cuda.as_ref().ok().and_then(|cuda| u32::try_from(*cuda).ok());
        Ok(DriverInfo { version, cuda })
    }

    fn count(&self) -> Result<u32, GpuError> {
        self.driver.count.clone().map_err(|refused| self.failed(refused, None))
    }

    fn read(&self, card: Locator<'_>) -> Result<GpuReading, GpuError> {
        let found = match card {
            Locator::Index(index) => usize::try_from(index).ok().and_then(|index| self.cards.get(index)),
            Locator::BusId(bus_id) => self.cards.iter().find(|card| {
                let known = card.as_ref().ok().and_then(|card| card.answers.pci_bus_id.as_ref().ok());
                known.is_some_and(|known| crate::sysfs::nvml_bus_id(known) == bus_id)
            }),
        };
        let found = found.ok_or_else(|| self.failed(Refused::from(NvmlError::InvalidArg), Some(card)))?;
        let found = found.as_ref().map_err(|refused| self.failed(refused.clone(), Some(card)))?;
        found.answers.reading().map_err(|error| self.failed(Refused::from(error), Some(card)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::tests::{refused, taciturn};

    fn dump() -> Dump {
        let driver = DriverDump {
            version: Ok("550.54.14".into()),
            nvml_version: Ok("12.550.54.14".into()),
            cuda: Ok(12_040),
            count: Ok(2),
        };
        let card = CardDump { answers: taciturn(), more: BTreeMap::new() };
        Dump {
            format: DUMP_FORMAT,
            app_version: "0.1.0".into(),
            system: "linux x86_64".into(),
            power: vec![],
            driver: Ok(driver),
            cards: vec![Ok(card), refused(NvmlError::GpuLost)],
        }
    }

    #[test]
    fn a_recorded_driver_answers_as_the_real_one_did() {
        let recorded = Recorded::open(dump()).unwrap();
        assert_eq!(recorded.driver().unwrap().major(), Some(550));
        let read = recorded.read(Locator::BusId("00000000:01:00.0")).unwrap();
        assert_eq!(recorded.read(Locator::Index(0)).unwrap(), read);
        let lost = GpuError::GpuLost { card: "number 1".into() };
        assert_eq!(recorded.read(Locator::Index(1)), Err(lost.clone()));
        assert_eq!(dump().readings(), Err(lost));
        assert!(matches!(recorded.read(Locator::Index(2)), Err(GpuError::Other { code: 2, .. })));
    }

    #[test]
    fn a_driver_that_was_not_there_is_not_there_again() {
        let missing = not_opened(NvmlError::LibraryNotFound);
        let opened = Recorded::open(Dump { driver: Err(missing), ..dump() });
        assert!(matches!(opened, Err(GpuError::LibraryMissing { .. })), "{opened:?}");
        let updated = not_opened(NvmlError::LibRmVersionMismatch);
        let opened = Recorded::open(Dump { driver: Err(updated), ..dump() });
        assert!(matches!(opened, Err(GpuError::VersionMismatch)), "{opened:?}");
    }

    #[test]
    fn a_record_survives_its_file() {
        let text = serde_json::to_string(&dump()).unwrap();
        assert_eq!(serde_json::from_str::<Dump>(&text).unwrap(), dump());
    }
}
