//! Interruptible leases: what a host's owner interrupted goes on as a lease of its own, on the same host first.
//!
//! Who waits for its host comes before everybody who asks anew: the waiting are looked at when a host offers cards, and
//! again before a new request is matched.

use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseState};
use nightjar_core::ledger::Account;
use nightjar_core::market::{AfterInterruption, Requirements};
use nightjar_core::money::Money;
use nightjar_core::parting::Cause;
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;
use sqlx::sqlite::SqliteConnection;

use super::rent::{MOST_LEASES, asked, host_key};
use super::{Consequences, Failure, Market, funds, matching};
use crate::registry::Listing;
use crate::store::continuations::{self, Waiting};
use crate::store::leases::LeaseRecord;
use crate::store::{StoreError, books, leases, requests};

/// So long only the host that it was on is offered the lease, where the renter did not ask for that one alone.
const SAME_HOST_FIRST_MS: u64 = 600_000;
/// A lease that has not gone on within a day is forgotten.
const WAITS_AT_MOST_MS: u64 = 86_400_000;
/// After a host has said no; doubled each time.
const AGAIN_AFTER_MS: u64 = 30_000;
const MOST_DOUBLINGS: u64 = 6;
/// Longer than the longest grace that an owner can choose, two minutes, in which a tenant still computes.
const HELD_UP_AFTER_MS: u64 = 300_000;

/// From when on another host is good enough; `None`: never.
pub(super) fn any_host_from(after: AfterInterruption, since: Timestamp) -> Option<Timestamp> {
    (after == AfterInterruption::SameHostFirst).then(|| since.plus_ms(SAME_HOST_FIRST_MS))
}

/// The owner, and nobody else, took the card. What a tenant was ended for by its own doing it would do again.
fn is_the_owners(reason: &EndReason, cause: Option<Cause>) -> bool {
    let own_doing = matches!(cause, Some(Cause::VramReserve | Cause::DiskLimit | Cause::Mining));
    matches!(reason, EndReason::OwnerReturned | EndReason::FrozenTooLong | EndReason::OwnerStopped)
        && !own_doing
}

/// A lease that was never used ended without its renter's doing.
fn came_to_nothing(reason: &EndReason) -> bool {
    !matches!(reason, EndReason::RenterStopped | EndReason::BalanceExhausted)
}

/// Its end was decided long ago, nothing of it computes any more, and still its host has not got rid of it: a sandbox stands
/// frozen, and what can end it is away. It may take hours, for which its renter is not to blame.
pub(super) fn is_held_up(lease: &LeaseRecord, now: Timestamp) -> bool {
    matches!(lease.state, LeaseState::Ending { .. }) && now.since_ms(lease.state_since) >= HELD_UP_AFTER_MS
}

/// Since when and until when a lease that its host's owner interrupted waits to go on. Both count from the moment at which
/// its end was decided: what was given up once is not begun anew when the host gets rid of it after all.
fn waiting(lease: &LeaseRecord, now: Timestamp) -> Option<Waiting> {
    let (LeaseState::Ended { reason } | LeaseState::Ending { reason }) = &lease.state else { return None };
    let since = lease.closed_at.unwrap_or(now);
    let until = since.plus_ms(WAITS_AT_MOST_MS);
    let goes_on = (lease.state.is_over() || is_held_up(lease, now))
        && lease.placement.started_at.is_some()
        && is_the_owners(reason, lease.cause)
        && lease.after_interruption != AfterInterruption::End;
    (goes_on && now < until).then(|| Waiting { lease: lease.id.clone(), since, until })
}

/// It is to wait, and does not yet.
pub(super) fn is_to_wait(lease: &LeaseRecord, now: Timestamp) -> bool {
    lease.waits.is_none() && lease.continued_by.is_none() && waiting(lease, now).is_some()
}

/// The leases that count as this renter's when another one is to begin.
pub(super) async fn held_by(
    db: &mut SqliteConnection,
    renter: &str,
    now: Timestamp,
) -> Result<Vec<LeaseRecord>, StoreError> {
    let mut open = leases::open_of_renter(db, renter).await?;
    open.retain(|lease| !is_held_up(lease, now));
    Ok(open)
}

impl Market {
    /// Looks whether a lease that is over, or as good as that, is to go on.
    pub(super) async fn after_end(
        &self,
        db: &mut SqliteConnection,
        lease: &LeaseRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let (Some(before), LeaseState::Ended { reason }) = (&lease.continues, &lease.state)
            && lease.placement.started_at.is_none()
            && lease.after_interruption != AfterInterruption::End
            && came_to_nothing(reason)
        {
            let doublings = continuations::attempts(db, before).await?.min(MOST_DOUBLINGS);
            return continuations::wait_again(db, before, now.plus_ms(AGAIN_AFTER_MS << doublings)).await;
        }
        match waiting(lease, now) {
            Some(waiting) => continuations::begin(db, &waiting).await,
            None => Ok(()),
        }
    }

    /// Of a lease whose host does not get rid of it: it waits to go on although it is not over.
    pub(super) async fn wait_beside(&self, id: &LeaseId, now: Timestamp) -> Result<(), Failure> {
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        let found = leases::by_id(tx.connection(), id).await?;
        if let Some(lease) = found.filter(|lease| is_to_wait(lease, now)) {
            tracing::warn!(lease = %lease.id, host_id = lease.placement.host_id, "its host does not get rid of it: it waits to go on");
            self.after_end(tx.connection(), &lease, now).await?;
            out.changed.push(lease.id);
        }
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }

    /// Places those that wait, where a card is there for them.
    pub(super) async fn continue_those_that_wait(&self, now: Timestamp) -> Result<(), Failure> {
        // Nobody waits, as a rule: the lock is not taken for that.
        if continuations::due(&mut *self.store.reader().acquire().await?, now).await?.is_empty() {
            return Ok(());
        }
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        self.continue_waiting(tx.connection(), now, &mut out).await?;
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }

    pub(super) async fn continue_waiting(
        &self,
        db: &mut SqliteConnection,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        for waiting in continuations::due(db, now).await? {
            if waiting.until <= now {
                continuations::give_up(db, &waiting.lease).await?;
                out.changed.push(waiting.lease);
                continue;
            }
            let Some(before) = leases::by_id(db, &waiting.lease).await? else { continue };
            let wanted = wanted_again(&before);
            if let Some(listing) = self.card_for(db, &before, &wanted, waiting.since, now).await? {
                self.go_on(db, before, wanted, listing, now, out).await?;
            }
        }
        Ok(())
    }

    /// The card on which an interrupted lease goes on now, if it can.
    async fn card_for(
        &self,
        db: &mut SqliteConnection,
        before: &LeaseRecord,
        wanted: &Requirements,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Listing>, StoreError> {
        let busy = leases::busy_cards(db).await?;
        let same = |listing: &Listing| listing.host_id == before.placement.host_id;
        // What stands frozen there still holds its volume.
        let is_held = |listing: &Listing| same(listing) && !before.state.is_over();
        let taken = |listing: &Listing| {
            is_held(listing) || busy.contains(&(listing.host_id.clone(), listing.card.gpu.clone()))
        };
        let any_host = any_host_from(before.after_interruption, since).is_some_and(|from| from <= now);
        let found = matching::candidates(self.lendable(db, now).await?, wanted, taken).unwrap_or_default();
        let best = found.iter().find(|listing| same(listing)).or_else(|| found.first().filter(|_| any_host));
        let Some(best) = best else { return Ok(None) };
        let open = held_by(db, &before.renter, now).await?;
        let balance = books::balance_micros(db, &Account::Renter { id: before.renter.clone() }).await?;
        let prices = open.iter().map(LeaseRecord::price_per_hour).chain([best.card.price_per_hour]);
        let affordable = open.len() < MOST_LEASES && funds::covers(balance, prices, funds::TO_BEGIN_MS);
        Ok(affordable.then(|| best.clone()))
    }

    async fn go_on(
        &self,
        db: &mut SqliteConnection,
        before: LeaseRecord,
        wanted: Requirements,
        listing: Listing,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        let host_key = host_key(db, &listing).await?;
        let placement = self.placement(listing, host_key, Epoch(1), now);
        let lease = LeaseRecord {
            id: LeaseId(uuid::Uuid::new_v4().to_string()),
            requirements: wanted,
            created_at: now,
            placement,
            state: LeaseState::Offered,
            state_since: now,
            closed_at: None,
            running_ms: 0,
            charged_micros: 0,
            cause: None,
            continues: Some(before.id.clone()),
            continued_by: None,
            waits: None,
            ..before
        };
        leases::add(db, &lease).await?;
        requests::add(db, &asked(&lease)).await?;
        continuations::placed(db, &before.id, &lease.id).await?;
        tracing::info!(lease = %lease.id, continues = %before.id, host_id = lease.placement.host_id, "goes on");
        out.order(&lease.placement.host_id, ToHost::Offer(lease.terms()));
        out.changed.push(before.id);
        Ok(())
    }
}

/// What was wanted before, and never dearer than it was.
fn wanted_again(before: &LeaseRecord) -> Requirements {
    let price = before.price_per_hour();
    let most =
        before.requirements.max_price_per_hour.map_or(price.micros, |most| most.micros.min(price.micros));
    Requirements { max_price_per_hour: Some(Money::new(most, price.currency)), ..before.requirements.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::market::CardOffer;

    use crate::market::sweep::tests::{START, lease_in, market};
    use crate::store::hosts;
    use crate::store::renters::{self, Renter};

    fn over() -> LeaseState {
        LeaseState::Ended { reason: EndReason::FrozenTooLong }
    }

    /// Its host does not come to the end of it.
    fn ending() -> LeaseState {
        LeaseState::Ending { reason: EndReason::FrozenTooLong }
    }

    fn renter() -> Renter {
        Renter { id: "r".into(), name: "r".into(), created_at: START }
    }

    /// Two hosts, and an interrupted lease of the first one.
    async fn interrupted(
        market: &Market,
        after_interruption: AfterInterruption,
        state: LeaseState,
    ) -> (LeaseId, [String; 2]) {
        let mut tx = market.store.write().await.unwrap();
        let mut ids = [String::new(), String::new()];
        for (number, id) in ids.iter_mut().enumerate() {
            let (name, key) = (format!("h{number}"), format!("k{number}"));
            *id = hosts::enter(tx.connection(), &name, &key, START).await.unwrap();
        }
        renters::add(tx.connection(), &renter(), "t").await.unwrap();
        let mut lease = lease_in(LeaseState::Offered, &ids[0]);
        lease.after_interruption = after_interruption;
        leases::add(tx.connection(), &lease).await.unwrap();
        lease.state = state;
        lease.closed_at = Some(START);
        lease.placement.started_at = Some(START);
        leases::save(tx.connection(), &lease).await.unwrap();
        let credit = nightjar_core::ledger::Transfer::deposit("r", Money::new(1_000, market.currency));
        books::book(tx.connection(), &credit, None, START).await.unwrap();
        market.after_end(tx.connection(), &lease, START).await.unwrap();
        tx.commit().await.unwrap();
        (lease.id, ids)
    }

    fn offer(market: &Market, host_id: &str) {
        let seat = market.registry.enter(host_id, &market.closing);
        // No card is in two PCs.
        let gpu = nightjar_core::gpu::GpuUuid(host_id.to_owned());
        let card = CardOffer { gpu, ..lease_in(LeaseState::Ready, host_id).placement.card };
        market.registry.set_offers(host_id, seat.id, "home".into(), vec![card]);
    }

    async fn look(market: &Market, lease: &LeaseId, now: Timestamp) -> LeaseRecord {
        market.continue_those_that_wait(now).await.unwrap();
        leases::by_id(&mut market.store.reader().acquire().await.unwrap(), lease).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn another_host_is_good_enough_only_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let (lease, ids) = interrupted(&market, AfterInterruption::SameHostFirst, over()).await;
        offer(&market, &ids[1]);
        let late = START.plus_ms(SAME_HOST_FIRST_MS);
        assert_eq!(look(&market, &lease, Timestamp(late.0 - 1)).await.continued_by, None);
        let successor = look(&market, &lease, late).await.continued_by.unwrap();
        let successor = look(&market, &successor, late).await;
        assert_eq!((&successor.placement.host_id, &successor.continues), (&ids[1], &Some(lease)));
    }

    #[tokio::test]
    async fn who_waits_for_its_host_gets_that_one_or_none_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let (lease, ids) = interrupted(&market, AfterInterruption::SameHostOnly, over()).await;
        offer(&market, &ids[1]);
        let end = START.plus_ms(WAITS_AT_MOST_MS);
        let waiting = look(&market, &lease, Timestamp(end.0 - 1)).await;
        assert_eq!((waiting.continued_by, waiting.waits), (None, Some((START, end))));
        assert_eq!(look(&market, &lease, end).await.waits, None);
        offer(&market, &ids[0]);
        assert_eq!(look(&market, &lease, end.plus_ms(1)).await.continued_by, None);
    }

    /// What the clock brings, and the lease as it is then.
    async fn sweep(market: &Market, lease: &LeaseId, now: Timestamp) -> LeaseRecord {
        market.sweep(now).await.unwrap();
        look(market, lease, now).await
    }

    /// Its host has got rid of it after all.
    async fn end(market: &Market, lease: &LeaseId, now: Timestamp) {
        let mut tx = market.store.write().await.unwrap();
        let mut lease = leases::by_id(tx.connection(), lease).await.unwrap().unwrap();
        lease.state = over();
        leases::save(tx.connection(), &lease).await.unwrap();
        market.after_end(tx.connection(), &lease, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn all(market: &Market) -> usize {
        let mut db = market.store.reader().acquire().await.unwrap();
        leases::of_renter(&mut db, "r", 9).await.unwrap().len()
    }

    #[tokio::test]
    async fn what_its_host_does_not_come_to_the_end_of_goes_on_elsewhere_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let (lease, ids) = interrupted(&market, AfterInterruption::SameHostFirst, ending()).await;
        let held_up = START.plus_ms(HELD_UP_AFTER_MS);
        let before = sweep(&market, &lease, Timestamp(held_up.0 - 1)).await;
        assert_eq!((before.waits, is_held_up(&before, before.state_since)), (None, false));
        let waiting = sweep(&market, &lease, held_up).await;
        assert_eq!(waiting.waits, Some((START, START.plus_ms(WAITS_AT_MOST_MS))));
        let mut db = market.store.reader().acquire().await.unwrap();
        assert_eq!(leases::open_of_renter(&mut db, "r").await.unwrap().len(), 1);
        assert_eq!(held_by(&mut db, "r", held_up).await.unwrap(), [], "it is not its renter's doing");

        let late = START.plus_ms(SAME_HOST_FIRST_MS);
        // Another card of its own host is not taken: what stands frozen there holds the volume.
        offer(&market, &ids[0]);
        assert_eq!(look(&market, &lease, late).await.continued_by, None);
        offer(&market, &ids[1]);
        let gone_on = look(&market, &lease, late).await;
        let successor = look(&market, gone_on.continued_by.as_ref().unwrap(), late).await;
        assert_eq!((&successor.placement.host_id, &gone_on.state), (&ids[1], &ending()));

        // The end that comes after all changes nothing.
        end(&market, &lease, late.plus_ms(1)).await;
        let over = look(&market, &lease, late.plus_ms(1)).await;
        assert_eq!((over.continued_by, over.waits, all(&market).await), (gone_on.continued_by, None, 2));
    }

    #[tokio::test]
    async fn what_is_given_up_while_its_host_does_not_end_it_stays_so() {
        let held_up = START.plus_ms(HELD_UP_AFTER_MS);
        for (stopped_at, given_up) in [
            // Before it waits, while it waits, and by time alone.
            (Some(START), START),
            (Some(held_up), held_up),
            (None, START.plus_ms(WAITS_AT_MOST_MS)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let market = market(folder.path()).await;
            let (lease, ids) = interrupted(&market, AfterInterruption::SameHostOnly, ending()).await;
            offer(&market, &ids[0]);
            if stopped_at != Some(START) {
                assert!(sweep(&market, &lease, held_up).await.waits.is_some());
            }
            if stopped_at.is_some() {
                market.stop(&renter(), &lease).await.unwrap();
            }
            for now in [given_up, held_up.max(given_up), held_up.max(given_up).plus_ms(1)] {
                assert_eq!(sweep(&market, &lease, now).await.waits, None);
            }
            end(&market, &lease, given_up.plus_ms(2)).await;
            let over = look(&market, &lease, given_up.plus_ms(3)).await;
            assert_eq!((over.waits, all(&market).await), (None, 1), "{stopped_at:?}");
        }
    }
}
