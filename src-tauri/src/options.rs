//! The few words that the app takes on its command line.

use std::ffi::OsString;

use nightjar_protocol::invitation::{LONGEST_LINK_BYTES, SCHEME};

const HELP: &str = "\
Nightjar lends this PC's graphics card while you are away, and gives it back when you return.

Usage: nightjar-desktop [--hidden] [LINK]

  --hidden       start with the tray icon alone, as at login
  LINK           nightjar://pair?market=ADDRESS&code=CODE: asks in the window whether to join that market
  -h, --help     print this
  -V, --version  print the version

Environment: NIGHTJAR_LOG (e.g. debug), and what `nightjar --help` lists.
Exit codes: 0 ended by the owner, 1 could not start.";

/// Said by the app to itself where it begins anew, and in no help: [`Options::begun_anew`].
pub const ANEW: &str = "--begun-anew";

/// How to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// No window until it is asked for.
    pub hidden: bool,
    /// It goes on for a run that its owner had no window of. None is opened, and none stands in for an icon that no panel
    /// shows: its owner closed the one that did.
    pub begun_anew: bool,
    /// One of ours by its beginning. Whether it is sound is said in the window: a browser shows nobody what is printed.
    pub link: Option<String>,
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
                Some(ANEW) => (options.hidden, options.begun_anew) = (true, true),
                Some("-h" | "--help") => return Asked::Print(HELP.to_owned()),
                Some("-V" | "--version") => {
                    return Asked::Print(format!("nightjar-desktop {}", env!("CARGO_PKG_VERSION")));
                }
                Some(link) if link.starts_with(SCHEME) => {
                    // As much as shows that it is too long, where it is.
                    options.link = Some(link.chars().take(LONGEST_LINK_BYTES + 1).collect());
                }
                _ => eprintln!("nightjar-desktop: {} is not known and ignored", argument.display()),
            }
        }
        Asked::Run(options)
    }

    /// Whether the window stands in for an icon that no panel shows.
    pub fn stands_in(&self) -> bool {
        self.hidden && !self.begun_anew
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
        let run = |hidden: bool, link: Option<&str>| {
            Asked::Run(Options { hidden, begun_anew: false, link: link.map(str::to_owned) })
        };
        assert_eq!(read(&[]), run(false, None));
        assert_eq!(read(&["--hidden"]), run(true, None));
        assert_eq!(read(&["--gapplication-service", "--hidden"]), run(true, None));
        let link = "nightjar://pair?market=https://market.example&code=ABCD-2345";
        assert_eq!(read(&[link]), run(false, Some(link)));
        let wrong = "nightjar://pair?market=http://market.example&code=A";
        assert_eq!(read(&[wrong]), run(false, Some(wrong)));
        let long = read(&[&format!("nightjar:{}", "x".repeat(100_000))]);
        assert!(
            matches!(long, Asked::Run(Options { link: Some(link), .. }) if link.len() == LONGEST_LINK_BYTES + 1)
        );
        let anew = Options { hidden: true, begun_anew: true, link: None };
        assert_eq!(read(&[ANEW]), Asked::Run(anew.clone()));
        assert!(!anew.stands_in() && !Options::default().stands_in());
        assert!(Options { hidden: true, ..Options::default() }.stands_in());
        assert!(matches!(read(&["--help"]), Asked::Print(text) if text.contains("--hidden")));
        assert!(matches!(read(&["-V"]), Asked::Print(text) if text.contains(env!("CARGO_PKG_VERSION"))));
    }
}
