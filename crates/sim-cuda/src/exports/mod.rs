//! The symbols of the CUDA driver API, and the memory behind its pointers. This is the one place that
//! touches what C hands in.
#![expect(unsafe_code, reason = "a C library's symbols take pointers and have unmangled names")]

mod context;
mod device;
mod errors;
mod mapping;
mod memory;
mod module;

use std::ffi::{c_uint, c_void};

use nightjar_sim::wire::cuda;

use crate::driver::Outcome;

pub use mapping::Mapping;

/// `CUresult`
type CuResult = c_uint;
/// `CUdevice`
type CuDevice = std::ffi::c_int;
/// `CUdeviceptr`
type CuPointer = u64;
/// `CUcontext`, `CUmodule`, `CUfunction`, `CUstream`: never looked into by the caller.
type CuHandle = *mut c_void;

fn finish(outcome: Outcome<()>) -> CuResult {
    match outcome {
        Ok(()) => 0,
        Err(code) => CuResult::try_from(code).unwrap_or(cuda::UNKNOWN.unsigned_abs()),
    }
}

fn handle(number: usize) -> CuHandle {
    std::ptr::without_provenance_mut(number)
}

/// Writes to where the caller asked for the answer.
///
/// # Safety
/// `out` is null or points to a `T` that may be written.
unsafe fn put<T>(out: *mut T, value: T) -> Outcome<()> {
    if out.is_null() {
        return Err(cuda::INVALID_VALUE);
    }
    // SAFETY: not null, and the caller vouches for the rest. C does not promise alignment.
    unsafe { out.write_unaligned(value) };
    Ok(())
}
