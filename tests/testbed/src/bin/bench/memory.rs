//! A game's start to the moment in which the driver has the tenant's memory back, as a part of `bench giveback`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nightjar_core::host::HostState;
use nightjar_core::settings::{GiveBack, Settings};
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::host::Host;
use nightjar_testbed::night::{HELD_MIB, start_work};
use nightjar_testbed::process::{Process, wait_for};
use nightjar_testbed::renter::Renter;
use nightjar_testbed::stage::Stage;

use crate::common::{IMAGE, SOON, bench_settings};

const GAME: &str = "nightjar-bench-game";
/// From the start of the game to free memory where the tenant is killed.
const AIM_MS: f64 = 1_500.0;
/// How often the driver is asked: fine against the aim.
const STEP: Duration = Duration::from_millis(2);

/// Both ways to end a tenant, each with a host of its own.
pub(crate) fn run(figures: &mut Figures, stage: &Stage, renter: &Renter, times: u64) -> anyhow::Result<()> {
    let game = game(stage.folder())?;
    for (name, mode) in [("instant", GiveBack::Instant), ("friendly", GiveBack::Friendly)] {
        let settings = settings(mode);
        // A tenant that does not end by itself has its grace first.
        let grace_ms = if mode == GiveBack::Friendly { settings.friendly_grace_ms as f64 } else { 0.0 };
        let (host, _) = stage.host(name, &settings)?;
        let mut taken = Vec::new();
        for number in 1..=times {
            let time = round(stage, &host, renter, &game, number)
                .with_context(|| format!("{name}, round {number}"))?;
            eprintln!("{name}, {number} of {times}: {:.0} ms", time.as_secs_f64() * 1_000.0);
            taken.push(time);
        }
        for (part, share) in [("p50", 0.5), ("p99", 0.99)] {
            let figure = format!("game_to_vram_free_{name}_{part}_ms");
            figures.lower(&figure, "ms", percentile_ms(&taken, share), Some(AIM_MS + grace_ms));
        }
    }
    Ok(())
}

fn settings(give_back: GiveBack) -> Settings {
    let mut settings = bench_settings();
    settings.signals.game.linger_ms = 0;
    Settings { games: vec![GAME.to_owned()], give_back, ..settings }
}

/// Any program with a name of its own: what counts is that it is on the owner's list.
fn game(folder: &Path) -> anyhow::Result<PathBuf> {
    let game = folder.join(GAME);
    std::fs::copy("/bin/sleep", &game)?;
    Ok(game)
}

fn round(stage: &Stage, host: &Host, renter: &Renter, game: &Path, number: u64) -> anyhow::Result<Duration> {
    wait_for("the host waits for a job", SOON, || {
        Ok((host.around.view()?.state == HostState::Waiting).then_some(()))
    })?;
    let lease = wait_for("a lease", SOON, || Ok(renter.rent(IMAGE).ok()))?;
    let before = used_mib(stage)?;
    let (_job, _) = start_work(renter, &lease, stage)?;
    wait_for("the job holds memory", SOON, || {
        Ok((used_mib(stage)? >= before + u64::from(HELD_MIB)).then_some(()))
    })?;
    // Not always at the same place of the sensors' rhythm.
    std::thread::sleep(Duration::from_millis(700 + number * 137 % 600));
    let started = Instant::now();
    let mut playing = Process::start(stage.folder(), "game", Command::new(game).arg("600"))?;
    let freed = loop {
        if used_mib(stage)? < before + u64::from(HELD_MIB) {
            break started.elapsed();
        }
        ensure!(started.elapsed() < SOON, "the job still holds its memory after {SOON:?}");
        std::thread::sleep(STEP);
    };
    playing.terminate(Duration::from_secs(5))?;
    Ok(freed)
}

fn used_mib(stage: &Stage) -> anyhow::Result<u64> {
    let stats = stage.cards.simulated()?.client().stats()?;
    Ok(stats.cards.first().context("there is no card")?.reading.vram_used_bytes >> 20)
}
