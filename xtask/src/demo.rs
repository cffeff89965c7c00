//! The demo and the daily run. Both are programs of the workspace (`tests/testbed`); this builds and starts them.

use crate::packages;
use crate::shell::{Done, cargo, step};
use crate::steps;

pub(crate) fn demo(flags: &[&str]) -> Done {
    if let Some(unknown) = flags.iter().find(|flag| !["--full", "--desktop"].contains(flag)) {
        return Err(format!("\"{unknown}\" is no flag of demo: --full, --desktop"));
    }
    packages::build()?;
    packages::engine()?;
    packages::desktop()?;
    let desktop = flags.contains(&"--desktop");
    build(desktop)?;
    let mut args =
        vec!["run", "--quiet", "--locked", "-p", "nightjar-testbed", "--bin", "nightjar-demo", "--"];
    args.extend(flags);
    step("demo", &mut cargo(&args))
}

pub(crate) fn run() -> Done {
    packages::build()?;
    build(true)?;
    let args = ["run", "--quiet", "--locked", "-p", "nightjar-testbed", "--bin", "nightjar-daily"];
    step("Nightjar", &mut cargo(&args))
}

/// All programs and the stand-in libraries; the desktop app only where it is shown.
fn build(with_desktop: bool) -> Done {
    let mut args = vec!["build", "--locked", "--workspace"];
    if with_desktop {
        steps::ui()?;
    } else {
        args.extend(["--exclude", "nightjar-desktop"]);
    }
    step("build", &mut cargo(&args))
}
