//! The command line of `nightjar network`.

use clap::{Args, Subcommand, ValueEnum};
use nightjar_core::network::AtCap;
use nightjar_core::week::Hours;

use crate::arguments::{HostPlace, OnOff};
use crate::quantity::{data_mib, rate_kbit};

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Show the limits, what holds now, and what this month has carried
    Show(HostPlace),
    /// Change them; jobs that run keep their connections
    ///
    /// What is given is changed, the rest stays. Limits are for all jobs together, with their tunnels, seen from this PC:
    /// up is what leaves it.
    Set(Box<NetworkSet>),
}

#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  nightjar network set --up 10M --down 50M
  nightjar network set --night 23:00-07:00 --night-up 40M --night-down 200M
  nightjar network set --automatic on
  nightjar network set --cap 500G --at-cap stop

Ends with 2 when a value is out of its bounds.")]
pub struct NetworkSet {
    #[command(flatten)]
    pub place: HostPlace,
    /// Limit of what leaves this PC, e.g. 20M, 512k or 1G bits a second
    #[arg(long, value_name = "RATE", value_parser = rate_kbit)]
    pub up: Option<u32>,
    /// Limit of what comes to it
    #[arg(long, value_name = "RATE", value_parser = rate_kbit)]
    pub down: Option<u32>,
    /// Hours with limits of their own, each day, on the clock on the wall; they begin with the day's limits
    #[arg(long, value_name = "HH:MM-HH:MM", value_parser = hours, conflicts_with = "no_night")]
    pub night: Option<Hours>,
    /// Limit of what leaves this PC in these hours
    #[arg(long, value_name = "RATE", value_parser = rate_kbit, conflicts_with = "no_night")]
    pub night_up: Option<u32>,
    /// Limit of what comes to it in these hours
    #[arg(long, value_name = "RATE", value_parser = rate_kbit, conflicts_with = "no_night")]
    pub night_down: Option<u32>,
    /// The same limits around the clock
    #[arg(long)]
    pub no_night: bool,
    /// Stay below the limits so that your line stays quick
    #[arg(long, value_name = "on|off")]
    pub automatic: Option<OnOff>,
    /// What may be carried in a calendar month, both directions together, e.g. 500G (10^9 bytes) or 1T
    #[arg(long, value_name = "SIZE", value_parser = data_mib, conflicts_with = "no_cap")]
    pub cap: Option<u64>,
    /// As much as comes
    #[arg(long)]
    pub no_cap: bool,
    /// What becomes of a job that runs when the month's data is used up; no other begins in either case
    #[arg(long, value_name = "finish|stop")]
    pub at_cap: Option<CapChoice>,
}

/// As it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CapChoice {
    Finish,
    Stop,
}

impl From<CapChoice> for AtCap {
    fn from(choice: CapChoice) -> Self {
        match choice {
            CapChoice::Finish => Self::Finish,
            CapChoice::Stop => Self::Stop,
        }
    }
}

fn hours(text: &str) -> Result<Hours, String> {
    text.parse().map_err(|error: nightjar_core::week::WeekError| error.to_string())
}
