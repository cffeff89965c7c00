//! The power limit of one card: what it is, and a change of it, which needs root. Both wake the card.

use nightjar_core::gpu::GpuUuid;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use crate::{GpuError, Nvml};

/// In the driver's own unit, so that a value that was found can be put back exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MilliwattLimits {
    pub current: u32,
    pub default: u32,
    pub min: u32,
    pub max: u32,
}

impl Nvml {
    /// `None` for a card whose limit the driver does not manage.
    ///
    /// # Errors
    /// When there is no such card, or the driver fails.
    pub fn power_limits(&self, card: &GpuUuid) -> Result<Option<MilliwattLimits>, GpuError> {
        let limits = self.card(card).and_then(|device| match limits(&device) {
            Ok(limits) => Ok(Some(limits)),
            Err(NvmlError::NotSupported) => Ok(None),
            Err(error) => Err(error),
        });
        limits.map_err(|error| self.failed(error, Some(&card.0)))
    }

    /// # Errors
    /// When this is not root, there is no such card, or the driver does not take the value.
    pub fn set_power_limit(&self, card: &GpuUuid, milliwatts: u32) -> Result<(), GpuError> {
        let set = self.card(card).and_then(|mut device| device.set_power_management_limit(milliwatts));
        set.map_err(|error| self.failed(error, Some(&card.0)))
    }

    fn card(&self, card: &GpuUuid) -> Result<Device<'_>, NvmlError> {
        self.library.device_by_uuid(card.0.as_str())
    }
}

fn limits(device: &Device<'_>) -> Result<MilliwattLimits, NvmlError> {
    let range = device.power_management_limit_constraints()?;
    Ok(MilliwattLimits {
        current: device.power_management_limit()?,
        default: device.power_management_limit_default()?,
        min: range.min_limit,
        max: range.max_limit,
    })
}
