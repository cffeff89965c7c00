//! The simulated graphics cards: the daemon, and the commands that drive it by hand.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nightjar_sim::wire::{Control, SOCKET_DEFAULT};

/// Simulated NVIDIA cards for machines that have none.
///
/// Programs find them through the stand-in libraries: put their folder on LD_LIBRARY_PATH and the socket
/// in NVIDIA_SIM_SOCKET.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the cards until told to shut down
    Serve(Serve),
    /// Make something happen to a running machine, or look at it
    Ctl {
        /// The daemon's socket
        #[arg(long, env = "NVIDIA_SIM_SOCKET", default_value = SOCKET_DEFAULT)]
        socket: PathBuf,
        #[command(subcommand)]
        command: Ctl,
    },
}

#[derive(Args)]
struct Serve {
    /// Where to listen; the folder is made, and should hold nothing else
    #[arg(long, env = "NVIDIA_SIM_SOCKET")]
    socket: PathBuf,
    /// The cards, by model: rtx4090, rtx3060, rtx4060-laptop
    #[arg(long, value_delimiter = ',', default_value = "rtx4090")]
    cards: Vec<String>,
    /// A TOML file with cards and events instead
    #[arg(long, conflicts_with = "cards")]
    scenario: Option<PathBuf>,
    /// Keep the cards' power states here, laid out as in /sys
    #[arg(long)]
    sysfs: Option<PathBuf>,
    /// End when standard input does, so that no test leaves a daemon behind
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Subcommand)]
enum Ctl {
    /// Set the temperature of the room
    SetRoomTemp { celsius: f64 },
    /// Set a card's own temperature at once
    SetTemp {
        #[arg(long, default_value_t = 0)]
        card: usize,
        celsius: f64,
    },
    /// Let a card's thermometer say this whatever the temperature is; without a value it is right again
    StickTemp {
        #[arg(long, default_value_t = 0)]
        card: usize,
        celsius: Option<f64>,
    },
    /// Fix the fan at a speed in percent (0: it has failed); without one it is automatic again
    SetFan {
        #[arg(long, default_value_t = 0)]
        card: usize,
        percent: Option<f64>,
    },
    /// Let a process outside Nightjar use a card; with nothing used it goes away
    ExternalLoad {
        #[arg(long, default_value_t = 0)]
        card: usize,
        #[arg(long)]
        pid: u32,
        #[arg(long, default_value_t = 0.0)]
        util: f64,
        /// In MiB
        #[arg(long, default_value_t = 0)]
        vram: u64,
        /// It draws (a game), rather than computes
        #[arg(long)]
        graphics: bool,
        /// Percent of the work that waits for memory; left out, as much as of a game
        #[arg(long)]
        memory: Option<f64>,
    },
    /// Let a call of NVML or CUDA return a code; without one (or with 0) it works again
    Fail {
        call: String,
        code: Option<i32>,
        #[arg(long)]
        card: Option<usize>,
        /// Only so many times
        #[arg(long)]
        times: Option<u32>,
    },
    /// Pull a card out of the running machine
    Unplug { card: usize },
    /// Put it back
    Replug { card: usize },
    /// Power a card down, as a laptop does with an idle one
    Sleep { card: usize },
    /// Power it up again
    Wake { card: usize },
    /// Change the driver's version, like 560.35.03
    Driver { version: String },
    /// Set a power limit as another program would
    SetPowerLimit {
        #[arg(long, default_value_t = 0)]
        card: usize,
        watts: f64,
    },
    /// Say whether a monitor is connected to a card
    SetDisplay {
        #[arg(long, default_value_t = 0)]
        card: usize,
        #[arg(action = clap::ArgAction::Set)]
        connected: bool,
    },
    /// Print everything about the machine as JSON
    Stats,
    /// End the daemon
    Shutdown,
}

/// The happening that a command asks for; `None` for those that ask about the daemon itself.
fn control(command: &Ctl) -> Option<Control> {
    Some(match command {
        Ctl::SetRoomTemp { celsius } => Control::SetRoomTemp { celsius: *celsius },
        Ctl::SetTemp { card, celsius } => Control::SetTemp { card: *card, celsius: *celsius },
        Ctl::StickTemp { card, celsius } => Control::StickTemp { card: *card, celsius: *celsius },
        Ctl::SetFan { card, percent } => Control::SetFan { card: *card, percent: *percent },
        Ctl::ExternalLoad { card, pid, util, vram, graphics, memory } => Control::ExternalLoad {
            card: *card,
            pid: *pid,
            util_percent: *util,
            vram_mib: *vram,
            graphics: *graphics,
            memory_percent: *memory,
        },
        Ctl::Fail { call, code, card, times } => {
            Control::Fail { call: call.clone(), code: *code, card: *card, times: *times }
        }
        Ctl::Unplug { card } => Control::Unplug { card: *card },
        Ctl::Replug { card } => Control::Replug { card: *card },
        Ctl::Sleep { card } => Control::Sleep { card: *card },
        Ctl::Wake { card } => Control::Wake { card: *card },
        Ctl::Driver { version } => Control::Driver { version: version.clone() },
        Ctl::SetPowerLimit { card, watts } => Control::SetPowerLimit { card: *card, watts: *watts },
        Ctl::SetDisplay { card, connected } => Control::SetDisplay { card: *card, connected: *connected },
        Ctl::Stats | Ctl::Shutdown => return None,
    })
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Read;
    use std::path::Path;

    use anyhow::Context;
    use nightjar_sim::Client;
    use nightjar_sim::scenario::Scenario;

    use super::{Ctl, Serve, control};

    pub fn serve(arguments: &Serve) -> anyhow::Result<()> {
        let scenario = match &arguments.scenario {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Scenario::parse(&text)
            }
            None => Scenario::with_cards(&arguments.cards),
        };
        let scenario = scenario.map_err(anyhow::Error::msg)?;
        if arguments.until_stdin_closes {
            let socket = arguments.socket.clone();
            std::thread::spawn(move || {
                let mut rest = [0_u8; 256];
                while matches!(std::io::stdin().read(&mut rest), Ok(count) if count > 0) {}
                // Best effort: the next daemon replaces a socket that is left behind.
                let _ = std::fs::remove_file(&socket);
                std::process::exit(0);
            });
        }
        nightjar_sim::server::serve(&arguments.socket, scenario, arguments.sysfs.as_deref())
    }

    pub fn ctl(socket: &Path, command: &Ctl) -> anyhow::Result<()> {
        let client = Client::connect(socket).with_context(|| format!("no answer at {}", socket.display()))?;
        match (control(command), command) {
            (Some(control), _) => client.control(control)?,
            (None, Ctl::Shutdown) => client.shutdown()?,
            (None, _) => println!("{}", serde_json::to_string_pretty(&client.stats()?)?),
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(arguments) => linux::serve(&arguments),
        Command::Ctl { socket, command } => linux::ctl(&socket, &command),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    // Parsed all the same, so that --help works and the command line is checked everywhere.
    if let Command::Ctl { command, .. } = Cli::parse().command {
        drop(control(&command));
    }
    anyhow::bail!("the stand-in runs on Linux only")
}
