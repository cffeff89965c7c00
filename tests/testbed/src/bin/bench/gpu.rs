//! `bench gpu`: what a look at the card costs, how long its past takes to ask for, and how well heat and energy are kept.

use std::time::{Duration, Instant};

use anyhow::Context;
use nightjar_core::time::Timestamp;
use nightjar_history::History;
use nightjar_sim::model::CardModel;
use nightjar_testbed::figures::{Figures, percentile_ms};
use nightjar_testbed::stage::{Cards, Wish};
use nightjar_testbed::{energy, heat};

use crate::gpu_sample::{self, Looks};
use crate::past::{self, DAY, HOUR, MINUTE};

const YEARS: u64 = 5 * 365 * DAY;
/// A midnight, UTC, five years after which is now.
const START: Timestamp = Timestamp(1_609_459_200_000);
const CARDS: [&str; 2] = ["GPU-bench-0", "GPU-bench-1"];

pub(crate) fn run(figures: &mut Figures, quick: bool) -> anyhow::Result<()> {
    sample_cost(figures, if quick { 300 } else { 3_000 })?;
    history(figures)?;
    eprintln!(
        "heat: an hour each of hot rooms, dusty and blocked fans and broken thermometers, in made-up time"
    );
    let thermal = heat::figures().map_err(|error| anyhow::anyhow!(error))?;
    figures.lower("thermal_overshoot_c", "K", thermal.thermal_overshoot_c, Some(heat::TOLERATED_KELVIN));
    figures.higher(
        "thermal_work_percent_of_best_fixed",
        "%",
        thermal.thermal_work_percent_of_best_fixed,
        Some(95.0),
    );
    let mut worst = 0.0_f64;
    for name in ["rtx3060", "rtx4090"] {
        let model = CardModel::find(name).map_err(|error| anyhow::anyhow!("{error}"))?;
        for error in energy::energy_errors(model) {
            eprintln!("energy, {name}, {:?}: off by {:.3} %", error.trouble, error.percent);
        }
        worst = worst.max(energy::worst_energy_error_percent(model));
    }
    figures.lower("energy_error_percent", "%", worst, Some(1.0));
    Ok(())
}

/// One look at the card by the agent's sampler, by turns with the same questions asked of plain `nvml-wrapper`.
fn sample_cost(figures: &mut Figures, times: usize) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("nightjar-").tempdir()?;
    let cards = Cards::find(&Wish { real_cards: true, ..Wish::default() }, folder.path())?;
    eprintln!("{}", cards.describe());
    let Looks { ours, plain, calls } = gpu_sample::looks(&cards, times)?;
    for (who, looks) in [("ours", &ours), ("nvml-wrapper", &plain)] {
        let us = |share: f64| percentile_ms(looks, share) * 1_000.0;
        eprintln!("one look, {who}: p50 {:.1} µs, p99 {:.1} µs", us(0.5), us(0.99));
    }
    if let Some((ours, plain)) = calls {
        eprintln!("calls of the library a look: ours {ours}, nvml-wrapper {plain}");
        figures.lower("sample_nvml_calls", "calls", ours as f64, None).beside("nvml_wrapper", plain as f64);
    }
    for (name, share) in [("sample_cost_us", 0.5), ("sample_cost_p99_us", 0.99)] {
        let peer = percentile_ms(&plain, share) * 1_000.0;
        let value = percentile_ms(&ours, share) * 1_000.0;
        figures.lower(name, "µs", value, Some(peer)).beside("nvml_wrapper", peer);
    }
    Ok(())
}

/// Five years of two cards, written through the same store as the agent's, then asked for in every way that a window
/// asks. The figure is the slowest answer.
fn history(figures: &mut Figures) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("nightjar-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (worst, size_mib) = runtime.block_on(async {
        let began = Instant::now();
        let now = START.plus_ms(YEARS);
        let mut history = past::written(folder.path(), &CARDS, START, now).await?;
        eprintln!("five years of {} cards written in {:.1} s", CARDS.len(), began.elapsed().as_secs_f64());
        let worst = slowest(&mut history, now).await?;
        history.close(now).await;
        let bytes = std::fs::metadata(nightjar_history::path(folder.path()))?.len();
        anyhow::Ok((worst, bytes as f64 / f64::from(1 << 20)))
    })?;
    figures.lower("history_query_5y_ms", "ms", worst.as_secs_f64() * 1_000.0, Some(20.0));
    figures.lower("history_size_5y_mib", "MiB", size_mib, None);
    Ok(())
}

async fn slowest(history: &mut History, now: Timestamp) -> anyhow::Result<Duration> {
    let ago = |ms: u64| Timestamp(now.0.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)));
    let ranges = [
        ("five years", YEARS, 0),
        ("a year", 365 * DAY, 0),
        ("a year, long ago", 4 * 365 * DAY, 3 * 365 * DAY),
        ("31 days", 31 * DAY, 0),
        ("a week", 7 * DAY, 0),
        ("a week, two years ago", 737 * DAY, 730 * DAY),
        ("a day", DAY, 0),
        ("an hour", HOUR, 0),
        ("ten minutes", 10 * MINUTE, 0),
    ];
    let mut worst = Duration::ZERO;
    for (what, from, to) in ranges {
        for points in [1, 100, 500, nightjar_core::history::MOST_POINTS] {
            let mut taken = Vec::new();
            for _ in 0..5 {
                let asked = Instant::now();
                let cards = history.query(ago(from), ago(to), points, now).await?;
                taken.push(asked.elapsed());
                let most = cards.iter().map(|card| card.points.len()).max().context("no card answers")?;
                anyhow::ensure!(cards.len() == CARDS.len(), "{} cards answer", cards.len());
                anyhow::ensure!(most > 0 && most <= points as usize, "{most} points of {points}: {what}");
            }
            taken.sort_unstable();
            eprintln!("{what}, {points} points: {:.2} ms", taken[2].as_secs_f64() * 1_000.0);
            worst = worst.max(taken[2]);
        }
    }
    Ok(worst)
}
