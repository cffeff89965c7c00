//! What the result codes are called.

use std::ffi::{CStr, c_char};

use nightjar_sim::wire::cuda;

use super::{CuResult, finish, put};

fn describe(result: CuResult) -> Option<(&'static CStr, &'static CStr)> {
    Some(match result {
        0 => (c"CUDA_SUCCESS", c"no error"),
        1 => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        2 => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        3 => (c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
        100 => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        101 => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        200 => (c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
        201 => (c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
        400 => (c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
        500 => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        719 => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        801 => (c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
        803 => (
            c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            c"system has unsupported display driver / cuda driver combination",
        ),
        999 => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
        _ => return None,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(result: CuResult, name: *mut *const c_char) -> CuResult {
    let found = describe(result).ok_or(cuda::INVALID_VALUE);
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|(found, _)| unsafe { put(name, found.as_ptr()) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(result: CuResult, text: *mut *const c_char) -> CuResult {
    let found = describe(result).ok_or(cuda::INVALID_VALUE);
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|(_, found)| unsafe { put(text, found.as_ptr()) }))
}
