//! The command line of `nightjar tenants`.

use clap::Args;

use crate::arguments::{HostPlace, OnOff};
use crate::quantity;

#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  nightjar tenants
  nightjar tenants --root-inside on --network open
  nightjar tenants --root-inside off --network curated
  nightjar tenants --gvisor off
  nightjar tenants --cores 8 --memory 24GiB --shm 8GiB --processes 4096 --disk 40GiB
  nightjar tenants --vram-reserve 1GiB --disk-reserve 50GiB --warning 2m
  nightjar tenants --volume-size 20GiB --volumes-most 100GiB --keep-volumes 7d
  nightjar tenants --volumes

Ends with 2 when a value is out of its bounds.")]
pub struct Tenants {
    /// Let renters who ask for it be root inside their container
    #[arg(long, value_name = "ON|OFF", value_enum, hide_possible_values = true)]
    pub root_inside: Option<OnOff>,
    /// Run tenants in gVisor where Docker has it and it knows the driver; `nightjar doctor` says whether it does
    #[arg(long, value_name = "ON|OFF", value_enum, hide_possible_values = true)]
    pub gvisor: Option<OnOff>,
    /// What a renter's traffic may reach: off (the tunnel alone), curated (package indexes and the like), or open (the
    /// internet, from your address)
    #[arg(long, value_name = "NETWORK", value_enum, hide_possible_values = true)]
    pub network: Option<Network>,
    /// What becomes of a renter that mines: tell (you are told), stop (the job is warned and ended), or allow
    #[arg(long, value_name = "RULE", value_enum, hide_possible_values = true)]
    pub miners: Option<Miners>,
    /// Cores of the processor for one job, at most
    #[arg(long, value_name = "N")]
    pub cores: Option<u32>,
    /// Memory of this PC for one job, at most, e.g. 24GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub memory: Option<u64>,
    /// How much of that programs of one job may share with each other (/dev/shm), e.g. 8GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub shm: Option<u64>,
    /// Processes and threads of one job, at most
    #[arg(long, value_name = "N")]
    pub processes: Option<u32>,
    /// Files of one job's container, beside what its renter keeps, e.g. 20GiB; only who is root inside writes any
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub disk: Option<u64>,
    /// Memory of a card with a desktop on it that a job leaves to that, e.g. 1GiB; 0 for none
    #[arg(long, value_name = "SIZE", value_parser = quantity::reserve_mib)]
    pub vram_reserve: Option<u64>,
    /// Room on the disk that stays free, e.g. 50GiB; below it nothing is lent. 0 for none
    #[arg(long, value_name = "SIZE", value_parser = quantity::reserve_mib)]
    pub disk_reserve: Option<u64>,
    /// How long a job that goes past its bounds has to go back before it is ended, e.g. 1m
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration_ms)]
    pub warning: Option<u64>,
    /// How much a renter may keep on this PC between leases, e.g. 50GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub volume_size: Option<u64>,
    /// How much all renters together may keep on this PC, e.g. 200GiB; who is new is refused beyond it
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub volumes_most: Option<u64>,
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
