//! As much of CUDA's driver API as the check and the load need, loaded at run time.
#![expect(
    unsafe_code,
    reason = "CUDA's driver is a C library that is found at run time; all calls to it are here"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

use libloading::Library;
use nightjar_protocol::guest::CheckedDevice;

const CUDA_LIBRARY: &str = "libcuda.so.1";
const NVML_LIBRARY: &str = "libnvidia-ml.so.1";
/// Where the driver tells its version when NVML is not in the container.
const VERSION_FILE: &str = "/proc/driver/nvidia/version";
const MOST_DEVICES: c_int = 64;
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

type Handle = *mut c_void;
type Pointer = u64;

/// Why a step failed.
#[derive(Debug)]
pub struct Failure {
    pub detail: String,
    /// The driver's name of it.
    pub error: Option<String>,
}

impl Failure {
    /// One that the driver has no name for.
    pub fn own(detail: String) -> Self {
        Self { detail, error: None }
    }
}

/// CUDA's driver.
pub struct Driver {
    library: Library,
}

/// Calls a function of the driver, whose arguments' types have to be those of CUDA's header.
macro_rules! call {
    ($driver:expr, $name:ident ( $($kind:ty : $value:expr),* )) => {{
        let name = stringify!($name);
        // SAFETY: the types are those of CUDA's header; pointers are to live values, as each caller below shows.
        let code = unsafe {
            $driver
                .library
                .get::<unsafe extern "C" fn($($kind),*) -> c_int>(name)
                .map(|function| function($($value),*))
        };
        match code {
            Ok(0) => Ok(()),
            Ok(code) => Err($driver.failure(name, code)),
            Err(_) => Err(Failure::own(format!("the CUDA driver has no {name}: it is too old or not whole"))),
        }
    }};
}

impl Driver {
    pub fn load() -> Result<Self, Failure> {
        // SAFETY: loading runs the driver's initialisers, as every CUDA program does.
        unsafe { Library::new(CUDA_LIBRARY) }.map(|library| Self { library }).map_err(|error| {
            // The loader's own words are one level down.
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Failure::own(format!(
                "the CUDA driver cannot be loaded ({why}): does the host have NVIDIA's driver and container toolkit?"
            ))
        })
    }

    fn failure(&self, call: &str, code: c_int) -> Failure {
        let mut name: *const c_char = ptr::null();
        // SAFETY: as in CUDA's header; `name` outlives the call.
        let known = unsafe {
            self.library
                .get::<unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int>("cuGetErrorName")
                .is_ok_and(|function| function(code, &raw mut name) == 0)
        };
        let name = if known && !name.is_null() {
            // SAFETY: the driver gave a text with its end, which lives as long as the library.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        } else {
            format!("CUDA error {code}")
        };
        Failure { detail: format!("{call} failed"), error: Some(name) }
    }

    /// Highest CUDA that the driver speaks, e.g. `12.8`.
    pub fn cuda_version(&self) -> Result<String, Failure> {
        let mut version: c_int = 0;
        call!(self, cuDriverGetVersion(*mut c_int: &raw mut version))?;
        Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub fn init(&self) -> Result<(), Failure> {
        call!(self, cuInit(c_uint: 0))
    }

    /// The cards that this container sees.
    pub fn devices(&self) -> Result<Vec<CheckedDevice>, Failure> {
        let mut count: c_int = 0;
        call!(self, cuDeviceGetCount(*mut c_int: &raw mut count))?;
        (0..count.min(MOST_DEVICES)).map(|index| self.describe(index)).collect()
    }

    fn device(&self, index: c_int) -> Result<c_int, Failure> {
        let mut device: c_int = 0;
        call!(self, cuDeviceGet(*mut c_int: &raw mut device, c_int: index))?;
        Ok(device)
    }

    fn describe(&self, index: c_int) -> Result<CheckedDevice, Failure> {
        let device = self.device(index)?;
        let mut name = [0_u8; 256];
        // One less, so that there is an end in any case.
        call!(self, cuDeviceGetName(*mut u8: name.as_mut_ptr(), c_int: 255, c_int: device))?;
        let name = CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into_owned());
        let mut memory_bytes: usize = 0;
        let memory = call!(self, cuDeviceTotalMem_v2(*mut usize: &raw mut memory_bytes, c_int: device));
        let capability = self
            .attribute(CAPABILITY_MAJOR, device)
            .and_then(|major| Ok(format!("{major}.{}", self.attribute(CAPABILITY_MINOR, device)?)));
        Ok(CheckedDevice {
            index: index.unsigned_abs(),
            name: name.unwrap_or_default(),
            uuid: self.uuid(device).ok(),
            memory_mib: memory.ok().map(|()| memory_bytes as u64 / (1024 * 1024)),
            compute_capability: capability.ok(),
        })
    }

    fn attribute(&self, which: c_int, device: c_int) -> Result<c_int, Failure> {
        let mut value: c_int = 0;
        call!(self, cuDeviceGetAttribute(*mut c_int: &raw mut value, c_int: which, c_int: device))?;
        Ok(value)
    }

    fn uuid(&self, device: c_int) -> Result<String, Failure> {
        let mut bytes = [0_u8; 16];
        call!(self, cuDeviceGetUuid(*mut [u8; 16]: &raw mut bytes, c_int: device))?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Ok(format!("GPU-{}", parts.join("-")))
    }

    /// The first card's primary context, current for this thread.
    pub fn context(&self) -> Result<Context<'_>, Failure> {
        let device = self.device(0)?;
        let mut handle: Handle = ptr::null_mut();
        call!(self, cuDevicePrimaryCtxRetain(*mut Handle: &raw mut handle, c_int: device))?;
        let context = Context { driver: self, device };
        call!(self, cuCtxSetCurrent(Handle: handle))?;
        Ok(context)
    }
}

/// A context, given back at its end.
pub struct Context<'driver> {
    driver: &'driver Driver,
    device: c_int,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        let driver = self.driver;
        let _ = call!(driver, cuCtxSetCurrent(Handle: ptr::null_mut()));
        let _ = call!(driver, cuDevicePrimaryCtxRelease_v2(c_int: self.device));
    }
}

impl<'driver> Context<'driver> {
    /// Free and total bytes.
    pub fn memory(&self) -> Result<(usize, usize), Failure> {
        let (mut free, mut total): (usize, usize) = (0, 0);
        let driver = self.driver;
        call!(driver, cuMemGetInfo_v2(*mut usize: &raw mut free, *mut usize: &raw mut total))?;
        Ok((free, total))
    }

    pub fn allocate(&self, bytes: usize) -> Result<Buffer<'_, 'driver>, Failure> {
        let mut pointer: Pointer = 0;
        let driver = self.driver;
        call!(driver, cuMemAlloc_v2(*mut Pointer: &raw mut pointer, usize: bytes))?;
        Ok(Buffer { context: self, pointer, bytes })
    }

    /// Compiles a kernel that takes three buffers and a size.
    pub fn kernel(&self, ptx: &str, name: &str) -> Result<Kernel<'_, 'driver>, Failure> {
        let texts = (CString::new(ptx), CString::new(name));
        let (Ok(ptx), Ok(name)) = texts else {
            return Err(Failure::own("the kernel's text holds a zero".to_owned()));
        };
        let driver = self.driver;
        let mut module: Handle = ptr::null_mut();
        call!(driver, cuModuleLoadData(*mut Handle: &raw mut module, *const c_char: ptx.as_ptr()))?;
        // From here on the module is unloaded also where its function is not found.
        let mut kernel = Kernel { context: self, module, function: ptr::null_mut() };
        call!(
            driver,
            cuModuleGetFunction(
                *mut Handle: &raw mut kernel.function, Handle: module, *const c_char: name.as_ptr()
            )
        )?;
        Ok(kernel)
    }
}

/// A compiled kernel, unloaded at its end.
pub struct Kernel<'context, 'driver> {
    context: &'context Context<'driver>,
    module: Handle,
    function: Handle,
}

impl Kernel<'_, '_> {
    /// Runs it on a square of blocks, and waits for its end.
    pub fn run(
        &self,
        buffers: [&Buffer<'_, '_>; 3],
        mut size: u32,
        (blocks, threads): (u32, u32),
    ) -> Result<(), Failure> {
        let driver = self.context.driver;
        let mut pointers = buffers.map(|buffer| buffer.pointer);
        let [a, b, c] = &mut pointers;
        let mut parameters: [*mut c_void; 4] = [
            ptr::from_mut(a).cast(),
            ptr::from_mut(b).cast(),
            ptr::from_mut(c).cast(),
            (&raw mut size).cast(),
        ];
        call!(
            driver,
            cuLaunchKernel(
                Handle: self.function,
                c_uint: blocks, c_uint: blocks, c_uint: 1,
                c_uint: threads, c_uint: threads, c_uint: 1,
                c_uint: 0,
                Handle: ptr::null_mut(),
                *mut *mut c_void: parameters.as_mut_ptr(),
                *mut *mut c_void: ptr::null_mut()
            )
        )?;
        call!(driver, cuCtxSynchronize())
    }
}

impl Drop for Kernel<'_, '_> {
    fn drop(&mut self) {
        let driver = self.context.driver;
        let _ = call!(driver, cuModuleUnload(Handle: self.module));
    }
}

/// Memory of the card, freed at its end.
pub struct Buffer<'context, 'driver> {
    context: &'context Context<'driver>,
    pointer: Pointer,
    bytes: usize,
}

impl Buffer<'_, '_> {
    /// Fills it from its beginning.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_at(0, bytes)
    }

    /// Copies from its beginning.
    pub fn read(&self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.read_at(0, bytes)
    }

    /// Fills it from a byte on, as far as it goes.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        let (driver, count) = (self.context.driver, bytes.len().min(self.bytes.saturating_sub(offset)));
        let to = self.pointer + offset as Pointer;
        call!(driver, cuMemcpyHtoD_v2(Pointer: to, *const u8: bytes.as_ptr(), usize: count))
    }

    /// Copies from a byte on, as far as it goes.
    pub fn read_at(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Failure> {
        let (driver, count) = (self.context.driver, bytes.len().min(self.bytes.saturating_sub(offset)));
        let from = self.pointer + offset as Pointer;
        call!(driver, cuMemcpyDtoH_v2(*mut u8: bytes.as_mut_ptr(), Pointer: from, usize: count))
    }
}

impl Drop for Buffer<'_, '_> {
    fn drop(&mut self) {
        let driver = self.context.driver;
        let _ = call!(driver, cuMemFree_v2(Pointer: self.pointer));
    }
}

/// Version of the kernel's driver, e.g. `570.86.15`, from NVML or from what the driver itself shows.
pub fn kernel_driver_version() -> Option<String> {
    version_by_nvml().or_else(|| version_in(&std::fs::read_to_string(VERSION_FILE).ok()?))
}

fn version_by_nvml() -> Option<String> {
    let mut text = [0_u8; 96];
    // SAFETY: the types are those of NVML's header; the text has room for what its length says, and an end behind it.
    let code = unsafe {
        let library = Library::new(NVML_LIBRARY).ok()?;
        let init = library.get::<unsafe extern "C" fn() -> c_int>("nvmlInit_v2").ok()?;
        let shutdown = library.get::<unsafe extern "C" fn() -> c_int>("nvmlShutdown").ok()?;
        let version = library
            .get::<unsafe extern "C" fn(*mut u8, c_uint) -> c_int>("nvmlSystemGetDriverVersion")
            .ok()?;
        if init() != 0 {
            return None;
        }
        let code = version(text.as_mut_ptr(), 80);
        shutdown();
        code
    };
    let text = CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?;
    (code == 0 && !text.is_empty()).then(|| text.to_owned())
}

/// The first word of a line `NVRM version: … Kernel Module  570.86.15  …` that looks like a version.
fn version_in(text: &str) -> Option<String> {
    let looks_right = |word: &&str| {
        word.contains('.') && word.split('.').all(|field| !field.is_empty() && field.parse::<u32>().is_ok())
    };
    text.lines().next()?.split_whitespace().find(looks_right).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_found_in_the_drivers_words() {
        let old =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n";
        assert_eq!(version_in(old).as_deref(), Some("535.183.01"));
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build";
        assert_eq!(version_in(open).as_deref(), Some("570.86.15"));
        assert_eq!(version_in(""), None);
    }
}
