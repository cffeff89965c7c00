//! The command line of `nightjar gpu`.

use clap::{Args, Subcommand};
use nightjar_core::history::MOST_POINTS;

use crate::arguments::HostPlace;
use crate::quantity;

/// As the parser of numbers takes it.
const MOST: i64 = MOST_POINTS as i64;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  nightjar gpu --watch
  nightjar gpu history --since 1d --points 24
  nightjar gpu dump > dump.json"
)]
pub struct Gpu {
    #[command(flatten)]
    pub place: HostPlace,
    /// Stay, and show the readings each second; with --json one object a line
    #[arg(long)]
    pub watch: bool,
    #[command(subcommand)]
    pub command: Option<GpuCommand>,
}

#[derive(Debug, Subcommand)]
pub enum GpuCommand {
    /// What the cards did: temperature, power, limit, load and VRAM
    ///
    /// Kept by the second for an hour, by the minute for a month, by the hour for ever.
    History(GpuHistory),
    /// Ask the market to take a card that failed its check, once what was wrong is put right
    ///
    /// Such a card is left out for a while, and `nightjar status` says why. Not sooner than half a minute after the check.
    Retry(GpuRetry),
    /// Print every answer of the driver as JSON, for a bug report
    ///
    /// Errors are answers too. UUID and serial number are cut short. This wakes cards that sleep.
    Dump,
}

#[derive(Debug, Args)]
pub struct GpuRetry {
    #[command(flatten)]
    pub place: HostPlace,
    /// UUID of one card; every one if left out
    #[arg(long)]
    pub gpu: Option<String>,
}

#[derive(Debug, Args)]
pub struct GpuHistory {
    #[command(flatten)]
    pub place: HostPlace,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = quantity::duration_ms)]
    pub since: u64,
    /// Most points of each card, up to 1000
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub points: u32,
}
