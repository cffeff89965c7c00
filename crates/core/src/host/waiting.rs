//! What the market says of cards to which no job comes.

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
}
