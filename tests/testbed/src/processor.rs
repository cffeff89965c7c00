//! The kernel's own word on how much a container works: the processor time of its cgroup, version 1 or 2.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Looks at one container's processor time.
pub struct Processor(PathBuf);

impl Processor {
    /// That of the container whose first process has this id.
    ///
    /// # Errors
    /// When the kernel keeps none for it.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup"))
            .with_context(|| format!("process {process} is gone"))?;
        let places = groups.lines().filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, kind, group] if kind.split(',').any(|kind| kind == "cpuacct") => {
                Some(format!("/sys/fs/cgroup/cpuacct{group}/cpuacct.usage"))
            }
            ["0", "", group] => Some(format!("/sys/fs/cgroup{group}/cpu.stat")),
            _ => None,
        });
        let found = places.map(PathBuf::from).find(|path| Path::new(path).exists());
        Ok(Self(found.with_context(|| format!("process {process} has no processor time: {groups}"))?))
    }

    /// # Errors
    /// When the container is gone.
    pub fn used(&self) -> anyhow::Result<Duration> {
        let text = std::fs::read_to_string(&self.0)?;
        let said = match text.lines().find_map(|line| line.strip_prefix("usage_usec ")) {
            Some(micros) => Duration::from_micros(micros.trim().parse()?),
            None => Duration::from_nanos(text.trim().parse()?),
        };
        Ok(said)
    }

    /// How much of one core it uses, over so long.
    ///
    /// # Errors
    /// When the container is gone.
    pub fn share(&self, over: Duration) -> anyhow::Result<f64> {
        let (before, began) = (self.used()?, Instant::now());
        std::thread::sleep(over);
        let used = self.used()?.saturating_sub(before);
        Ok(used.as_secs_f64() / began.elapsed().as_secs_f64())
    }
}
