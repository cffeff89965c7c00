//! Time as a value. Nothing in this crate asks what time it is.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Milliseconds since 1970-01-01 UTC. The agent makes these from one wall-clock anchor plus a clock that never goes
/// back, so that differences between two of them can be metered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
pub struct Timestamp(#[ts(type = "number")] pub i64);

impl Timestamp {
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// `2026-03-01T18:00:00Z`, for a table or a log.
    #[must_use]
    pub fn utc(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(|_| self.0.to_string(), |at| format!("{at:.0}"))
    }
}
