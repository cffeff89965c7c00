//! What cards that wait for a job are asked, as long as the session lasts in which they are: a host that is away owes no
//! answer. When a card is asked next is drawn anew whenever it comes on offer, which changes nothing: see
//! [`CardStanding::check_at`](nightjar_core::standing::CardStanding::check_at).

use nightjar_core::gpu::GpuUuid;
use nightjar_core::proof::Question;
use nightjar_core::standing::ANSWER_WITHIN_MS;
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;

use super::{Entry, Listing, Registry, of_host};

#[derive(Debug, Default)]
pub(super) struct CardCheck {
    /// When it is asked next; `None` until that is drawn.
    at: Option<Timestamp>,
    /// What it was asked and has not answered.
    asked: Option<Question>,
}

impl Entry {
    /// What is on offer has changed.
    pub(super) fn keep_checks(&mut self) {
        let offers = &self.offers;
        self.checks.retain(|gpu, _| offers.iter().any(|offer| offer.gpu == *gpu));
        for offer in offers {
            self.checks.entry(offer.gpu.clone()).or_default();
        }
    }

    /// A job comes to this card, with a question of its own.
    pub(super) fn call_off_check(&mut self, gpu: &GpuUuid) {
        if let Some(check) = self.checks.get_mut(gpu) {
            *check = CardCheck::default();
        }
    }
}

impl Registry {
    /// Cards on offer for which no time was drawn.
    pub(crate) fn undrawn_checks(&self) -> Vec<(String, GpuUuid)> {
        let sessions = self.lock();
        let cards = sessions.by_host.iter().flat_map(|(host_id, entry)| {
            let undrawn =
                entry.checks.iter().filter(|(_, check)| check.at.is_none() && check.asked.is_none());
            undrawn.map(|(gpu, _)| (host_id.clone(), gpu.clone()))
        });
        cards.collect()
    }

    pub(crate) fn draw_check(&self, host_id: &str, gpu: &GpuUuid, at: Timestamp) {
        let mut sessions = self.lock();
        let entry = sessions.by_host.get_mut(host_id);
        if let Some(check) = entry.and_then(|entry| entry.checks.get_mut(gpu)) {
            check.at = Some(at);
        }
    }

    /// All times of a host's cards are drawn anew.
    pub(crate) fn draw_checks_again(&self, host_id: &str) {
        if let Some(entry) = self.lock().by_host.get_mut(host_id) {
            entry.checks.values_mut().for_each(|check| check.at = None);
        }
    }

    /// Cards whose time has come; it is drawn anew unless they are asked now.
    pub(crate) fn due_checks(&self, now: Timestamp) -> Vec<Listing> {
        let mut sessions = self.lock();
        let mut due = Vec::new();
        for (host_id, entry) in &mut sessions.by_host {
            let listings = of_host((host_id, &*entry));
            let is_due = |check: &CardCheck| check.asked.is_none() && check.at.is_some_and(|at| at <= now);
            for (gpu, check) in entry.checks.iter_mut().filter(|(_, check)| is_due(check)) {
                check.at = None;
                due.extend(listings.iter().find(|listing| listing.card.gpu == *gpu).cloned());
            }
        }
        due
    }

    /// Asks a card that is still on offer.
    pub(crate) fn ask(&self, host_id: &str, question: Question) {
        let order = ToHost::Check {
            gpu: question.gpu.clone(),
            nonce: question.nonce.clone(),
            within_ms: ANSWER_WITHIN_MS,
        };
        let mut sessions = self.lock();
        let entry = sessions.by_host.get_mut(host_id);
        let Some(check) = entry.and_then(|entry| entry.checks.get_mut(&question.gpu)) else { return };
        check.asked = Some(question);
        drop(sessions);
        self.send(host_id, order);
    }

    /// What a card was asked in this session, once.
    pub(crate) fn answered(&self, host_id: &str, id: u64, gpu: &GpuUuid) -> Option<Question> {
        let mut sessions = self.lock();
        let entry = sessions.by_host.get_mut(host_id).filter(|entry| entry.id == id)?;
        entry.checks.get_mut(gpu)?.asked.take()
    }

    /// What should have been answered by now, once.
    pub(crate) fn unanswered(&self, now: Timestamp) -> Vec<(String, Question)> {
        let mut sessions = self.lock();
        let late = |question: &mut Question| now.since_ms(question.asked_at) >= ANSWER_WITHIN_MS;
        let found = sessions.by_host.iter_mut().flat_map(|(host_id, entry)| {
            let late = entry.checks.values_mut().filter_map(move |check| check.asked.take_if(late));
            late.map(|question| (host_id.clone(), question))
        });
        found.collect()
    }
}
