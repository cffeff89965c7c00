//! Start, versions and what a device is.

use std::ffi::{c_char, c_int, c_uint};

use nightjar_sim::wire::{CardReading, cuda};

use super::{CuDevice, CuResult, finish, put};
use crate::driver::{self, Outcome};

/// `CUuuid`
type CuUuid = [u8; 16];

fn ordinal(device: CuDevice) -> Outcome<usize> {
    usize::try_from(device).map_err(|_| cuda::INVALID_DEVICE)
}

fn reading(call: &str, device: CuDevice) -> Outcome<CardReading> {
    driver::with(|driver| driver.reading(call, ordinal(device)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> CuResult {
    finish(driver::init(flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    finish(driver::version().and_then(|found| unsafe { put(version, found) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> CuResult {
    let found = driver::with(|driver| Ok(driver.device_count()));
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(count, c_int::try_from(found).unwrap_or(c_int::MAX)) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut CuDevice, index: c_int) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    finish(reading("cuDeviceGet", index).and_then(|_| unsafe { put(device, index) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: CuDevice) -> CuResult {
    let card = reading("cuDeviceGetName", device);
    finish(card.and_then(|card| {
        let room = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(1))
            .ok_or(cuda::INVALID_VALUE)?;
        // CUDA cuts a name that is too long.
        let text = &card.name.as_bytes()[..card.name.len().min(room)];
        for (index, byte) in text.iter().chain([&0]).enumerate() {
            // SAFETY: CUDA's contract: the buffer has this length, and the text with its end is no longer.
            unsafe { put(name.wrapping_add(index), byte.cast_signed() as c_char)? };
        }
        Ok(())
    }))
}

fn uuid_bytes(uuid: &str) -> Option<CuUuid> {
    let digits: String = uuid.strip_prefix("GPU-")?.chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut CuUuid, device: CuDevice) -> CuResult {
    let found = reading("cuDeviceGetUuid", device)
        .and_then(|card| uuid_bytes(&card.identity.uuid).ok_or(cuda::UNKNOWN));
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(uuid, found) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut CuUuid, device: CuDevice) -> CuResult {
    // SAFETY: the same contract.
    unsafe { cuDeviceGetUuid(uuid, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CuDevice) -> CuResult {
    let card = reading("cuDeviceTotalMem", device);
    // SAFETY: CUDA's contract for an out parameter.
    finish(card.and_then(|card| unsafe {
        // As on a real card, what the driver keeps is not counted.
        put(bytes, usize::try_from(card.vram_bytes - card.vram_reserved_bytes).unwrap_or(usize::MAX))
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceComputeCapability(
    major: *mut c_int,
    minor: *mut c_int,
    device: CuDevice,
) -> CuResult {
    let card = reading("cuDeviceComputeCapability", device);
    finish(card.and_then(|card| {
        // SAFETY: CUDA's contract for out parameters.
        unsafe { put(major, card.compute_capability.0).and_then(|()| put(minor, card.compute_capability.1)) }
    }))
}

/// The value of a `CUdevice_attribute`, of those that a program usually asks for.
fn attribute(card: &CardReading, attribute: c_int) -> Option<c_int> {
    let number = |value: u32| c_int::try_from(value).ok();
    match attribute {
        1..=3 => Some(1024),                            // threads in a block: all, x, y
        4 => Some(64),                                  // threads in a block: z
        5 => Some(c_int::MAX),                          // blocks in a grid: x
        6 | 7 => Some(65_535),                          // blocks in a grid: y, z
        8 => Some(48 * 1024),                           // shared memory of a block
        9 => Some(64 * 1024),                           // constant memory
        10 => Some(32),                                 // threads in a warp
        12 => Some(65_536),                             // registers of a block
        13 => number(card.max_clock_mhz * 1000),        // clock in kHz
        16 => number(card.multiprocessors),             // multiprocessors
        18 | 20 | 32 => Some(0),                        // integrated, compute mode, ECC
        33 => number(card.pci_bus),                     // PCI bus
        34 | 50 => Some(0),                             // PCI device, PCI domain
        36 => number(card.max_memory_clock_mhz * 1000), // memory clock in kHz
        37 => number(card.memory_bus_bits),             // memory bus
        39 => Some(1536),                               // threads on a multiprocessor
        41 => Some(1),                                  // one address space with the host
        75 => Some(card.compute_capability.0),          // compute capability, major
        76 => Some(card.compute_capability.1),          // compute capability, minor
        83 => Some(0),                                  // managed memory
        _ => None,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, which: c_int, device: CuDevice) -> CuResult {
    let found = reading("cuDeviceGetAttribute", device)
        .and_then(|card| attribute(&card, which).ok_or(cuda::INVALID_VALUE));
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(value, found) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_the_same_bytes_in_both_libraries() {
        let bytes = uuid_bytes("GPU-51ade1ca-7a2d-4e57-9a00-000000000102").unwrap();
        assert_eq!(bytes[..4], [0x51, 0xad, 0xe1, 0xca]);
        assert_eq!(bytes[14..], [1, 2]);
    }
}
