//! The steps in their order. The first that fails is the last.

use std::time::Instant;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::proof::{Nonce, Proof, SIZE, answer, matrices, product, seed};
use nightjar_core::sweep::WorkKind;
use nightjar_protocol::guest::{CheckStep, CheckedDevice, SELF_CHECK_VERSION, SelfCheck};

use crate::driver::{Buffer, Context, Driver, Failure, kernel_driver_version};

use super::Wish;
use super::matmul::{BLOCK, KERNEL, PTX};
use super::measure;

/// Copied to the card and back.
const COPY_BYTES: usize = 8 * 1024 * 1024;

pub fn check(wish: &Wish) -> SelfCheck {
    let mut check = SelfCheck {
        version: SELF_CHECK_VERSION,
        passed: false,
        driver_version: None,
        cuda_version: None,
        devices: Vec::new(),
        steps: Vec::new(),
        proof: None,
    };
    check.passed = go(wish, &mut check).is_some();
    check
}

/// `None` after a step that failed.
fn go(wish: &Wish, check: &mut SelfCheck) -> Option<()> {
    let driver = step(check, "driver_loaded", |_| {
        Driver::load().map(|driver| (driver, "the CUDA driver is loaded".to_owned()))
    })?;
    step(check, "driver_version", |check| {
        check.driver_version = kernel_driver_version();
        check.cuda_version = driver.cuda_version().ok();
        let known = check.driver_version.as_deref();
        new_enough(known, wish.min_driver.as_deref()).map(|detail| ((), detail))
    })?;
    step(check, "initialised", |_| driver.init().map(|()| ((), "CUDA is available".to_owned())))?;
    step(check, "devices", |check| {
        check.devices = driver.devices()?;
        right_devices(&check.devices, wish).map(|detail| ((), detail))
    })?;
    let context = step(check, "context", |_| {
        driver.context().map(|context| (context, "a context was made on the first card".to_owned()))
    })?;
    let buffer = step(check, "memory", |_| {
        let (free, total) = context.memory()?;
        let buffer = context.allocate(COPY_BYTES)?;
        let mib = 1024 * 1024;
        Ok((buffer, format!("8 MiB allocated; {} of {} MiB were free", free / mib, total / mib)))
    })?;
    step(check, "copy", |_| copied(&buffer).map(|detail| ((), detail)))?;
    drop(buffer);
    let nonce = wish.nonce.clone().unwrap_or_default();
    // By its own name: another card than the one that is asked for would answer another question.
    let seed = seed(&nonce, &measured_card(check));
    let answer = step(check, "matmul", |_| multiplied(&context, seed))?;
    if wish.nonce.is_some() {
        check.proof = Some(step(check, "measure", |check| {
            let about = About { nonce, gpu: measured_card(check), answer };
            measured(&context, check.devices.first(), about, seed)
        })?);
    }
    Some(())
}

/// The context is on the first.
fn measured_card(check: &SelfCheck) -> GpuUuid {
    GpuUuid(check.devices.first().and_then(|device| device.uuid.clone()).unwrap_or_default())
}

/// Which question of which card was answered, and how.
struct About {
    nonce: Nonce,
    gpu: GpuUuid,
    answer: String,
}

/// What the market is told of the card.
fn measured(
    context: &Context<'_>,
    device: Option<&CheckedDevice>,
    about: About,
    seed: u64,
) -> Result<(Proof, String), Failure> {
    let About { nonce, gpu, answer } = about;
    let (to_card_mib_per_s, from_card_mib_per_s) = measure::copies(context)?;
    let proof = Proof {
        nonce,
        gpu,
        device_name: device.map(|device| device.name.clone()).unwrap_or_default(),
        vram_mib: device.and_then(|device| device.memory_mib).unwrap_or_default(),
        answer,
        gflops: measure::rate(context, WorkKind::Compute)?,
        memory_mib_per_s: measure::rate(context, WorkKind::Memory)?,
        to_card_mib_per_s,
        from_card_mib_per_s,
        vram_checked_mib: measure::memory(context, seed)?,
        disk_write_mib_per_s: measure::disk(),
    };
    let detail = format!(
        "{}.{} TFLOP/s, memory {} MiB/s, {} MiB of it written and found again, to the card {} MiB/s, from it {} MiB/s, \
         volume {} MiB/s",
        proof.gflops / 1_000,
        proof.gflops % 1_000 / 100,
        proof.memory_mib_per_s,
        proof.vram_checked_mib,
        to_card_mib_per_s,
        from_card_mib_per_s,
        proof.disk_write_mib_per_s,
    );
    Ok((proof, detail))
}

fn step<T>(
    check: &mut SelfCheck,
    name: &str,
    work: impl FnOnce(&mut SelfCheck) -> Result<(T, String), Failure>,
) -> Option<T> {
    let started = Instant::now();
    let outcome = work(check);
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (value, detail, error) = match outcome {
        Ok((value, detail)) => (Some(value), detail, None),
        Err(failure) => (None, failure.detail, failure.error),
    };
    let passed = value.is_some();
    check.steps.push(CheckStep { step: name.to_owned(), passed, detail, error, took_ms });
    value
}

/// Compares numbers field by field: `525` is reached by `525.60.13` and `1000`.
fn new_enough(known: Option<&str>, least: Option<&str>) -> Result<String, Failure> {
    let fields = |text: &str| -> Vec<u32> { text.split('.').map_while(|field| field.parse().ok()).collect() };
    match (known, least) {
        (Some(known), Some(least)) if fields(known) < fields(least) => Err(Failure::own(format!(
            "NVIDIA's driver is {known}; this image needs {least} or newer: install it from NVIDIA's driver page \
             or the system's driver manager"
        ))),
        (Some(known), _) => Ok(format!("NVIDIA's driver is {known}")),
        (None, Some(least)) => Err(Failure::own(format!(
            "the version of NVIDIA's driver cannot be read; this image needs {least} or newer"
        ))),
        (None, None) => Ok("the version of NVIDIA's driver cannot be read".to_owned()),
    }
}

fn right_devices(devices: &[CheckedDevice], wish: &Wish) -> Result<String, Failure> {
    let names = devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ");
    if u32::try_from(devices.len()) != Ok(wish.devices) {
        return Err(Failure::own(format!(
            "{} cards are visible where {} should be: {names}",
            devices.len(),
            wish.devices
        )));
    }
    if let Some(uuid) = &wish.uuid
        && !devices.iter().any(|device| device.uuid.as_ref() == Some(uuid))
    {
        return Err(Failure::own(format!(
            "the card that was rented ({uuid}) is not visible, but {names} is"
        )));
    }
    Ok(names)
}

fn copied(buffer: &Buffer<'_, '_>) -> Result<String, Failure> {
    // No two neighbours alike, and no period that a page or a cache line has.
    let sent: Vec<u8> = (0..COPY_BYTES).map(|index| (index * 31 % 251) as u8).collect();
    buffer.write(&sent)?;
    let mut came_back = vec![0_u8; COPY_BYTES];
    buffer.read(&mut came_back)?;
    match sent.iter().zip(&came_back).position(|(sent, got)| sent != got) {
        None => Ok("8 MiB went to the card and came back the same".to_owned()),
        Some(at) => {
            Err(Failure::own(format!("what was copied to the card came back changed, first at byte {at}")))
        }
    }
}

/// The answer, and a sentence.
fn multiplied(context: &Context<'_>, seed: u64) -> Result<(String, String), Failure> {
    let [a, b] = matrices(seed);
    let bytes = a.len() * size_of::<f32>();
    let [on_card_a, on_card_b, on_card_c] =
        [context.allocate(bytes)?, context.allocate(bytes)?, context.allocate(bytes)?];
    on_card_a.write(&to_bytes(&a))?;
    on_card_b.write(&to_bytes(&b))?;
    let size = SIZE as u32;
    let blocks = size.div_ceil(BLOCK);
    context.kernel(PTX, KERNEL)?.run([&on_card_a, &on_card_b, &on_card_c], size, (blocks, BLOCK))?;
    let mut raw = vec![0_u8; bytes];
    on_card_c.read(&mut raw)?;
    let by_card: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect();
    let by_processor = product(&a, &b);
    // Whole numbers below 2^24: exact, in whatever order they were summed.
    match by_card.iter().zip(&by_processor).position(|(card, processor)| card != processor) {
        None => Ok((answer(&by_card), format!("the product of two {SIZE} x {SIZE} matrices is right"))),
        Some(at) => Err(Failure::own(format!(
            "the card multiplied two matrices with a wrong result: element {at} is {} and not {}",
            by_card[at], by_processor[at]
        ))),
    }
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(new_enough(Some("525.60.13"), Some("525")).is_ok());
        assert!(new_enough(Some("1000.1"), Some("525")).is_ok());
        let old = new_enough(Some("470.256.02"), Some("525")).unwrap_err();
        assert!(old.detail.contains("470.256.02") && old.detail.contains("525"), "{}", old.detail);
        assert!(new_enough(None, Some("525")).is_err());
        assert!(new_enough(None, None).is_ok());
    }

    #[test]
    fn without_a_driver_the_first_step_says_so() {
        let wish = Wish { json: true, min_driver: None, devices: 1, uuid: None, nonce: None };
        if Driver::load().is_err() {
            let check = check(&wish);
            assert!(!check.passed);
            assert_eq!(check.failure().map(|step| step.step.as_str()), Some("driver_loaded"));
        }
    }
}
