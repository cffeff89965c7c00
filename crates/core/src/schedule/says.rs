//! What the schedule means for a verdict.

use crate::policy::BlockReason;
use crate::time::Timestamp;

use super::{ScheduleStanding, ScheduleState};

impl ScheduleStanding {
    /// Hours in which signs that only say that somebody is there do not count. A game, a full screen, a busy processor or
    /// an empty battery are needs of their own, and still do.
    #[must_use]
    pub fn is_even_if_here(&self) -> bool {
        matches!(self.state, ScheduleState::Open { even_if_here: true, .. })
    }
}

/// The schedule's reason against earning, if it has one, and when that passes.
#[must_use]
pub fn schedule_says(standing: &ScheduleStanding) -> Option<(BlockReason, Option<Timestamp>)> {
    match standing.state {
        ScheduleState::Open { .. } => None,
        ScheduleState::Closed { opens_at } => Some((BlockReason::OutsideSchedule { opens_at }, opens_at)),
    }
}
