//! Whether a container stands frozen from outside, by the kernel's own word, which anybody may read.

use std::path::{Path, PathBuf};

/// What the kernel has a container as. A sandbox that the Engine has paused runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Frozen,
    Runs,
    Over,
}

/// Where the kernel tells it.
#[derive(Clone)]
pub(super) struct Kernel {
    proc: PathBuf,
    cgroups: PathBuf,
}

impl Kernel {
    pub fn here() -> Self {
        Self::at(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    pub fn at(proc: &Path, cgroups: &Path) -> Self {
        Self { proc: proc.to_owned(), cgroups: cgroups.to_owned() }
    }

    /// `process`: the container's first, by the Engine. `None` where that is no process of this system's.
    pub fn has_frozen(&self, process: i64, container: &str) -> Option<bool> {
        let groups = std::fs::read_to_string(self.proc.join(process.to_string()).join("cgroup")).ok()?;
        let groups = groups.lines().filter(|line| line.contains(container));
        let places = groups.filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "freezer", group] => Some((format!("freezer{group}/freezer.state"), "THAWED")),
            ["0", "", group] => Some((format!("{}/cgroup.freeze", group.trim_start_matches('/')), "0")),
            _ => None,
        });
        let mut said = places
            .filter_map(|(file, runs)| Some((std::fs::read_to_string(self.cgroups.join(file)).ok()?, runs)));
        said.next().map(|(said, runs)| said.trim() != runs)
    }

    /// The same of one whose first process is known to be one of this system's.
    pub fn look(&self, process: i64, container: &str) -> Look {
        match self.has_frozen(process, container) {
            Some(true) => Look::Frozen,
            Some(false) => Look::Runs,
            None => Look::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_read_and_no_other_containers() {
        let root = tempfile::tempdir().unwrap();
        let (proc, cgroups) = (root.path().join("proc"), root.path().join("cgroup"));
        let write = |file: &Path, text: &str| {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        let kernel = Kernel::at(&proc, &cgroups);
        assert_eq!(kernel.has_frozen(41, "c0ffee"), None);
        for (line, file, [frozen, runs]) in [
            (
                "9:name=systemd:/c0ffee\n6:freezer:/docker/c0ffee\n0::/\n",
                "freezer/docker/c0ffee/freezer.state",
                ["FROZEN\n", "THAWED\n"],
            ),
            (
                "0::/system.slice/docker-c0ffee.scope\n",
                "system.slice/docker-c0ffee.scope/cgroup.freeze",
                ["1\n", "0\n"],
            ),
        ] {
            write(&proc.join("41/cgroup"), line);
            assert_eq!(kernel.has_frozen(41, "c0ffee"), None, "the kernel keeps nothing there");
            for (said, is_frozen) in [(frozen, true), ("FREEZING\n", true), (runs, false)] {
                write(&cgroups.join(file), said);
                assert_eq!(kernel.has_frozen(41, "c0ffee"), Some(is_frozen), "{line}: {said}");
            }
            assert_eq!(kernel.has_frozen(41, "decaf"), None, "another's");
        }
    }
}
