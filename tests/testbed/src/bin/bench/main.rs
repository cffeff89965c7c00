//! `cargo xtask bench NAME`: measures on the release build. Progress goes to standard error.

mod common;
mod first;
mod giveback;
mod gpu;
mod gpu_sample;
mod idle;
mod memory;
mod page;
mod past;
mod pull;
mod ui;
mod worker;

use std::process::ExitCode;

use nightjar_testbed::figures::Figures;

type Bench = fn(&mut Figures, bool) -> anyhow::Result<()>;

const BENCHES: &[(&str, Bench)] = &[
    ("first", first::run),
    ("giveback", giveback::run),
    ("gpu", gpu::run),
    ("idle", idle::run),
    ("pull", pull::bench),
    ("ui", ui::run),
    ("worker", worker::run),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == gpu_sample::PART) {
        return gpu_sample::main(&args);
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let Some((name, bench)) = BENCHES.iter().find(|(name, _)| has(name)) else {
        let names: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("name a bench: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let mut figures = Figures::new(name);
    match bench(&mut figures, has("--quick")) {
        Ok(()) => {
            eprint!("\n{}", figures.table());
            if has("--json") {
                match serde_json::to_string(&figures) {
                    Ok(json) => println!("{json}"),
                    Err(error) => eprintln!("the figures cannot be written: {error}"),
                }
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
