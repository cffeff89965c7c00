//! What happens by time alone: offers run out, silent hosts are given up, what a host does not get rid of goes on elsewhere.

use std::time::Duration;

use nightjar_core::lease::{EndReason, LeaseEvent, LeaseId, LeaseState};
use nightjar_core::time::Timestamp;

use super::{Consequences, Failure, Market, continuation, silence, step};
use crate::store::leases::LeaseRecord;
use crate::store::{hosts, leases};

/// An offer that is not answered in this time goes to the next card, in milliseconds.
const OFFER_STANDS_MS: u64 = 10_000;
/// Longer than an interrupted lease waits to go on, in milliseconds.
const SECRETS_KEPT_MS: i64 = 2 * 86_400_000;
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Market {
    /// Looks again and again until the coordinator closes.
    pub(crate) async fn sweep_until_closing(&self) {
        let mut beat = tokio::time::interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut hour = tokio::time::interval(FORGET_EVERY);
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                _ = hour.tick() => {
                    if let Err(error) = self.forget_secrets(self.clock.now()).await {
                        tracing::error!("what is of no use any more was not forgotten: {error}");
                    }
                }
                _ = beat.tick() => {}
            }
            if let Err(error) = self.sweep(self.clock.now()).await {
                tracing::error!("the look at leases that wait failed and is tried again: {error}");
            }
        }
    }

    pub(super) async fn sweep(&self, now: Timestamp) -> Result<(), Failure> {
        let open = leases::open(&mut *self.store.reader().acquire().await?).await?;
        self.check_cards(now).await?;
        self.check_lines(now).await?;
        self.tell_waiting(now).await?;
        for lease in open.iter().filter(|lease| continuation::is_to_wait(lease, now)) {
            self.wait_beside(&lease.id, now).await?;
        }
        self.continue_those_that_wait(now).await?;
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

    /// A lease that is over goes on within a day or not at all.
    async fn forget_secrets(&self, now: Timestamp) -> Result<(), Failure> {
        let mut tx = self.store.write().await?;
        leases::forget_secrets(tx.connection(), Timestamp(now.0.saturating_sub(SECRETS_KEPT_MS))).await?;
        Ok(tx.commit().await?)
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
            self.after_end(tx.connection(), &lease, now).await?;
        }
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }
}

fn has_run_out(lease: &LeaseRecord, now: Timestamp) -> bool {
    lease.state == LeaseState::Offered && now.since_ms(lease.placement.offered_at) >= OFFER_STANDS_MS
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use nightjar_core::gpu::GpuUuid;
    use nightjar_core::lease::Epoch;
    use nightjar_core::market::{CardOffer, Requirements};
    use nightjar_core::money::{Currency, Money};
    use nightjar_core::settings::EgressMode;
    use tokio_util::sync::CancellationToken;

    use crate::changes::Changes;
    use crate::clock::Clock;
    use crate::registry::Registry;
    use crate::store::Store;
    use crate::store::leases::Placement;
    use crate::store::renters::{self, Renter};

    pub(in crate::market) const START: Timestamp = Timestamp(1_000_000);

    pub(in crate::market) async fn market(folder: &std::path::Path) -> Market {
        Market {
            store: Store::open(folder).await.unwrap(),
            registry: Registry::default(),
            changes: Changes::new(),
            clock: Clock::default(),
            currency: Currency::CNY,
            fee_basis_points: 500,
            relay: None,
            since: START,
            closing: CancellationToken::new(),
        }
    }

    pub(in crate::market) fn lease_in(state: LeaseState, host_id: &str) -> LeaseRecord {
        LeaseRecord {
            id: LeaseId(format!("{state:?}")),
            renter: "r".into(),
            image: "i".into(),
            requirements: Requirements::default(),
            renter_key: String::new(),
            ssh_public_key: String::new(),
            created_at: START,
            placement: Placement {
                epoch: Epoch(1),
                host_id: host_id.into(),
                host_key: "k".into(),
                region: "home".into(),
                card: CardOffer {
                    gpu: GpuUuid(format!("{state:?}")),
                    model: "m".into(),
                    vram_mib: 1,
                    driver: "d".into(),
                    price_per_hour: Money::new(1, Currency::CNY),
                    images: vec![],
                    egress: EgressMode::Off,
                    root_inside: false,
                    sandbox: false,
                    volume: Default::default(),
                },
                fee_basis_points: 0,
                offered_at: START,
                nonce: Default::default(),
                started_at: None,
                access: None,
                volume: None,
                last_sequence: 0,
                running_ms_total: 0,
                metered_to: Timestamp(0),
            },
            state,
            state_since: START,
            closed_at: None,
            running_ms: 0,
            charged_micros: 0,
            cause: None,
            after_interruption: Default::default(),
            volume_secret: None,
            continues: None,
            continued_by: None,
            waits: None,
        }
    }

    #[tokio::test]
    async fn leases_of_a_host_that_is_silent_for_ten_minutes_end() {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let stopped = LeaseState::Ending { reason: EndReason::RenterStopped };
        let mut tx = market.store.write().await.unwrap();
        let host_id = hosts::enter(tx.connection(), "h", "k", START).await.unwrap();
        let renter = Renter { id: "r".into(), name: "r".into(), created_at: START };
        renters::add(tx.connection(), &renter, "t").await.unwrap();
        for state in [LeaseState::Running, stopped.clone()] {
            leases::add(tx.connection(), &lease_in(state, &host_id)).await.unwrap();
        }
        tx.commit().await.unwrap();

        market.sweep(START.plus_ms(599_999)).await.unwrap();
        let mut db = market.store.reader().acquire().await.unwrap();
        assert_eq!(leases::open(&mut db).await.unwrap().len(), 2);

        let late = START.plus_ms(600_000);
        let seat = market.registry.enter(&host_id, &market.closing);
        market.sweep(late).await.unwrap();
        assert_eq!(leases::open(&mut db).await.unwrap().len(), 2, "it is connected, so it is not lost");
        market.registry.leave(&host_id, seat.id);
        market.sweep(late).await.unwrap();
        assert_eq!(leases::open(&mut db).await.unwrap(), []);
        let running = leases::by_id(&mut db, &LeaseId("Running".into())).await.unwrap().unwrap();
        assert_eq!(running.state, LeaseState::Ended { reason: EndReason::HostLost });
        assert_eq!(running.closed_at, Some(late));
        // The first cause counts.
        let ending = leases::by_id(&mut db, &LeaseId(format!("{stopped:?}"))).await.unwrap().unwrap();
        assert_eq!(ending.state, LeaseState::Ended { reason: EndReason::RenterStopped });
    }
}
