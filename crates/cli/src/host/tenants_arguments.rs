//! The command line of `nightjar tenants`.

use clap::Args;

use crate::arguments::{HostPlace, OnOff};
use crate::quantity;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar tenants
  nightjar tenants --root-inside on --network open
  nightjar tenants --root-inside off --network curated
  nightjar tenants --volume-size 20GiB --keep-volumes 7d
  nightjar tenants --volumes")]
pub struct Tenants {
    /// Let renters who ask for it be root inside their container
    #[arg(long, value_name = "ON|OFF", value_enum, hide_possible_values = true)]
    pub root_inside: Option<OnOff>,
    /// What a renter's traffic may reach: off (the tunnel alone), curated (package indexes and the like), or open (the
    /// internet, from your address)
    #[arg(long, value_name = "NETWORK", value_enum, hide_possible_values = true)]
    pub network: Option<Network>,
    /// What becomes of a renter that mines: tell (you are told), stop (the job is warned and ended), or allow
    #[arg(long, value_name = "RULE", value_enum, hide_possible_values = true)]
    pub miners: Option<Miners>,
    /// How much a renter may keep on this PC between leases, e.g. 50GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub volume_size: Option<u64>,
    /// How long that is kept after the last use, e.g. 14d; then it is wiped
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration_ms)]
    pub keep_volumes: Option<u64>,
    /// List what renters keep on this PC
    #[arg(long)]
    pub volumes: bool,
    /// Delete what one renter keeps on this PC, by the name that --volumes shows
    #[arg(long, value_name = "NAME")]
    pub wipe: Option<String>,
    #[command(flatten)]
    pub place: HostPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Miners {
    Tell,
    Stop,
    Allow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    Off,
    Curated,
    Open,
}
