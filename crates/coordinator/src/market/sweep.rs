//! What happens by time alone: offers run out, silent hosts are given up.

use std::time::Duration;

use nightjar_core::lease::{EndReason, LeaseEvent, LeaseId, LeaseState};
use nightjar_core::time::Timestamp;

use super::{Consequences, Failure, Market, silence, step};
use crate::store::leases::LeaseRecord;
use crate::store::{hosts, leases};

/// An offer that is not answered in this time goes to the next card, in milliseconds.
const OFFER_STANDS_MS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Market {
    /// Looks again and again until the coordinator closes.
    pub(crate) async fn sweep_until_closing(&self) {
        let mut beat = tokio::time::interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                _ = beat.tick() => {}
            }
            if let Err(error) = self.sweep(self.clock.now()).await {
                tracing::error!("the look at leases that wait failed and is tried again: {error}");
            }
        }
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), Failure> {
        let open = leases::open(&mut *self.store.reader().acquire().await?).await?;
        for lease in open.iter().filter(|lease| has_run_out(lease, now)) {
            self.expire(&lease.id, now).await?;
        }
        for (host_id, heard) in hosts::with_open_leases(self.store.reader()).await? {
            if !self.registry.is_connected(&host_id) && silence::is_lost(heard, self.since, now) {
                self.give_up(&host_id, now).await?;
            }
        }
        Ok(())
    }

    async fn expire(&self, id: &LeaseId, now: Timestamp) -> Result<(), Failure> {
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        let found = leases::by_id(tx.connection(), id).await?;
        if let Some(mut lease) = found.filter(|lease| has_run_out(lease, now)) {
            let (host_id, epoch) = (lease.placement.host_id.clone(), lease.placement.epoch);
            // A host that takes it after all must not begin.
            out.end(&host_id, id, epoch, EndReason::Superseded);
            self.place_again(tx.connection(), &mut lease, EndReason::OfferExpired, now, &mut out).await?;
        }
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }

    async fn give_up(&self, host_id: &str, now: Timestamp) -> Result<(), Failure> {
        tracing::warn!(host_id, "not heard of for {} s: its leases end", silence::LOST_AFTER_MS / 1_000);
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        for mut lease in leases::open_on_host(tx.connection(), host_id).await? {
            step(&mut lease, LeaseEvent::End { reason: EndReason::HostLost }, now, &mut out);
            step(&mut lease, LeaseEvent::Gone, now, &mut out);
            leases::save(tx.connection(), &lease).await?;
        }
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }
}

fn has_run_out(lease: &LeaseRecord, now: Timestamp) -> bool {
    lease.state == LeaseState::Offered && now.since_ms(lease.placement.offered_at) >= OFFER_STANDS_MS
}
