//! Programs for the card, and their launch.

use std::ffi::{CStr, c_char, c_uint, c_void};

use nightjar_sim::wire::cuda;

use super::{CuHandle, CuPointer, CuResult, finish, handle, put};
use crate::driver::{self, Outcome};
use crate::load::Load;
use crate::matmul;
use crate::ptx::Image;

/// Reads an image: compiled code, or PTX text that ends with a zero.
///
/// # Safety
/// `image` is null, compiled code, or text with its end.
unsafe fn read_image(image: *const c_void) -> Outcome<Image> {
    if image.is_null() {
        return Err(cuda::INVALID_VALUE);
    }
    let mut start = [0_u8; 4];
    for (index, byte) in start.iter_mut().enumerate() {
        // SAFETY: either kind of image has these bytes, as a text that is shorter ends the loop.
        *byte = unsafe { image.cast::<u8>().add(index).read() };
        if *byte == 0 {
            return Err(cuda::INVALID_IMAGE);
        }
    }
    if Image::is_binary(start) {
        return Ok(Image::Binary);
    }
    // SAFETY: no compiled code, so by CUDA's contract a text with its end.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    text.to_str().ok().and_then(Image::from_text).ok_or(cuda::INVALID_IMAGE)
}

/// # Safety
/// As for [`read_image`], and `module` is null or may be written.
unsafe fn load(module: *mut CuHandle, image: *const c_void) -> CuResult {
    // SAFETY: the caller vouches for both.
    finish(unsafe {
        driver::current().and_then(|_| read_image(image)).and_then(|image| {
            let loaded = driver::with(|driver| Ok(driver.load_module(image)))?;
            put(module, handle(loaded))
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut CuHandle, image: *const c_void) -> CuResult {
    // SAFETY: CUDA's contract.
    unsafe { load(module, image) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut CuHandle,
    image: *const c_void,
    _count: c_uint,
    _options: *mut c_uint,
    _values: *mut *mut c_void,
) -> CuResult {
    // SAFETY: CUDA's contract.
    unsafe { load(module, image) }
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: CuHandle) -> CuResult {
    finish(driver::with(|driver| driver.unload_module(module.addr())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut CuHandle,
    module: CuHandle,
    name: *const c_char,
) -> CuResult {
    if name.is_null() || function.is_null() {
        return finish(Err(cuda::INVALID_VALUE));
    }
    // SAFETY: not null, and by CUDA's contract with its end.
    let name = unsafe { CStr::from_ptr(name) };
    let found = name
        .to_str()
        .map_err(|_| cuda::INVALID_VALUE)
        .and_then(|name| driver::with(|driver| driver.function(module.addr(), name)));
    // SAFETY: CUDA's contract for an out parameter.
    finish(found.and_then(|found| unsafe { put(function, handle(found)) }))
}

/// One parameter of a kernel.
///
/// # Safety
/// `parameters` points to so many pointers and one more, and that one to a `T`.
unsafe fn parameter<T: Copy>(parameters: *mut *mut c_void, index: usize) -> Outcome<T> {
    if parameters.is_null() {
        return Err(cuda::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for the list ...
    let value = unsafe { parameters.add(index).read() };
    if value.is_null() {
        return Err(cuda::INVALID_VALUE);
    }
    // SAFETY: ... and for what it leads to.
    Ok(unsafe { value.cast::<T>().read_unaligned() })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: CuHandle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    _shared_bytes: c_uint,
    _stream: CuHandle,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> CuResult {
    if [grid_x, grid_y, grid_z, block_x, block_y, block_z].contains(&0) {
        return finish(Err(cuda::INVALID_VALUE));
    }
    let launched = driver::current().and_then(|context| {
        driver::with(|driver| {
            let name = driver.function_name(function.addr())?.to_owned();
            let card =
                |driver: &driver::Driver| driver.reading("cuLaunchKernel", driver.ordinal_of(context)?);
            let known = if name == matmul::NAME {
                // SAFETY: CUDA's contract: the parameters are those of the kernel.
                let (matrices, n) = unsafe {
                    let matrix = |index| parameter::<CuPointer>(parameters, index);
                    ([matrix(0)?, matrix(1)?, matrix(2)?], parameter::<u32>(parameters, 3)?)
                };
                Some(driver.multiply(matrices, n, card(driver)?.teraflops)?)
            } else if let Some(load) = Load::named(&name) {
                // SAFETY: as above.
                let rounds = unsafe { parameter::<u32>(parameters, 3)? };
                let threads = [grid_x, grid_y, grid_z, block_x, block_y, block_z];
                let threads = threads.into_iter().map(f64::from).product();
                Some(load.work(&card(driver)?, rounds, threads))
            } else {
                None
            };
            driver.submit(context, &name, known)
        })
    });
    finish(launched.map(driver::hold))
}
