//! Cards that wait for a job prove themselves too: once after they first came, and then unannounced.

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::CheckAnswer;
use nightjar_core::proof::{Nonce, ProofFault, Question};
use nightjar_core::standing::CheckKind;
use nightjar_core::time::Timestamp;

use super::{Failure, Market, Teller};
use crate::store::{leases, standings};

impl Market {
    /// Draws when each card is asked, asks those whose time has come, and judges those that say nothing.
    pub(super) async fn check_cards(&self, now: Timestamp) -> Result<(), Failure> {
        for (host_id, question) in self.registry.unanswered(now) {
            self.judge(&host_id, &question, None, false, now).await?;
        }
        let undrawn = self.registry.undrawn_checks();
        if !undrawn.is_empty() {
            let mut db = self.store.reader().acquire().await?;
            for (host_id, gpu) in undrawn {
                let standing = standings::of_card(&mut db, &host_id, &gpu).await?;
                self.registry.draw_check(&host_id, &gpu, standing.check_at(now, rand::random()));
            }
        }
        self.ask_those_due(now).await
    }

    async fn ask_those_due(&self, now: Timestamp) -> Result<(), Failure> {
        let due = self.registry.due_checks(now);
        if due.is_empty() {
            return Ok(());
        }
        let mut questions = Vec::new();
        let mut tx = self.store.write().await?;
        let busy = leases::busy_cards(tx.connection()).await?;
        for listing in due {
            let (host_id, card) = (listing.host_id, listing.card);
            if busy.contains(&(host_id.clone(), card.gpu.clone())) {
                continue;
            }
            let mut standing = standings::of_card(tx.connection(), &host_id, &card.gpu).await?;
            // Written down first: whoever is asked and goes away is asked again soon.
            standing.ask(now);
            standings::save(tx.connection(), &host_id, &card.gpu, &standing).await?;
            let nonce = Nonce::of(rand::random());
            let (gpu, model, vram_mib) = (card.gpu, card.model, card.vram_mib);
            questions.push((host_id, Question { nonce, asked_at: now, gpu, model, vram_mib }));
        }
        tx.commit().await?;
        for (host_id, question) in questions {
            tracing::info!(host_id, gpu = question.gpu.0, "a card that waits is asked to prove itself");
            self.registry.ask(&host_id, question);
        }
        Ok(())
    }

    pub(super) async fn take_checked(
        &self,
        teller: Teller<'_>,
        gpu: &GpuUuid,
        answer: CheckAnswer,
        signed: bool,
    ) -> Result<(), Failure> {
        let Some(question) = self.registry.answered(teller.host_id, teller.session, gpu) else {
            tracing::debug!(teller.host_id, "an answer to nothing that is asked (any more)");
            return Ok(());
        };
        if answer == CheckAnswer::NotNow {
            tracing::info!(teller.host_id, gpu = gpu.0, "the card proves nothing now");
            return Ok(());
        }
        self.judge(teller.host_id, &question, Some(answer), signed, self.clock.now()).await
    }

    /// `answer` is none where the time for one is over.
    async fn judge(
        &self,
        host_id: &str,
        question: &Question,
        answer: Option<CheckAnswer>,
        signed: bool,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let gpu = &question.gpu;
        let mut tx = self.store.write().await?;
        let mut standing = standings::of_card(tx.connection(), host_id, gpu).await?;
        let checked = match &answer {
            None | Some(CheckAnswer::NotNow) => Err(ProofFault::Missing),
            Some(CheckAnswer::Failed { .. }) => Err(ProofFault::OwnCheck),
            Some(CheckAnswer::Proof(_)) if !signed => Err(ProofFault::Unsigned),
            Some(CheckAnswer::Proof(proof)) => proof.check(question, standing.known, now).map(|()| proof),
        };
        match checked {
            Ok(proof) => {
                tracing::info!(host_id, ?proof, "the card was seen to work while it waits");
                standing.pass(proof, CheckKind::Waiting, now);
            }
            Err(why) => {
                tracing::warn!(host_id, gpu = gpu.0, %why, "a card that waits did not prove itself");
                standing.fail(why, CheckKind::Waiting, now);
            }
        }
        standings::save(tx.connection(), host_id, gpu, &standing).await?;
        tx.commit().await?;
        self.registry.look_soon(host_id);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
