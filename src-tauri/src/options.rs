//! The few words that the app takes on its command line.

use std::ffi::OsString;

const HELP: &str = "\
Nightjar lends this PC's graphics card while you are away, and gives it back when you return.

Usage: nightjar-desktop [--hidden]

  --hidden       start with the tray icon alone, as at login
  -h, --help     print this
  -V, --version  print the version

Environment: NIGHTJAR_LOG (e.g. debug), and what `nightjar host --help` lists.
Exit codes: 0 ended by the owner, 1 could not start.";

/// How to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// No window until it is asked for.
    pub hidden: bool,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Run(Options),
    Print(String),
}

impl Options {
    /// A desktop or a test driver may add words of its own to a start, so what is not known is passed over.
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Asked {
        let mut options = Self::default();
        for argument in arguments {
            match argument.to_str() {
                Some("--hidden") => options.hidden = true,
                Some("-h" | "--help") => return Asked::Print(HELP.to_owned()),
                Some("-V" | "--version") => {
                    return Asked::Print(format!("nightjar-desktop {}", env!("CARGO_PKG_VERSION")));
                }
                _ => eprintln!("nightjar-desktop: {} is not known and ignored", argument.display()),
            }
        }
        Asked::Run(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Asked {
        Options::read(words.iter().map(OsString::from))
    }

    #[test]
    fn words_are_read() {
        assert_eq!(read(&[]), Asked::Run(Options { hidden: false }));
        assert_eq!(read(&["--hidden"]), Asked::Run(Options { hidden: true }));
        assert_eq!(read(&["--gapplication-service", "--hidden"]), Asked::Run(Options { hidden: true }));
        assert!(matches!(read(&["--help"]), Asked::Print(text) if text.contains("--hidden")));
        assert!(matches!(read(&["-V"]), Asked::Print(text) if text.contains(env!("CARGO_PKG_VERSION"))));
    }
}
