//! A card that waits for a job proves itself when its market asks: our own check runs on it for some seconds, in a
//! container without a tenant. Whatever would keep a job away ends it at once, and so does a job.

use crate::economics::Consumption;
use crate::energy::EnergySample;
use crate::gpu::GpuUuid;
use crate::money::Currency;
use crate::policy::{Market, Runtime, Verdict};
use crate::proof::Nonce;
use crate::time::Timestamp;

use super::bill::Bill;
use super::effect::{CheckAnswer, Effect, JournalEntry, Outbox, Report};
use super::input::LoadEvent;
use super::{Card, Host};

/// No market's question is worth more of the owner's card than this.
const AT_MOST_MS: u64 = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its container comes up, or the check is under way.
    Runs,
    /// It has answered, or is not to any more; the container goes.
    Leaves,
    /// The card is free again. The next reading tells what the last moments have cost.
    Gone,
}

/// One card's check.
#[derive(Clone, Debug)]
pub(super) struct Checking {
    phase: Phase,
    /// Later than this nobody waits for its answer.
    by: Timestamp,
    /// What the owner pays for it.
    bill: Bill,
}

impl Checking {
    pub(super) fn is_on_the_card(&self) -> bool {
        self.phase != Phase::Gone
    }

    pub(super) fn next_deadline(&self) -> Option<(Timestamp, &'static str)> {
        (self.phase == Phase::Runs).then_some((self.by, "nobody waits for this check any more"))
    }
}

impl Host {
    /// The market asks. A card on which nothing may run now says so, and that is all.
    pub(super) fn take_question(
        &mut self,
        gpu: &GpuUuid,
        nonce: Nonce,
        within_ms: u64,
        now: Timestamp,
        out: &mut Outbox,
    ) {
        let image = match &self.snapshot.runtime {
            Runtime::Ready { images, .. } => images.first().cloned(),
            _ => None,
        };
        let is_open = !self.closing && nonce.is_whole();
        let currency = self.settings.price_per_hour.currency;
        let is_free = |card: &&mut Card| {
            let nothing_runs = card.job.is_none() && !card.is_swept() && !card.is_checked();
            card.present && nothing_runs && card.verdict == Verdict::Earn
        };
        let card = self.cards.get_mut(gpu).filter(is_free).filter(|_| is_open);
        let (Some(card), Some(image)) = (card, image) else {
            let answer = CheckAnswer::NotNow;
            return out.push(Effect::Tell(Report::Checked { gpu: gpu.clone(), answer }));
        };
        card.settle_check(currency, now, out);
        card.check = Some(Checking {
            phase: Phase::Runs,
            by: now.plus_ms(within_ms.min(AT_MOST_MS)),
            // What the card drew since its last reading is in it too: the owner is never told less than it was.
            bill: Bill::since(EnergySample::of(&card.reading, now)),
        });
        out.push(Effect::StartCheck { gpu: gpu.clone(), nonce, image });
        out.push(Effect::Journal(JournalEntry::Proving { gpu: gpu.clone(), at: now, on: true }));
    }

    /// What the check's container says; `false` where there is none on this card.
    pub(super) fn take_check(
        &mut self,
        gpu: &GpuUuid,
        event: &LoadEvent,
        now: Timestamp,
        out: &mut Outbox,
    ) -> bool {
        let (closing, currency) = (self.closing, self.settings.price_per_hour.currency);
        let Some(card) = self.cards.get_mut(gpu) else { return false };
        let Some(check) = card.check.as_mut().filter(|check| check.is_on_the_card()) else { return false };
        let answer = match event {
            LoadEvent::Checked { answer } => Some(answer.clone()),
            // It did not come to a check: the Engine failed, say.
            LoadEvent::Gone { .. } => Some(CheckAnswer::NotNow),
            LoadEvent::Work { .. } => None,
        };
        if let Some(answer) = answer.filter(|_| check.phase == Phase::Runs) {
            check.phase = Phase::Leaves;
            out.push(Effect::Tell(Report::Checked { gpu: gpu.clone(), answer }));
        }
        if let LoadEvent::Gone { .. } = event {
            check.phase = Phase::Gone;
            out.push(Effect::Journal(JournalEntry::Proving { gpu: gpu.clone(), at: now, on: false }));
            if closing {
                card.settle_check(currency, now, out);
            }
        }
        true
    }

    /// A reading of every card was taken.
    pub(super) fn take_check_readings(&mut self, now: Timestamp, out: &mut Outbox) {
        let (tariff, zone) = (&self.settings.tariff, self.hours.zone());
        let currency = self.settings.price_per_hour.currency;
        for card in self.cards.values_mut() {
            if let Some(check) = card.check.as_mut().filter(|_| card.present) {
                check.bill.take(EnergySample::of(&card.reading, now), true, tariff, zone);
            }
            card.settle_check(currency, now, out);
        }
    }

    /// Ends what may not go on.
    pub(super) fn reconcile_checks(&mut self, now: Timestamp, out: &mut Outbox) {
        let is_asked = self.snapshot.market == Market::Connected && !self.closing;
        for (gpu, card) in &mut self.cards {
            let may_go_on = is_asked && card.job.is_none() && card.verdict == Verdict::Earn;
            let Some(check) = card.check.as_mut().filter(|check| check.phase == Phase::Runs) else {
                continue;
            };
            if !may_go_on || now >= check.by {
                check.phase = Phase::Leaves;
                out.push(Effect::StopLoad { gpu: gpu.clone() });
                let answer = CheckAnswer::NotNow;
                out.push(Effect::Tell(Report::Checked { gpu: gpu.clone(), answer }));
            }
        }
    }

    /// Some check is over, and what it has cost is not known to the end.
    pub(super) fn has_unsettled_checks(&self) -> bool {
        self.cards.values().any(|card| card.check.is_some() && !card.is_checked())
    }
}

impl Card {
    /// A check is on it, or on its way there or off it.
    pub(super) fn is_checked(&self) -> bool {
        self.check.as_ref().is_some_and(Checking::is_on_the_card)
    }

    /// Writes down what a check that is over has cost.
    fn settle_check(&mut self, currency: Currency, now: Timestamp, out: &mut Outbox) {
        if let Some(check) = self.check.take_if(|check| !check.is_on_the_card()) {
            let Consumption { energy, overhead_millijoules, .. } = check.bill.consumption;
            let (gpu, electricity) =
                (self.reading.uuid.clone(), check.bill.consumption.electricity(currency));
            let cost = JournalEntry::CheckCost { gpu, at: now, energy, overhead_millijoules, electricity };
            out.push(Effect::Journal(cost));
        }
    }
}

#[cfg(test)]
mod tests;
