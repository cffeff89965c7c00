//! The command line. The help texts are the manual: each says what happens, shows an example and names what comes next.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::host::gpu_arguments::Gpu;
use crate::host::images_arguments::ImagesCommand;
use crate::host::network_arguments::NetworkCommand;
use crate::host::power_arguments::Power;
use crate::host::schedule_arguments::ScheduleCommand;
use crate::host::tenants_arguments::Tenants;
use crate::moment::{self, Moment};
use crate::quantity;
use crate::renter::arguments::{
    Api, Jupyter, LeaseList, Login, Offers, OneLease, Proxy, Rent, Ssh, SshConfig, Stop,
};

const AFTER: &str = "\
Rent a card:
  nightjar login https://market.example     once, with the token from the market's operator
  nightjar offers --vram 24G                what is there, cheapest first
  nightjar rent --model 4090                rent; prints the lease's name when it is ready
  nightjar ssh                              a shell on it
  nightjar stop                             done: billing ends

Lend your card:
  nightjar host --pair 'nightjar://pair?market=…&code=…'   by the link you were given
  nightjar doctor                           what is missing, and how to mend it
  nightjar status                           what it does, and why
  nightjar pause --for 2h                   leave me alone

Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  nothing matched: no card, no lease
  4  the host is not running or cannot be reached
  5  not logged in, or refused by the market
  6  the market cannot be reached
  (`nightjar ssh` ends with the code of ssh once that has started.)

Variables:
  NIGHTJAR_RENTER_DIR   where the renter's token and keys are kept
  NIGHTJAR_DATA_DIR, NIGHTJAR_SETTINGS, NIGHTJAR_RUNTIME_DIR, NIGHTJAR_DOCKER
                        of the host: its folders, settings file and Docker Engine
  DOCKER_HOST           of the host, where NIGHTJAR_DOCKER is not set: its Docker Engine
  NIGHTJAR_CATALOGUE, NIGHTJAR_CATALOGUE_KEY
                        of the host: a catalogue of images beside its own, and the key that signed it
  NIGHTJAR_HELPER       of the host: the socket of the helper that sets power limits
  NIGHTJAR_KEYRING      file: keep the host's key in its data folder, not in the keyring
  NIGHTJAR_LOG          what goes to the log on standard error, e.g. info or nightjar_link=debug";

/// Rent graphics cards of people who are away from their PC, or lend yours
#[derive(Debug, Parser)]
#[command(name = "nightjar", version, after_help = AFTER, max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    /// Print one JSON object on standard output; failures too, as {"error": …}
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Rent: log in to a market with a renter's token
    ///
    /// The token is asked for, or read from standard input; it is never an argument, where every program on this PC
    /// could read it. It is kept, with the market's address, in a file that only your account can read.
    Login(Login),
    /// Rent: forget the market and its token
    Logout,
    /// Rent: show who you are on the market, and your balance
    Account,
    /// Rent: list the cards that would take a job now, the cheapest first
    ///
    /// Everything that is left out matches any card. NETWORK is what a job may reach: curated stands for package
    /// indexes, model hubs, code hosts and object stores.
    Offers(Offers),
    /// Rent: rent the cheapest card that is enough
    ///
    /// Of two at one price the smaller is taken. Without --image, pytorch-cuda:full is started. Each step is shown with its time on standard error, and the lease's name
    /// on standard output. Ctrl-C while waiting ends the lease.
    ///
    /// You pay by the second for the time in which the card is yours: not while it is prepared, and not while its owner
    /// uses it.
    Rent(Rent),
    /// Rent: list your leases
    ///
    /// Those that are over are left out unless --all is given.
    Leases(LeaseList),
    /// Rent: list what you keep on hosts in /workspace, how much that may be, and until when
    ///
    /// Only a host where you rented keeps it, encrypted with a key that comes with your leases alone; at the end of its
    /// time the host wipes it. Your next lease there finds it again, and it is kept anew from that lease's end on.
    Volumes,
    /// Rent: show one lease
    Show(OneLease),
    /// Rent: open a shell on a lease, or run a command there
    ///
    /// This is the OpenSSH client of your PC, with the tunnel as its ProxyCommand and the worker's own host key, which
    /// the market vouches for. What follows `--` is run there instead of a shell.
    Ssh(Ssh),
    /// Rent: print a block for ~/.ssh/config, so that scp, rsync, git and editors reach a lease
    ///
    /// The block names the tunnel as ProxyCommand and the worker's own host key.
    SshConfig(SshConfig),
    /// Rent: connect standard input and output to a lease's SSH port, as OpenSSH's ProxyCommand
    ///
    /// `nightjar ssh` and the block of `nightjar ssh-config` start this; nobody needs to type it.
    Proxy(Proxy),
    /// Rent: open a lease's JupyterLab on a port of this PC
    ///
    /// Only this PC can reach the port, and the address holds the token that JupyterLab asks for: treat it as a password.
    /// Stays until Ctrl-C or the end of the lease; a frozen lease keeps its page and goes on when the card is back.
    Jupyter(Jupyter),
    /// Rent: open a lease's language model, rented with --serve, on a port of this PC
    ///
    /// Waits until the model is loaded, then prints what programs for OpenAI's API want to know: the address and the key.
    /// Stays until Ctrl-C or the end of the lease.
    Api(Api),
    /// Rent: end a lease; nothing is charged from then on
    ///
    /// Everything in the worker ends; what is in /workspace stays on the host for your next lease there.
    Stop(Stop),
    /// Rent: show every booking of a lease
    Statement(OneLease),
    /// Host: lend this PC's cards while it is idle, without a desktop
    ///
    /// Prints one line when it is ready, and runs until SIGTERM or Ctrl-C: jobs end first, then the program. The desktop
    /// app does the same with a window; run one of the two.
    Host(Host),
    /// Host: show what this PC's cards do, and why
    ///
    /// Talks to the host that runs on this PC: `nightjar host` or the desktop app.
    Status(Status),
    /// Host: show where the time went, and how fast the card was given back
    ///
    /// The parts add up to the span. Works without a running host too, from its journal.
    Why(Why),
    /// Host: look at all that lending needs on this PC, and say how to mend what is missing
    ///
    /// Driver, Docker Engine and its versions, what stands between a tenant and this PC, containers that are not as ours
    /// are, images, disk, market and helper. Each line begins with how it stands: ok, BAD (nothing is lent), WARN (it is
    /// lent, but should be mended), -- (works without it), ?? (not known yet); a command below it mends it.
    Doctor(Doctor),
    /// Host: show what this PC's cards say of themselves
    ///
    /// Asks the host that runs on this PC, or else the driver itself. A card that sleeps is left asleep, and what a card
    /// does not support is shown as a dash.
    Gpu(Gpu),
    /// Host: lend nothing for a while
    ///
    /// A job that runs is ended. The pause ends by itself; earning stays turned on.
    Pause(Pause),
    /// Host: end a pause, an `earn` or a `finish`
    Resume(HostPlace),
    /// Host: earn now, although you are here, the clock says otherwise or earning is turned off
    ///
    /// It ends by itself; a game, heat and whatever else needs the card still come first.
    Earn(Earn),
    /// Host: finish the job that runs, and take no other for a while
    Finish(Finish),
    /// Host: show or choose how careful the host is
    ///
    /// careful lends late and gives back at the least sign; balanced is the standard; eager lends soon and shares the
    /// PC with a job while you only use the desktop. What a preset writes can be changed in the settings.
    Preset(PresetChoice),
    /// Host: show what every sensor sees, and which cannot be had on this PC
    Sensors(Sensors),
    /// Host: show or choose the power limit while a card is rented
    ///
    /// Applies to tenants alone: it is set when a job begins, and what was there comes back when you do, when the job ends
    /// and when Nightjar does. A limit that another tool sets meanwhile is left alone. Needs Nightjar's helper.
    Power(Power),
    /// Host: end a job that runs on this PC now
    ///
    /// The card is free at once; the renter pays nothing more. To end a lease that you rent, use `nightjar stop`.
    StopJob(StopJob),
    /// Host: show or choose what a renter may be and reach on this PC
    ///
    /// Whoever is root inside installs packages and runs services in the container; on this PC it is nobody, as before.
    /// Since root could pass for the proxy, it needs the network to be off or open.
    Tenants(Tenants),
    /// Host: the hours in which to earn, and what electricity costs then
    ///
    /// Talks to the host that runs on this PC; where none runs, its settings file is changed.
    Schedule {
        #[command(subcommand)]
        command: ScheduleCommand,
    },
    /// Host: what jobs may use of your line, by day and by night, and in a month
    ///
    /// Talks to the host that runs on this PC; where none runs, its settings file is changed.
    Network {
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// Host: the images that jobs run in: fetch and remove them, how much disk they may take, and what for
    Images {
        #[command(subcommand)]
        command: ImagesCommand,
    },
    /// Host: end the host that runs on this PC, and its jobs
    Quit(HostPlace),
    /// Print what your shell needs to complete commands, e.g. `nightjar completions bash`
    Completions { shell: clap_complete::Shell },
    /// Write a manual page for each command into a folder, for packages
    #[command(hide = true)]
    Manual { folder: PathBuf },
}

/// As it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar sensors
  nightjar sensors --no-desktop on          a server: lend although nobody can be seen

Without it, a PC on which presence cannot be seen lends nothing.")]
pub struct Sensors {
    /// Say that nobody sits at this PC, so that it is lent without seeing whether somebody is there
    #[arg(long, value_name = "ON|OFF", value_enum, hide_possible_values = true)]
    pub no_desktop: Option<OnOff>,
    #[command(flatten)]
    pub place: HostPlace,
}

// Where the host keeps its things.
#[derive(Clone, Debug, Default, Args)]
pub struct HostPlace {
    /// Data folder of the host, when it was started with --data-dir
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar host --pair 'nightjar://pair?market=…&code=…'        once, by the link you were given
  nightjar host --coordinator https://market.example --pair -   or by a code, which it asks for
  nightjar host                                                 from then on
  NIGHTJAR_DOCKER=unix:///run/user/1000/docker.sock nightjar host")]
pub struct Host {
    /// The market's address; needed with a pairing code, while a link names it
    #[arg(long, value_name = "URL")]
    pub coordinator: Option<String>,
    /// Join the market with this pairing code or link from its operator; - reads either from standard input
    ///
    /// A link has the form nightjar://pair?market=ADDRESS&code=CODE. Quote it: to a shell the & is the end of a command.
    #[arg(long, value_name = "CODE|LINK")]
    pub pair: Option<String>,
    /// Folder for the host's data, settings and socket [default: the platform's usual places]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Settings file [default: settings.toml in your configuration folder]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Docker Engine, e.g. unix:///var/run/docker.sock [default: the platform's]
    #[arg(long, value_name = "ADDRESS")]
    pub docker: Option<String>,
    /// Open the app's window to a browser on this PC; prints a link that opens it once
    ///
    /// Where a host runs already, that one's window is opened, and this command serves it until Ctrl-C.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub ui: Option<u16>,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub place: HostPlace,
    /// Stay, and show every change; with --json one object a line
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar doctor
  nightjar doctor --json
  nightjar doctor || notify-send Nightjar 'look at nightjar doctor'

Exit codes:
  0  each line is ok or --
  1  one of them is not
  4  no host runs: start the desktop app or `nightjar host`, which does the looking")]
pub struct Doctor {
    #[command(flatten)]
    pub place: HostPlace,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar why
  nightjar why --since 22:00
  nightjar why --since 2026-03-28 --until 2026-03-29 --json")]
pub struct Why {
    #[command(flatten)]
    pub place: HostPlace,
    /// Beginning: so long ago (24h, 7d), a time (22:00), a day (2026-03-28) or both (2026-03-28T22:00)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = moment::moment)]
    pub since: Moment,
    /// End, written the same way [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::moment)]
    pub until: Option<Moment>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar pause
  nightjar pause --for 2h30m
  nightjar pause --until tomorrow        six in the morning
  nightjar pause --until-game-ends")]
pub struct Pause {
    #[command(flatten)]
    pub place: HostPlace,
    /// How long
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = quantity::duration_ms)]
    pub duration: u64,
    /// Until this time of day, or `tomorrow`
    #[arg(long, value_name = "HH:MM", conflicts_with = "duration", value_parser = quantity::Until::parse)]
    pub until: Option<quantity::Until>,
    /// Until the game that runs now has ended
    #[arg(long, conflicts_with_all = ["duration", "until"])]
    pub until_game_ends: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nightjar earn --until-back             from when you leave until you are back
  nightjar earn --for 3h")]
pub struct Earn {
    #[command(flatten)]
    pub place: HostPlace,
    /// How long at most
    #[arg(long = "for", value_name = "DURATION", default_value = "8h", value_parser = quantity::duration_ms)]
    pub duration: u64,
    /// End it when you come back after having left
    #[arg(long)]
    pub until_back: bool,
}

#[derive(Debug, Args)]
pub struct Finish {
    #[command(flatten)]
    pub place: HostPlace,
    /// How long no other job is taken
    #[arg(long = "for", value_name = "DURATION", default_value = "8h", value_parser = quantity::duration_ms)]
    pub duration: u64,
}

#[derive(Debug, Args)]
pub struct PresetChoice {
    #[command(flatten)]
    pub place: HostPlace,
    /// Show the present one when left out
    pub name: Option<PresetName>,
}

/// As it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum PresetName {
    Careful,
    Balanced,
    Eager,
}

#[derive(Debug, Args)]
pub struct StopJob {
    #[command(flatten)]
    pub place: HostPlace,
    /// Name of the job's lease, or its beginning [default: the only job]
    #[arg(value_parser = lease_name)]
    pub lease: Option<String>,
}

/// It becomes part of file names and of ssh's configuration.
pub fn lease_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 64
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(String::from("letters, digits and hyphens are wanted, at most 64"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    /// Every help text, as people read it on a terminal of 100 columns.
    #[test]
    fn help_texts() {
        let mut root = Arguments::command().term_width(100);
        root.build();
        insta::assert_snapshot!("help", root.render_long_help().to_string());
        for command in root.get_subcommands_mut() {
            if command.get_name() == "help" {
                continue;
            }
            let name = format!("help-{}", command.get_name());
            let mut command = command.clone().term_width(100);
            insta::assert_snapshot!(name, command.render_long_help().to_string());
        }
    }

    #[test]
    fn a_token_is_never_an_argument() {
        assert!(
            Arguments::try_parse_from(["nightjar", "login", "http://localhost", "--token", "nj_x"]).is_err()
        );
        assert!(Arguments::try_parse_from(["nightjar", "login", "http://localhost", "--token", "-"]).is_ok());
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let parsed = Arguments::try_parse_from(["nightjar", "ssh", "--", "ls", "--json"]).unwrap();
        let Command::Ssh(ssh) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!(ssh.lease.lease, None);
        assert_eq!(ssh.command, ["ls", "--json"]);
        assert!(!parsed.json);
        let wrong = ["-x", "a b", "../a", "", "a\"b"];
        for name in wrong {
            assert!(lease_name(name).is_err(), "{name}");
        }
    }
}
