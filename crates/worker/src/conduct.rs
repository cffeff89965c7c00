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
    let (mut known_mib, mut miner_known) = (0_u64, false);
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
        if !miner_known
            && let Ok(programs) = engine.programs(&worker).await
            && let Some(name) = programs.into_iter().find(|name| is_miner(name))
        {
            miner_known = true;
            told(WorkerEvent::Mining { sign: MiningSign::Program { name } });
        }
        if let Ok(Some(mib)) = engine.written_mib(&worker).await
            && mib.abs_diff(known_mib) >= STEP_MIB
        {
            known_mib = mib;
            told(WorkerEvent::DiskUsed { mib });
        }
    }
}
