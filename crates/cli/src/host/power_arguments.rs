//! The command line of `nightjar power`.

use clap::{Args, Subcommand};

use crate::arguments::HostPlace;
use crate::quantity;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar power status
  nightjar power set 250
  nightjar power set 70% --gpu GPU-4f2a…
  nightjar power restore
  nightjar power sweep --kind compute

Ends with 2 when the card does not take the limit.")]
pub struct Power {
    #[command(subcommand)]
    pub command: PowerCommand,
}

#[derive(Debug, Subcommand)]
pub enum PowerCommand {
    /// Choose the limit while renting: watts, or percent of the card's default
    Set(PowerSet),
    /// Leave the limit as it is, also while renting
    Restore(PowerRestore),
    /// Show each card's limits, and whether they can be set here
    Status(HostPlace),
    /// Find the sweet spot: measure what each limit yields, and show which earns most
    ///
    /// The host waits until the card is free, gives it a steady load of its own and tries one limit after the other.
    /// It stops at once when you come back, and the limit is then what it was. Work that computes (training, prompts)
    /// and work that waits for memory (generating text) answer differently, so each is measured for itself.
    Sweep(PowerSweep),
}

#[derive(Debug, Args)]
pub struct PowerSweep {
    /// One kind of work [default: both, one after the other]
    #[arg(long, value_enum)]
    pub kind: Option<SweepKind>,
    /// One card by its UUID; without it, every card
    #[arg(long, value_name = "UUID")]
    pub gpu: Option<String>,
    /// How many limits are tried [default: 9]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=32))]
    pub limits: Option<u32>,
    /// How long each limit is measured, in seconds [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=120))]
    pub seconds: Option<u32>,
    /// End the one that is under way
    #[arg(long, conflicts_with_all = ["kind", "limits", "seconds"])]
    pub stop: bool,
    #[command(flatten)]
    pub place: HostPlace,
}

/// As it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SweepKind {
    Compute,
    Memory,
}

#[derive(Debug, Args)]
pub struct PowerSet {
    /// E.g. 250 or 70%
    #[arg(value_name = "WATTS", value_parser = quantity::power)]
    pub limit: nightjar_core::host::PowerWish,
    /// One card by its UUID; without it, every card
    #[arg(long, value_name = "UUID")]
    pub gpu: Option<String>,
    #[command(flatten)]
    pub place: HostPlace,
}

#[derive(Debug, Args)]
pub struct PowerRestore {
    /// One card by its UUID; without it, every card
    #[arg(long, value_name = "UUID")]
    pub gpu: Option<String>,
    #[command(flatten)]
    pub place: HostPlace,
}
