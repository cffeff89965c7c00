//! The kernel's own word on whether a container is frozen: its cgroup, version 1 or 2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How often the kernel is asked: fine against times of some ten milliseconds.
const STEP: Duration = Duration::from_micros(200);

/// Looks at one container's freezer.
pub struct Freezer {
    file: PathBuf,
    frozen: &'static str,
}

impl Freezer {
    /// The freezer of the container whose first process has this id.
    ///
    /// # Errors
    /// When the kernel has none for it.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup"))
            .with_context(|| format!("process {process} is gone"))?;
        let places = groups.lines().filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "freezer", group] => Some((format!("/sys/fs/cgroup/freezer{group}/freezer.state"), "FROZEN")),
            ["0", "", group] => Some((format!("/sys/fs/cgroup{group}/cgroup.events"), "frozen 1")),
            _ => None,
        });
        let found = places.into_iter().find(|(path, _)| Path::new(path).exists());
        let (path, frozen) = found.with_context(|| format!("process {process} has no freezer: {groups}"))?;
        Ok(Self { file: path.into(), frozen })
    }

    /// # Errors
    /// When the container is gone.
    pub fn is_frozen(&self) -> anyhow::Result<bool> {
        Ok(std::fs::read_to_string(&self.file)?.contains(self.frozen))
    }

    /// Waits for the state and gives the moment at which it was seen.
    ///
    /// # Errors
    /// When it does not come in time or the container is gone.
    pub fn until(&self, frozen: bool, within: Duration) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + within;
        while self.is_frozen()? != frozen {
            if Instant::now() > deadline {
                bail!(
                    "the container did not become {} within {within:?}",
                    if frozen { "frozen" } else { "thawed" }
                );
            }
            std::thread::sleep(STEP);
        }
        Ok(Instant::now())
    }
}
