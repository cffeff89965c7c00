//! Contexts: made, made current, ended.

use std::ffi::{c_int, c_uint, c_void};

use nightjar_sim::wire::cuda;

use super::{CuDevice, CuHandle, CuResult, finish, handle, put};
use crate::driver::{self, Outcome};

fn ordinal(device: CuDevice) -> Outcome<usize> {
    usize::try_from(device).map_err(|_| cuda::INVALID_DEVICE)
}

/// Makes a context and makes it current.
///
/// # Safety
/// `out` is null or may be written.
unsafe fn create(out: *mut CuHandle, device: CuDevice) -> CuResult {
    if out.is_null() {
        return finish(Err(cuda::INVALID_VALUE));
    }
    let made = driver::with(|driver| driver.create_context(ordinal(device)?));
    finish(made.and_then(|context| {
        driver::with_stack(|stack| stack.push(context));
        // SAFETY: the caller vouches for `out`.
        unsafe { put(out, handle(context)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate(context: *mut CuHandle, _flags: c_uint, device: CuDevice) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    unsafe { create(context, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v2(context: *mut CuHandle, _flags: c_uint, device: CuDevice) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    unsafe { create(context, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v3(
    context: *mut CuHandle,
    _affinity: *mut c_void,
    _count: c_int,
    _flags: c_uint,
    device: CuDevice,
) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    unsafe { create(context, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v4(
    context: *mut CuHandle,
    _parameters: *mut c_void,
    _flags: c_uint,
    device: CuDevice,
) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    unsafe { create(context, device) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy(context: CuHandle) -> CuResult {
    let context = context.addr();
    driver::with_stack(|stack| stack.retain(|held| *held != context));
    finish(driver::with(|driver| driver.destroy_context(context)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(context: CuHandle) -> CuResult {
    cuCtxDestroy(context)
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: CuHandle) -> CuResult {
    let context = context.addr();
    let known = if context == 0 { Ok(0) } else { driver::with(|driver| driver.ordinal_of(context)) };
    finish(known.map(|_| {
        driver::with_stack(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut CuHandle) -> CuResult {
    // SAFETY: CUDA's contract for an out parameter.
    finish(unsafe { put(context, handle(driver::current().unwrap_or(0))) })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: CuHandle) -> CuResult {
    let context = context.addr();
    finish(
        driver::with(|driver| driver.ordinal_of(context))
            .map(|_| driver::with_stack(|stack| stack.push(context))),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut CuHandle) -> CuResult {
    let popped = driver::with_stack(Vec::pop).ok_or(cuda::INVALID_CONTEXT);
    // The caller need not want to know which one it was.
    // SAFETY: CUDA's contract for an out parameter.
    finish(
        popped.and_then(
            |popped| if context.is_null() { Ok(()) } else { unsafe { put(context, handle(popped)) } },
        ),
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetDevice(device: *mut CuDevice) -> CuResult {
    let found = driver::current().and_then(|context| driver::with(|driver| driver.ordinal_of(context)));
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(device, CuDevice::try_from(found).unwrap_or(CuDevice::MAX)) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> CuResult {
    finish(driver::synchronize())
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: CuHandle) -> CuResult {
    finish(driver::synchronize())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut CuHandle, device: CuDevice) -> CuResult {
    if context.is_null() {
        return finish(Err(cuda::INVALID_VALUE));
    }
    let retained = driver::with(|driver| driver.retain_primary(ordinal(device)?));
    // SAFETY: CUDA's contract for an out parameter.
    finish(retained.and_then(|retained| unsafe { put(context, handle(retained)) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease(device: CuDevice) -> CuResult {
    finish(driver::with(|driver| driver.release_primary(ordinal(device)?)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: CuDevice) -> CuResult {
    cuDevicePrimaryCtxRelease(device)
}
