//! Docker Engine looks for a program of this name on its `PATH` and runs it for containers with `--gpus`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn run() -> anyhow::Result<()> {
    use nightjar_sim::{hook, layout::HookConfig};

    // Engine asks for `prestart`; the other stages of a container's life need nothing from us.
    if std::env::args().nth(1).as_deref() != Some("prestart") {
        return Ok(());
    }
    hook::prestart(&HookConfig::of_this_program()?, std::io::stdin().lock())
}

#[cfg(not(target_os = "linux"))]
fn run() -> anyhow::Result<()> {
    anyhow::bail!("the stand-in runs on Linux only")
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nvidia-container-runtime-hook (simulated): {error:#}");
            ExitCode::FAILURE
        }
    }
}
