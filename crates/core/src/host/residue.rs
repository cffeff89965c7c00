//! Work on the card that goes on although its tenant is frozen.
//!
//! A freeze stops every thread of a tenant, and with that all that it hands to the card. What the card was handed before runs
//! on to its end: milliseconds of it in ordinary work, and for ever in a program that was written to never end. The owner
//! would feel it, and its tenant would compute unpaid, so such a tenant is ended.

use super::Host;
use super::effect::Outbox;
use crate::gpu::GpuReading;
use crate::time::Timestamp;

/// Less is what a desktop that is drawn also comes to.
const BUSY_PERCENT: u32 = 10;

impl Host {
    /// By the readings that have just come.
    pub(super) fn take_residue(&mut self, now: Timestamp, out: &mut Outbox) {
        for card in self.cards.values_mut().filter(|card| card.missed_looks == 0) {
            let (is_busy, energy) = (is_ours_busy(&card.reading), card.reading.energy_millijoules);
            if let Some(job) = &mut card.job {
                job.watch_residue(is_busy, energy, now, out);
            }
        }
    }
}

/// By what the driver says of the tenant's own programs; where it says nothing of any, by the whole card, if nobody else has
/// anything on it.
fn is_ours_busy(card: &GpuReading) -> bool {
    let mut ours = card.processes.iter().filter(|process| process.ours).peekable();
    if ours.peek().is_none() {
        return false;
    }
    let busiest = ours.filter_map(|process| process.sm_percent).max();
    let is_alone = card.display_active != Some(true) && card.processes.iter().all(|process| process.ours);
    let alone = || card.utilisation_percent.filter(|_| is_alone);
    busiest.or_else(alone).is_some_and(|percent| percent >= BUSY_PERCENT)
}
