//! A container's processes by their cgroup. The folder is found by the container's id in the places that Docker uses, so
//! that nothing else on this PC can be named.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nightjar_protocol::helper::{ContainerId, HelperErrorCode, HelperRefusal};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::Process;
use crate::sandbox;

/// The kernel freezes in a few milliseconds; a process in the middle of a long write takes longer.
const FREEZE_WITHIN: Duration = Duration::from_millis(700);
const END_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Folders above a container's own: a user's Engine has four.
const DEEPEST: u32 = 5;
/// Where `kill_process` would mean everybody.
const FIRST_PROCESS: i32 = 1;

/// The kernel's control groups, below one folder.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: PathBuf,
}

/// Where a container's group lies, and how it is frozen there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    /// Version 1: the freezer hierarchy.
    Freezer(PathBuf),
    /// Version 2.
    Unified(PathBuf),
}

impl Cgroups {
    /// `root` is `/sys/fs/cgroup` on a real system.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn find(&self, id: &ContainerId) -> Result<Group, HelperRefusal> {
        // By the `cgroupfs` and by the `systemd` driver of the Engine.
        let names = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")];
        let places = names.iter().flat_map(|name| {
            [
                Group::Freezer(self.root.join("freezer").join(name)),
                Group::Unified(self.root.join(name)),
                // Beside version 1 on a system that has both.
                Group::Unified(self.root.join("unified").join(name)),
            ]
        });
        let mut there = places.filter(|group| group.switch().is_file());
        there.next().or_else(|| self.search(id)).ok_or_else(|| {
            HelperRefusal::new(
                HelperErrorCode::NoSuchContainer,
                format!("there is no running container {id} among Docker's control groups; nothing was done"),
            )
        })
    }

    /// Below another parent, which the Engine's owner may choose (`--cgroup-parent`), or in a user's own slice.
    fn search(&self, id: &ContainerId) -> Option<Group> {
        let names = [id.as_str().to_owned(), format!("docker-{id}.scope")];
        let (freezer, unified) = (self.root.join("freezer"), self.root.join("unified"));
        let found = below(&freezer, &names, DEEPEST).map(Group::Freezer);
        let found = found.or_else(|| below(&unified, &names, DEEPEST).map(Group::Unified));
        let all = || below(&self.root, &names, DEEPEST).filter(|_| self.has_version_2_alone());
        let all = || all().map(Group::Unified);
        found.or_else(all).filter(|group| group.switch().is_file())
    }

    /// Then there are no hierarchies of version 1 beside it to walk through.
    fn has_version_2_alone(&self) -> bool {
        self.root.join("cgroup.controllers").is_file()
    }

    /// Whether a container is there at all.
    #[must_use]
    pub fn exists(&self, id: &ContainerId) -> bool {
        self.find(id).is_ok()
    }

    /// Whether its process 1 is Nightjar's own. Only a container that was made as a worker of a host has that; whose
    /// process 1 is another program's is not Nightjar's to freeze or end, whoever asks.
    #[must_use]
    pub fn is_ours(&self, id: &ContainerId, proc: &Path) -> bool {
        let members = self.find(id).ok().and_then(|group| members(group.folder()).ok()).unwrap_or_default();
        let mut processes = members.iter().filter_map(|process| Process::read(proc, process.as_raw_pid()));
        processes.any(|process| process.is_guest() || sandbox::runs_guest(&process, id, &members))
    }

    /// Containers that stand frozen, whoever froze them, and whose process 1 is Nightjar's own.
    #[must_use]
    pub fn frozen_ones(&self, proc: &Path) -> BTreeSet<ContainerId> {
        let mut found = BTreeSet::new();
        for hierarchy in ["freezer", "unified"] {
            containers(&self.root.join(hierarchy), DEEPEST, &mut found);
        }
        if self.has_version_2_alone() {
            containers(&self.root, DEEPEST, &mut found);
        }
        found.retain(|id| self.is_frozen(id) && self.is_ours(id, proc));
        found
    }

    /// Whoever froze it.
    #[must_use]
    pub fn is_frozen(&self, id: &ContainerId) -> bool {
        self.find(id).is_ok_and(|group| group.wants_frozen().unwrap_or(false))
    }

    /// Stops every process of it and returns once the kernel says so.
    ///
    /// # Errors
    /// When there is no such container, or the kernel does not do it in time.
    pub fn freeze(&self, id: &ContainerId) -> Result<Duration, HelperRefusal> {
        let (group, began) = (self.find(id)?, Instant::now());
        group.turn(true)?;
        loop {
            // Asked before the look: this thread too may have waited for its turn.
            let is_over = began.elapsed() > FREEZE_WITHIN;
            if group.is_frozen()? {
                return Ok(began.elapsed());
            }
            if is_over {
                return Err(HelperRefusal::new(
                    HelperErrorCode::NotFrozen,
                    format!(
                        "the kernel did not freeze the container {id} in {FREEZE_WITHIN:?}; end it instead"
                    ),
                ));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// # Errors
    /// When there is no such container, or the kernel refuses.
    pub fn thaw(&self, id: &ContainerId) -> Result<(), HelperRefusal> {
        self.find(id)?.turn(false)
    }

    /// Ends every process of it, frozen or not. One that is gone already counts as ended.
    ///
    /// # Errors
    /// When something of it is left in the end.
    pub fn end(&self, id: &ContainerId) -> Result<(), HelperRefusal> {
        let began = Instant::now();
        while let Ok(group) = self.find(id) {
            match group.kill() {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Docker removes the folder the moment the last process is gone.
                Err(_) if !self.exists(id) => return Ok(()),
                Err(error) => return Err(group.failed(&error)),
            }
            if began.elapsed() > END_WITHIN {
                return Err(HelperRefusal::new(
                    HelperErrorCode::Kernel,
                    format!("the container {id} still has processes {END_WITHIN:?} after they were killed"),
                ));
            }
            std::thread::sleep(LOOK_AGAIN * 5);
        }
        Ok(())
    }
}

impl Group {
    fn folder(&self) -> &Path {
        match self {
            Self::Freezer(folder) | Self::Unified(folder) => folder,
        }
    }

    fn switch(&self) -> PathBuf {
        self.folder().join(match self {
            Self::Freezer(_) => "freezer.state",
            Self::Unified(_) => "cgroup.freeze",
        })
    }

    fn failed(&self, error: &io::Error) -> HelperRefusal {
        let name = self.folder().display();
        HelperRefusal::new(HelperErrorCode::Kernel, format!("the kernel refused at {name}: {error}"))
    }

    fn turn(&self, frozen: bool) -> Result<(), HelperRefusal> {
        let word = match (self, frozen) {
            (Self::Freezer(_), true) => "FROZEN",
            (Self::Freezer(_), false) => "THAWED",
            (Self::Unified(_), true) => "1",
            (Self::Unified(_), false) => "0",
        };
        fs::write(self.switch(), word).map_err(|error| self.failed(&error))
    }

    /// Asked to freeze, whether or not every process has stopped yet.
    fn wants_frozen(&self) -> io::Result<bool> {
        let said = fs::read_to_string(self.switch())?;
        Ok(match self {
            Self::Freezer(_) => said.trim() != "THAWED",
            Self::Unified(_) => said.trim() == "1",
        })
    }

    fn is_frozen(&self) -> Result<bool, HelperRefusal> {
        let said = match self {
            // Reading it makes the kernel look again at processes that were in the way.
            Self::Freezer(_) => fs::read_to_string(self.switch()).map(|said| said.trim() == "FROZEN"),
            Self::Unified(folder) => fs::read_to_string(folder.join("cgroup.events"))
                .map(|said| said.lines().any(|line| line == "frozen 1")),
        };
        said.map_err(|error| self.failed(&error))
    }

    /// Kills what is in it now and says how many processes that were.
    fn kill(&self) -> io::Result<usize> {
        let found = members(self.folder())?.len();
        if found == 0 {
            return Ok(0);
        }
        if matches!(self, Self::Unified(_)) && fs::write(self.folder().join("cgroup.kill"), "1").is_ok() {
            return Ok(found);
        }
        // Frozen first: no process forks, and no id passes to another program between the look and the signal.
        let frozen = self.turn(true);
        if frozen.is_ok() {
            std::thread::sleep(LOOK_AGAIN * 5);
        }
        for process in members(self.folder())? {
            let _ = kill_process(process, Signal::KILL);
        }
        self.turn(false).map_err(|refusal| io::Error::other(refusal.detail))?;
        Ok(found)
    }
}

/// The first folder with one of these names.
fn below(folder: &Path, names: &[String], depth: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let folders: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    let is_named =
        |path: &&PathBuf| path.file_name().is_some_and(|own| names.iter().any(|name| own == name.as_str()));
    if let Some(found) = folders.iter().find(is_named) {
        return Some(found.clone());
    }
    let deeper = depth.checked_sub(1)?;
    folders.iter().find_map(|folder| below(folder, names, deeper))
}

/// Those whose folders are called as Docker calls a container's.
fn containers(folder: &Path, depth: u32, found: &mut BTreeSet<ContainerId>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let scope = name.strip_prefix("docker-").and_then(|rest| rest.strip_suffix(".scope"));
        if let Ok(id) = ContainerId::try_from(scope.unwrap_or(&name).to_owned()) {
            found.insert(id);
        } else if let Some(deeper) = depth.checked_sub(1) {
            containers(&entry.path(), deeper, found);
        }
    }
}

/// Processes of a group and of those below it, which a tenant with nested groups may have.
fn members(folder: &Path) -> io::Result<Vec<Pid>> {
    let mut found: Vec<Pid> = fs::read_to_string(folder.join("cgroup.procs"))?
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        // A process of another namespace reads as 0.
        .filter(|id| *id > FIRST_PROCESS)
        .filter_map(Pid::from_raw)
        .collect();
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(members(&entry.path()).unwrap_or_default());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ContainerId {
        ContainerId::try_from("0f".repeat(32)).unwrap()
    }

    /// A folder in the place of the kernel's, which does at once what it is told: the switch is what is read back.
    fn layout(name: &str, file: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join(name);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join(file), text).unwrap();
        fs::write(group.join("cgroup.procs"), "").unwrap();
        (root, group)
    }

    #[test]
    fn every_layout_of_version_1_is_found_and_read_back() {
        for name in
            [format!("freezer/docker/{}", id()), format!("freezer/system.slice/docker-{}.scope", id())]
        {
            let (root, group) = layout(&name, "freezer.state", "THAWED\n");
            let cgroups = Cgroups::at(root.path());
            assert!(!cgroups.is_frozen(&id()), "{name}");
            cgroups.freeze(&id()).unwrap();
            assert_eq!(fs::read_to_string(group.join("freezer.state")).unwrap(), "FROZEN");
            assert!(cgroups.is_frozen(&id()));
            cgroups.thaw(&id()).unwrap();
            assert!(!cgroups.is_frozen(&id()));
            cgroups.end(&id()).unwrap();
        }
    }

    #[test]
    fn every_layout_of_version_2_is_found_and_confirmed_by_the_kernels_event() {
        for name in [format!("docker/{}", id()), format!("unified/system.slice/docker-{}.scope", id())] {
            let (root, group) = layout(&name, "cgroup.freeze", "0\n");
            let cgroups = Cgroups::at(root.path());
            fs::write(group.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
            assert_eq!(cgroups.freeze(&id()).unwrap_err().code, HelperErrorCode::NotFrozen);
            fs::write(group.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
            cgroups.freeze(&id()).unwrap();
            assert_eq!(fs::read_to_string(group.join("cgroup.freeze")).unwrap(), "1");
            cgroups.thaw(&id()).unwrap();
            assert!(!cgroups.is_frozen(&id()));
        }
    }

    #[test]
    fn those_of_ours_that_stand_frozen_are_found_in_every_layout() {
        let proc = tempfile::tempdir().unwrap();
        let process = proc.path().join("41");
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("cmdline"), "/opt/nightjar/bin/nightjar-guest\0worker\0").unwrap();
        fs::write(process.join("status"), "PPid:\t7\nUid:\t0\t0\t0\t0\nNSpid:\t41\t1\n").unwrap();
        let scope = format!("system.slice/docker-{}.scope", id());
        for (name, file, frozen) in [
            (format!("freezer/docker/{}", id()), "freezer.state", "FROZEN"),
            (format!("freezer/{scope}"), "freezer.state", "FROZEN"),
            (format!("unified/{scope}"), "cgroup.freeze", "1"),
            (format!("user.slice/user-1000.slice/a.service/{scope}"), "cgroup.freeze", "1"),
        ] {
            let (root, group) = layout(&name, file, frozen);
            fs::write(root.path().join("cgroup.controllers"), "").unwrap();
            let cgroups = Cgroups::at(root.path());
            assert!(cgroups.frozen_ones(proc.path()).is_empty(), "nobody's: {name}");
            fs::write(group.join("cgroup.procs"), "41\n").unwrap();
            assert_eq!(cgroups.frozen_ones(proc.path()), BTreeSet::from([id()]), "{name}");
            cgroups.thaw(&id()).unwrap();
            assert!(cgroups.frozen_ones(proc.path()).is_empty(), "it runs: {name}");
        }
    }

    #[test]
    fn what_is_not_dockers_is_not_found() {
        let (root, _) = layout(&format!("freezer/user.slice/a{}", id()), "freezer.state", "THAWED\n");
        let refused = Cgroups::at(root.path()).freeze(&id()).unwrap_err();
        assert_eq!(refused.code, HelperErrorCode::NoSuchContainer);
        assert!(refused.detail.contains("nothing was done"), "{refused}");
        assert!(Cgroups::at(root.path()).end(&id()).is_ok(), "what is gone has ended");
    }
}
