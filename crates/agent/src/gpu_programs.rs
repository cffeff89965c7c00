//! Whose programs are on the cards? The driver lists process ids; the kernel knows their names and containers, and the
//! Engine knows which containers are ours.

use std::collections::HashMap;
use std::time::Duration;

use nightjar_core::gpu::GpuProcess;
use nightjar_core::host::GpuReport;
use nightjar_worker::Workers;
use tokio::runtime::Handle;

/// How long the Engine may take to say which containers are ours; readings wait for it.
const ENGINE_WITHIN: Duration = Duration::from_secs(1);
/// Digits of a container's id.
#[cfg(any(target_os = "linux", test))]
const ID_DIGITS: usize = 64;

/// Remembers the containers that it has asked for.
pub(crate) struct GpuPrograms {
    workers: Workers,
    /// Where the Engine is talked to: not the thread that reads the cards.
    runtime: Handle,
    /// Container ids of the last look, with whether they are ours.
    containers: HashMap<String, bool>,
}

impl GpuPrograms {
    pub(crate) fn new(workers: Workers, runtime: Handle) -> Self {
        Self { workers, runtime, containers: HashMap::new() }
    }

    /// Fills in name and owner of every program.
    pub(crate) async fn mark(&mut self, report: &mut GpuReport) {
        let GpuReport::Readings { cards, .. } = report else { return };
        let mut seen = HashMap::new();
        for process in cards.iter_mut().flat_map(|card| &mut card.processes) {
            let container = platform::describe(process);
            if let Some(id) = container {
                process.ours = self.is_ours(&id).await;
                seen.insert(id, process.ours);
            }
        }
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

/// The container that a process is in, from its control groups: `…/docker/ID` or `docker-ID.scope`.
#[cfg(any(target_os = "linux", test))]
fn container_of(cgroups: &str) -> Option<String> {
    cgroups
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|part| part.len() == ID_DIGITS)
        .map(str::to_ascii_lowercase)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs::File;
    use std::io::Read;

    use super::GpuProcess;

    /// More than any list of control groups.
    const LONGEST: u64 = 64 * 1024;

    pub(super) fn describe(process: &mut GpuProcess) -> Option<String> {
        let read = |file: &str| {
            let mut text = String::new();
            let path = format!("/proc/{}/{file}", process.pid);
            File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
            Some(text)
        };
        let name: Option<String> =
            read("comm").map(|name| name.trim_end().chars().filter(|c| !c.is_control()).collect());
        let container = read("cgroup").and_then(|groups| super::container_of(&groups));
        process.name = name.filter(|name| !name.is_empty());
        container
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_in_either_layout() {
        let id = "0123456789abcdef".repeat(4);
        let first = format!("12:freezer:/docker/{id}\n11:pids:/docker/{id}\n");
        let second = format!("0::/system.slice/docker-{id}.scope\n");
        assert_eq!(container_of(&first), Some(id.clone()));
        assert_eq!(container_of(&second), Some(id));
        assert_eq!(container_of("0::/user.slice/user-1000.slice/session-2.scope\n"), None);
        assert_eq!(container_of(&format!("0::/docker/{}", "a".repeat(65))), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_a_name_and_one_that_is_gone_has_none() {
        let mut own = GpuProcess::listed(std::process::id(), None, false);
        platform::describe(&mut own);
        assert!(own.name.is_some() && !own.ours, "{own:?}");
        let mut gone = GpuProcess::listed(u32::MAX, None, false);
        assert_eq!(platform::describe(&mut gone), None);
        assert_eq!((gone.name.as_deref(), gone.label().as_str()), (None, "PID 4294967295"));
    }
}
