//! What the driver answers for one card, question by question, and the reading that this makes.
//!
//! The answers are plain values, errors among them: a card that was recorded in a dump goes the same way from answers to
//! reading as one that is in this PC.

use std::collections::BTreeMap;

use nightjar_core::gpu::{
    ComputeCapability, Ecc, GpuProcess, GpuReading, GpuUuid, PcieLink, PowerLimits, ThrottleReason,
};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::error::{NvmlError, nvml_try};
use serde::{Deserialize, Serialize};

const LONGEST_UUID: usize = 96;
const LONGEST_NAME: usize = 96;
/// `NVML_ERROR_NOT_SUPPORTED`
const NOT_SUPPORTED: u32 = 3;
/// `NVML_ERROR_FUNCTION_NOT_FOUND`
const FUNCTION_NOT_FOUND: u32 = 13;

/// Why a question has no answer, with NVML's number for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub code: u32,
    pub text: String,
}

impl From<NvmlError> for Refused {
    fn from(error: NvmlError) -> Self {
        let text = error.to_string();
        let code = match error {
            NvmlError::FailedToLoadSymbol(_) => FUNCTION_NOT_FOUND,
            error => error.into(),
        };
        Self { code, text }
    }
}

impl Refused {
    /// This card or driver has no answer to the question, today or tomorrow.
    fn is_for_good(&self) -> bool {
        matches!(self.code, NOT_SUPPORTED | FUNCTION_NOT_FOUND)
    }

    pub(crate) fn nvml(&self) -> NvmlError {
        nvml_try(self.code).err().unwrap_or(NvmlError::Unknown)
    }
}

/// One answer of the driver.
pub type Answer<T> = Result<T, Refused>;

/// A program in one of the driver's two lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub pid: u32,
    /// `None` where the driver does not tell (WDDM).
    pub vram_bytes: Option<u64>,
}

/// All that one card is asked in one sample. Units as NVML has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    pub uuid: Answer<String>,
    pub name: Answer<String>,
    pub index: Answer<u32>,
    pub pci_bus_id: Answer<String>,
    /// Major and minor.
    pub compute_capability: Answer<(u32, u32)>,
    /// Total and used.
    pub memory_bytes: Answer<(u64, u64)>,
    pub temperature_celsius: Answer<u32>,
    pub memory_temperature_celsius: Answer<u32>,
    pub power_milliwatts: Answer<u32>,
    pub enforced_milliwatts: Answer<u32>,
    pub default_milliwatts: Answer<u32>,
    /// Least and most.
    pub range_milliwatts: Answer<(u32, u32)>,
    pub utilisation_percent: Answer<u32>,
    pub fan_percent: Answer<u32>,
    pub sm_clock_mhz: Answer<u32>,
    pub memory_clock_mhz: Answer<u32>,
    pub energy_millijoules: Answer<u64>,
    /// NVML's bit mask.
    pub throttle_reasons: Answer<u64>,
    pub pcie_generation: Answer<u32>,
    pub pcie_width: Answer<u32>,
    pub pcie_max_generation: Answer<u32>,
    pub pcie_max_width: Answer<u32>,
    pub ecc_enabled: Answer<bool>,
    pub ecc_uncorrected: Answer<u64>,
    pub display_attached: Answer<bool>,
    pub display_active: Answer<bool>,
    pub compute_processes: Answer<Vec<Listed>>,
    pub graphics_processes: Answer<Vec<Listed>>,
    /// Process and percent of the multiprocessors.
    pub process_sm_percent: Answer<Vec<(u32, u32)>>,
}

/// What need not be asked again while the driver stays open: the answer itself, or that there is none.
pub(crate) fn once<T: Clone>(before: Option<&Answer<T>>, ask: impl FnOnce() -> Answer<T>) -> Answer<T> {
    match before {
        Some(Ok(known)) => Ok(known.clone()),
        before => each_time(before, ask),
    }
}

/// What changes is asked each time, but not where the card has no answer at all.
pub(crate) fn each_time<T>(before: Option<&Answer<T>>, ask: impl FnOnce() -> Answer<T>) -> Answer<T> {
    match before {
        Some(Err(refused)) if refused.is_for_good() => Err(refused.clone()),
        _ => ask(),
    }
}

impl Answers {
    /// What they say, in the words of the rest of the program.
    pub(crate) fn reading(&self) -> Result<GpuReading, NvmlError> {
        let uuid = needed(&self.uuid)?;
        if uuid.is_empty() || uuid.len() > LONGEST_UUID || !uuid.is_ascii() {
            return Err(NvmlError::StringTooLong { max_len: LONGEST_UUID, actual_len: uuid.len() });
        }
        let (vram_total_bytes, vram_used_bytes) = supported(&self.memory_bytes)?.unwrap_or_default();
        Ok(GpuReading {
            uuid: GpuUuid(uuid),
            name: needed(&self.name)?.chars().take(LONGEST_NAME).collect(),
            index: needed(&self.index)?,
            pci_bus_id: crate::sysfs::nvml_bus_id(&needed(&self.pci_bus_id)?),
            asleep: false,
            vram_total_bytes,
            vram_used_bytes,
            temperature_celsius: supported(&self.temperature_celsius)?.map(f64::from),
            hotspot_celsius: None,
            memory_temperature_celsius: supported(&self.memory_temperature_celsius)?.map(f64::from),
            power_watts: supported(&self.power_milliwatts)?.map(watts),
            power_limits: self.power_limits()?,
            utilisation_percent: supported(&self.utilisation_percent)?,
            fan_percent: supported(&self.fan_percent)?,
            sm_clock_mhz: supported(&self.sm_clock_mhz)?,
            memory_clock_mhz: supported(&self.memory_clock_mhz)?,
            energy_millijoules: supported(&self.energy_millijoules)?,
            throttle_reasons: supported(&self.throttle_reasons)?.map(throttle_reasons),
            pcie: self.pcie()?,
            ecc: self.ecc()?,
            compute_capability: supported(&self.compute_capability)?
                .map(|(major, minor)| ComputeCapability { major, minor }),
            display_attached: supported(&self.display_attached)?,
            display_active: supported(&self.display_active)?,
            processes: self.processes()?,
        })
    }

    fn power_limits(&self) -> Result<Option<PowerLimits>, NvmlError> {
        let enforced = supported(&self.enforced_milliwatts)?;
        let default = supported(&self.default_milliwatts)?;
        let range = supported(&self.range_milliwatts)?;
        let (Some(enforced), Some(default), Some((least, most))) = (enforced, default, range) else {
            return Ok(None);
        };
        Ok(Some(PowerLimits {
            enforced_watts: watts(enforced),
            default_watts: watts(default),
            min_watts: watts(least),
            max_watts: watts(most),
        }))
    }

    fn pcie(&self) -> Result<Option<PcieLink>, NvmlError> {
        let (generation, width) = (supported(&self.pcie_generation)?, supported(&self.pcie_width)?);
        let (Some(generation), Some(width)) = (generation, width) else { return Ok(None) };
        let max_generation = supported(&self.pcie_max_generation)?;
        let max_width = supported(&self.pcie_max_width)?;
        Ok(Some(PcieLink { generation, width, max_generation, max_width }))
    }

    fn ecc(&self) -> Result<Option<Ecc>, NvmlError> {
        let Some(enabled) = supported(&self.ecc_enabled)? else { return Ok(None) };
        Ok(Some(Ecc { enabled, uncorrected_errors: supported(&self.ecc_uncorrected)? }))
    }

    /// A program that draws and computes is in both lists, with the same memory.
    fn processes(&self) -> Result<Vec<GpuProcess>, NvmlError> {
        let compute = supported(&self.compute_processes)?.unwrap_or_default();
        let graphics = supported(&self.graphics_processes)?.unwrap_or_default();
        let mut by_pid: BTreeMap<u32, GpuProcess> = BTreeMap::new();
        let listed = compute.iter().map(|process| (process, false));
        for (process, draws) in listed.chain(graphics.iter().map(|process| (process, true))) {
            let known =
                by_pid.entry(process.pid).or_insert_with(|| GpuProcess::listed(process.pid, None, false));
            known.vram_bytes = known.vram_bytes.max(process.vram_bytes);
            known.graphics |= draws;
        }
        for (pid, percent) in supported(&self.process_sm_percent)?.unwrap_or_default() {
            if let Some(process) = by_pid.get_mut(&pid) {
                process.sm_percent = process.sm_percent.max(Some(percent.min(100)));
            }
        }
        Ok(by_pid.into_values().collect())
    }
}

/// What a card must say to be one.
fn needed<T: Clone>(answer: &Answer<T>) -> Result<T, NvmlError> {
    answer.clone().map_err(|refused| refused.nvml())
}

/// A question that this card or driver has no answer to is a value; one that shows the card or driver gone is not.
fn supported<T: Clone>(answer: &Answer<T>) -> Result<Option<T>, NvmlError> {
    match answer {
        Ok(value) => Ok(Some(value.clone())),
        Err(refused) => match refused.nvml() {
            error @ (NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::DriverNotLoaded
            | NvmlError::LibRmVersionMismatch
            | NvmlError::Uninitialized) => Err(error),
            _ => Ok(None),
        },
    }
}

fn throttle_reasons(bits: u64) -> Vec<ThrottleReason> {
    use ThrottleReason as R;
    let bits = ThrottleReasons::from_bits_truncate(bits);
    let mut reasons: Vec<ThrottleReason> = [
        (ThrottleReasons::GPU_IDLE, R::Idle),
        (ThrottleReasons::SW_POWER_CAP, R::PowerCap),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, R::Thermal),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, R::HardwareThermal),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, R::PowerBrake),
        (ThrottleReasons::HW_SLOWDOWN, R::HardwareSlowdown),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, R::ClockSetting),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, R::ClockSetting),
        (ThrottleReasons::SYNC_BOOST, R::SyncBoost),
    ]
    .into_iter()
    .filter(|(bit, _)| bits.contains(*bit))
    .map(|(_, reason)| reason)
    .collect();
    reasons.dedup();
    reasons
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn refused<T>(error: NvmlError) -> Answer<T> {
        Err(Refused::from(error))
    }

    /// A card that answers what it must, and nothing else.
    pub(crate) fn taciturn() -> Answers {
        Answers {
            uuid: Ok("GPU-0".into()),
            name: Ok("a card".into()),
            index: Ok(0),
            pci_bus_id: Ok("0000:01:00.0".into()),
            compute_capability: refused(NvmlError::NotSupported),
            memory_bytes: refused(NvmlError::NotSupported),
            temperature_celsius: refused(NvmlError::NotSupported),
            memory_temperature_celsius: refused(NvmlError::InvalidArg),
            power_milliwatts: refused(NvmlError::NotSupported),
            enforced_milliwatts: refused(NvmlError::NotSupported),
            default_milliwatts: Ok(1),
            range_milliwatts: Ok((1, 2)),
            utilisation_percent: refused(NvmlError::Unknown),
            fan_percent: refused(NvmlError::NotSupported),
            sm_clock_mhz: refused(NvmlError::NoPermission),
            memory_clock_mhz: refused(NvmlError::NotSupported),
            energy_millijoules: refused(NvmlError::FailedToLoadSymbol("x".into())),
            throttle_reasons: refused(NvmlError::NotSupported),
            pcie_generation: Ok(3),
            pcie_width: refused(NvmlError::NotSupported),
            pcie_max_generation: Ok(4),
            pcie_max_width: Ok(16),
            ecc_enabled: refused(NvmlError::NotSupported),
            ecc_uncorrected: Ok(7),
            display_attached: refused(NvmlError::NotSupported),
            display_active: refused(NvmlError::NotSupported),
            compute_processes: refused(NvmlError::NotSupported),
            graphics_processes: refused(NvmlError::NotSupported),
            process_sm_percent: refused(NvmlError::NotFound),
        }
    }

    #[test]
    fn what_a_card_cannot_say_is_a_value_and_a_lost_card_is_not() {
        let expected = GpuReading {
            name: "a card".into(),
            pci_bus_id: "00000000:01:00.0".into(),
            ..GpuReading::unread(GpuUuid("GPU-0".into()))
        };
        assert_eq!(taciturn().reading().unwrap(), expected);
        for gone in [NvmlError::GpuLost, NvmlError::LibRmVersionMismatch] {
            let answers = Answers { fan_percent: refused(gone), ..taciturn() };
            assert!(matches!(answers.reading(), Err(NvmlError::GpuLost | NvmlError::LibRmVersionMismatch)));
        }
        let nameless = Answers { name: refused(NvmlError::NotSupported), ..taciturn() };
        assert!(matches!(nameless.reading(), Err(NvmlError::NotSupported)));
    }

    #[test]
    fn a_program_that_draws_and_computes_is_one() {
        let listed = |pid, vram_bytes| Listed { pid, vram_bytes };
        let answers = Answers {
            compute_processes: Ok(vec![listed(7, Some(300)), listed(9, None)]),
            graphics_processes: Ok(vec![listed(7, Some(300)), listed(8, Some(50))]),
            process_sm_percent: Ok(vec![(8, 12), (77, 50)]),
            ..taciturn()
        };
        let expected = [
            GpuProcess::listed(7, Some(300), true),
            GpuProcess { sm_percent: Some(12), ..GpuProcess::listed(8, Some(50), true) },
            GpuProcess::listed(9, None, false),
        ];
        assert_eq!(answers.reading().unwrap().processes, expected);
    }

    #[test]
    fn each_bit_has_its_reason() {
        use ThrottleReason as R;
        assert_eq!(throttle_reasons(0), []);
        assert_eq!(throttle_reasons(0x1), [R::Idle]);
        assert_eq!(throttle_reasons(0x4 | 0x20 | 0x8), [R::PowerCap, R::Thermal, R::HardwareSlowdown]);
        assert_eq!(throttle_reasons(0x2 | 0x100), [R::ClockSetting]);
        assert_eq!(throttle_reasons(0x40 | 0x80 | 1 << 40), [R::HardwareThermal, R::PowerBrake]);
    }

    #[test]
    fn a_question_without_an_answer_is_asked_once_and_a_fixed_fact_too() {
        let never = || panic!("asked again");
        assert_eq!(once(Some(&Ok(5)), never), Ok(5));
        let none: Answer<u32> = refused(NvmlError::NotSupported);
        assert_eq!(once(Some(&none), never), none);
        assert_eq!(each_time(Some(&none), never), none);
        assert_eq!(each_time(Some(&Ok(5)), || Ok(6)), Ok(6));
        let for_now: Answer<u32> = refused(NvmlError::NotFound);
        assert_eq!(each_time(Some(&for_now), || Ok(6)), Ok(6));
        assert_eq!(once(Some(&for_now), || Ok(6)), Ok(6));
    }
}
