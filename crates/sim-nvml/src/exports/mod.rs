//! The symbols of NVML. This is the one place that touches what C hands in.
#![expect(unsafe_code, reason = "a C library's symbols take pointers and have unmangled names")]

mod clocks;
mod device;
mod power;
mod process;
mod system;
mod unsupported;

use std::ffi::{CStr, c_char, c_uint};

use nightjar_sim::wire::{CardReading, nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::session::{self, Outcome};

/// More slots than any machine has; a handle that leads further was never ours.
const MOST_SLOTS: usize = 64;

/// NVML's return code for an outcome.
fn finish(outcome: Outcome<()>) -> nvmlReturn_t {
    match outcome {
        Ok(()) => 0,
        Err(code) => nvmlReturn_t::try_from(code).unwrap_or(nvml::UNKNOWN.unsigned_abs()),
    }
}

/// A handle is the slot, counted from one, so that no handle is null.
fn handle(slot: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(slot + 1)
}

fn slot(device: nvmlDevice_t) -> Outcome<usize> {
    device.addr().checked_sub(1).filter(|slot| *slot < MOST_SLOTS).ok_or(nvml::INVALID_ARGUMENT)
}

fn reading(call: &str, device: nvmlDevice_t) -> Outcome<CardReading> {
    session::reading(call, slot(device)?)
}

/// Writes to where the caller asked for the answer.
///
/// # Safety
/// `out` is null or points to a `T` that may be written.
unsafe fn put<T>(out: *mut T, value: T) -> Outcome<()> {
    if out.is_null() {
        return Err(nvml::INVALID_ARGUMENT);
    }
    // SAFETY: not null, and the caller vouches for the rest. C does not promise alignment.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Reads what the caller wrote into an argument that goes both ways.
///
/// # Safety
/// `from` is null or points to a `T`.
unsafe fn get<T: Copy>(from: *const T) -> Outcome<T> {
    if from.is_null() {
        return Err(nvml::INVALID_ARGUMENT);
    }
    // SAFETY: not null, and the caller vouches for the rest.
    Ok(unsafe { from.read_unaligned() })
}

/// Writes text with its closing zero.
///
/// # Safety
/// `out` is null or has room for `length` bytes.
unsafe fn put_text(out: *mut c_char, length: c_uint, text: &str) -> Outcome<()> {
    if out.is_null() {
        return Err(nvml::INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(nvml::INSUFFICIENT_SIZE);
    }
    // SAFETY: there is room for the text and one byte more.
    unsafe {
        out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        out.add(text.len()).write(0);
    }
    Ok(())
}

/// Reads text that C hands in.
///
/// # Safety
/// `text` is null or ends with a zero.
unsafe fn get_text(text: *const c_char) -> Outcome<String> {
    if text.is_null() {
        return Err(nvml::INVALID_ARGUMENT);
    }
    // SAFETY: not null and, as the caller vouches, with an end.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(str::to_owned).map_err(|_| nvml::INVALID_ARGUMENT)
}

/// Asks for a card and writes one thing of it.
///
/// # Safety
/// As for [`put`].
unsafe fn read<T>(
    call: &str,
    device: nvmlDevice_t,
    out: *mut T,
    pick: impl FnOnce(&CardReading) -> T,
) -> nvmlReturn_t {
    // SAFETY: the caller vouches for `out`.
    finish(reading(call, device).and_then(|reading| unsafe { put(out, pick(&reading)) }))
}

/// Functions of the form `(device, out)` that pick one thing from the card's reading.
macro_rules! getters {
    ($($name:ident: $out:ty => $pick:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(device: nvmlDevice_t, out: *mut $out) -> nvmlReturn_t {
            // SAFETY: NVML's contract for this function.
            unsafe { $crate::exports::read(stringify!($name), device, out, $pick) }
        }
    )*};
}
pub(crate) use getters;
