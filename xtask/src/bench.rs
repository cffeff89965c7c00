//! Measurements. Each bench is a program of `tests/testbed` that prints a table, or with `--json` one object.

use crate::packages;
use crate::shell::{Done, cargo, program, step, target_dir};
use crate::steps;

const BENCHES: &[&str] = &["first", "giveback", "gpu", "idle", "pull", "ui", "worker"];

pub(crate) fn bench(name: &str, flags: &[&str]) -> Done {
    if !BENCHES.contains(&name) {
        return Err(format!("\"{name}\" is no bench; there are: {}", BENCHES.join(", ")));
    }
    if let Some(unknown) = flags.iter().find(|flag| !["--json", "--quick"].contains(flag)) {
        return Err(format!("\"{unknown}\" is no flag of bench: --json, --quick"));
    }
    packages::build()?;
    packages::engine()?;
    packages::desktop()?;
    if let Err(failure) = packages::peers() {
        eprintln!("what is compared with cannot be had and is left out: {failure}");
    }
    if name == "ui" {
        packages::test_tools()?;
    }
    steps::ui()?;
    // What is measured is what is shipped.
    step("build", &mut cargo(&["build", "--locked", "--release", "--workspace"]))?;
    // Not by `cargo run -p`, which would choose other features and build everything once more.
    let built = target_dir().join("release").join("nightjar-bench");
    let mut args = vec![name];
    args.extend(flags);
    let mut bench = program(built, &args);
    step("bench", bench.env("NIGHTJAR_TAURI_DRIVER", packages::tauri_driver()))
}
