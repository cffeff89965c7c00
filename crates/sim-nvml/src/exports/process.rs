//! Who uses a card.

use std::ffi::{c_uint, c_ulonglong};
use std::time::{SystemTime, UNIX_EPOCH};

use nightjar_sim::wire::{CardReading, ProcessReading, nvml};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlProcessInfo_v1_t, nvmlProcessInfo_v2_t, nvmlProcessUtilizationSample_t, nvmlReturn_t,
};

use super::{finish, get, put, reading};
use crate::session::Outcome;

/// Stands for "no MIG instance".
const NO_INSTANCE: c_uint = c_uint::MAX;

/// Writes a list as NVML does: how many there are, and as many as asked for only if that is enough.
///
/// # Safety
/// `count` is null or may be read and written; `out` is null or has room for `*count`.
unsafe fn put_list<T>(count: *mut c_uint, out: *mut T, list: &[T]) -> Outcome<()>
where
    T: Copy,
{
    // SAFETY: the caller vouches for `count` and `out`.
    unsafe {
        let room = get(count)?;
        put(count, list.len() as c_uint)?;
        if list.is_empty() {
            return Ok(());
        }
        if out.is_null() || (room as usize) < list.len() {
            return Err(nvml::INSUFFICIENT_SIZE);
        }
        out.copy_from_nonoverlapping(list.as_ptr(), list.len());
    }
    Ok(())
}

fn first_form(process: &ProcessReading) -> nvmlProcessInfo_v1_t {
    nvmlProcessInfo_v1_t { pid: process.pid, usedGpuMemory: process.vram_bytes }
}

fn second_form(process: &ProcessReading) -> nvmlProcessInfo_v2_t {
    nvmlProcessInfo_v2_t {
        pid: process.pid,
        usedGpuMemory: process.vram_bytes,
        gpuInstanceId: NO_INSTANCE,
        computeInstanceId: NO_INSTANCE,
    }
}

fn processes<T>(card: &CardReading, graphics: bool, form: fn(&ProcessReading) -> T) -> Vec<T> {
    card.processes.iter().filter(|process| process.graphics == graphics).map(form).collect()
}

macro_rules! lists {
    ($($name:ident: $form:ty = $make:ident, graphics $graphics:literal;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(device: nvmlDevice_t, count: *mut c_uint, out: *mut $form) -> nvmlReturn_t {
            let card = reading(stringify!($name), device);
            let list = card.map(|card| processes(&card, $graphics, $make));
            // SAFETY: NVML's contract: `out` has room for `*count`.
            finish(list.and_then(|list| unsafe { put_list(count, out, &list) }))
        }
    )*};
}

lists! {
    nvmlDeviceGetComputeRunningProcesses: nvmlProcessInfo_v1_t = first_form, graphics false;
    nvmlDeviceGetComputeRunningProcesses_v2: nvmlProcessInfo_v2_t = second_form, graphics false;
    nvmlDeviceGetComputeRunningProcesses_v3: nvmlProcessInfo_v2_t = second_form, graphics false;
    nvmlDeviceGetGraphicsRunningProcesses: nvmlProcessInfo_v1_t = first_form, graphics true;
    nvmlDeviceGetGraphicsRunningProcesses_v2: nvmlProcessInfo_v2_t = second_form, graphics true;
    nvmlDeviceGetGraphicsRunningProcesses_v3: nvmlProcessInfo_v2_t = second_form, graphics true;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetProcessUtilization(
    device: nvmlDevice_t,
    samples: *mut nvmlProcessUtilizationSample_t,
    count: *mut c_uint,
    since_micros: c_ulonglong,
) -> nvmlReturn_t {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_micros = c_ulonglong::try_from(elapsed.as_micros()).unwrap_or(c_ulonglong::MAX);
    let list = reading("nvmlDeviceGetProcessUtilization", device).and_then(|card| {
        let list: Vec<_> = card
            .processes
            .iter()
            .filter(|process| process.gpu_percent > 0 && now_micros > since_micros)
            .map(|process| nvmlProcessUtilizationSample_t {
                pid: process.pid,
                timeStamp: now_micros,
                smUtil: process.gpu_percent,
                memUtil: card.memory_percent * process.gpu_percent / 100,
                encUtil: 0,
                decUtil: 0,
            })
            .collect();
        // The real one has nothing to say of an idle card either.
        if list.is_empty() { Err(nvml::NOT_FOUND) } else { Ok(list) }
    });
    // SAFETY: NVML's contract: `samples` has room for `*count`.
    finish(list.and_then(|list| unsafe { put_list(count, samples, &list) }))
}
