//! gVisor for an Engine of our own: which `runsc` is there, and how its owner would register it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::engine::Engine;
use crate::place;
use crate::process::output;

/// The Engine's name for it.
pub const SANDBOX: &str = "sandbox";
/// What Docker calls the other one.
pub const RUNC: &str = "runc";
const PROGRAM: &str = "runsc";

/// A gVisor that says which drivers it knows, as those do that are new enough to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runsc {
    path: PathBuf,
    /// The newest driver that it knows, so that the stand-in's card can have it.
    driver: String,
}

impl Runsc {
    /// The one that `cargo xtask setup` has put into the cache, else the system's; or what is missing, for a test that is
    /// skipped by name.
    ///
    /// # Errors
    /// When neither lists its drivers.
    pub fn find() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err(String::from("gVisor's sandboxes are started as root alone"));
        }
        let cached = place::cache().join("tools/runsc/usr/bin").join(PROGRAM);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let systems = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM));
        let found = std::iter::once(cached).chain(systems).find_map(|path| {
            let driver = newest_driver(&path)?;
            Some(Self { path, driver })
        });
        found.ok_or_else(|| {
            String::from(
                "no runsc here lists the drivers it knows; `cargo xtask setup` fetches one on Debian",
            )
        })
    }

    /// What the card's driver has to be.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// As its owner would register it, and with the stand-in's driver and socket, which a real card does not need.
    #[must_use]
    pub fn registered(&self) -> Map<String, Value> {
        let driver = format!("--nvproxy-driver-version={}", self.driver);
        let arguments = ["--network=host", "--nvproxy", "--directfs=false", &driver, "--host-uds=open"];
        let runtime = json!({ "path": self.path, "runtimeArgs": arguments });
        Map::from_iter([(SANDBOX.to_owned(), runtime)])
    }
}

/// Why an Engine here cannot start anything in it, if it cannot.
#[must_use]
pub fn lacks(engine: &Engine, image: &str) -> Option<String> {
    let words = ["run", "--rm", "--runtime", SANDBOX, "--network", "none", "--entrypoint", "dmesg", image];
    match engine.ask(words) {
        Ok(said) if said.contains("gVisor") => None,
        Ok(said) => Some(format!("what runs there is not gVisor: {said}")),
        Err(error) => Some(format!("it does not run here: {error:#}")),
    }
}

fn newest_driver(runsc: &Path) -> Option<String> {
    let listed = output(Command::new(runsc).args(["nvproxy", "list-supported-drivers"])).ok()?;
    newest(&listed)
}

fn newest(listed: &str) -> Option<String> {
    let numbers =
        |version: &str| version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>();
    let known = listed.lines().filter_map(|line| Some((numbers(line.trim())?, line.trim())));
    known.max().map(|(_, version)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_driver_is_told_by_its_numbers() {
        assert_eq!(newest("550.54.15\n550.90.07\n535.183.01\n").as_deref(), Some("550.90.07"));
        assert_eq!(newest("Usage: runsc <flags>\n\n"), None);
    }
}
