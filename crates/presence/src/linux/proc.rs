//! Reads `/proc`: which programs run, what they have cost, which sockets are open.
//!
//! Every scan opens one small file a program; the rest is read once for each program and kept.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::containerised::containerised;
use crate::load::Spent;
use crate::process::{Process, Processes, base_name};
use crate::remote::Sockets;

/// The Engine and what it starts to fetch and unpack images and to run containers: its work is done for us.
const ENGINE: [&str; 5] = ["dockerd", "containerd", "containerd-shim", "docker-proxy", "runc"];

/// Keeps what does not change.
#[derive(Debug)]
pub(super) struct Proc {
    root: PathBuf,
    known: HashMap<u32, Known>,
    /// Those of them that are in no container.
    outside: Processes,
    /// This program and its children are ours.
    own: u32,
}

#[derive(Clone, Debug)]
struct Known {
    /// Tells a program from a later one with the same number.
    started: u64,
    in_container: bool,
    process: Process,
}

/// One line of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: u32,
    /// Its own time and that of the children that it has waited for, in ticks.
    spent: u64,
    started: u64,
}

/// What one look has found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Whether a program has come or gone since the last look.
    pub(super) changed: bool,
    pub(super) spent: Option<Spent>,
}

impl Proc {
    pub(super) fn new(root: &Path, own: u32) -> Self {
        Self { root: root.to_owned(), known: HashMap::new(), outside: Processes::default(), own }
    }

    /// What ran at the last look, without what runs in containers.
    pub(super) fn processes(&self) -> &Processes {
        &self.outside
    }

    pub(super) fn scan(&mut self) -> std::io::Result<Scan> {
        let mut now = HashMap::with_capacity(self.known.len());
        let mut costs = HashMap::with_capacity(self.known.len());
        let mut changed = false;
        for entry in fs::read_dir(&self.root)?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(stat) = self.read(pid, "stat").as_deref().and_then(stat_in) else { continue };
            costs.insert(pid, stat.spent);
            let known = self.known.remove(&pid).filter(|known| {
                // A program that has become another keeps its start but not its name.
                known.started == stat.started && known.process.name == stat.name
            });
            changed |= known.is_none();
            let mut known = known.unwrap_or_else(|| self.look_at(pid, &stat));
            known.process.parent = stat.parent;
            now.insert(pid, known);
        }
        // What is left there has ended.
        changed |= !self.known.is_empty();
        self.known = now;
        if changed {
            let outside = self.known.values().filter(|known| !known.in_container);
            self.outside = Processes::new(outside.map(|known| known.process.clone()));
        }
        let spent = self.read_root("stat").as_deref().and_then(whole_in);
        let ours = self.ours(&costs);
        Ok(Scan { spent: spent.map(|spent| Spent { ours, ..spent }), changed })
    }

    /// Children that have ended are in their parent's count, so that the sum only falls when a whole container ends.
    fn ours(&self, costs: &HashMap<u32, u64>) -> u64 {
        let is_ours = |known: &Known| {
            let engine = |process: &Process| {
                ENGINE.iter().any(|name| process.name == *name || process.name.starts_with("containerd-shim"))
            };
            let root = |process: &Process| process.pid == self.own || engine(process);
            known.in_container || root(&known.process) || self.outside.ancestors(&known.process).any(root)
        };
        let ours = self.known.iter().filter(|(_, known)| is_ours(known));
        ours.filter_map(|(pid, _)| costs.get(pid)).sum()
    }

    fn look_at(&self, pid: u32, stat: &Stat) -> Known {
        let file = fs::read_link(self.root.join(format!("{pid}/exe"))).unwrap_or_default();
        let arguments = self.read(pid, "cmdline").unwrap_or_default();
        let process = Process {
            pid,
            parent: stat.parent,
            name: stat.name.clone(),
            file: file.to_string_lossy().trim_end_matches(" (deleted)").to_owned(),
            arguments: arguments.trim_end_matches('\0').split('\0').map(str::to_owned).collect(),
        };
        Known { started: stat.started, in_container: containerised(pid), process }
    }

    pub(super) fn sockets(&self) -> Sockets {
        const ESTABLISHED: &str = "01";
        let ports = |files: [&str; 2], state: Option<&str>| {
            let texts = files.into_iter().filter_map(|file| self.read_root(file));
            texts.flat_map(|text| ports_in(&text, state).collect::<Vec<_>>()).collect()
        };
        Sockets {
            connected_tcp: ports(["net/tcp", "net/tcp6"], Some(ESTABLISHED)),
            udp: ports(["net/udp", "net/udp6"], None),
        }
    }

    fn read(&self, pid: u32, file: &str) -> Option<String> {
        read(&self.root.join(format!("{pid}/{file}")))
    }

    fn read_root(&self, file: &str) -> Option<String> {
        read(&self.root.join(file))
    }
}

/// Names and arguments are any bytes.
fn read(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The name of one program, as its owner would say it: the file of a program for Windows, else the system's short name.
pub(super) fn name_of(pid: u32) -> Option<String> {
    let arguments = read(&PathBuf::from(format!("/proc/{pid}/cmdline"))).unwrap_or_default();
    let first = arguments.split('\0').next().map_or("", base_name);
    if first.to_lowercase().ends_with(".exe") {
        return Some(first.to_owned());
    }
    let name = read(&PathBuf::from(format!("/proc/{pid}/comm")))?;
    Some(name.trim_end().to_owned())
}

/// The name stands in parentheses and may hold any character, these too.
fn stat_in(line: &str) -> Option<Stat> {
    let (before, after) = line.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the fields here begin with its third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let spent = (14..=17).filter_map(field).fold(0, u64::saturating_add);
    Some(Stat { name, parent: u32::try_from(field(4)?).ok()?, spent, started: field(22)? })
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for disks, interrupts twice, stolen; the guests'
/// time after them is within the first two.
fn whole_in(stat: &str) -> Option<Spent> {
    let counts: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .take(8)
        .map_while(|count| count.parse().ok())
        .collect();
    let [user, nice, system, idle, waiting, interrupts @ ..] = counts.as_slice() else { return None };
    // What another guest of the same machine took is nobody's use of this PC.
    let interrupts: u64 = interrupts.iter().take(2).sum();
    let busy = user + nice + system + interrupts;
    Some(Spent { whole: busy + idle + waiting, busy, ours: 0 })
}

/// The ports here of `/proc/net/tcp` and its kin, where the state is the wanted one.
fn ports_in<'a>(text: &'a str, state: Option<&'a str>) -> impl Iterator<Item = u16> + 'a {
    text.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, is) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = state.is_none_or(|state| state == is);
        wanted.then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use super::{Proc, Spent, Stat, ports_in, stat_in, whole_in};

    #[test]
    fn a_name_may_hold_anything() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 1 0 9876 1 2";
        let stat = Stat { name: "a) b (c)".into(), parent: 7, spent: 37, started: 9876 };
        assert_eq!(stat_in(line), Some(stat));
        assert_eq!(stat_in("42 (cut"), None);
    }

    #[test]
    fn the_whole_processor_is_counted_without_what_others_stole() {
        let stat = "cpu  100 10 50 800 40 1 2 30 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(whole_in(stat), Some(Spent { whole: 1003, busy: 163, ours: 0 }));
    }

    #[test]
    fn ports_are_read_by_state() {
        let text = "  sl  local_address rem_address   st\n\
             0: 00000000:170C 00000000:0000 0A 0\n   1: 0100007F:170D 0100007F:D431 01 0\n";
        assert_eq!(ports_in(text, Some("01")).collect::<Vec<_>>(), [5901]);
        assert_eq!(ports_in(text, None).collect::<Vec<_>>(), [5900, 5901]);
    }

    #[test]
    fn this_program_and_its_child_are_found_and_are_ours() {
        let own = std::process::id();
        let mut proc = Proc::new(Path::new("/proc"), own);
        let mut child = Command::new("sleep").arg("30").stdout(Stdio::null()).spawn().unwrap();
        let scan = proc.scan().unwrap();
        let found = proc.processes().get(child.id()).cloned();
        let spent = scan.spent.unwrap();
        let again = proc.scan().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.expect("the child was not seen");
        assert_eq!((found.parent, found.arguments.last().map(String::as_str)), (own, Some("30")));
        assert!(spent.whole > 0 && spent.busy >= spent.ours);
        assert!(again.spent.unwrap().ours >= spent.ours);
        assert!(scan.changed && proc.scan().unwrap().changed);
        assert!(proc.processes().get(child.id()).is_none());
    }

    /// A cgroup of this name, as the Engine makes one for each container. Goes with the value, once it is empty.
    struct Container(PathBuf);

    impl Container {
        /// `None` where this kernel or user may not make one.
        fn make() -> Option<Self> {
            let id = format!("{:064x}", std::process::id());
            let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
            roots.into_iter().find_map(|root| {
                let folder = Path::new(root).join(format!("docker-{id}.scope"));
                std::fs::create_dir(&folder).ok()?;
                let made = Self(folder);
                made.0.join("cgroup.procs").exists().then_some(made)
            })
        }
    }

    impl Drop for Container {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    /// With a real cgroup and a real program that is as busy as a tenant, under a game's name at that.
    #[test]
    fn peers_10_a_busy_program_in_a_container_is_neither_load_nor_a_game() {
        let Some(container) = Container::make() else {
            eprintln!(
                "SKIPPED peers_10_a_busy_program_in_a_container…: no cgroup can be made here (needs root)"
            );
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let game = folder.path().join("retroarch");
        std::fs::copy("/bin/sh", &game).unwrap();
        let busy = |inside: bool| {
            // Waits to be let go, so that all of its load comes after the first look.
            let mut command = Command::new(&game);
            command.args(["-c", "read go; while :; do :; done"]).stdin(Stdio::piped()).stdout(Stdio::null());
            let child = command.spawn().unwrap();
            if inside {
                std::fs::write(container.0.join("cgroup.procs"), child.id().to_string()).unwrap();
            }
            child
        };
        for inside in [true, false] {
            // A parent that is not there: this test's own children would be ours as well.
            let mut proc = Proc::new(Path::new("/proc"), u32::MAX);
            let mut child = busy(inside);
            let before = proc.scan().unwrap();
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
            std::thread::sleep(std::time::Duration::from_secs(2));
            let after = proc.scan().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(proc.processes().get(child.id()).is_none(), inside);
            let listed = crate::games::Games::new(&[]).find(proc.processes());
            assert_eq!(listed.as_deref() == Some("retroarch"), !inside, "{listed:?}");
            let (before, after) = (before.spent.unwrap(), after.spent.unwrap());
            let ours = after.ours.saturating_sub(before.ours);
            // The Engine of another test may be at work beside it, so only this much can be said of what is ours.
            if inside {
                assert!(ours > 0, "its time was not taken off");
            }
            assert!(after.busy > before.busy);
        }
    }
}
