//! The helper as this host misses it. gVisor is not used without one, and one that is away for seconds (its package is being
//! updated, its connection broke) would take the owner's wall from whoever comes in these seconds, for the whole lease. So
//! would a gVisor that a busy PC keeps from answering.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Host;
use super::card::Card;
use crate::gpu::GpuUuid;
use crate::policy::{Gvisor, Runtime, Verdict};
use crate::power::HelperStanding;
use crate::time::Timestamp;

/// An update is over by then. One that is away for longer is not there, and renters come without gVisor.
const BACK_WITHIN_MS: u64 = 60_000;

/// What a card waits for the helper with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum HelperWait {
    /// A job in gVisor that stands frozen: nobody else lets it go on, or ends it.
    FrozenJob,
    /// The next job.
    NextJob,
}

/// Whether one that is not there is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Awaited {
    /// This run has not begun to ask.
    #[default]
    Yet,
    Until(Timestamp),
    No,
}

impl Host {
    /// One that this run had is awaited. Who never had one does without.
    pub(super) fn take_helper(&mut self, standing: HelperStanding, now: Timestamp) {
        let is_there = |standing: &HelperStanding| matches!(standing, HelperStanding::Available { .. });
        if is_there(&standing) || self.helper == HelperStanding::Unknown {
            self.helper_awaited = Awaited::No;
        } else if is_there(&self.helper) {
            self.helper_awaited = Awaited::Until(now.plus_ms(BACK_WITHIN_MS));
        }
        self.helper = standing;
    }

    /// At the start its first answer is awaited as well.
    pub(super) fn settle_helper(&mut self, now: Timestamp) {
        match self.helper_awaited {
            Awaited::Yet => self.helper_awaited = Awaited::Until(now.plus_ms(BACK_WITHIN_MS)),
            Awaited::Until(until) if until <= now => self.helper_awaited = Awaited::No,
            Awaited::Until(_) | Awaited::No => {}
        }
    }

    /// `None` where nothing hangs on it.
    pub(super) fn helper_deadline(&self) -> Option<Timestamp> {
        let Awaited::Until(until) = self.helper_awaited else { return None };
        self.cards.keys().any(|gpu| self.awaits_helper(gpu)).then_some(until)
    }

    /// Whoever rents this card now could be without the gVisor that its owner wants, and who comes in a moment would have it.
    pub(super) fn awaits_sandbox(&self, gpu: &GpuUuid) -> bool {
        self.awaits_helper(gpu) || self.snapshot.sandboxing(&self.settings, &self.helper).may_yet_take(gpu)
    }

    /// They would have it, were the helper there, which is awaited.
    fn awaits_helper(&self, gpu: &GpuUuid) -> bool {
        let there = HelperStanding::Available { version: String::new() };
        let with_it = self.snapshot.sandboxing(&self.settings, &there);
        let is_awaited = matches!(self.helper_awaited, Awaited::Until(_));
        is_awaited && (with_it.takes(gpu) || with_it.may_yet_take(gpu))
    }

    pub(super) fn helper_wait(&self, card: &Card, now: Timestamp) -> Option<HelperWait> {
        let Some(job) = &card.job else {
            let is_next = card.verdict == Verdict::Earn && self.awaits_helper(&card.reading.uuid);
            return is_next.then_some(HelperWait::NextJob);
        };
        let is_away = !matches!(self.helper, HelperStanding::Available { .. } | HelperStanding::Unknown);
        let has_gvisor = || {
            matches!(&self.snapshot.runtime,
            Runtime::Ready { engine, .. } if engine.gvisor != Gvisor::Absent)
        };
        let is_its = is_away && job.hangs_frozen(now) && job.is_in_sandbox().unwrap_or_else(has_gvisor);
        is_its.then_some(HelperWait::FrozenJob)
    }
}
