//! Versions below which a component is not safe to put between a tenant and the PC.
//!
//! Distributions close holes under old numbers, which a version alone does not show: so a finding can be accepted by its
//! name ([`UnsafeVersion::key`]) and is told, not decided here.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use nightjar_core::policy::UnsafeVersion;
use serde::Deserialize;

/// More text than any version string or floors file has a reason to hold.
const LONGEST_VERSION: usize = 64;
const LONGEST_FILE: usize = 64 * 1024;

/// A component that has a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    Runc,
    DockerDesktop,
    Wsl,
    NvidiaContainerToolkit,
    DockerEngine,
}

impl Component {
    /// As owners read it, and as it stands in `accepted_versions`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::DockerDesktop => "Docker Desktop",
            Self::Wsl => "WSL",
            Self::NvidiaContainerToolkit => "NVIDIA Container Toolkit",
            Self::DockerEngine => "Docker Engine",
        }
    }
}

/// Where a floor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The Engine runs in WSL 2.
    Wsl2,
    Other,
}

/// What was found on this PC: the component and its version as it names it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub component: Component,
    pub version: String,
}

/// A version as far as it can be compared: numbers, and whether it is a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u32; 3],
    /// E.g. `rc.1`. Older than the release of the same numbers.
    pre_release: Option<String>,
}

/// Not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no version number in it")]
pub struct NoVersion;

impl FromStr for Version {
    type Err = NoVersion;

    /// Takes `1.1.5`, `v1.3.6-rc.1`, `1.1.12-0ubuntu2~22.04.1`, `5:28.2.2-1~debian`, `1.2` and the like. What a
    /// distribution appends is left out: it is not part of the order.
    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let text = text.trim();
        if text.len() > LONGEST_VERSION {
            return Err(NoVersion);
        }
        let after_epoch = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => text,
        };
        let text = after_epoch.strip_prefix(['v', 'V']).unwrap_or(after_epoch);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut numbers = [0; 3];
        let mut count = 0;
        for part in core.trim_end_matches('.').split('.') {
            let number = part.parse().map_err(|_| NoVersion)?;
            if let Some(place) = numbers.get_mut(count) {
                *place = number;
            }
            count += 1;
        }
        if count < 2 {
            return Err(NoVersion);
        }
        Ok(Self { numbers, pre_release: pre_release(rest) })
    }
}

/// `-rc.1`, `~rc1`, `-beta2` make a pre-release; `-0ubuntu2`, `+ds1`, `-ce` do not.
fn pre_release(rest: &str) -> Option<String> {
    let text = rest.strip_prefix(['-', '~', '.']).unwrap_or(rest);
    let text: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    ["alpha", "beta", "rc", "dev", "pre"].iter().any(|word| text.starts_with(word)).then_some(text)
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.pre_release, &other.pre_release) {
            (None, None) => Ordering::Equal,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(two)) => one.cmp(two),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        match &self.pre_release {
            Some(text) => write!(f, "-{text}"),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    component: Component,
    on: Option<Backend>,
    floors: Vec<String>,
    advisory: String,
    /// Closed by the same floor.
    #[serde(default)]
    also: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    floor: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Floor {
    component: Component,
    on: Option<Backend>,
    /// Ascending.
    branches: Vec<Version>,
    advisory: String,
}

impl Floor {
    /// The floor that `version` should have reached, where it has not.
    fn missed_by(&self, version: &Version) -> Option<&Version> {
        let same_branch = self.branches.iter().find(|branch| branch.numbers[..2] == version.numbers[..2]);
        let needed = same_branch.or_else(|| self.branches.iter().find(|branch| version < branch))?;
        (version < needed).then_some(needed)
    }
}

/// All floors.
#[derive(Clone, Debug)]
pub struct Floors {
    floors: Vec<Floor>,
}

impl Floors {
    /// The floors that this program ships with.
    ///
    /// # Errors
    /// When the shipped file does not pass its checks, which a test rules out.
    pub fn shipped() -> anyhow::Result<Self> {
        Self::parse(include_str!("../floors.toml"))
    }

    /// # Errors
    /// What is wrong with the file, and with which entry.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(text.len() <= LONGEST_FILE, "the list of floors is longer than {LONGEST_FILE} bytes");
        let file: File = toml::from_str(text)?;
        let floors = file.floor.into_iter().map(|entry| {
            let name = entry.component.name();
            let parsed: Result<Vec<Version>, _> = entry.floors.iter().map(|text| text.parse()).collect();
            let mut branches = parsed.map_err(|error| anyhow::anyhow!("a floor of {name}: {error}"))?;
            branches.sort();
            anyhow::ensure!(!branches.is_empty(), "{name} has no floor");
            anyhow::ensure!(!entry.advisory.is_empty() && !entry.reason.is_empty(), "{name} has no reason");
            anyhow::ensure!(
                entry.also.iter().all(|cve| cve.starts_with("CVE-")),
                "{name} lists a strange advisory"
            );
            Ok(Floor { component: entry.component, on: entry.on, branches, advisory: entry.advisory })
        });
        Ok(Self { floors: floors.collect::<anyhow::Result<_>>()? })
    }

    /// What of `found` is below its floor, in the order in which it was found. A version that cannot be read counts as
    /// below: nobody can say that it is safe.
    #[must_use]
    pub fn findings(&self, found: &[Found], backend: Backend) -> Vec<UnsafeVersion> {
        found.iter().filter_map(|found| self.finding(found, backend)).collect()
    }

    fn finding(&self, found: &Found, backend: Backend) -> Option<UnsafeVersion> {
        let floor = self
            .floors
            .iter()
            .find(|floor| floor.component == found.component && floor.on.is_none_or(|on| on == backend))?;
        let (shown, needed) = match found.version.parse::<Version>() {
            Ok(version) => (version.to_string(), floor.missed_by(&version)?),
            Err(NoVersion) => (acceptable(&found.version), floor.branches.first()?),
        };
        Some(UnsafeVersion {
            component: found.component.name().to_owned(),
            found: shown,
            floor: needed.to_string(),
            advisory: floor.advisory.clone(),
        })
    }
}

/// The owner accepts a version by this text, so it holds only what the settings take.
fn acceptable(text: &str) -> String {
    let kept: String =
        text.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(24).collect();
    if kept.is_empty() { "unknown".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(component: Component, version: &str, backend: Backend) -> Option<String> {
        let found = [Found { component, version: version.to_owned() }];
        let findings = Floors::shipped().unwrap().findings(&found, backend);
        findings.first().map(|finding| format!("{} < {}", finding.found, finding.floor))
    }

    #[test]
    fn each_branch_has_its_own_floor() {
        for (version, expected) in [
            ("1.1.5", Some("1.1.5 < 1.3.6")),
            ("1.3.5", Some("1.3.5 < 1.3.6")),
            ("1.3.6", None),
            ("1.3.10", None),
            ("1.4.2", Some("1.4.2 < 1.4.3")),
            ("1.4.3", None),
            ("1.5.0", None),
            ("1.6.0", None),
            ("2.0.0-rc.1", None),
        ] {
            assert_eq!(missed(Component::Runc, version, Backend::Other).as_deref(), expected, "{version}");
        }
    }

    #[test]
    fn odd_version_strings_are_read_or_not_trusted() {
        for (version, expected) in [
            ("1.1.5+ds1-1+deb12u1", Some("1.1.5 < 1.3.6")),
            ("1.1.12-0ubuntu2~22.04.1", Some("1.1.12 < 1.3.6")),
            ("v1.3.6", None),
            ("1.3.6-0-g1234567", None),
            ("1.3.6-rc.1", Some("1.3.6-rc.1 < 1.3.6")),
            ("1.5.0~rc1", Some("1.5.0-rc1 < 1.5.0")),
            ("1.4", Some("1.4.0 < 1.4.3")),
            (" 1.4.3\n", None),
            ("1:1.4.3-2", None),
            ("", Some("unknown < 1.3.6")),
            ("unknown", Some("unknown < 1.3.6")),
            ("bad +~ string", Some("badstring < 1.3.6")),
            ("1", Some("1 < 1.3.6")),
            ("1..3", Some("1..3 < 1.3.6")),
            ("99999999999.1.1", Some("99999999999.1.1 < 1.3.6")),
        ] {
            assert_eq!(missed(Component::Runc, version, Backend::Other).as_deref(), expected, "{version:?}");
        }
    }

    #[test]
    fn docker_desktop_has_another_floor_on_wsl() {
        assert_eq!(
            missed(Component::DockerDesktop, "4.44.3", Backend::Wsl2).as_deref(),
            Some("4.44.3 < 4.98.0")
        );
        assert_eq!(missed(Component::DockerDesktop, "4.44.3", Backend::Other), None);
        assert_eq!(missed(Component::Wsl, "2.6.1.0", Backend::Wsl2).as_deref(), Some("2.6.1 < 3.0.3"));
        assert_eq!(missed(Component::NvidiaContainerToolkit, "1.17.8", Backend::Other), None);
        assert_eq!(
            missed(Component::NvidiaContainerToolkit, "1.17.7-1", Backend::Other).as_deref(),
            Some("1.17.7 < 1.17.8")
        );
        assert_eq!(missed(Component::DockerEngine, "20.10.24+dfsg1", Backend::Other), None);
    }

    #[test]
    fn whatever_is_found_can_be_named_in_the_settings() {
        for version in ["1.1.5+ds1-1+deb12u1", "", "日本", "x".repeat(200).as_str(), "1.5.0-rc.1+dirty"] {
            let found = [Found { component: Component::Runc, version: version.to_owned() }];
            let floors = Floors::shipped().unwrap();
            let accepted_versions =
                floors.findings(&found, Backend::Other).iter().map(UnsafeVersion::key).collect();
            let settings = nightjar_core::settings::Settings { accepted_versions, ..Default::default() };
            assert_eq!(settings.accepted_versions.len(), 1);
            settings.check().unwrap();
        }
    }

    #[test]
    fn a_broken_list_is_refused_with_its_entry() {
        let text = "[[floor]]\ncomponent = \"runc\"\nfloors = [\"x\"]\nadvisory = \"a\"\nreason = \"r\"";
        let error = Floors::parse(text).unwrap_err().to_string();
        assert!(error.contains("runc"), "{error}");
        assert!(Floors::parse(&" ".repeat(LONGEST_FILE + 1)).is_err());
    }
}
