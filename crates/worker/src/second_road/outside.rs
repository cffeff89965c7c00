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

    /// `process`: the container's first, by the Engine. `None` where that is no process of this system's. One that the kernel
    /// is still at counts.
    pub fn has_frozen(&self, process: i64, container: &str) -> Option<bool> {
        self.groups(process, container)?.iter().find_map(|group| group.is_ordered())
    }

    /// Nothing of it runs any more.
    pub fn stands_still(&self, process: i64, container: &str) -> bool {
        let groups = self.groups(process, container).unwrap_or_default();
        groups.iter().find_map(Group::is_done) == Some(true)
    }

    fn groups(&self, process: i64, container: &str) -> Option<Vec<Group>> {
        let groups = std::fs::read_to_string(self.proc.join(process.to_string()).join("cgroup")).ok()?;
        let groups = groups.lines().filter(|line| line.contains(container));
        let groups = groups.filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
            [_, "freezer", group] => Some(Group::V1(self.cgroups.join(format!("freezer{group}")))),
            ["0", "", group] => Some(Group::V2(self.cgroups.join(group.trim_start_matches('/')))),
            _ => None,
        });
        Some(groups.collect())
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

/// The folder of a control group, by the version that it is of.
enum Group {
    V1(PathBuf),
    V2(PathBuf),
}

impl Group {
    fn is_ordered(&self) -> Option<bool> {
        Some(match self {
            Self::V1(folder) => said(folder, "freezer.state")? != "THAWED",
            Self::V2(folder) => said(folder, "cgroup.freeze")? != "0",
        })
    }

    fn is_done(&self) -> Option<bool> {
        Some(match self {
            Self::V1(folder) => said(folder, "freezer.state")? == "FROZEN",
            Self::V2(folder) => said(folder, "cgroup.events")?.lines().any(|line| line == "frozen 1"),
        })
    }
}

fn said(folder: &Path, file: &str) -> Option<String> {
    Some(std::fs::read_to_string(folder.join(file)).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_is_still_at_does_not_stand_still() {
        let root = tempfile::tempdir().unwrap();
        let (proc, cgroups) = (root.path().join("proc"), root.path().join("cgroup"));
        let kernel = Kernel::at(&proc, &cgroups);
        std::fs::create_dir_all(proc.join("41")).unwrap();
        assert!(!kernel.stands_still(41, "c0ffee"));
        for (line, folder, file, steps) in [
            (
                "6:freezer:/docker/c0ffee\n",
                "freezer/docker/c0ffee",
                "freezer.state",
                [("THAWED\n", false), ("FREEZING\n", false), ("FROZEN\n", true)],
            ),
            (
                "0::/docker-c0ffee.scope\n",
                "docker-c0ffee.scope",
                "cgroup.events",
                [
                    ("populated 1\nfrozen 0\n", false),
                    ("populated 0\nfrozen 0\n", false),
                    ("populated 1\nfrozen 1\n", true),
                ],
            ),
        ] {
            std::fs::write(proc.join("41/cgroup"), line).unwrap();
            std::fs::create_dir_all(cgroups.join(folder)).unwrap();
            for (said, is_still) in steps {
                std::fs::write(cgroups.join(folder).join(file), said).unwrap();
                assert_eq!(kernel.stands_still(41, "c0ffee"), is_still, "{line}: {said}");
            }
            assert!(!kernel.stands_still(41, "decaf"), "another's");
        }
    }

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
