//! NVIDIA's management library, found by the ordinary loader.

use std::collections::BTreeMap;

use nightjar_core::gpu::{DriverInfo, GpuProcess, GpuReading, GpuUuid, PowerLimits};
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use crate::{GpuError, Gpus, Locator};

const LONGEST_UUID: usize = 96;
const LONGEST_NAME: usize = 96;

/// An open NVML. It holds the cards open, which keeps a laptop card from falling asleep, until it is dropped.
#[derive(Debug)]
pub struct Nvml {
    pub(crate) library: nvml_wrapper::Nvml,
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
        library.map(|library| Self { library }).map_err(|error| GpuError::from_nvml(error, None, None))
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
        let found = match card {
            Locator::Index(index) => self.library.device_by_index(index),
            Locator::BusId(bus_id) => self.library.device_by_pci_bus_id(bus_id),
        };
        found.and_then(|device| read(&device)).map_err(|error| {
            let card = match card {
                Locator::Index(index) => format!("number {index}"),
                Locator::BusId(bus_id) => bus_id.to_owned(),
            };
            self.failed(error, Some(&card))
        })
    }
}

fn read(device: &Device<'_>) -> Result<GpuReading, NvmlError> {
    let uuid = device.uuid()?;
    if uuid.is_empty() || uuid.len() > LONGEST_UUID || !uuid.is_ascii() {
        return Err(NvmlError::StringTooLong { max_len: LONGEST_UUID, actual_len: uuid.len() });
    }
    let memory = supported(device.memory_info())?;
    Ok(GpuReading {
        uuid: GpuUuid(uuid),
        name: device.name()?.chars().take(LONGEST_NAME).collect(),
        index: device.index()?,
        pci_bus_id: crate::sysfs::nvml_bus_id(&device.pci_info()?.bus_id),
        asleep: false,
        vram_total_bytes: memory.as_ref().map_or(0, |memory| memory.total),
        vram_used_bytes: memory.as_ref().map_or(0, |memory| memory.used),
        temperature_celsius: supported(device.temperature(TemperatureSensor::Gpu))?.map(f64::from),
        power_watts: supported(device.power_usage())?.map(watts),
        power_limits: power_limits(device)?,
        utilisation_percent: supported(device.utilization_rates())?.map(|utilisation| utilisation.gpu),
        fan_percent: supported(device.fan_speed(0))?,
        sm_clock_mhz: supported(device.clock_info(Clock::SM))?,
        memory_clock_mhz: supported(device.clock_info(Clock::Memory))?,
        energy_millijoules: supported(device.total_energy_consumption())?,
        display_attached: supported(device.is_display_connected())?,
        processes: processes(device)?,
    })
}

/// A question that this card or driver has no answer to is a value; one that shows the card or driver gone is not.
fn supported<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(
            error @ (NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::DriverNotLoaded
            | NvmlError::LibRmVersionMismatch
            | NvmlError::Uninitialized),
        ) => Err(error),
        Err(error) => {
            tracing::trace!(%error, "the card does not answer one question");
            Ok(None)
        }
    }
}

fn power_limits(device: &Device<'_>) -> Result<Option<PowerLimits>, NvmlError> {
    let enforced = supported(device.enforced_power_limit())?;
    let default = supported(device.power_management_limit_default())?;
    let range = supported(device.power_management_limit_constraints())?;
    let (Some(enforced), Some(default), Some(range)) = (enforced, default, range) else { return Ok(None) };
    Ok(Some(PowerLimits {
        enforced_watts: watts(enforced),
        default_watts: watts(default),
        min_watts: watts(range.min_limit),
        max_watts: watts(range.max_limit),
    }))
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}

fn processes(device: &Device<'_>) -> Result<Vec<GpuProcess>, NvmlError> {
    let compute = supported(device.running_compute_processes())?.unwrap_or_default();
    let graphics = supported(device.running_graphics_processes())?.unwrap_or_default();
    Ok(merged(&compute, &graphics))
}

/// A program that draws and computes is in both lists, with the same memory.
fn merged(compute: &[ProcessInfo], graphics: &[ProcessInfo]) -> Vec<GpuProcess> {
    let mut by_pid: BTreeMap<u32, GpuProcess> = BTreeMap::new();
    let listed = compute.iter().map(|process| (process, false));
    for (process, draws) in listed.chain(graphics.iter().map(|process| (process, true))) {
        let vram_bytes = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        let entry = by_pid.entry(process.pid);
        let known = entry.or_insert(GpuProcess { pid: process.pid, vram_bytes: None, graphics: false });
        known.vram_bytes = known.vram_bytes.max(vram_bytes);
        known.graphics |= draws;
    }
    by_pid.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, used_gpu_memory: UsedGpuMemory) -> ProcessInfo {
        ProcessInfo { pid, used_gpu_memory, gpu_instance_id: None, compute_instance_id: None }
    }

    #[test]
    fn a_program_that_draws_and_computes_is_one() {
        let compute = [process(7, UsedGpuMemory::Used(300)), process(9, UsedGpuMemory::Unavailable)];
        let graphics = [process(7, UsedGpuMemory::Used(300)), process(8, UsedGpuMemory::Used(50))];
        let expected = [(7, Some(300), true), (8, Some(50), true), (9, None, false)]
            .map(|(pid, vram_bytes, graphics)| GpuProcess { pid, vram_bytes, graphics });
        assert_eq!(merged(&compute, &graphics), expected);
    }

    #[test]
    fn what_a_card_cannot_say_is_a_value_and_a_lost_card_is_not() {
        for nothing in
            [NvmlError::NotSupported, NvmlError::Unknown, NvmlError::FailedToLoadSymbol("x".into())]
        {
            assert_eq!(supported::<u32>(Err(nothing)).unwrap(), None);
        }
        assert_eq!(supported(Ok(3)).unwrap(), Some(3));
        assert!(matches!(supported::<u32>(Err(NvmlError::GpuLost)), Err(NvmlError::GpuLost)));
    }
}
