//! Device memory: taken, filled, copied, given back.

use std::ffi::{c_uchar, c_uint, c_void};
use std::slice;

use nightjar_sim::wire::cuda;

use super::{CuPointer, CuResult, finish, put};
use crate::driver::{self, Outcome};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(pointer: *mut CuPointer, bytes: usize) -> CuResult {
    if pointer.is_null() {
        return finish(Err(cuda::INVALID_VALUE));
    }
    let taken = driver::current().and_then(|context| driver::with(|driver| driver.allocate(context, bytes)));
    // SAFETY: CUDA's contract for an out parameter.
    finish(taken.and_then(|taken| unsafe { put(pointer, taken) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(pointer: CuPointer) -> CuResult {
    // Nothing to give back is no mistake, as with C's own memory.
    finish(if pointer == 0 { Ok(()) } else { driver::with(|driver| driver.free(pointer)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CuResult {
    let card = driver::current().and_then(|context| {
        driver::with(|driver| driver.reading("cuMemGetInfo", driver.ordinal_of(context)?))
    });
    finish(card.and_then(|card| {
        let whole = card.vram_bytes - card.vram_reserved_bytes;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: CUDA's contract for out parameters.
        unsafe { put(free, size(card.vram_free_bytes())).and_then(|()| put(total, size(whole))) }
    }))
}

/// The caller's own memory.
///
/// # Safety
/// `host` is null or points to so many bytes.
unsafe fn host<'a>(host: *const c_void, bytes: usize) -> Outcome<&'a [u8]> {
    match (host.is_null(), bytes) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(cuda::INVALID_VALUE),
        // SAFETY: not null, and the caller vouches for the length.
        (false, _) => Ok(unsafe { slice::from_raw_parts(host.cast(), bytes) }),
    }
}

/// The caller's own memory, to be written.
///
/// # Safety
/// `host` is null or points to so many bytes that nobody else uses.
unsafe fn host_mut<'a>(host: *mut c_void, bytes: usize) -> Outcome<&'a mut [u8]> {
    match (host.is_null(), bytes) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(cuda::INVALID_VALUE),
        // SAFETY: not null, and the caller vouches for the rest.
        (false, _) => Ok(unsafe { slice::from_raw_parts_mut(host.cast(), bytes) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: CuPointer, from: *const c_void, bytes: usize) -> CuResult {
    // SAFETY: CUDA's contract: `from` has so many bytes.
    finish(unsafe { host(from, bytes) }.and_then(|data| driver::with(|driver| driver.write(to, data))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: CuPointer, bytes: usize) -> CuResult {
    // A copy waits for the work before it.
    finish(driver::synchronize().and_then(|()| {
        // SAFETY: CUDA's contract: `to` has room for so many bytes.
        let data = unsafe { host_mut(to, bytes) }?;
        driver::with(|driver| driver.read(from, data))
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: CuPointer, from: CuPointer, bytes: usize) -> CuResult {
    const CHUNK: usize = 1024 * 1024;
    let mut chunk = vec![0; CHUNK.min(bytes)];
    finish(driver::with(|driver| {
        for start in (0..bytes).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(bytes - start)];
            driver.read(from + start as u64, part)?;
            driver.write(to + start as u64, part)?;
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(to: CuPointer, value: c_uchar, count: usize) -> CuResult {
    finish(driver::with(|driver| driver.fill(to, &[value], count)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32_v2(to: CuPointer, value: c_uint, count: usize) -> CuResult {
    finish(driver::with(|driver| driver.fill(to, &value.to_ne_bytes(), count)))
}
