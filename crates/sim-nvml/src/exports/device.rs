//! What a card is, and how full.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use nightjar_sim::wire::{CardReading, nvml};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlFieldValue_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlPciInfo_t, nvmlReturn_t,
    nvmlUtilization_t, nvmlValue_st,
};

use super::{finish, get, getters, put, put_text, reading};

/// `NVML_BRAND_GEFORCE`
const BRAND_GEFORCE: c_uint = 5;
/// `NVML_BUS_TYPE_PCIE`
const BUS_PCIE: c_uint = 2;
/// `NVML_STRUCT_VERSION(Memory, 2)`
const MEMORY_V2: c_uint = (size_of::<nvmlMemory_v2_t>() as c_uint) | (2 << 24);

/// Megatransfers a second of a PCIe lane of that generation.
fn lane_speed(generation: u32) -> c_uint {
    [2500, 5000, 8000, 16000, 32000, 64000]
        .get(generation.saturating_sub(1) as usize)
        .copied()
        .unwrap_or(2500)
}

getters! {
    nvmlDeviceGetBrand: c_uint => |_| BRAND_GEFORCE;
    nvmlDeviceGetArchitecture: c_uint => |card| card.architecture;
    nvmlDeviceGetNumGpuCores: c_uint => |card| card.cores;
    nvmlDeviceGetMemoryBusWidth: c_uint => |card| card.memory_bus_bits;
    nvmlDeviceGetMinorNumber: c_uint => |card| card.identity.slot as c_uint;
    nvmlDeviceGetBoardId: c_uint => |card| card.pci_bus << 8;
    nvmlDeviceGetMultiGpuBoard: c_uint => |_| 0;
    nvmlDeviceGetBusType: c_uint => |_| BUS_PCIE;
    nvmlDeviceGetComputeMode: c_uint => |_| 0;
    nvmlDeviceGetVirtualizationMode: c_uint => |_| 0;
    nvmlDeviceGetPersistenceMode: c_uint => |card| card.persistence.into();
    nvmlDeviceGetDisplayMode: c_uint => |card| card.display_connected.into();
    nvmlDeviceGetDisplayActive: c_uint => |card| card.display_connected.into();
    nvmlDeviceGetCurrPcieLinkGeneration: c_uint => |card| card.pcie_generation;
    nvmlDeviceGetMaxPcieLinkGeneration: c_uint => |card| card.pcie_max_generation;
    nvmlDeviceGetGpuMaxPcieLinkGeneration: c_uint => |card| card.pcie_max_generation;
    nvmlDeviceGetCurrPcieLinkWidth: c_uint => |card| card.pcie_width;
    nvmlDeviceGetMaxPcieLinkWidth: c_uint => |card| card.pcie_width;
    nvmlDeviceGetPcieSpeed: c_uint => |card| lane_speed(card.pcie_generation);
    nvmlDeviceGetPcieLinkMaxSpeed: c_uint => |card| card.pcie_max_generation;
    nvmlDeviceGetPcieReplayCounter: c_uint => |_| 0;
    nvmlDeviceGetMemoryInfo: nvmlMemory_t => |card| nvmlMemory_t {
        total: card.vram_bytes,
        free: card.vram_free_bytes(),
        // The old form has no place for what the driver keeps, and counts it as used.
        used: card.vram_used_bytes + card.vram_reserved_bytes,
    };
    nvmlDeviceGetUtilizationRates: nvmlUtilization_t => |card| nvmlUtilization_t {
        gpu: card.gpu_percent,
        memory: card.memory_percent,
    };
    nvmlDeviceGetPciInfo: nvmlPciInfo_t => pci_info;
    nvmlDeviceGetPciInfo_v2: nvmlPciInfo_t => pci_info;
    nvmlDeviceGetPciInfo_v3: nvmlPciInfo_t => pci_info;
}

fn text<const SIZE: usize>(text: &str) -> [c_char; SIZE] {
    let mut field = [0; SIZE];
    // One byte stays zero.
    for (to, from) in field.iter_mut().zip(text.bytes().take(SIZE - 1)) {
        *to = from.cast_signed() as c_char;
    }
    field
}

fn pci_info(card: &CardReading) -> nvmlPciInfo_t {
    let bus_id = &card.identity.bus_id;
    nvmlPciInfo_t {
        busIdLegacy: text(bus_id.strip_prefix("0000").unwrap_or(bus_id)),
        domain: 0,
        bus: card.pci_bus,
        device: 0,
        pciDeviceId: card.pci_device_id,
        pciSubSystemId: card.pci_subsystem_id,
        busId: text(bus_id),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    // SAFETY: NVML's contract: the caller filled in the version and may be answered in place.
    finish(unsafe {
        get(memory).and_then(|asked| {
            if asked.version != MEMORY_V2 {
                return Err(nvml::ARGUMENT_VERSION_MISMATCH);
            }
            let card = reading("nvmlDeviceGetMemoryInfo_v2", device)?;
            let answer = nvmlMemory_v2_t {
                version: asked.version,
                total: card.vram_bytes,
                reserved: card.vram_reserved_bytes,
                free: card.vram_free_bytes(),
                used: card.vram_used_bytes,
            };
            put(memory, answer)
        })
    })
}

/// Functions of the form `(device, buffer, length)` that write a text.
macro_rules! texts {
    ($($name:ident => $pick:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(device: nvmlDevice_t, out: *mut c_char, length: c_uint) -> nvmlReturn_t {
            let pick: fn(&CardReading) -> &str = $pick;
            let card = reading(stringify!($name), device);
            // SAFETY: NVML's contract: the buffer has this length.
            finish(card.and_then(|card| unsafe { put_text(out, length, pick(&card)) }))
        }
    )*};
}

texts! {
    nvmlDeviceGetName => |card| &card.name;
    nvmlDeviceGetUUID => |card| &card.identity.uuid;
    nvmlDeviceGetVbiosVersion => |_| "simulated";
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    let card = reading("nvmlDeviceGetCudaComputeCapability", device);
    finish(card.and_then(|card| {
        // SAFETY: NVML's contract for out parameters.
        unsafe { put(major, card.compute_capability.0).and_then(|()| put(minor, card.compute_capability.1)) }
    }))
}

/// Functions of the form `(device, percentage, sampling period)`; nothing here encodes or decodes.
macro_rules! idle_engines {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            device: nvmlDevice_t,
            utilisation: *mut c_uint,
            period_micros: *mut c_uint,
        ) -> nvmlReturn_t {
            // SAFETY: NVML's contract for out parameters.
            finish(reading(stringify!($name), device).and_then(|_| unsafe {
                put(utilisation, 0).and_then(|()| put(period_micros, 167_000))
            }))
        }
    )*};
}

idle_engines! { nvmlDeviceGetEncoderUtilization nvmlDeviceGetDecoderUtilization }

/// Only the memory of the large cards has a sensor; under load it is hotter than the chip.
fn memory_celsius(card: &CardReading) -> Option<c_uint> {
    const LARGE_BUS_BITS: u32 = 384;
    (card.memory_bus_bits >= LARGE_BUS_BITS)
        .then(|| card.temperature_celsius + 2 + card.memory_percent.saturating_mul(12) / 100)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    const MEMORY_TEMPERATURE: c_uint = 82;
    const ENERGY: c_uint = 83;
    const POWER_AVERAGE: c_uint = 185;
    const POWER_INSTANT: c_uint = 186;
    const UNSIGNED_INT: c_uint = 1;
    const UNSIGNED_LONG_LONG: c_uint = 3;
    let Ok(count) = usize::try_from(count) else { return finish(Err(nvml::INVALID_ARGUMENT)) };
    let card = reading("nvmlDeviceGetFieldValues", device);
    finish(card.and_then(|card| {
        for index in 0..count {
            // SAFETY: NVML's contract: there are `count` values, each with its field filled in.
            unsafe {
                let at = values.wrapping_add(index);
                let mut value = get(at)?;
                value.nvmlReturn = 0;
                match value.fieldId {
                    MEMORY_TEMPERATURE => match memory_celsius(&card) {
                        Some(celsius) => {
                            value.valueType = UNSIGNED_INT;
                            value.value = nvmlValue_st { uiVal: celsius };
                        }
                        None => value.nvmlReturn = nvml::NOT_SUPPORTED.unsigned_abs(),
                    },
                    ENERGY => {
                        value.valueType = UNSIGNED_LONG_LONG;
                        value.value = nvmlValue_st { ullVal: c_ulonglong::from(card.energy_millijoules) };
                    }
                    POWER_AVERAGE | POWER_INSTANT => {
                        value.valueType = UNSIGNED_INT;
                        value.value = nvmlValue_st { uiVal: card.power_milliwatts };
                    }
                    _ => value.nvmlReturn = nvml::NOT_SUPPORTED.unsigned_abs(),
                }
                put(at, value)?;
            }
        }
        Ok(())
    }))
}
