//! Whose programs are on the cards? The driver lists process ids; the kernel knows their names and containers, and the
//! Engine knows which containers are ours.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nightjar_core::gpu::GpuProcess;
use nightjar_core::host::GpuReport;
use nightjar_worker::Workers;
use tokio::runtime::Handle;

/// How long the Engine may take to say which containers are ours; readings wait for it.
const ENGINE_WITHIN: Duration = Duration::from_secs(1);

/// Remembers the containers that it has asked for.
pub(crate) struct GpuPrograms {
    workers: Workers,
    /// Where the Engine is talked to: not the thread that reads the cards.
    runtime: Handle,
    /// Container ids of the last look, with whether they are ours.
    containers: HashMap<String, bool>,
    /// Ids of the processes that were ours at the last look.
    own: HashSet<u32>,
    #[cfg(windows)]
    engines: platform::Engines,
}

impl GpuPrograms {
    pub(crate) fn new(workers: Workers, runtime: Handle) -> Self {
        Self {
            workers,
            runtime,
            containers: HashMap::new(),
            own: HashSet::new(),
            #[cfg(windows)]
            engines: platform::Engines::default(),
        }
    }

    /// Fills in name and owner of every program.
    pub(crate) async fn mark(&mut self, report: &mut GpuReport) {
        let GpuReport::Readings { cards, .. } = report else { return };
        #[cfg(windows)]
        self.engines.complete(cards);
        let (mut seen, mut own) = (HashMap::new(), HashSet::new());
        for process in cards.iter_mut().flat_map(|card| &mut card.processes) {
            let container = platform::describe(process);
            if let Some(id) = container {
                process.ours = self.is_ours(&id).await;
                seen.insert(id, process.ours);
            }
            process.ours = process.ours || is_over(process, &self.own);
            own.extend(process.ours.then_some(process.pid));
        }
        self.own = own;
        self.containers.retain(|id, _| seen.contains_key(id));
    }

    async fn is_ours(&mut self, id: &str) -> bool {
        if let Some(known) = self.containers.get(id) {
            return *known;
        }
        let workers = self.workers.clone();
        let asked = self.runtime.spawn(async move { workers.container_ids().await });
        match tokio::time::timeout(ENGINE_WITHIN, asked).await {
            Ok(Ok(Ok(ours))) => {
                let is_ours = ours.iter().any(|known| known == id);
                self.containers.insert(id.to_owned(), is_ours);
                is_ours
            }
            // An Engine that does not answer must not make our own worker a stranger; it is asked again next time, and
            // its silence has consequences of its own.
            _ => true,
        }
    }
}

/// One of ours that has just ended, and that the driver still lists: its memory is no stranger's. A number that was given
/// out anew has a name.
fn is_over(process: &GpuProcess, own: &HashSet<u32>) -> bool {
    process.name.is_none() && own.contains(&process.pid)
}

#[cfg(target_os = "linux")]
mod platform {
    use super::GpuProcess;

    pub(super) fn describe(process: &mut GpuProcess) -> Option<String> {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).ok();
        let name: Option<String> =
            name.map(|name| name.trim_end().chars().filter(|c| !c.is_control()).collect());
        process.name = name.filter(|name| !name.is_empty());
        nightjar_presence::container_of(process.pid)
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    #[cfg(windows)]
    pub(super) use engines::Engines;
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

    use super::GpuProcess;

    /// Containers run in the virtual machine of Docker Desktop, which the driver lists as one program.
    pub(super) fn describe(process: &mut GpuProcess) -> Option<String> {
        let mut system = System::new().ok()?;
        let pid = Pid::from_u32(process.pid);
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            false,
            ProcessRefreshKind::nothing(),
        );
        process.name = system.process(pid).map(|found| found.name().to_string_lossy().into_owned());
        process.ours =
            process.name.as_deref().is_some_and(|name| name.to_ascii_lowercase().starts_with("vmmem"));
        None
    }

    #[cfg(windows)]
    mod engines {
        use nightjar_core::gpu::GpuReading;
        use nightjar_gpu::EngineCounters;

        /// What the driver does not tell of programs, from the system's counters.
        #[derive(Default)]
        pub(in super::super) struct Engines {
            counters: Option<EngineCounters>,
            /// Said once: where there are none there will be none.
            refused: bool,
        }

        impl Engines {
            pub(in super::super) fn complete(&mut self, cards: &mut [GpuReading]) {
                let mut processes = cards.iter_mut().flat_map(|card| &mut card.processes).peekable();
                if self.refused || processes.peek().is_none() {
                    return;
                }
                let counters = match &mut self.counters {
                    Some(counters) => counters,
                    none => match EngineCounters::open() {
                        Ok(counters) => none.insert(counters),
                        Err(error) => {
                            self.refused = true;
                            return tracing::warn!("programs on the card are judged by NVML alone: {error}");
                        }
                    },
                };
                match counters.look() {
                    Ok(engines) => processes.for_each(|process| engines.complete(process)),
                    Err(error) => tracing::debug!("no counters this time: {error}"),
                }
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_name_and_one_that_is_gone_has_none() {
        let mut own = GpuProcess::listed(std::process::id(), None, false);
        platform::describe(&mut own);
        assert!(own.name.is_some() && !own.ours, "{own:?}");
        let mut gone = GpuProcess::listed(u32::MAX, None, false);
        assert_eq!(platform::describe(&mut gone), None);
        assert_eq!((gone.name.as_deref(), gone.label().as_str()), (None, "PID 4294967295"));
    }

    #[test]
    fn what_was_ours_stays_so_while_the_driver_still_lists_it_and_its_number_is_nobodys() {
        let mut gone = GpuProcess::listed(u32::MAX, None, false);
        platform::describe(&mut gone);
        assert!(is_over(&gone, &HashSet::from([u32::MAX])) && !is_over(&gone, &HashSet::new()));
        let mut other = GpuProcess::listed(std::process::id(), None, false);
        platform::describe(&mut other);
        assert!(!is_over(&other, &HashSet::from([other.pid])), "somebody has its number now");
    }
}
