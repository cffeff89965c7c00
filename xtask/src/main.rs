//! `cargo xtask COMMAND`: everything that is done with this checkout, on a machine with only `cargo`.

mod bench;
mod catalogue;
mod demo;
mod dist;
mod licences;
mod packages;
mod sandbox;
mod shell;
mod steps;
mod windows;

use std::process::ExitCode;

const HELP: &str = "\
Nightjar's own commands. Each sets up what it needs (Debian's or Ubuntu's packages by sudo or as root, npm packages,
a private Docker Engine that touches none of your Docker data).

Usage: cargo xtask COMMAND

  demo [--full] [--desktop]    a rented night, end to end: market, host and renter on this machine, with real times.
                               --full rents an image with PyTorch (7 GB); --desktop opens the app itself
  test                         everything that must hold: format, lints, unit, UI and end-to-end tests, Windows check
  run                          the app for daily work, with a market of its own on this machine
  windows [--all]              type-checks for Windows; --all with the desktop app too
  bench NAME [--json] [--quick]
                               measures: first (a rented night's times); giveback (input to frozen, game to free memory,
                               beside BOINC); gpu (reading the card, limits); idle (what the app costs while nothing happens,
                               beside BOINC); pull (an image, beside docker pull); ui (a click in the tray to a drawn window,
                               the script's size, lost frames); worker (start to SSH, the gateway, the line). --quick takes
                               fewer samples
  dist                         the Debian package of app, command line and helper, checked by lintian
  catalogue                    signs images/catalog.toml, with the key in the file that NIGHTJAR_CATALOGUE_SECRET names, or
                               one of your own that is made for it
  bindings                     writes the TypeScript types of ui/src/bindings
  licences                     writes the list of what is built in, with licences, from the lock files
  ui                           builds the window's page
  setup                        installs what the other commands need, and nothing else

Exit codes: 0 done, 1 something failed or was wrongly asked for (the last lines say what), 2 no such command.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["demo", flags @ ..] => demo::demo(flags),
        ["test"] => steps::test(),
        ["run"] => demo::run(),
        ["windows"] => windows::check(false),
        ["windows", "--all"] => windows::check(true),
        ["bench", name, flags @ ..] => bench::bench(name, flags),
        ["dist", flags @ ..] => dist::dist(flags),
        ["catalogue"] => catalogue::sign(),
        ["bindings"] => steps::bindings(),
        ["licences"] => licences::write(),
        ["ui"] => steps::ui(),
        ["setup"] => packages::everything(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("xtask: \"{}\" is no command of it\n\n{HELP}", other.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
