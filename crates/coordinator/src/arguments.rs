//! The command line. Its help is the manual.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nightjar_core::money::Currency;

const AFTER: &str = "\
A market from nothing:
  nightjar-coordinator serve                              on this PC, no configuration
  nightjar-coordinator pair                               a code and a link: give either to one host
  nightjar-coordinator renter add alice --balance 20.00   a token: give it to the renter
  nightjar-coordinator host list                          who joined, what each has earned, its cards' last checks
  nightjar-coordinator ledger                             who paid what to whom

All but `serve` work on the database, whether `serve` runs at the time or not.

Environment:
  NIGHTJAR_COORDINATOR_DIR   the data folder, like --data-dir
  NIGHTJAR_LOG               what goes to the log on standard error, e.g. debug

Exit codes:
  0  done
  1  not done; the reason is on standard error (for `ledger` also: the books are not right)
  2  the command line is not understood";

/// The market for lent graphics cards: finds renters for hosts and cards for renters, and books every second once
#[derive(Debug, Parser)]
#[command(name = "nightjar-coordinator", version, after_help = AFTER)]
pub(crate) struct Arguments {
    /// Folder of the database and the relay's key; made when it is not there [default: the platform's data folder]
    #[arg(long, global = true, value_name = "DIR", env = "NIGHTJAR_COORDINATOR_DIR", hide_env = true)]
    pub(crate) data_dir: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the market until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Make a code, and a link with it, with which one host can join, once, within 15 minutes
    #[command(after_help = "\
The owner of the host enters the code in Nightjar's window, or opens the link, or gives either to
`nightjar host --pair -`. It is shown once, for only its hash is kept. Make another where it was lost.

The link names the market's address too: the one that `serve` was started with last, or --public-url.
It must begin with https://, unless the market runs on the host's own PC.")]
    Pair(Pair),
    /// Enter renters and credit them
    #[command(subcommand)]
    Renter(Renter),
    /// List hosts, and book what their owners were paid
    #[command(subcommand)]
    Host(Host),
    /// Show all accounts and bookings, and check that the books are right
    #[command(after_help = "\
Every booking moves money between accounts, so each adds up to zero, and so do all balances.
Below zero is `world`: what was paid in from outside. Exit code 1 when anything does not add up.

Examples:
  nightjar-coordinator ledger
  nightjar-coordinator ledger --lease 2f0c3b1e-8f50-4a53-9c0a-5c4c5f7f0d11 --json")]
    Ledger(Ledger),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints `listening on URL` on standard output when it is ready; the log goes to standard error.

Traffic is plain HTTP. For more than this PC put a reverse proxy with TLS in front, and say where:
  nightjar-coordinator serve --relay-listen 0.0.0.0:7441 --public-url https://market.example
The relay has its own TLS and is reached directly: let TCP and UDP 7441 through to it.

Offers and connections live as long as the process. Leases, usage and money are on the disk before
anybody is told, so it may be stopped and started at any time: hosts connect again and send what
was not booked yet.")]
pub(crate) struct Serve {
    /// Where hosts and renters connect; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7440")]
    pub(crate) listen: SocketAddr,

    /// Where the relay listens, TCP and UDP, port 0 for any free ones [default: --listen's address, the next port]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "no_relay")]
    pub(crate) relay_listen: Option<SocketAddr>,

    /// Run no relay: only hosts and renters that reach each other by themselves get together
    #[arg(long)]
    pub(crate) no_relay: bool,

    /// The address at which hosts and renters reach this market, where it is another than --listen's
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// The market's part of what renters pay, with at most two decimals
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = basis_points)]
    pub(crate) fee_percent: u32,

    /// Currency of the books, for good once they are begun [default: CNY]
    #[arg(long, value_name = "CODE", value_parser = currency)]
    pub(crate) currency: Option<Currency>,
}

#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// The market's address in the link [default: what `serve` was started with last]
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Renter {
    /// Enter a renter and print its token, which is shown once
    #[command(after_help = "\
The token is what the renter gives to `nightjar login URL --token -`. Only its hash is kept. Hosts
never see the name, but a pseudonym that stays the same.")]
    Add {
        /// For you: what to call the renter
        name: String,
        /// What is paid in, in the market's currency
        #[arg(long, value_name = "AMOUNT", default_value = "0")]
        balance: String,
    },
    /// Book a payment in
    Credit {
        name: String,
        /// Digits with at most six decimals, such as 12.50
        amount: String,
    },
    /// List renters, their pseudonyms and balances
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// List hosts, what each has at this market, and when it was last heard
    List,
    /// Book that a host's owner was paid
    #[command(after_help = "\
The money itself goes another way: a bank, say. The owner sees the payment in Nightjar's window and by
`nightjar status`. A reference is taken once a host, so that a command given twice pays once.

Example:
  nightjar-coordinator host pay 7d1f0c52-4a0e-4f57-9a57-1f2f3d1f5b11 120.00 --reference 2026-11/17

Exit code 1 when the host has less, or was paid with this reference before.")]
    Pay {
        /// As `host list` shows it
        host: String,
        /// Digits with at most six decimals, such as 12.50
        amount: String,
        /// The payment's number at the bank, or another name by which both find it again
        #[arg(long, value_name = "TEXT")]
        reference: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ledger {
    /// Bookings of this lease only
    #[arg(long, value_name = "LEASE")]
    pub(crate) lease: Option<String>,

    /// Show at most this many bookings, the latest; all are checked
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) last: u32,
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::new(text).map_err(|error| error.to_string())
}

/// `5`, `7.5` or `12.25` as hundredths of a percent.
fn basis_points(text: &str) -> Result<u32, String> {
    let wrong =
        || format!("\"{text}\" is no fee: a number from 0 to 100 with at most two decimals is wanted");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 3 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let part: u32 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
    let points = whole * 100 + part;
    if points > 10_000 { Err(wrong()) } else { Ok(points) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn fees_are_exact() {
        assert_eq!(basis_points("5"), Ok(500));
        assert_eq!(basis_points("7.5"), Ok(750));
        assert_eq!(basis_points("12.25"), Ok(1_225));
        assert_eq!(basis_points("100"), Ok(10_000));
        for wrong in ["", ".", "5.", "-1", "100.01", "1.234", "five", "9999"] {
            assert!(basis_points(wrong).is_err(), "{wrong}");
        }
    }
}
