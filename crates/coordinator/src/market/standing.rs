//! What comes of a card's proof: a lease that begins, or a card that is left out for a while.

use std::collections::{BTreeSet, HashMap, HashSet};

use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{EndReason, LeaseEvent, LeaseState, WorkerAccess};
use nightjar_core::proof::ProofFault;
use nightjar_core::standing::CheckKind;
use nightjar_core::time::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::{Consequences, Failure, Market, step};
use crate::bounds;
use crate::registry::Listing;
use crate::store::leases::LeaseRecord;
use crate::store::standings::CardKey;
use crate::store::{StoreError, leases, standings};

impl Market {
    /// Everything on offer that is not left out, in no order.
    pub(super) async fn lendable(
        &self,
        db: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<Vec<Listing>, StoreError> {
        let out = standings::out(db, now).await?;
        let mut listings = self.registry.listings();
        let twice = self.claimed_by_others(db, &listings).await?;
        listings.retain(|listing| {
            let key = (listing.host_id.clone(), listing.card.gpu.clone());
            !out.contains_key(&key) && !twice.contains(&key)
        });
        Ok(listings)
    }

    /// Cards on offer that other hosts say they have at this moment: no card is in two PCs. Whoever showed it first has
    /// it, and nobody where none has.
    pub(super) async fn claimed_by_others(
        &self,
        db: &mut SqliteConnection,
        listings: &[Listing],
    ) -> Result<HashSet<CardKey>, StoreError> {
        let busy = leases::busy_cards(db).await?;
        let on_offer = listings.iter().map(|listing| (&listing.host_id, &listing.card.gpu));
        let mut holders: HashMap<&GpuUuid, BTreeSet<&String>> = HashMap::new();
        for (host_id, gpu) in on_offer.chain(busy.iter().map(|(host_id, gpu)| (host_id, gpu))) {
            holders.entry(gpu).or_default().insert(host_id);
        }
        let mut not_theirs = HashSet::new();
        for (gpu, hosts) in holders.into_iter().filter(|(_, hosts)| hosts.len() > 1) {
            let mut first = None;
            for host_id in &hosts {
                let since = standings::of_card(db, host_id, gpu).await?.known_since();
                first = first.into_iter().chain(since.map(|since| (since, *host_id))).min();
            }
            let others = hosts.into_iter().filter(|host_id| first.is_none_or(|(_, has)| has != *host_id));
            not_theirs.extend(others.map(|host_id| (host_id.clone(), gpu.clone())));
        }
        Ok(not_theirs)
    }

    /// Keeps what the renter needs to reach the worker, where the card has proved itself; else the lease goes to another
    /// card, or ends. `true` when it was taken.
    pub(super) async fn take_access(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        access: WorkerAccess,
        signed: bool,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<bool, StoreError> {
        let (host_id, epoch) = (lease.placement.host_id.clone(), lease.placement.epoch);
        if let Err(wrong) = bounds::access(&access) {
            tracing::warn!(lease = %lease.id, wrong, "the host's access data is refused");
            let cause = format!("the market refuses what the host says of the worker: {wrong}");
            let reason = EndReason::PreparationFailed { cause };
            step(lease, LeaseEvent::End { reason: reason.clone() }, now, out);
            out.end(&host_id, &lease.id, epoch, reason);
            return Ok(false);
        }
        // Told again after a reconnect.
        if lease.placement.access.as_ref() == Some(&access) {
            return Ok(true);
        }
        let gpu = lease.placement.card.gpu.clone();
        let mut standing = standings::of_card(db, &host_id, &gpu).await?;
        let checked = match &access.proof {
            None => Err(ProofFault::Missing),
            Some(_) if !signed => Err(ProofFault::Unsigned),
            Some(proof) => proof.check(&lease.question(), standing.known, now).map(|()| proof),
        };
        match checked {
            Ok(proof) => {
                tracing::info!(lease = %lease.id, host_id, ?proof, "the card was seen to work");
                standing.pass(proof, CheckKind::Lease, now);
                standings::save(db, &host_id, &gpu, &standing).await?;
                lease.placement.volume = access.volume;
                lease.placement.access = Some(access);
                Ok(true)
            }
            Err(why) => {
                tracing::warn!(lease = %lease.id, host_id, gpu = gpu.0, %why, proof = ?access.proof, "no proof of the card");
                self.leave_out(db, &host_id, &gpu, why, now, out).await?;
                let reason = EndReason::ProofRefused { why };
                out.end(&host_id, &lease.id, epoch, reason.clone());
                if !self.placed_anew(db, lease, now, out).await? {
                    step(lease, LeaseEvent::End { reason }, now, out);
                }
                Ok(false)
            }
        }
    }

    /// The host itself says that the card did not pass. `true` where the lease was offered to another.
    pub(super) async fn take_own_failure(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        told: &LeaseState,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<bool, StoreError> {
        let (LeaseState::Ending { reason } | LeaseState::Ended { reason }) = told else { return Ok(false) };
        let EndReason::SelfCheckFailed { cause } = reason else { return Ok(false) };
        if lease.placement.started_at.is_some() || lease.closed_at.is_some() {
            return Ok(false);
        }
        let (host_id, gpu) = (lease.placement.host_id.clone(), lease.placement.card.gpu.clone());
        tracing::warn!(lease = %lease.id, host_id, gpu = gpu.0, cause, "the card failed the host's own check");
        self.leave_out(db, &host_id, &gpu, ProofFault::OwnCheck, now, out).await?;
        self.placed_anew(db, lease, now, out).await
    }

    async fn leave_out(
        &self,
        db: &mut SqliteConnection,
        host_id: &str,
        gpu: &GpuUuid,
        why: ProofFault,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        let mut standing = standings::of_card(db, host_id, gpu).await?;
        standing.fail(why, CheckKind::Lease, now);
        out.waiting.push(host_id.to_owned());
        standings::save(db, host_id, gpu, &standing).await
    }

    /// The owner says that a card, or every one, is put right.
    pub(super) async fn take_retry(&self, host_id: &str, gpu: Option<&GpuUuid>) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        for ((host, card), mut standing) in standings::out(tx.connection(), now).await? {
            let is_meant = host == host_id && gpu.is_none_or(|gpu| *gpu == card);
            if is_meant && standing.retry(now) {
                tracing::info!(host_id, gpu = card.0, "the owner asks for another try");
                standings::save(tx.connection(), host_id, &card, &standing).await?;
            }
        }
        tx.commit().await?;
        self.registry.look_soon(host_id);
        self.registry.draw_checks_again(host_id);
        Ok(())
    }
}
