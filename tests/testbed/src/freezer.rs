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
    /// The freezer of the container with this full id.
    ///
    /// # Errors
    /// When the kernel has none for it.
    pub fn of(container_id: &str) -> anyhow::Result<Self> {
        let places = [
            (format!("/sys/fs/cgroup/freezer/docker/{container_id}/freezer.state"), "FROZEN"),
            (format!("/sys/fs/cgroup/docker/{container_id}/cgroup.events"), "frozen 1"),
            (format!("/sys/fs/cgroup/system.slice/docker-{container_id}.scope/cgroup.events"), "frozen 1"),
        ];
        let found = places.into_iter().find(|(path, _)| Path::new(path).exists());
        let (path, frozen) = found.with_context(|| format!("no freezer of container {container_id}"))?;
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
