//! The real kernel: a process in a control group where Docker would have it is frozen, thawed and ended by the container's
//! id alone, and one that is frozen does not outlive the connection that guards it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nightjar_helper::cgroup::Cgroups;
use nightjar_helper::guards::Guards;
use nightjar_helper::limits::Connection;
use nightjar_protocol::helper::ContainerId;

const ROOT: &str = "/sys/fs/cgroup";

/// A group of our own in the kernel's tree, with one process; both end with this value.
struct Group {
    id: ContainerId,
    folder: PathBuf,
    process: Child,
}

impl Group {
    /// `None`, and said so, where this machine's kernel or this user cannot have it.
    fn new(tag: u8) -> Option<Self> {
        let id = ContainerId::try_from(format!("{tag:02x}{:062x}", std::process::id())).unwrap();
        let places = [Path::new(ROOT).join("freezer/docker"), Path::new(ROOT).join("docker")];
        let place = places.iter().find(|place| {
            let above = place.parent().unwrap();
            above.join("freezer.state").exists() || above.join("cgroup.procs").exists()
        });
        let folder = place?.join(id.as_str());
        if let Err(error) = fs::create_dir_all(&folder) {
            eprintln!("skipped: no control group can be made here ({error})");
            return None;
        }
        let mut sleep = Command::new("sleep");
        let process = sleep.arg("60").stdin(Stdio::null()).spawn().unwrap();
        fs::write(folder.join("cgroup.procs"), process.id().to_string()).unwrap();
        Some(Self { id, folder, process })
    }

    fn is_over(&mut self, within: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < within {
            if self.process.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = Cgroups::at(Path::new(ROOT)).end(&self.id);
        let _ = self.process.wait();
        let _ = fs::remove_dir(&self.folder);
    }
}

#[test]
fn a_process_is_frozen_thawed_and_ended() {
    let Some(mut group) = Group::new(1) else { return };
    let cgroups = Cgroups::at(Path::new(ROOT));
    let took = cgroups.freeze(&group.id).unwrap();
    println!("frozen in {took:?}");
    assert!(took < Duration::from_millis(500) && cgroups.is_frozen(&group.id));
    cgroups.thaw(&group.id).unwrap();
    assert!(!cgroups.is_frozen(&group.id) && !group.is_over(Duration::from_millis(50)));
    cgroups.freeze(&group.id).unwrap();
    cgroups.end(&group.id).unwrap();
    assert!(group.is_over(Duration::from_secs(2)), "also a frozen process takes its end");
}

#[test]
fn a_frozen_process_does_not_outlive_its_guard_and_one_that_runs_has_its_grace() {
    let Some(mut frozen) = Group::new(2) else { return };
    let Some(mut running) = Group::new(3) else { return };
    let cgroups = Cgroups::at(Path::new(ROOT));
    let proc = tempfile::tempdir().unwrap();
    let guards = Guards::new(cgroups.clone(), proc.path());
    for group in [&frozen, &running] {
        // A `sleep` is in the place of a worker's process 1, so the kernel's word on it is too.
        let process = proc.path().join(group.process.id().to_string());
        fs::create_dir(&process).unwrap();
        fs::write(process.join("status"), format!("NSpid:\t{}\t1\n", group.process.id())).unwrap();
        fs::write(process.join("cmdline"), "/usr/local/bin/nightjar-guest\0worker\0").unwrap();
        guards.guard(group.id.clone(), Connection(1)).unwrap();
    }
    cgroups.freeze(&frozen.id).unwrap();
    guards.lose(Connection(1));
    assert!(frozen.is_over(Duration::from_secs(2)));
    assert!(!running.is_over(Duration::from_millis(200)), "a host that is back at once goes on");
    guards.guard(running.id.clone(), Connection(2)).unwrap();
    assert!(!running.is_over(Duration::from_secs(7)), "its new host guards it");
    guards.lose(Connection(2));
    assert!(running.is_over(Duration::from_secs(9)), "and without one it ends");
}
