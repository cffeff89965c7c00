//! Clocks, performance states, and why a clock is low.

use std::ffi::{c_uint, c_ulonglong};

use nightjar_sim::wire::{CardReading, nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::{finish, getters, put, reading};
use crate::session::Outcome;

/// Idle, power cap, thermal slowdown: what the simulation knows.
const KNOWN_REASONS: c_ulonglong = 0x1 | 0x4 | 0x20;
/// `NVML_CLOCK_ID_CURRENT`
const CURRENT: c_uint = 0;
/// `NVML_CLOCK_ID_CUSTOMER_BOOST_MAX`
const BOOST_MAX: c_uint = 3;

getters! {
    nvmlDeviceGetPerformanceState: c_uint => |card| card.performance_state;
    nvmlDeviceGetPowerState: c_uint => |card| card.performance_state;
    nvmlDeviceGetCurrentClocksThrottleReasons: c_ulonglong => |card| card.throttle_reasons;
    nvmlDeviceGetCurrentClocksEventReasons: c_ulonglong => |card| card.throttle_reasons;
    nvmlDeviceGetSupportedClocksThrottleReasons: c_ulonglong => |_| KNOWN_REASONS;
    nvmlDeviceGetSupportedClocksEventReasons: c_ulonglong => |_| KNOWN_REASONS;
}

/// Graphics, SM and video share one clock here; memory has its own.
fn clock(card: &CardReading, domain: c_uint) -> Outcome<c_uint> {
    match domain {
        0 | 1 | 3 => Ok(card.clock_mhz),
        2 => Ok(card.memory_clock_mhz),
        _ => Err(nvml::INVALID_ARGUMENT),
    }
}

fn max_clock(card: &CardReading, domain: c_uint) -> Outcome<c_uint> {
    match domain {
        0 | 1 | 3 => Ok(card.max_clock_mhz),
        2 => Ok(card.max_memory_clock_mhz),
        _ => Err(nvml::INVALID_ARGUMENT),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    domain: c_uint,
    mhz: *mut c_uint,
) -> nvmlReturn_t {
    let found = reading("nvmlDeviceGetClockInfo", device).and_then(|card| clock(&card, domain));
    // SAFETY: NVML's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(mhz, found) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(
    device: nvmlDevice_t,
    domain: c_uint,
    mhz: *mut c_uint,
) -> nvmlReturn_t {
    let found = reading("nvmlDeviceGetMaxClockInfo", device).and_then(|card| max_clock(&card, domain));
    // SAFETY: NVML's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(mhz, found) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetClock(
    device: nvmlDevice_t,
    domain: c_uint,
    which: c_uint,
    mhz: *mut c_uint,
) -> nvmlReturn_t {
    let found = reading("nvmlDeviceGetClock", device).and_then(|card| match which {
        CURRENT => clock(&card, domain),
        BOOST_MAX => max_clock(&card, domain),
        _ => Err(nvml::NOT_SUPPORTED),
    });
    // SAFETY: NVML's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(mhz, found) }))
}
