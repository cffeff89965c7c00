//! Ending what belongs to a private Engine, also to one whose run died: processes by id, mounts, bridges, cgroups.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};

use super::as_root;
use super::network::Network;
use crate::process::output;

/// The id in a pid file.
pub(super) fn recorded(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Sends a signal to processes of root's. Those that are gone by now are no error.
pub(super) fn send(signal: Signal, ids: &[u32]) {
    if rustix::process::geteuid().is_root() {
        let ids = ids.iter().filter_map(|id| Pid::from_raw(i32::try_from(*id).ok()?));
        for id in ids {
            let _ = kill_process(id, signal);
        }
    } else if !ids.is_empty() {
        let ids = ids.iter().map(ToString::to_string);
        let _ = output(as_root("kill").arg(format!("-{}", signal.as_raw())).args(ids));
    }
}

/// Ends the daemons by SIGTERM, then whatever of this folder still runs by SIGKILL.
pub(super) fn end_daemons(folder: &Path, within: Duration) {
    // dockerd before containerd, which it needs to end its containers.
    for part in ["docker.sock", "containerd.toml"] {
        let mark = folder.join("run").join(part);
        send(Signal::TERM, &processes_with(&mark));
        let started = Instant::now();
        while !processes_with(&mark).is_empty() && started.elapsed() < within {
            std::thread::sleep(Duration::from_millis(20));
        }
        send(Signal::KILL, &processes_with(&mark));
    }
    // The shims, and the sandboxes of gVisor's that their end leaves behind.
    for part in ["containerd.sock", "docker"] {
        send(Signal::KILL, &processes_with(&folder.join("run").join(part)));
    }
}

/// Ends what stands frozen: of one that was frozen from outside no daemon knows so, and it would wait for it for ever.
pub(super) fn end_frozen(cgroup: &str) {
    let root = Path::new("/sys/fs/cgroup");
    for (hierarchy, switch, [frozen, thawed]) in [
        ("freezer", "freezer.state", ["FROZEN", "THAWED"]),
        ("unified", "cgroup.freeze", ["1", "0"]),
        ("", "cgroup.freeze", ["1", "0"]),
    ] {
        let folders = fs::read_dir(root.join(hierarchy).join(cgroup)).into_iter().flatten().flatten();
        for folder in folders.map(|entry| entry.path()) {
            let file = folder.join(switch);
            if fs::read_to_string(&file).is_ok_and(|said| said.trim() == frozen) {
                let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                // Before it is thawed, so that nothing of it runs again.
                send(Signal::KILL, &members.lines().filter_map(|id| id.parse().ok()).collect::<Vec<_>>());
                let _ = output(as_root("sh").args(["-c", "echo $0 > $1", thawed]).arg(&file));
            }
        }
    }
}

/// Leaves of the folder only what shall last: the Engine's images.
pub(super) fn clear(folder: &Path, network: &Network) -> anyhow::Result<()> {
    end_frozen(&network.cgroup());
    end_daemons(folder, Duration::from_secs(10));
    // A process that was killed holds its mounts for a moment longer.
    let started = Instant::now();
    while !processes_with(&folder.join("run")).is_empty() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut mounts = mounts_in(folder);
    // The deepest first.
    mounts.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    for mount in &mounts {
        let _ = output(as_root("umount").arg("--lazy").arg(mount));
    }
    network.take_down();
    remove_cgroups(&network.cgroup());
    let left = mounts_in(folder);
    ensure!(
        left.is_empty(),
        "these mounts of an earlier private Engine stay: {left:?}; unmount them as root"
    );
    output(as_root("rm").args(["-rf", "--one-file-system"]).arg(folder.join("run")))?;
    Ok(())
}

/// Processes whose command line names a path, as our daemons' and shims' do. Ours own is not among them.
fn processes_with(path: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let wanted = path.display().to_string();
    let daemons =
        ["dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy", "runsc-sandbox", "runsc-gofer"];
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let program = words.next().unwrap_or_default();
            let program = program.rsplit('/').next().unwrap_or_default();
            daemons.contains(&program) && words.any(|word| word.contains(&wanted))
        })
        .collect()
}

fn mounts_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    // The kernel writes a space in a name as \040.
    points
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(&folder))
        .collect()
}

fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let folders: Vec<PathBuf> = controllers
        .chain([root.to_owned()])
        .map(|folder| folder.join(name))
        .filter(|folder| folder.is_dir())
        .collect();
    for folder in folders {
        // `-depth` has the innermost first; a cgroup has no files to remove.
        let _ =
            output(as_root("find").arg(folder).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]));
    }
}
