//! What a program and everything that it started cost: memory by PSS, processor time, wake-ups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Clock ticks a second in `/proc`; fixed on Linux.
const TICKS_PER_S: f64 = 100.0;

/// Figures of a process tree over a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    pub processes: usize,
    pub pss_mib: f64,
    pub pss_anonymous_mib: f64,
    pub cpu_percent_of_core: f64,
    /// Context switches of all threads: each is a wake-up, or a thread that was pushed aside.
    pub wakeups_per_s: f64,
}

/// Every process in whose environment `mark` stands: a tree whose members may have left their parent.
#[must_use]
pub fn marked(mark: &str) -> Vec<u32> {
    let Ok(listed) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = listed.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    })
    .collect()
}

/// How many device files of graphics cards the window's processes with `mark` hold open: each may keep a card awake, or
/// memory of it.
///
/// # Errors
/// When there is no such process, so that nothing was looked at.
pub fn cards_opened_by_the_window(mark: &str) -> anyhow::Result<usize> {
    let is_the_windows = |id: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        ["nightjar-window", "WebKit"].iter().any(|beginning| name.starts_with(beginning))
    };
    let processes: Vec<u32> = marked(mark).into_iter().filter(is_the_windows).collect();
    anyhow::ensure!(processes.len() >= 2, "a window and its page are at least two processes: {processes:?}");
    let open = processes.iter().filter_map(|id| std::fs::read_dir(format!("/proc/{id}/fd")).ok()).flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    Ok(targets.filter(|path| path.starts_with("/dev/dri") || is_nvidias(path)).count())
}

fn is_nvidias(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with("/dev/nvidia"))
}

/// Measures over `stretch`.
///
/// # Errors
/// When no process carries the mark, or one ends in between.
pub fn measure(mark: &str, stretch: Duration) -> anyhow::Result<Footprint> {
    let processes = marked(mark);
    anyhow::ensure!(!processes.is_empty(), "no process carries {mark}");
    let before = Counters::of(&processes)?;
    let started = Instant::now();
    std::thread::sleep(stretch);
    let seconds = started.elapsed().as_secs_f64();
    let after = Counters::of(&processes)?;
    let (mut pss, mut anonymous) = (0, 0);
    for id in &processes {
        pss += kib(*id, "Pss:")?;
        anonymous += kib(*id, "Pss_Anon:")?;
    }
    Ok(Footprint {
        processes: processes.len(),
        pss_mib: pss as f64 / 1_024.0,
        pss_anonymous_mib: anonymous as f64 / 1_024.0,
        cpu_percent_of_core: (after.ticks - before.ticks) as f64 / TICKS_PER_S / seconds * 100.0,
        wakeups_per_s: after.switches_since(&before) as f64 / seconds,
    })
}

struct Counters {
    ticks: u64,
    /// By thread: one that ends in between takes its count with it, and a sum would go back.
    switches: BTreeMap<PathBuf, u64>,
}

impl Counters {
    fn switches_since(&self, before: &Self) -> u64 {
        let of_thread = |(thread, count): (&PathBuf, &u64)| {
            count.saturating_sub(before.switches.get(thread).copied().unwrap_or(0))
        };
        self.switches.iter().map(of_thread).sum()
    }

    fn of(processes: &[u32]) -> anyhow::Result<Self> {
        let mut sum = Self { ticks: 0, switches: BTreeMap::new() };
        for id in processes {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
            // The name may hold spaces; what is counted stands behind its closing bracket.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            for field in [11, 12] {
                sum.ticks += fields.get(field).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
            }
            let threads = Path::new("/proc").join(id.to_string()).join("task");
            for thread in std::fs::read_dir(threads)?.filter_map(Result::ok) {
                let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                let switches = status
                    .lines()
                    .filter(|line| line.contains("ctxt_switches"))
                    .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
                    .sum();
                sum.switches.insert(thread.path(), switches);
            }
        }
        Ok(sum)
    }
}

fn kib(process: u32, field: &str) -> anyhow::Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find(|line| line.starts_with(field)).context("the kernel gives no PSS")?;
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).context("the kernel gives no PSS")
}
