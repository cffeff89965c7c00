//! The command line of `nightjar tenants`.

use clap::Args;

use crate::arguments::{HostPlace, OnOff};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar tenants
  nightjar tenants --root-inside on --network open
  nightjar tenants --root-inside off --network curated")]
pub struct Tenants {
    /// Let renters who ask for it be root inside their container
    #[arg(long, value_name = "ON|OFF", value_enum, hide_possible_values = true)]
    pub root_inside: Option<OnOff>,
    /// What a renter's traffic may reach: off (the tunnel alone), curated (package indexes and the like), or open (the
    /// internet, from your address)
    #[arg(long, value_name = "NETWORK", value_enum, hide_possible_values = true)]
    pub network: Option<Network>,
    #[command(flatten)]
    pub place: HostPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    Off,
    Curated,
    Open,
}
