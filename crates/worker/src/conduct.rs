//! How a tenant behaves, as the Engine sees it: its programs' names and what it has written. A task of its own, so that
//! nothing of it stands in a freeze's way.

use std::time::Duration;

use nightjar_core::conduct::{MiningSign, is_miner};
use nightjar_core::host::WorkerEvent;
use tokio::time::sleep;

use crate::engine::Engine;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What a tenant moves is told at the first look and then at each of so many.
const MOVED_AT_LOOKS: u64 = 6;
/// Smaller changes are not told.
const STEP_MIB: u64 = 16;

/// Looks until it is dropped. `passed_bytes` is what has passed its gateway, both ways.
pub(crate) async fn watch(
    engine: Engine,
    worker: String,
    passed_bytes: impl Fn() -> u64,
    told: impl Fn(WorkerEvent),
) {
    let (mut known_mib, mut miner) = (0_u64, Miner::default());
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
        if let Ok(programs) = engine.programs(&worker).await {
            miner.look(programs).into_iter().for_each(&told);
        }
        if let Ok(Some(mib)) = engine.written_mib(&worker).await
            && mib.abs_diff(known_mib) >= STEP_MIB
        {
            known_mib = mib;
            told(WorkerEvent::DiskUsed { mib });
        }
    }
}

/// What is known of a miner's program among the tenant's.
#[derive(Default)]
struct Miner(Option<MiningSign>);

impl Miner {
    /// What there is to tell by a list of all programs that run.
    fn look(&mut self, programs: Vec<String>) -> Option<WorkerEvent> {
        let name = programs.into_iter().find(|name| is_miner(name));
        match (name, self.0.is_some()) {
            (Some(name), false) => {
                let sign = MiningSign::Program { name };
                self.0 = Some(sign.clone());
                Some(WorkerEvent::Mining { sign })
            }
            (None, true) => self.0.take().map(|sign| WorkerEvent::MiningOver { sign }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miners_program_is_told_of_when_it_comes_and_when_it_is_gone() {
        let mut miner = Miner::default();
        let mut look = |names: &[&str]| miner.look(names.iter().map(|&name| name.to_owned()).collect());
        let sign = || MiningSign::Program { name: "xmrig".to_owned() };
        assert_eq!(look(&["tini", "python3"]), None);
        assert_eq!(look(&["tini", "xmrig", "python3"]), Some(WorkerEvent::Mining { sign: sign() }));
        // Another one in its place is the same tenant's doing.
        assert_eq!(look(&["tini", "xmrig"]), None);
        assert_eq!(look(&["tini", "t-rex"]), None);
        assert_eq!(look(&["tini"]), Some(WorkerEvent::MiningOver { sign: sign() }));
        assert_eq!(look(&["tini"]), None);
        assert_eq!(look(&["xmrig"]), Some(WorkerEvent::Mining { sign: sign() }));
    }
}
