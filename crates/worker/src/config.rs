//! Where the Engine is and what a worker is made of.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Egress};
use crate::floors::Floors;

/// Longest name of a host in labels and names of volumes.
const LONGEST_HOST: usize = 64;

/// Which Docker Engine. Only one on this PC: a card elsewhere is another host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineAddress {
    /// The platform's default: `/var/run/docker.sock`, or the named pipe of Docker Desktop.
    #[default]
    Local,
    Unix(PathBuf),
    /// E.g. `//./pipe/docker_engine`.
    Pipe(String),
}

/// An address that Nightjar does not use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given} is not the address of a Docker Engine on this PC; give `unix:///path/to/docker.sock`, \
     `npipe:////./pipe/docker_engine` or `local`"
)]
pub struct UnknownAddress {
    given: String,
}

impl FromStr for EngineAddress {
    type Err = UnknownAddress;

    fn from_str(text: &str) -> Result<Self, UnknownAddress> {
        if text.is_empty() || text == "local" {
            return Ok(Self::Local);
        }
        if let Some(pipe) = text.strip_prefix("npipe://").filter(|pipe| pipe.starts_with("//")) {
            return Ok(Self::Pipe(pipe.to_owned()));
        }
        match text.strip_prefix("unix://").unwrap_or(text) {
            path if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(UnknownAddress { given: text.chars().take(80).collect() }),
        }
    }
}

impl TryFrom<String> for EngineAddress {
    type Error = UnknownAddress;

    fn try_from(text: String) -> Result<Self, UnknownAddress> {
        text.parse()
    }
}

impl From<EngineAddress> for String {
    fn from(address: EngineAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Pipe(pipe) => write!(f, "npipe://{pipe}"),
        }
    }
}

/// All that [`crate::Workers`] needs to know beforehand.
#[derive(Clone, Debug)]
pub struct WorkersConfig {
    pub engine: EngineAddress,
    /// Label on everything that is made. Two hosts on one Engine need two names, or each sweeps away the other's
    /// workers. Letters, digits, `.`, `-` and `_`.
    pub host: String,
    pub catalogue: Catalogue,
    pub egress: Egress,
    /// The worker's seccomp profile, as the Engine takes it.
    pub seccomp: String,
    /// The same, with what a tenant who is root inside needs beside.
    pub root_seccomp: String,
    pub floors: Floors,
    /// Where images are kept on their way into the Engine, with the list of those that were pulled. `None`: nothing is.
    pub images: Option<PathBuf>,
}

impl WorkersConfig {
    /// With the data that this program ships.
    ///
    /// # Errors
    /// When shipped data does not pass its checks, which a test rules out.
    pub fn shipped(engine: EngineAddress) -> anyhow::Result<Self> {
        let seccomp = include_str!("../../../images/seccomp.json");
        // Compact: it goes to the Engine as one string.
        let profile: serde_json::Value = serde_json::from_str(seccomp)?;
        let mut root_profile = profile.clone();
        if let Some(allowed) = root_profile["syscalls"].as_array_mut() {
            // OpenSSH puts its unauthenticated part into an empty folder.
            allowed.push(serde_json::json!({ "names": ["chroot"], "action": "SCMP_ACT_ALLOW" }));
        }
        Ok(Self {
            engine,
            host: "default".to_owned(),
            catalogue: Catalogue::shipped()?,
            egress: Egress::shipped()?,
            seccomp: profile.to_string(),
            root_seccomp: root_profile.to_string(),
            floors: Floors::shipped()?,
            images: None,
        })
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        anyhow::ensure!(
            !self.host.is_empty() && self.host.len() <= LONGEST_HOST && self.host.chars().all(plain),
            "the host's name for its workers is 1 to {LONGEST_HOST} letters, digits, '.', '-' or '_'"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_on_this_pc_is_taken() {
        assert_eq!("".parse(), Ok(EngineAddress::Local));
        assert_eq!("unix:///run/d.sock".parse(), Ok(EngineAddress::Unix("/run/d.sock".into())));
        assert_eq!("/run/d.sock".parse(), Ok(EngineAddress::Unix("/run/d.sock".into())));
        let pipe = EngineAddress::Pipe("//./pipe/docker_engine".into());
        assert_eq!("npipe:////./pipe/docker_engine".parse(), Ok(pipe));
        for elsewhere in ["tcp://10.0.0.1:2375", "ssh://box", "docker.sock", "unix://relative"] {
            assert!(elsewhere.parse::<EngineAddress>().is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn an_address_survives_its_text() {
        for text in ["local", "unix:///run/d.sock", "npipe:////./pipe/docker_engine"] {
            let address: EngineAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<EngineAddress>(&json).unwrap(), address);
        }
    }

    #[test]
    fn what_is_shipped_passes_its_checks() {
        let mut config = WorkersConfig::shipped(EngineAddress::Local).unwrap();
        config.check().unwrap();
        config.host = "a/b".into();
        assert!(config.check().is_err());
    }
}
