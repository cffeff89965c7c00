//! The only place of the coordinator that reads a clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nightjar_core::time::Timestamp;

/// Wall-clock time that never goes back while the process lives: a corrected clock must not make an offer younger or a
/// usage record lie in the future.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    latest_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let before = self.latest_ms.fetch_max(wall_ms, Ordering::AcqRel);
        Timestamp(before.max(wall_ms))
    }
}
