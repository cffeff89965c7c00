//! Heat, power, fans, and what root may change.

use std::ffi::{c_uint, c_ulonglong};

use nightjar_sim::wire::{Request, nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::{finish, getters, put, reading, slot};
use crate::session::{self, Outcome};

getters! {
    nvmlDeviceGetPowerUsage: c_uint => |card| card.power_milliwatts;
    nvmlDeviceGetPowerManagementMode: c_uint => |_| 1;
    nvmlDeviceGetPowerManagementLimit: c_uint => |card| card.limit_milliwatts;
    nvmlDeviceGetPowerManagementDefaultLimit: c_uint => |card| card.default_limit_milliwatts;
    nvmlDeviceGetEnforcedPowerLimit: c_uint => |card| card.limit_milliwatts;
    nvmlDeviceGetTotalEnergyConsumption: c_ulonglong => |card| card.energy_millijoules;
    nvmlDeviceGetPowerSource: c_uint => |_| 0;
    nvmlDeviceGetFanSpeed: c_uint => |card| card.fan_percent;
    nvmlDeviceGetNumFans: c_uint => |card| card.fans;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    device: nvmlDevice_t,
    least: *mut c_uint,
    most: *mut c_uint,
) -> nvmlReturn_t {
    let card = reading("nvmlDeviceGetPowerManagementLimitConstraints", device);
    finish(card.and_then(|card| {
        // SAFETY: NVML's contract for out parameters.
        unsafe { put(least, card.min_limit_milliwatts).and_then(|()| put(most, card.max_limit_milliwatts)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    sensor: c_uint,
    celsius: *mut c_uint,
) -> nvmlReturn_t {
    let card = reading("nvmlDeviceGetTemperature", device);
    finish(card.and_then(|card| match sensor {
        // SAFETY: NVML's contract for an out parameter.
        0 => unsafe { put(celsius, card.temperature_celsius) },
        _ => Err(nvml::INVALID_ARGUMENT),
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperatureThreshold(
    device: nvmlDevice_t,
    threshold: c_uint,
    celsius: *mut c_uint,
) -> nvmlReturn_t {
    let card = reading("nvmlDeviceGetTemperatureThreshold", device);
    let found = card.and_then(|card| match threshold {
        0 => Ok(card.shutdown_celsius),
        1 => Ok(card.slowdown_celsius),
        3 => Ok(card.max_operating_celsius),
        _ => Err(nvml::NOT_SUPPORTED),
    });
    // SAFETY: NVML's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(celsius, found) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFanSpeed_v2(
    device: nvmlDevice_t,
    fan: c_uint,
    percent: *mut c_uint,
) -> nvmlReturn_t {
    let card = reading("nvmlDeviceGetFanSpeed_v2", device);
    finish(card.and_then(|card| {
        check_fan(fan, card.fans)?;
        // SAFETY: NVML's contract for an out parameter.
        unsafe { put(percent, card.fan_percent) }
    }))
}

fn check_fan(fan: c_uint, fans: u32) -> Outcome<()> {
    match fans {
        0 => Err(nvml::NOT_SUPPORTED),
        fans if fan >= fans => Err(nvml::INVALID_ARGUMENT),
        _ => Ok(()),
    }
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceSetPowerManagementLimit(device: nvmlDevice_t, milliwatts: c_uint) -> nvmlReturn_t {
    finish(slot(device).and_then(|card| session::ask(&Request::SetPowerLimit { card, milliwatts })).map(drop))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceSetPersistenceMode(device: nvmlDevice_t, mode: c_uint) -> nvmlReturn_t {
    let on = match mode {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(nvml::INVALID_ARGUMENT),
    };
    finish(on.and_then(|on| session::ask(&Request::SetPersistence { card: slot(device)?, on })).map(drop))
}

fn set_fan(device: nvmlDevice_t, fan: c_uint, percent: Option<u32>) -> Outcome<()> {
    let card = slot(device)?;
    check_fan(fan, reading("nvmlDeviceGetNumFans", device)?.fans)?;
    session::ask(&Request::SetFan { card, percent }).map(drop)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceSetFanSpeed_v2(device: nvmlDevice_t, fan: c_uint, percent: c_uint) -> nvmlReturn_t {
    finish(set_fan(device, fan, Some(percent)))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceSetDefaultFanSpeed_v2(device: nvmlDevice_t, fan: c_uint) -> nvmlReturn_t {
    finish(set_fan(device, fan, None))
}
