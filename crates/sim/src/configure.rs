//! What gVisor's `runsc` runs in the hook's place: `nvidia-container-cli`, with the container's root and the process whose mount
//! namespace that root is seen from.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::hook::hand_over;
use crate::layout::HookConfig;

/// Comes first; there is no kernel module to load here.
const LOAD_MODULES: &str = "--load-kmods";
/// What NVIDIA's program is told beside the card. Both libraries are handed over whatever is asked for.
const WITHOUT_EFFECT: [&str; 8] =
    ["--no-cgroups", "--utility", "--compute", "--compat32", "--display", "--graphics", "--video", "--ngx"];

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// What this is.
    Info,
    /// Cards for a container that is about to start.
    Configure(Container),
}

/// The container, as it is seen from one process of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Container {
    /// It lives in the mount namespace that the container is made from.
    pid: i32,
    /// As in `NVIDIA_VISIBLE_DEVICES`.
    devices: String,
    root: PathBuf,
}

impl Call {
    /// Reads a command line, without the program's name.
    ///
    /// Fails at what NVIDIA's program may know and this one does not, so that nothing is left out in silence.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> anyhow::Result<Self> {
        let mut words = words.iter().map(AsRef::as_ref).skip_while(|word| *word == LOAD_MODULES);
        match words.next() {
            Some("info") => match words.next() {
                None => Ok(Self::Info),
                Some(word) => bail!("info takes no {word}"),
            },
            Some("configure") => Container::parse(words).map(Self::Configure),
            Some(word) => bail!("the stand-in knows no {word}, only info and configure"),
            None => bail!("no command was given: info or configure"),
        }
    }
}

impl Container {
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let (mut pid, mut devices, mut root) = (None, None, None);
        for word in words {
            match word.split_once('=') {
                Some(("--pid", value)) => {
                    pid = Some(value.parse().with_context(|| format!("{value} is no process id"))?);
                }
                // How `runsc` passes on that no card is wanted, but the driver.
                Some(("--device", "")) => devices = Some("none".to_owned()),
                Some(("--device", value)) => devices = Some(value.to_owned()),
                Some(("--ldconfig", _)) => {}
                _ if WITHOUT_EFFECT.contains(&word) => {}
                _ if word.starts_with('-') => bail!("the stand-in knows no option {word}"),
                _ if root.is_some() => {
                    bail!("two folders are named as the container's root; the second is {word}")
                }
                _ => root = Some(PathBuf::from(word)),
            }
        }
        Ok(Self {
            pid: pid.context("the process of the container is missing: --pid=NUMBER")?,
            devices: devices.context("the cards are missing: --device=LIST")?,
            root: root.context("the container's root folder is missing, which comes last")?,
        })
    }

    /// Hands the cards over.
    ///
    /// Fails as the hook does.
    pub fn configure(&self, config: &HookConfig) -> anyhow::Result<()> {
        hand_over(config, self.pid, &self.root, &self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<Call> {
        Call::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn what_runsc_asks_for_is_understood() {
        assert_eq!(parsed("--load-kmods info").unwrap(), Call::Info);
        let line = "--load-kmods configure --ldconfig=@/sbin/ldconfig --no-cgroups --utility --compute --pid=4711 \
                    --device=GPU-a,GPU-b /run/root";
        let container =
            Container { pid: 4_711, devices: "GPU-a,GPU-b".to_owned(), root: PathBuf::from("/run/root") };
        assert_eq!(parsed(line).unwrap(), Call::Configure(container));
    }

    #[test]
    fn what_is_not_known_or_missing_is_named() {
        for (line, named) in [
            ("", "no command"),
            ("list", "list"),
            ("info --csv", "--csv"),
            ("configure --pid=1 --device=0 --mig-config=all /root", "--mig-config=all"),
            ("configure --pid=one --device=0 /root", "one"),
            ("configure --device=0 /root", "--pid"),
            ("configure --pid=1 /root", "--device"),
            ("configure --pid=1 --device=0", "root folder"),
            ("configure --pid=1 --device=0 /one /two", "/two"),
        ] {
            let error = format!("{:#}", parsed(line).unwrap_err());
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
