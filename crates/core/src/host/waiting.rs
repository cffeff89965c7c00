//! What the market says of cards to which no job comes, and of the demand for such cards.

use crate::demand::DemandFigures;
use crate::gpu::GpuUuid;
use crate::market::WaitReason;
use crate::time::Timestamp;

use super::Host;
use super::effect::{Effect, JournalEntry, Outbox};

impl Host {
    /// A card that is not named waits for no reason that the market knows.
    pub(super) fn take_waiting(&mut self, told: &[(GpuUuid, WaitReason)], now: Timestamp, out: &mut Outbox) {
        for (gpu, card) in &mut self.cards {
            let why = told.iter().find(|(named, _)| named == gpu).map(|(_, why)| *why);
            if card.waiting != why {
                card.waiting = why;
                out.push(Effect::Journal(JournalEntry::Waiting { gpu: gpu.clone(), at: now, why }));
            }
        }
    }

    /// Of a card that is not named the market says nothing. It is shown and decides nothing, so no journal keeps it.
    pub(super) fn take_demand(&mut self, told: &[(GpuUuid, DemandFigures)]) {
        for (gpu, card) in &mut self.cards {
            let said = told.iter().find(|(named, _)| named == gpu).map(|(_, figures)| figures.bounded());
            card.demand = said.filter(|figures| !figures.is_silent());
        }
    }
}
