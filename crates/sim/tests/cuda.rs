//! A program that uses the stand-in's driver API shows in NVML as what it is, and is gone when it is gone.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test stands on must be there")]
#![expect(unsafe_code, reason = "the driver API is called by its symbols, as a program would")]

mod rig;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::ptr;
use std::time::{Duration, Instant};

use libloading::{Library, Symbol};
use nightjar_sim::card::CONTEXT_BYTES;
use nightjar_sim::wire::{CardStats, Control};
use rig::{Rig, is_child};
use rustix::process::{Pid, Signal, kill_process};

const PTX: &CStr = c".version 6.0\n.target sm_50\n.address_size 64\n\
    .visible .entry nightjar_matmul_f32(.param .u64 a) { ret; }\n.visible .entry spin() { ret; }\n";

/// The driver API, loaded as any program loads it.
struct Cuda(Library);

macro_rules! call {
    ($cuda:expr, $name:literal, ($($kind:ty),*), $($argument:expr),*) => {{
        // SAFETY: the signature is the one that CUDA documents for this name.
        let result = unsafe {
            let function: Symbol<'_, unsafe extern "C" fn($($kind),*) -> c_uint> =
                $cuda.0.get($name).unwrap();
            function($($argument),*)
        };
        result
    }};
}

impl Cuda {
    fn start() -> Self {
        // SAFETY: the stand-in's initialisers do nothing.
        let cuda = Self(unsafe { Library::new("libcuda.so.1") }.unwrap());
        assert_eq!(call!(cuda, b"cuInit", (c_uint), 0), 0);
        cuda
    }

    fn context(&self) -> *mut c_void {
        let mut context = ptr::null_mut();
        let result =
            call!(self, b"cuCtxCreate_v2", (*mut *mut c_void, c_uint, c_int), &raw mut context, 0, 0);
        assert_eq!(result, 0);
        context
    }

    fn allocate(&self, bytes: usize) -> Result<u64, c_uint> {
        let mut pointer = 0;
        match call!(self, b"cuMemAlloc_v2", (*mut u64, usize), &raw mut pointer, bytes) {
            0 => Ok(pointer),
            code => Err(code),
        }
    }

    fn upload<T>(&self, to: u64, data: &[T]) -> c_uint {
        call!(
            self,
            b"cuMemcpyHtoD_v2",
            (u64, *const c_void, usize),
            to,
            data.as_ptr().cast(),
            size_of_val(data)
        )
    }

    fn download<T>(&self, data: &mut [T], from: u64) -> c_uint {
        let bytes = size_of_val(data);
        call!(self, b"cuMemcpyDtoH_v2", (*mut c_void, u64, usize), data.as_mut_ptr().cast(), from, bytes)
    }

    fn function(&self, name: &CStr) -> Result<*mut c_void, c_uint> {
        let (mut module, mut function) = (ptr::null_mut(), ptr::null_mut());
        let loaded = call!(
            self,
            b"cuModuleLoadData",
            (*mut *mut c_void, *const c_char),
            &raw mut module,
            PTX.as_ptr()
        );
        assert_eq!(loaded, 0);
        let found = call!(
            self,
            b"cuModuleGetFunction",
            (*mut *mut c_void, *mut c_void, *const c_char),
            &raw mut function,
            module,
            name.as_ptr()
        );
        if found == 0 { Ok(function) } else { Err(found) }
    }

    fn launch(&self, function: *mut c_void, parameters: &mut [*mut c_void]) -> c_uint {
        type Launch = unsafe extern "C" fn(
            *mut c_void,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            *mut c_void,
            *mut *mut c_void,
            *mut *mut c_void,
        ) -> c_uint;
        // SAFETY: the signature is the one that CUDA documents.
        unsafe {
            let launch: Symbol<'_, Launch> = self.0.get(b"cuLaunchKernel").unwrap();
            launch(function, 1, 1, 1, 32, 1, 1, 0, ptr::null_mut(), parameters.as_mut_ptr(), ptr::null_mut())
        }
    }

    fn synchronize(&self) -> c_uint {
        call!(self, b"cuCtxSynchronize", (),)
    }
}

#[test]
fn the_self_checks_steps_pass() {
    Rig::new("rtx3060").run("child_does_the_self_checks_steps");
}

#[test]
fn child_does_the_self_checks_steps() {
    if !is_child() {
        return;
    }
    let cuda = Cuda::start();
    let (mut version, mut count, mut device, mut major) = (0, 0, -1, 0);
    assert_eq!(call!(cuda, b"cuDriverGetVersion", (*mut c_int), &raw mut version), 0);
    assert_eq!(call!(cuda, b"cuDeviceGetCount", (*mut c_int), &raw mut count), 0);
    assert_eq!(call!(cuda, b"cuDeviceGet", (*mut c_int, c_int), &raw mut device, 0), 0);
    let attribute =
        call!(cuda, b"cuDeviceGetAttribute", (*mut c_int, c_int, c_int), &raw mut major, 75, device);
    assert_eq!((version, count, device, attribute, major), (12080, 1, 0, 0, 8));
    let mut name = [0_u8; 64];
    assert_eq!(call!(cuda, b"cuDeviceGetName", (*mut u8, c_int, c_int), name.as_mut_ptr(), 64, device), 0);
    assert_eq!(CStr::from_bytes_until_nul(&name).unwrap(), c"NVIDIA GeForce RTX 3060 (simulated)");
    let mut short = [1_u8; 7];
    assert_eq!(call!(cuda, b"cuDeviceGetName", (*mut u8, c_int, c_int), short.as_mut_ptr(), 7, device), 0);
    assert_eq!(&short, b"NVIDIA\0");

    assert_eq!(cuda.allocate(16), Err(201), "no context yet");
    let context = cuda.context();
    let n: u32 = 48;
    let cells = (n * n) as usize;
    let a: Vec<f32> = (0..cells).map(|cell| (cell % 13) as f32).collect();
    let identity: Vec<f32> =
        (0..cells).map(|cell| f32::from(cell / n as usize == cell % n as usize)).collect();
    let mut device_memory = [0_u64; 3];
    for pointer in &mut device_memory {
        *pointer = cuda.allocate(cells * 4).unwrap();
    }
    let [mut on_a, mut on_b, mut on_c] = device_memory;
    assert_eq!((cuda.upload(on_a, &a), cuda.upload(on_b, &identity)), (0, 0));
    let function = cuda.function(c"nightjar_matmul_f32").unwrap();
    let mut size = n;
    let mut parameters: [*mut c_void; 4] =
        [(&raw mut on_a).cast(), (&raw mut on_b).cast(), (&raw mut on_c).cast(), (&raw mut size).cast()];
    assert_eq!((cuda.launch(function, &mut parameters), cuda.synchronize()), (0, 0));
    let mut product = vec![-1.0_f32; cells];
    assert_eq!(cuda.download(&mut product, on_c), 0);
    assert_eq!(product, a, "a matrix times the identity");

    assert_eq!(cuda.function(c"no_such_kernel"), Err(500));
    assert_eq!(cuda.upload(on_a + 4, &a), 1, "beyond the end");
    assert_eq!(cuda.allocate(1 << 40), Err(2));
    assert_eq!(call!(cuda, b"cuMemsetD32_v2", (u64, c_uint, usize), on_c, 7, cells), 0);
    let mut filled = vec![0_u32; cells];
    assert_eq!((cuda.download(&mut filled, on_c), filled.iter().all(|cell| *cell == 7)), (0, true));
    assert_eq!(call!(cuda, b"cuMemFree_v2", (u64), on_a), 0);
    assert_eq!(call!(cuda, b"cuMemFree_v2", (u64), on_a), 1, "free already");
    let (mut free, mut total) = (0_usize, 0_usize);
    assert_eq!(call!(cuda, b"cuMemGetInfo_v2", (*mut usize, *mut usize), &raw mut free, &raw mut total), 0);
    assert_eq!((total - free) as u64, CONTEXT_BYTES + 2 * (cells as u64) * 4);
    assert_eq!(call!(cuda, b"cuCtxDestroy_v2", (*mut c_void), context), 0);
    let mut text = ptr::null();
    assert_eq!(call!(cuda, b"cuGetErrorName", (c_uint, *mut *const c_char), 2, &raw mut text), 0);
    // SAFETY: the call succeeded, so this is a text that lives as long as the library.
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"CUDA_ERROR_OUT_OF_MEMORY");
}

/// A child that allocates and submits work until it is killed.
struct Tenant(Child);

impl Tenant {
    fn start(rig: &Rig) -> Self {
        let child = rig.child("child_works_until_killed").stdout(Stdio::piped()).spawn().unwrap();
        let mut tenant = Self(child);
        let lines = BufReader::new(tenant.0.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("working")), "the child ended");
        tenant
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TENANT_BYTES: usize = 5 << 30;

#[test]
fn child_works_until_killed() {
    if !is_child() {
        return;
    }
    let cuda = Cuda::start();
    cuda.context();
    cuda.allocate(TENANT_BYTES).unwrap();
    let function = cuda.function(c"spin").unwrap();
    assert_eq!(cuda.launch(function, &mut []), 0);
    println!("\nworking");
    // Bounded, should the parent die without killing it.
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end && cuda.launch(function, &mut []) == 0 && cuda.synchronize() == 0 {}
}

fn card(rig: &Rig) -> CardStats {
    rig.daemon.client().stats().unwrap().cards.swap_remove(0)
}

/// How long it takes until the card is so.
fn until(rig: &Rig, happened: impl Fn(&CardStats) -> bool) -> Duration {
    let start = Instant::now();
    while !happened(&card(rig)) {
        assert!(start.elapsed() < Duration::from_secs(5), "it did not happen: {:?}", card(rig).reading);
        std::thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

#[test]
fn a_tenant_shows_while_it_lives_and_nothing_of_it_stays() {
    let rig = Rig::new("rtx4090");
    let tenant = Tenant::start(&rig);
    // Not at the first look: a busy machine makes a gap between two pieces of its work.
    until(&rig, |card| (card.reading.gpu_percent, card.reading.performance_state) == (100, 2));
    let busy = card(&rig).reading;
    assert_eq!(busy.processes.len(), 1);
    assert_eq!(busy.processes[0].pid, tenant.0.id());
    assert_eq!(busy.processes[0].vram_bytes, TENANT_BYTES as u64 + CONTEXT_BYTES);
    tenant.signal(Signal::KILL);
    let freed = until(&rig, |card| card.reading.vram_used_bytes == 0 && card.reading.gpu_percent == 0);
    println!("VRAM and load gone {freed:?} after kill -9");
    assert!(freed < Duration::from_secs(1), "{freed:?}");
}

#[test]
fn a_frozen_tenant_keeps_its_memory_and_loses_its_load() {
    let rig = Rig::new("rtx4090");
    let tenant = Tenant::start(&rig);
    tenant.signal(Signal::STOP);
    let idle = until(&rig, |card| card.reading.gpu_percent == 0);
    println!("load gone {idle:?} after the stop");
    assert!(idle < Duration::from_secs(1), "{idle:?}");
    assert_eq!(card(&rig).reading.vram_used_bytes, TENANT_BYTES as u64 + CONTEXT_BYTES);
    tenant.signal(Signal::CONT);
    until(&rig, |card| card.reading.gpu_percent == 100);
}

#[test]
fn a_lower_limit_slows_the_work_down() {
    let rig = Rig::new("rtx4090");
    let _tenant = Tenant::start(&rig);
    let rate = || {
        let before = card(&rig).work_millis;
        std::thread::sleep(Duration::from_millis(500));
        card(&rig).work_millis - before
    };
    let full = rate();
    rig.daemon.client().control(Control::SetPowerLimit { card: 0, watts: 150.0 }).unwrap();
    let limited = rate();
    let reading = card(&rig).reading;
    assert!(limited < full * 9 / 10, "{full} ms of work in half a second, then {limited}");
    assert!(reading.power_milliwatts <= 150_000 && reading.clock_mhz < 2000, "{reading:?}");
}
