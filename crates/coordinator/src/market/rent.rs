//! Finding a card for a renter, trying the next one, and the renter's own end of a lease.

use nightjar_core::demand::{Request, Winner};
use nightjar_core::lease::{EndReason, Epoch, LeaseEvent, LeaseId, LeaseState};
use nightjar_core::ledger::Account;
use nightjar_core::market::{AfterInterruption, Requirements};
use nightjar_core::money::Money;
use nightjar_core::proof::Nonce;
use nightjar_core::time::Timestamp;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::ToHost;
use nightjar_protocol::market_api::{Lease, OfferQuery, OfferedCard, Offers, RentRequest};
use sqlx::sqlite::SqliteConnection;

use super::continuation::held_by;
use super::{Consequences, Failure, Market, funds, matching, step};
use crate::bounds;
use crate::registry::Listing;
use crate::store::leases::{LeaseRecord, Placement};
use crate::store::renters::Renter;
use crate::store::{StoreError, books, continuations, leases, requests};

/// Leases that one renter may hold at a time.
pub(super) const MOST_LEASES: usize = 8;
/// Cards that one request is offered to, one after the other.
const MOST_PLACEMENTS: u64 = 5;
/// Most cards in one answer.
const MOST_OFFERS: usize = 500;

fn bad_request(wrong: String) -> Failure {
    Failure::refused(ErrorCode::BadRequest, format!("the request was not carried out: {wrong}"))
}

impl Market {
    /// Cards that would take a job now, the best first.
    pub(crate) async fn offers(&self, query: &OfferQuery) -> Result<Offers, Failure> {
        let wanted = query.requirements(self.currency);
        bounds::requirements(&wanted, self.currency).map_err(bad_request)?;
        let mut db = self.store.reader().acquire().await?;
        let busy = leases::busy_cards(&mut db).await?;
        let taken = |listing: &Listing| busy.contains(&(listing.host_id.clone(), listing.card.gpu.clone()));
        let now = self.clock.now();
        let found =
            matching::candidates(self.lendable(&mut db, now).await?, &wanted, taken).unwrap_or_default();
        let offers = found.into_iter().take(MOST_OFFERS).map(|listing| OfferedCard {
            line: self.registry.line_of(&listing.host_id, now),
            host_id: listing.host_id,
            region: listing.region,
            card: listing.card,
        });
        Ok(Offers { offers: offers.collect() })
    }

    /// Offers the renter's job to the best card. The answer is the lease as it stands then: `Offered`.
    pub(crate) async fn rent(&self, renter: &Renter, request: RentRequest) -> Result<Lease, Failure> {
        let wanted = self.checked(&request)?;
        let now = self.clock.now();
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        // Who was interrupted comes first.
        self.continue_waiting(tx.connection(), now, &mut out).await?;
        let open = held_by(tx.connection(), &renter.id, now).await?;
        if open.len() >= MOST_LEASES {
            return Err(Failure::refused(
                ErrorCode::TooMany,
                format!("a renter holds at most {MOST_LEASES} leases at a time; stop one first"),
            ));
        }
        let busy = leases::busy_cards(tx.connection()).await?;
        let taken = |listing: &Listing| busy.contains(&(listing.host_id.clone(), listing.card.gpu.clone()));
        let found = matching::candidates(self.lendable(tx.connection(), now).await?, &wanted, taken);
        let best = found.map(|found| found.into_iter().next());
        let Ok(Some(best)) = best else {
            requests::add(tx.connection(), &Request { at: now, wanted, winner: None }).await?;
            tx.commit().await?;
            self.publish(out);
            let misses = best.err().unwrap_or_default();
            return Err(Failure::refused(ErrorCode::NoMatch, misses.to_string()));
        };
        self.check_balance(tx.connection(), renter, &open, best.card.price_per_hour).await?;
        let (id, host_key) = (uuid::Uuid::new_v4().to_string(), host_key(tx.connection(), &best).await?);
        let lease = LeaseRecord {
            id: LeaseId(id),
            renter: renter.id.clone(),
            image: request.image,
            requirements: wanted,
            renter_key: request.renter_key.to_ascii_lowercase(),
            ssh_public_key: request.ssh_public_key,
            created_at: now,
            placement: self.placement(best, host_key, Epoch(1), now),
            state: LeaseState::Offered,
            state_since: now,
            closed_at: None,
            running_ms: 0,
            charged_micros: 0,
            cause: None,
            after_interruption: request.after_interruption,
            volume_secret: request.volume_secret,
            continues: None,
            continued_by: None,
            waits: None,
        };
        leases::add(tx.connection(), &lease).await?;
        requests::add(tx.connection(), &asked(&lease)).await?;
        tx.commit().await?;
        tracing::info!(lease = %lease.id, host_id = lease.placement.host_id, "lease offered");
        out.order(&lease.placement.host_id, ToHost::Offer(lease.terms()));
        self.publish(out);
        Ok(self.shown(&lease))
    }

    /// What is wanted of a card, the image with it.
    fn checked(&self, request: &RentRequest) -> Result<Requirements, Failure> {
        bounds::image(&request.image).map_err(bad_request)?;
        bounds::public_key("renter_key", &request.renter_key).map_err(bad_request)?;
        bounds::ssh_public_key(&request.ssh_public_key).map_err(bad_request)?;
        request.volume_secret.as_ref().map_or(Ok(()), bounds::volume_secret).map_err(bad_request)?;
        bounds::requirements(&request.requirements, self.currency).map_err(bad_request)?;
        if request.requirements.image.as_ref().is_some_and(|image| *image != request.image) {
            return Err(bad_request("image and requirements.image name two images".to_owned()));
        }
        Ok(Requirements { image: Some(request.image.clone()), ..request.requirements.clone() })
    }

    async fn check_balance(
        &self,
        db: &mut SqliteConnection,
        renter: &Renter,
        open: &[LeaseRecord],
        price: Money,
    ) -> Result<(), Failure> {
        let balance = books::balance_micros(db, &Account::Renter { id: renter.id.clone() }).await?;
        let prices = open.iter().map(LeaseRecord::price_per_hour).chain([price]);
        if funds::covers(balance, prices, funds::TO_BEGIN_MS) {
            return Ok(());
        }
        let balance = Money::new(balance, self.currency);
        let others = if open.is_empty() { "" } else { " beside the leases that you hold" };
        Err(Failure::refused(
            ErrorCode::Balance,
            format!(
                "the balance of {balance} does not cover a minute at {price} an hour{others}; ask the operator of the market to credit more"
            ),
        ))
    }

    pub(super) fn placement(
        &self,
        listing: Listing,
        host_key: String,
        epoch: Epoch,
        now: Timestamp,
    ) -> Placement {
        Placement {
            epoch,
            host_id: listing.host_id,
            host_key,
            region: listing.region,
            card: listing.card,
            fee_basis_points: self.fee_basis_points,
            offered_at: now,
            nonce: Nonce::of(rand::random()),
            started_at: None,
            access: None,
            volume: None,
            last_sequence: 0,
            running_ms_total: 0,
            metered_to: Timestamp::default(),
        }
    }

    /// Offers a lease that was not taken to the next-best card, or ends it for `reason`.
    pub(super) async fn place_again(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        reason: EndReason,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        if self.placed_anew(db, lease, now, out).await? {
            return Ok(());
        }
        step(lease, LeaseEvent::End { reason }, now, out);
        leases::save(db, lease).await?;
        self.after_end(db, lease, now).await
    }

    /// Offers a lease, of which nothing has run, to the next-best card. `false` where there is none; nothing has changed
    /// then.
    pub(super) async fn placed_anew(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<bool, StoreError> {
        let Some(next) = self.next_candidate(db, lease, now).await? else { return Ok(false) };
        if lease.state != LeaseState::Offered && !step(lease, LeaseEvent::PlaceAgain, now, out) {
            return Ok(false);
        }
        let host_key = host_key(db, &next).await?;
        let epoch = Epoch(lease.placement.epoch.0 + 1);
        lease.placement = self.placement(next, host_key, epoch, now);
        tracing::info!(lease = %lease.id, epoch = epoch.0, host_id = lease.placement.host_id, "offered to the next");
        leases::add_placement(db, lease).await?;
        leases::save(db, lease).await?;
        out.order(&lease.placement.host_id, ToHost::Offer(lease.terms()));
        out.changed.push(lease.id.clone());
        Ok(true)
    }

    async fn next_candidate(
        &self,
        db: &mut SqliteConnection,
        lease: &LeaseRecord,
        now: Timestamp,
    ) -> Result<Option<Listing>, StoreError> {
        // Where a lease goes on is decided where it waits.
        if lease.placement.epoch.0 >= MOST_PLACEMENTS || lease.continues.is_some() {
            return Ok(None);
        }
        let mut not_again = leases::busy_cards(db).await?;
        not_again.extend(leases::tried_cards(db, &lease.id).await?);
        let taken =
            |listing: &Listing| not_again.contains(&(listing.host_id.clone(), listing.card.gpu.clone()));
        let found = matching::candidates(self.lendable(db, now).await?, &lease.requirements, taken);
        let balance = books::balance_micros(db, &Account::Renter { id: lease.renter.clone() }).await?;
        let open = held_by(db, &lease.renter, now).await?;
        let others: Vec<Money> =
            open.iter().filter(|other| other.id != lease.id).map(LeaseRecord::price_per_hour).collect();
        let affordable = |listing: &Listing| {
            let prices = others.iter().copied().chain([listing.card.price_per_hour]);
            funds::covers(balance, prices, funds::TO_BEGIN_MS)
        };
        Ok(found.unwrap_or_default().into_iter().find(affordable))
    }

    /// The renter wants no more. Asked again it changes nothing; one that is over and waits to go on waits no more, and one that
    /// its host's owner ends right now does not go on.
    pub(crate) async fn stop(&self, renter: &Renter, id: &LeaseId) -> Result<Lease, Failure> {
        let now = self.clock.now();
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        let mut lease = self.own(tx.connection(), renter, id).await?;
        if step(&mut lease, LeaseEvent::End { reason: EndReason::RenterStopped }, now, &mut out) {
            leases::save(tx.connection(), &lease).await?;
            let placement = &lease.placement;
            out.end(&placement.host_id, &lease.id, placement.epoch, EndReason::RenterStopped);
        } else if !lease.state.is_over() && lease.continued_by.is_none() {
            lease.after_interruption = AfterInterruption::End;
            leases::save(tx.connection(), &lease).await?;
        }
        if continuations::give_up(tx.connection(), id).await? {
            lease.waits = None;
            out.changed.push(id.clone());
        }
        tx.commit().await?;
        self.publish(out);
        Ok(self.shown(&lease))
    }
}

/// What hosts whose cards were passed over can be told of this lease.
pub(super) fn asked(lease: &LeaseRecord) -> Request {
    let winner = Winner {
        host_id: lease.placement.host_id.clone(),
        gpu: lease.placement.card.gpu.clone(),
        price_per_hour: lease.price_per_hour(),
    };
    Request { at: lease.created_at, wanted: lease.requirements.clone(), winner: Some(winner) }
}

pub(super) async fn host_key(db: &mut SqliteConnection, listing: &Listing) -> Result<String, StoreError> {
    let key = sqlx::query_scalar("SELECT host_key FROM hosts WHERE id = ?").bind(&listing.host_id);
    Ok(key.fetch_one(db).await?)
}
