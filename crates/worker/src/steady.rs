//! A clock of which only differences count.

use nightjar_core::time::Timestamp;
use tokio::time::Instant;

/// Goes on from when it was begun, whatever becomes of the clock on the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady(Instant);

impl Steady {
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Any beginning will do, so it is 0.
    pub fn now(self) -> Timestamp {
        Timestamp(0).plus_ms(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
