//! What a renter types: the options of each command, with the help that is the manual.

use std::path::PathBuf;

use clap::Args;

use crate::arguments::lease_name;
use crate::quantity;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar login https://market.example
  nightjar login https://market.example --token - < token.txt")]
pub struct Login {
    /// The market's address
    pub url: String,
    /// Read the token from standard input: `--token -`
    #[arg(long, value_name = "-", value_parser = ["-"], hide_possible_values = true)]
    pub token: Option<String>,
    /// Allow http:// to another PC: whoever is on the way can then read the token
    #[arg(long)]
    pub allow_plain_http: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar offers
  nightjar offers --model 4090 --max-price 2.50
  nightjar offers --vram 24G --image pytorch-cuda:full --json

Ends with 3 when no card is enough.")]
pub struct Offers {
    #[command(flatten)]
    pub filters: Filters,
}

// What a card must be. Not a doc comment here and below: clap would put it in the place of the command's own text.
#[derive(Clone, Debug, Default, Args)]
pub struct Filters {
    /// Part of the card's name, e.g. 4090 or "rtx 3060"
    #[arg(long, value_parser = plain_text)]
    pub model: Option<String>,
    /// Memory of the card at least, e.g. 24G (10^9 bytes, as cards are sold) or 12GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::vram_mib)]
    pub vram: Option<u64>,
    /// Region of the host, as `nightjar offers` spells it
    #[arg(long, value_parser = plain_text)]
    pub region: Option<String>,
    /// Price of an hour at most, in the market's currency, e.g. 2.50
    #[arg(long, value_name = "PRICE", value_parser = quantity::price_micros)]
    pub max_price: Option<i64>,
    /// Image that the host must be able to start, e.g. pytorch-cuda:lite
    #[arg(long, value_name = "NAME:FLAVOUR", value_parser = plain_text)]
    pub image: Option<String>,
    /// Be root inside the container, e.g. for apt; without it you are an ordinary user
    #[arg(long)]
    pub root_inside: bool,
    /// Linux itself, not gVisor: for io_uring, eBPF, raw sockets, profilers, and what of CUDA gVisor does not pass on
    #[arg(long)]
    pub no_sandbox: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar rent --model 4090
  nightjar rent --vram 12GiB --max-price 1.20 --image pytorch-cuda:lite
  nightjar rent --vram 24G --interruptible
  nightjar rent --vram 24G --serve Qwen/Qwen3-8B && nightjar api
  LEASE=$(nightjar rent --vram 24G) && nightjar ssh $LEASE -- nvidia-smi

Ends with 3 when no card on offer is enough, and names the requirement that nobody meets.")]
pub struct Rent {
    #[command(flatten)]
    pub filters: Filters,
    /// Your own SSH key, private or public part [default: a key made for Nightjar]
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
    /// Language model that the worker serves over OpenAI's API from its start: a name on the hub; `nightjar api` opens it
    ///
    /// The image is llm-inference:full if you name none. The API has a key of its own; `nightjar show` says what is served.
    #[arg(long, value_name = "MODEL", value_parser = served_model)]
    pub serve: Option<String>,
    /// Go on after the card's owner took it: as a new lease on the same host, with the same image and SSH key, and never
    /// dearer; after ten minutes on any other host that is enough
    ///
    /// What was in the worker is gone, what was in /workspace is there on the same host. Given up after a day; `nightjar
    /// stop` gives it up at once.
    #[arg(long)]
    pub interruptible: bool,
    /// With --interruptible: go on where it was or nowhere
    #[arg(long, requires = "interruptible")]
    pub wait_for_host: bool,
    /// Print the lease's name at once, without waiting until the worker is ready
    #[arg(long)]
    pub no_wait: bool,
    /// Wait until the worker is ready [this is the default]
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// How long to wait until the worker is ready; then the lease is ended
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = quantity::duration_ms)]
    pub timeout: u64,
}

#[derive(Debug, Args)]
pub struct LeaseList {
    /// Also those that are over
    #[arg(long)]
    pub all: bool,
}

// Which lease is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct OneLease {
    /// Name of the lease, or its beginning [default: the only one that is active]
    #[arg(value_parser = lease_name)]
    pub lease: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar ssh
  nightjar ssh 3f2a -- nvidia-smi
  nightjar ssh -o LocalForward=\"6006 localhost:6006\"

For scp, rsync, git and editors see `nightjar ssh-config --help`.")]
pub struct Ssh {
    #[command(flatten)]
    pub lease: OneLease,
    /// An option for OpenSSH, as in ssh_config; may be given several times
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    pub option: Vec<String>,
    /// SSH key to use [default: the one that the lease was rented with]
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
    /// Command to run there instead of a shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar ssh-config --alias gpu > ~/.ssh/nightjar
      with `Include nightjar` as the first line of ~/.ssh/config; then:
  rsync -a data/ gpu:/workspace/data/")]
pub struct SshConfig {
    #[command(flatten)]
    pub lease: OneLease,
    /// Name by which ssh knows it [default: nightjar- and the lease's first eight characters]
    #[arg(long, value_parser = lease_name)]
    pub alias: Option<String>,
    /// SSH key to use [default: the one that the lease was rented with]
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Proxy {
    #[command(flatten)]
    pub lease: OneLease,
    /// Where the renter's token and keys are kept
    #[arg(long, value_name = "DIR")]
    pub renter_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar jupyter
  nightjar jupyter 3f2a --port 8888
  nightjar jupyter --print-url | xargs -n1 xdg-open")]
pub struct Jupyter {
    #[command(flatten)]
    pub lease: OneLease,
    /// Port of this PC; 0 takes any that is free
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Print the address and nothing else
    #[arg(long)]
    pub print_url: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar api --port 8000
  nightjar api --json | jq -r .base_url")]
pub struct Api {
    #[command(flatten)]
    pub lease: OneLease,
    /// Port of this PC; 0 takes any that is free
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    pub lease: OneLease,
    /// Wait until nothing of it is left on the host
    #[arg(long)]
    pub wait: bool,
}

/// Text that goes into a request and comes back in tables: short, and nothing that moves a cursor.
fn plain_text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        return Err(String::from("between 1 and 128 bytes of printable text are wanted"));
    }
    Ok(text.to_owned())
}

fn served_model(text: &str) -> Result<String, String> {
    nightjar_core::lease::check_model(text).map(|()| text.to_owned()).map_err(str::to_owned)
}
