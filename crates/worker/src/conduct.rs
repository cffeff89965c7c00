//! How a tenant behaves, as the Engine sees it: its programs' names and what it has written. A task of its own, so that
//! nothing of it stands in a freeze's way.
//!
//! Of what runs in a sandbox the Engine sees nothing: it would tell of programs of the PC's own that bear the same numbers.
//! There process 1 tells.

use std::time::Duration;

use nightjar_core::conduct::{MinerNews, MinerWatch, MiningSign};
use nightjar_core::host::WorkerEvent;
use nightjar_protocol::guest::LONGEST_PROGRAM_NAME;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::engine::Engine;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What a tenant moves is told at the first look and then at each of so many.
const MOVED_AT_LOOKS: u64 = 6;
/// Smaller changes are not told.
const STEP_MIB: u64 = 16;
/// Where the names of a tenant's programs come from.
pub(crate) enum Programs {
    /// The Engine lists them.
    Listed,
    /// The worker's process 1 tells of a miner's, if one runs.
    Told(watch::Receiver<Option<String>>),
}

impl Programs {
    /// Nothing, where nobody can say.
    async fn look(&self, engine: &Engine, worker: &str) -> Option<Vec<String>> {
        match self {
            Self::Listed => engine.programs(worker).await.ok(),
            Self::Told(name) => Some(name.borrow().iter().map(|name| shown(name)).collect()),
        }
    }
}

/// Process 1 is the tenant's as far as its words go.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(LONGEST_PROGRAM_NAME).collect()
}

/// Looks until it is dropped. `passed_bytes` is what has passed its gateway, both ways.
pub(crate) async fn watch(
    engine: Engine,
    worker: String,
    programs: Programs,
    passed_bytes: impl Fn() -> u64,
    told: impl Fn(WorkerEvent),
) {
    let (mut known_mib, mut miner) = (0_u64, MinerWatch::default());
    for look in 0_u64.. {
        sleep(LOOK_EVERY).await;
        if look.is_multiple_of(MOVED_AT_LOOKS)
            && let Ok(Some(disk_bytes)) = engine.disk_io_bytes(&worker).await
        {
            let bytes = disk_bytes.saturating_add(passed_bytes());
            tracing::debug!(worker, bytes, "what the tenant has moved");
            told(WorkerEvent::Moved { bytes });
        }
        // A worker that is frozen, or on its way out, is looked at the next time or not at all.
        if let Some(found) = programs.look(&engine, &worker).await {
            miner.look(found).map(event).into_iter().for_each(&told);
        }
        if let Ok(Some(mib)) = engine.written_mib(&worker).await
            && mib.abs_diff(known_mib) >= STEP_MIB
        {
            known_mib = mib;
            told(WorkerEvent::DiskUsed { mib });
        }
    }
}

fn event(news: MinerNews) -> WorkerEvent {
    match news {
        MinerNews::Runs(name) => WorkerEvent::Mining { sign: MiningSign::Program { name } },
        MinerNews::Over(name) => WorkerEvent::MiningOver { sign: MiningSign::Program { name } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its Engine would fail each call.
    #[tokio::test(start_paused = true)]
    async fn in_a_sandbox_process_1_is_believed_as_far_as_the_name_is_a_miners() {
        let engine = Engine::new(crate::config::EngineAddress::Unix("/nonexistent/d.sock".into()));
        let (says, hears) = watch::channel(None);
        let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
        let watching =
            watch(engine, "worker".into(), Programs::Told(hears), || 0, move |event| drop(told.send(event)));
        let watching = tokio::spawn(watching);
        let long = format!("xmrig-{}\u{1b}[2J", "9".repeat(1_000));
        let mut names = Vec::new();
        for name in [Some("python3"), Some("xm\nrig\u{7}"), Some("t-rex"), None, Some(&long), Some("sh")] {
            says.send_replace(name.map(str::to_owned));
            sleep(LOOK_EVERY + Duration::from_secs(1)).await;
            while let Ok(event) = events.try_recv() {
                match event {
                    WorkerEvent::Mining { sign: MiningSign::Program { name } } => names.push(name),
                    WorkerEvent::MiningOver { sign: MiningSign::Program { name } } => {
                        names.push(format!("-{name}"))
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        watching.abort();
        let shown = format!("xmrig-{}", "9".repeat(LONGEST_PROGRAM_NAME - 6));
        assert_eq!(names, ["xmrig", "-xmrig", &shown, &format!("-{shown}")]);
    }
}
