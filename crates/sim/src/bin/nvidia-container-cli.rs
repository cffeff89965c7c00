//! gVisor's `runsc` looks for a program of this name on its `PATH` and runs it for containers with cards.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn run() -> anyhow::Result<()> {
    use nightjar_sim::{configure::Call, layout::HookConfig};

    let words: Vec<String> = std::env::args().skip(1).collect();
    match Call::parse(&words)? {
        Call::Info => {
            println!("The cards here are simulated: nightjar-sim {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Call::Configure(container) => container.configure(&HookConfig::of_this_program()?),
    }
}

#[cfg(not(target_os = "linux"))]
fn run() -> anyhow::Result<()> {
    anyhow::bail!("the stand-in runs on Linux only")
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nvidia-container-cli (simulated): {error:#}");
            ExitCode::FAILURE
        }
    }
}
