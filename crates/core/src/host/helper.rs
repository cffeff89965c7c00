//! The helper as this host misses it. gVisor is not used without one, and one that is away for seconds (its package is being
//! updated, its connection broke) would take the owner's wall from whoever comes in these seconds, for the whole lease.

use super::Host;
use crate::gpu::GpuUuid;
use crate::power::HelperStanding;
use crate::time::Timestamp;

/// An update is over by then. One that is away for longer is not there, and renters come without gVisor.
const BACK_WITHIN_MS: u64 = 60_000;

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
        self.cards.keys().any(|gpu| self.awaits_sandbox(gpu)).then_some(until)
    }

    /// Whoever rents this card now would have the gVisor that its owner wants, were the helper there, which is awaited.
    pub(super) fn awaits_sandbox(&self, gpu: &GpuUuid) -> bool {
        let there = HelperStanding::Available { version: String::new() };
        let is_awaited = matches!(self.helper_awaited, Awaited::Until(_));
        is_awaited && self.snapshot.sandboxing(&self.settings, &there).takes(gpu)
    }
}
