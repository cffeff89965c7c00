//! `cargo xtask run`: the app for daily work, with a market of its own on this machine. Its data stays between runs.

use std::process::{Command, ExitCode};

use anyhow::Context;
use nightjar_testbed::engine::{Engine, EngineOptions};
use nightjar_testbed::host::{Host, Surroundings};
use nightjar_testbed::images::{self, Flavour};
use nightjar_testbed::market::Market;
use nightjar_testbed::place;
use nightjar_testbed::stage::{Cards, Wish};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Nightjar cannot be run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let display = std::env::var("DISPLAY").ok().filter(|display| !display.is_empty());
    display.context("there is no desktop here: run this in a desktop session (DISPLAY is not set)")?;
    let folder = place::cache().join("daily");
    std::fs::create_dir_all(&folder)?;
    let cards = Cards::find(&Wish { real_cards: true, ..Wish::default() }, &folder)?;
    eprintln!("{}", cards.describe());
    let engine = Engine::start(EngineOptions { path_first: cards.hook_folder(), ..EngineOptions::cached() })?;
    let mut told = |step: &str| eprintln!("{step}");
    images::gateway(&engine, &mut told)?;
    images::pytorch_cuda(&engine, Flavour::Lite, &mut told)?;
    let market = Market::start(&folder)?;
    let around = Surroundings {
        folder: folder.join("host"),
        engine: engine.address(),
        environment: cards.environment(),
    };
    if around.folder.join("data").join("market.json").exists() {
        // The market has another port than yesterday; the host's key and its books are the same.
        std::fs::remove_file(around.folder.join("data").join("market.json"))?;
    }
    let mut headless = Host::join(around, market.url(), &market.pairing_code()?)?;
    headless.process.terminate(std::time::Duration::from_secs(20))?;
    eprintln!("\nThe market is {}. To rent from it in another terminal:", market.url());
    eprintln!(
        "  nightjar-coordinator renter add me --balance 20.00 --data-dir {}",
        folder.join("market").display()
    );
    eprintln!("  nightjar login {}\n\nThe app ends with Quit in its tray.", market.url());
    let mut app = Command::new(place::program("nightjar-desktop")?);
    headless.around.enter(&mut app);
    let ended = app.status()?;
    anyhow::ensure!(ended.success(), "the app ended with {ended}");
    Ok(())
}
