//! The part of `bench gpu` that asks the driver. A program of its own, because the loader reads where the stand-in lies
//! only when a program starts.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context;
use nightjar_gpu::Sampler;
use nightjar_sim::Client;
use nightjar_testbed::process::output;
use nightjar_testbed::stage::Cards;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_MEMORY_TEMP;
use serde::{Deserialize, Serialize};

/// The first argument of that program; after it `/sys` or what is in its place, how many looks, and where the
/// stand-in's socket is, if there is one.
pub(crate) const PART: &str = "gpu-sample";

/// How long each look took, and the calls of one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Looks {
    pub(crate) ours: Vec<Duration>,
    pub(crate) plain: Vec<Duration>,
    /// Ours and the peer's, where the library counts them.
    pub(crate) calls: Option<(u64, u64)>,
}

pub(crate) fn looks(cards: &Cards, times: usize) -> anyhow::Result<Looks> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(PART).envs(cards.environment());
    match cards {
        Cards::Real => command.arg("/sys").arg(times.to_string()),
        Cards::Simulated { layout, .. } => {
            command.arg(layout.sysfs()).arg(times.to_string()).arg(layout.socket())
        }
    };
    let said = output(&mut command)?;
    serde_json::from_str(&said).with_context(|| format!("no looks: {said}"))
}

pub(crate) fn main(args: &[String]) -> ExitCode {
    match measure(args).and_then(|looks| Ok(serde_json::to_string(&looks)?)) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the card cannot be measured: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &[String]) -> anyhow::Result<Looks> {
    let [_, sysfs, times, socket @ ..] = args else {
        anyhow::bail!("wanted: {PART} SYSFS TIMES [SOCKET]");
    };
    let counter = socket.first().map(|socket| Client::connect(&PathBuf::from(socket))).transpose()?;
    let mut sampler = Sampler::with_sysfs(&PathBuf::from(sysfs));
    let nvml = Nvml::init()?;
    // The first look asks for what never changes; the price is that of all others.
    sampler.sample()?;
    ask_plainly(&nvml)?;
    let calls = counter.map(|counter| {
        let asked =
            || -> anyhow::Result<u64> { Ok(counter.stats()?.cards.first().context("no card")?.nvml_calls) };
        let start = asked()?;
        sampler.sample()?;
        let middle = asked()?;
        ask_plainly(&nvml)?;
        anyhow::Ok((middle - start, asked()? - middle))
    });
    let mut looks = Looks { ours: Vec::new(), plain: Vec::new(), calls: calls.transpose()? };
    for _ in 0..times.parse()? {
        let began = Instant::now();
        sampler.sample()?;
        looks.ours.push(began.elapsed());
        let began = Instant::now();
        ask_plainly(&nvml)?;
        looks.plain.push(began.elapsed());
    }
    Ok(looks)
}

/// The same questions as the sampler's, each asked of an open `nvml-wrapper` whenever its answer is wanted. What a card
/// does not support is no failure, there as here.
fn ask_plainly(nvml: &Nvml) -> anyhow::Result<usize> {
    let mut answered = 0;
    let mut count = |is_answered: bool| answered += usize::from(is_answered);
    count(nvml.sys_driver_version().is_ok());
    count(nvml.sys_cuda_driver_version().is_ok());
    for index in 0..nvml.device_count()? {
        let device = nvml.device_by_index(index)?;
        let fine = |result: Result<(), NvmlError>| result.is_ok();
        let answers = [
            fine(device.uuid().map(drop)),
            fine(device.name().map(drop)),
            fine(device.index().map(drop)),
            fine(device.pci_info().map(drop)),
            fine(device.cuda_compute_capability().map(drop)),
            fine(device.memory_info().map(drop)),
            fine(device.temperature(TemperatureSensor::Gpu).map(drop)),
            fine(device.field_values_for(&[FieldId(NVML_FI_DEV_MEMORY_TEMP)]).map(drop)),
            fine(device.power_usage().map(drop)),
            fine(device.enforced_power_limit().map(drop)),
            fine(device.power_management_limit_default().map(drop)),
            fine(device.power_management_limit_constraints().map(drop)),
            fine(device.utilization_rates().map(drop)),
            fine(device.fan_speed(0).map(drop)),
            fine(device.clock_info(Clock::SM).map(drop)),
            fine(device.clock_info(Clock::Memory).map(drop)),
            fine(device.total_energy_consumption().map(drop)),
            fine(device.current_throttle_reasons().map(drop)),
            fine(device.current_pcie_link_gen().map(drop)),
            fine(device.current_pcie_link_width().map(drop)),
            fine(device.max_pcie_link_gen().map(drop)),
            fine(device.max_pcie_link_width().map(drop)),
            fine(device.is_ecc_enabled().map(drop)),
            fine(device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).map(drop)),
            fine(device.is_display_connected().map(drop)),
            fine(device.is_display_active().map(drop)),
            fine(device.running_compute_processes().map(drop)),
            fine(device.running_graphics_processes().map(drop)),
        ];
        answers.into_iter().for_each(&mut count);
    }
    anyhow::ensure!(answered > 10, "the card answers next to nothing");
    Ok(answered)
}
