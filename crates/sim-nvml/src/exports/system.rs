//! Start and end, versions, names, and how a card is found.

use std::ffi::{c_char, c_int, c_uint};
use std::fs;

use nightjar_sim::wire::{CardIdentity, nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::{finish, get_text, handle, put, put_text, slot};
use crate::session::{self, Outcome};

/// `NVML_INIT_FLAG_NO_ATTACH`: leave the cards alone, and asleep.
const FLAG_NO_ATTACH: c_uint = 2;

#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> nvmlReturn_t {
    finish(session::init("nvmlInit", true))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    finish(session::init("nvmlInit_v2", true))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(flags: c_uint) -> nvmlReturn_t {
    finish(session::init("nvmlInitWithFlags", flags & FLAG_NO_ATTACH == 0))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    finish(session::shutdown())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    let driver = session::driver("nvmlSystemGetDriverVersion");
    // SAFETY: NVML's contract: the buffer has this length.
    finish(driver.and_then(|driver| unsafe { put_text(version, length, &driver.version) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    let driver = session::driver("nvmlSystemGetNVMLVersion");
    finish(driver.and_then(|driver| {
        let text = format!("{}.{}", driver.cuda_version / 1000, driver.version);
        // SAFETY: NVML's contract: the buffer has this length.
        unsafe { put_text(version, length, &text) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> nvmlReturn_t {
    let driver = session::driver("nvmlSystemGetCudaDriverVersion");
    // SAFETY: NVML's contract for an out parameter.
    finish(driver.and_then(|driver| unsafe { put(version, driver.cuda_version) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    let driver = session::driver("nvmlSystemGetCudaDriverVersion_v2");
    // SAFETY: NVML's contract for an out parameter.
    finish(driver.and_then(|driver| unsafe { put(version, driver.cuda_version) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetProcessName(
    pid: c_uint,
    name: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let found = session::driver("nvmlSystemGetProcessName").and_then(|_| {
        let text = fs::read(format!("/proc/{pid}/cmdline")).map_err(|_| nvml::NOT_FOUND)?;
        let program = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(program).into_owned())
    });
    // SAFETY: NVML's contract: the buffer has this length.
    finish(found.and_then(|program| unsafe { put_text(name, length, &program) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount(count: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: NVML's contract for an out parameter.
    finish(
        session::cards("nvmlDeviceGetCount").and_then(|cards| unsafe { put(count, cards.len() as c_uint) }),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: NVML's contract for an out parameter.
    finish(
        session::cards("nvmlDeviceGetCount_v2")
            .and_then(|cards| unsafe { put(count, cards.len() as c_uint) }),
    )
}

/// Finds a card and touches it, as attaching to a real one does.
///
/// # Safety
/// `device` is null or may be written.
unsafe fn find(
    call: &str,
    device: *mut nvmlDevice_t,
    missing: i32,
    is_it: impl Fn(usize, &CardIdentity) -> bool,
) -> Outcome<()> {
    let cards = session::cards(call)?;
    let (_, card) = cards.iter().enumerate().find(|(index, card)| is_it(*index, card)).ok_or(missing)?;
    session::reading(call, card.slot)?;
    // SAFETY: the caller vouches for `device`.
    unsafe { put(device, handle(card.slot)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    let is_it = |at: usize, _: &CardIdentity| at == index as usize;
    // SAFETY: NVML's contract for an out parameter.
    finish(unsafe { find("nvmlDeviceGetHandleByIndex", device, nvml::INVALID_ARGUMENT, is_it) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    let is_it = |at: usize, _: &CardIdentity| at == index as usize;
    // SAFETY: NVML's contract for an out parameter.
    finish(unsafe { find("nvmlDeviceGetHandleByIndex_v2", device, nvml::INVALID_ARGUMENT, is_it) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: NVML's contract: a string with its end, and an out parameter.
    finish(unsafe {
        get_text(uuid).and_then(|uuid| {
            find("nvmlDeviceGetHandleByUUID", device, nvml::NOT_FOUND, |_, card| card.uuid == uuid)
        })
    })
}

/// NVML takes a bus id with a domain of four or eight digits, in either case.
fn same_bus(ours: &str, theirs: &str) -> bool {
    ours.eq_ignore_ascii_case(theirs)
        || ours.strip_prefix("0000").is_some_and(|ours| ours.eq_ignore_ascii_case(theirs))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId(
    bus: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the same contract.
    unsafe { nvmlDeviceGetHandleByPciBusId_v2(bus, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: NVML's contract: a string with its end, and an out parameter.
    finish(unsafe {
        get_text(bus).and_then(|bus| {
            find("nvmlDeviceGetHandleByPciBusId_v2", device, nvml::NOT_FOUND, |_, card| {
                same_bus(&card.bus_id, &bus)
            })
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) -> nvmlReturn_t {
    let found = slot(device).and_then(|slot| {
        let cards = session::cards("nvmlDeviceGetIndex")?;
        cards.iter().position(|card| card.slot == slot).ok_or(nvml::INVALID_ARGUMENT)
    });
    // SAFETY: NVML's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(index, found as c_uint) }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        0 => c"The operation was successful",
        1 => c"NVML was not first initialized with nvmlInit()",
        2 => c"A supplied argument is invalid",
        3 => c"The requested operation is not available on target device",
        4 => c"The current user does not have permission for operation",
        6 => c"A query to find an object was unsuccessful",
        7 => c"An input argument is not large enough",
        9 => c"NVIDIA driver is not loaded",
        10 => c"User provided timeout passed",
        15 => c"The GPU has fallen off the bus or has otherwise become inaccessible",
        16 => c"The GPU requires a reset before it can be used again",
        17 => c"The GPU control device has been blocked by the operating system/cgroups",
        18 => c"RM detects a driver/library version mismatch",
        19 => c"An operation cannot be performed because the GPU is currently in use",
        20 => c"Insufficient memory",
        25 => c"The provided version is invalid/unsupported",
        _ => c"An internal driver error occurred",
    };
    text.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_ids_match_in_every_usual_spelling() {
        for theirs in ["00000000:0A:00.0", "0000:0a:00.0", "00000000:0a:00.0"] {
            assert!(same_bus("00000000:0A:00.0", theirs), "{theirs}");
        }
        assert!(!same_bus("00000000:0A:00.0", "0000:0b:00.0"));
    }
}
