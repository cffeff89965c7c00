//! The card's memory after a tenant was ended for its owner: gone is not given back before the driver says so too.

use super::effect::{Effect, JournalEntry, Outbox};
use super::{Card, Host};
use crate::lease::{EndReason, LeaseId, LeaseState};
use crate::settings::GiveBack;
use crate::time::Timestamp;

/// A driver that still lists a dead program after this long does not tell when it stopped.
const WAITED_FOR_MS: u64 = 30_000;

/// A tenant that was told to end for the owner, and the memory that it held. It stays when the memory is back: a tenant
/// may give it back at once and take its whole grace to end.
#[derive(Clone, Debug)]
pub(super) struct Reclaim {
    lease: LeaseId,
    since: Timestamp,
    mode: GiveBack,
    /// It is waited for no more.
    settled: bool,
}

impl Reclaim {
    /// Begins to wait for the memory of a job that is ending because its owner wants the card.
    pub(super) fn begin(card: &mut Card, mode: GiveBack, now: Timestamp) {
        let Some(job) = &card.job else { return };
        let for_owner =
            matches!(job.state(), LeaseState::Ending { reason: EndReason::OwnerReturned } if job.has_run());
        if for_owner && card.reclaim.as_ref().is_none_or(|reclaim| reclaim.lease != job.terms().lease) {
            card.reclaim = Some(Self { lease: job.terms().lease.clone(), since: now, mode, settled: false });
        }
    }
}

impl Host {
    /// Some tenant's memory is waited for: the cards are worth a look many times a second.
    #[must_use]
    pub fn awaits_memory(&self) -> bool {
        self.cards.values().any(|card| card.reclaim.as_ref().is_some_and(|reclaim| !reclaim.settled))
    }

    /// Takes note of memory that is back, by the readings that have just come.
    pub(super) fn confirm_memory(&mut self, now: Timestamp, out: &mut Outbox) {
        for card in self.cards.values_mut() {
            let held = card.reading.processes.iter().any(|process| process.ours);
            let Some(reclaim) = card.reclaim.as_mut().filter(|reclaim| !reclaim.settled) else { continue };
            let took_ms = now.since_ms(reclaim.since);
            reclaim.settled = !held || !card.present || took_ms > WAITED_FOR_MS;
            if !held && card.present {
                let (lease, mode) = (reclaim.lease.clone(), reclaim.mode);
                out.push(Effect::Journal(JournalEntry::VramFree { lease, at: now, took_ms, mode }));
            }
        }
    }
}
