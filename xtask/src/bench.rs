//! Measurements. Each bench is a program of `tests/testbed` that prints a table, or with `--json` one object.

use crate::packages;
use crate::shell::{Done, cargo, step};
use crate::steps;

pub(crate) fn bench(name: &str, flags: &[&str]) -> Done {
    if name != "first" {
        return Err(format!("\"{name}\" is no bench; there is: first"));
    }
    if let Some(unknown) = flags.iter().find(|flag| !["--json", "--quick"].contains(flag)) {
        return Err(format!("\"{unknown}\" is no flag of bench: --json, --quick"));
    }
    packages::build()?;
    packages::engine()?;
    packages::desktop()?;
    steps::ui()?;
    // What is measured is what is shipped.
    step("build", &mut cargo(&["build", "--locked", "--release", "--workspace"]))?;
    let mut args = vec![
        "run",
        "--quiet",
        "--locked",
        "--release",
        "-p",
        "nightjar-testbed",
        "--bin",
        "nightjar-bench",
        "--",
    ];
    args.push(name);
    args.extend(flags);
    step("bench", &mut cargo(&args))
}
