//! NVIDIA's management library, found by the ordinary loader.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nightjar_core::gpu::{DriverInfo, GpuReading};
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_MEMORY_TEMP;

use crate::answers::{Answer, Answers, Listed, Refused, each_time, once};
use crate::{GpuError, Gpus, Locator};

/// A program's share of the card is that of this last while.
const RECENT: Duration = Duration::from_secs(2);

/// An open NVML. It holds the cards open, which keeps a laptop card from falling asleep, until it is dropped.
#[derive(Debug)]
pub struct Nvml {
    pub(crate) library: nvml_wrapper::Nvml,
    /// By the name under which a card was asked for. What is fixed about it, and what it never answers, is not asked
    /// twice: a number stays the same card's for as long as the library is open.
    before: RefCell<BTreeMap<String, Answers>>,
}

impl Nvml {
    /// Loads the library and attaches to every card, which wakes those that sleep.
    pub fn open() -> Result<Self, GpuError> {
        Self::with(InitFlags::empty())
    }

    /// Loads the library and touches no card until one is asked for.
    pub fn open_without_cards() -> Result<Self, GpuError> {
        Self::with(InitFlags::NO_ATTACH)
    }

    fn with(flags: InitFlags) -> Result<Self, GpuError> {
        let library = nvml_wrapper::Nvml::builder().flags(flags).init();
        library
            .map(|library| Self { library, before: RefCell::default() })
            .map_err(|error| GpuError::from_nvml(error, None, None))
    }

    pub(crate) fn failed(&self, error: NvmlError, card: Option<&str>) -> GpuError {
        GpuError::from_nvml(error, card, self.library.sys_driver_version().ok().as_deref())
    }
}

impl Gpus for Nvml {
    fn driver(&self) -> Result<DriverInfo, GpuError> {
        let version = self.library.sys_driver_version().map_err(|error| self.failed(error, None))?;
        // NVML's 12080 is what `DriverInfo` means by it too.
        let cuda = self.library.sys_cuda_driver_version().ok().and_then(|cuda| u32::try_from(cuda).ok());
        Ok(DriverInfo { version, cuda })
    }

    fn count(&self) -> Result<u32, GpuError> {
        self.library.device_count().map_err(|error| self.failed(error, None))
    }

    fn read(&self, card: Locator<'_>) -> Result<GpuReading, GpuError> {
        let read = || -> Result<GpuReading, NvmlError> {
            let device = self.device(card)?;
            let mut before = self.before.borrow_mut();
            let answers = ask(&device, before.get(&card.to_string()));
            let reading = answers.reading();
            before.insert(card.to_string(), answers);
            reading
        };
        read().map_err(|error| self.failed(error, Some(&card.to_string())))
    }
}

impl Nvml {
    fn device(&self, card: Locator<'_>) -> Result<Device<'_>, NvmlError> {
        match card {
            Locator::Index(index) => self.library.device_by_index(index),
            Locator::BusId(bus_id) => self.library.device_by_pci_bus_id(bus_id),
        }
    }
}

/// Asks one card everything, less what is known from `before`.
pub(crate) fn ask(device: &Device<'_>, before: Option<&Answers>) -> Answers {
    /// `field: how to ask`, each with its answer from before.
    macro_rules! answers {
        ($($how:ident $field:ident: $ask:expr;)*) => {
            Answers { $($field: $how(before.map(|before| &before.$field), || $ask.map_err(Refused::from)),)* }
        };
    }
    let mut answers = answers! {
        once uuid: device.uuid();
        once name: device.name();
        once index: device.index();
        once pci_bus_id: device.pci_info().map(|pci| pci.bus_id);
        once compute_capability: device.cuda_compute_capability().map(|it| (version(it.major), version(it.minor)));
        each_time memory_bytes: device.memory_info().map(|memory| (memory.total, memory.used));
        each_time temperature_celsius: device.temperature(TemperatureSensor::Gpu);
        each_time memory_temperature_celsius: memory_temperature(device);
        each_time power_milliwatts: device.power_usage();
        each_time enforced_milliwatts: device.enforced_power_limit();
        once default_milliwatts: device.power_management_limit_default();
        once range_milliwatts: device.power_management_limit_constraints().map(|it| (it.min_limit, it.max_limit));
        each_time utilisation_percent: device.utilization_rates().map(|utilisation| utilisation.gpu);
        each_time fan_percent: device.fan_speed(0);
        each_time sm_clock_mhz: device.clock_info(Clock::SM);
        each_time memory_clock_mhz: device.clock_info(Clock::Memory);
        each_time energy_millijoules: device.total_energy_consumption();
        each_time throttle_reasons: device.current_throttle_reasons().map(|reasons| reasons.bits());
        each_time pcie_generation: device.current_pcie_link_gen();
        each_time pcie_width: device.current_pcie_link_width();
        once pcie_max_generation: device.max_pcie_link_gen();
        once pcie_max_width: device.max_pcie_link_width();
        // A change of the mode needs a restart.
        once ecc_enabled: device.is_ecc_enabled().map(|state| state.currently_enabled);
        each_time ecc_uncorrected: device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
        each_time display_attached: device.is_display_connected();
        each_time display_active: device.is_display_active();
        each_time compute_processes: device.running_compute_processes().map(listed);
        each_time graphics_processes: device.running_graphics_processes().map(listed);
        // Asked below, and only where there is a program at all.
        each_time process_sm_percent: Err(NvmlError::NotFound);
    };
    let has_any = |list: &Answer<Vec<Listed>>| list.as_ref().is_ok_and(|list| !list.is_empty());
    if has_any(&answers.compute_processes) || has_any(&answers.graphics_processes) {
        let before = before.map(|before| &before.process_sm_percent);
        answers.process_sm_percent = each_time(before, || sm_percent(device).map_err(Refused::from));
    }
    answers
}

fn version(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn memory_temperature(device: &Device<'_>) -> Result<u32, NvmlError> {
    let fields = device.field_values_for(&[FieldId(NVML_FI_DEV_MEMORY_TEMP)])?;
    match fields.into_iter().next().ok_or(NvmlError::NotFound)??.value? {
        SampleValue::U32(celsius) => Ok(celsius),
        SampleValue::U64(celsius) => u32::try_from(celsius).map_err(|_| NvmlError::Unknown),
        _ => Err(NvmlError::Unknown),
    }
}

fn listed(processes: Vec<ProcessInfo>) -> Vec<Listed> {
    let listed = processes.into_iter().map(|process| Listed {
        pid: process.pid,
        vram_bytes: match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    });
    listed.collect()
}

/// The latest sample of each program. The driver keeps samples for minutes, so it is told since when, by its own clock,
/// which is the wall's.
fn sm_percent(device: &Device<'_>) -> Result<Vec<(u32, u32)>, NvmlError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(RECENT);
    let since = u64::try_from(since.as_micros()).unwrap_or(0);
    let mut latest: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for sample in device.process_utilization_stats(since)? {
        let known = latest.entry(sample.pid).or_default();
        *known = (*known).max((sample.timestamp, sample.sm_util));
    }
    Ok(latest.into_iter().map(|(pid, (_, percent))| (pid, percent)).collect())
}
