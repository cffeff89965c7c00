//! What hosts tell of their leases.

use std::collections::HashSet;

use nightjar_core::host::Report;
use nightjar_core::lease::{EndReason, Epoch, LeaseEvent, LeaseId, LeaseState, WorkerAccess};
use nightjar_core::ledger::Account;
use nightjar_core::parting::Cause;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::NoRoom;
use nightjar_protocol::host_session::ToHost;
use sqlx::sqlite::SqliteConnection;

use super::path::events_towards;
use super::{Consequences, Failure, Market, funds, step};
use crate::bounds;
use crate::store::leases::LeaseRecord;
use crate::store::{StoreError, books, leases};

/// One host's session, as far as its reports need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Teller<'a> {
    pub(crate) host_id: &'a str,
    pub(crate) session: u64,
    pub(crate) opened_at: Timestamp,
}

/// What a host says of one lease.
struct Told {
    lease: LeaseId,
    epoch: Epoch,
    state: LeaseState,
    access: Option<WorkerAccess>,
    /// The proof in it is.
    signed: bool,
    cause: Option<Cause>,
    /// Part of the list after a reconnect: orders may have been lost and are given again.
    anew: bool,
}

impl Market {
    /// Takes one report, and whether the host has signed the proof in it. What a host says wrongly is logged and passed over; an error is the database's.
    pub(crate) async fn take_report(
        &self,
        teller: Teller<'_>,
        report: Report,
        signed: bool,
    ) -> Result<(), Failure> {
        let told = |lease, epoch, state, access, cause| Told {
            lease,
            epoch,
            state,
            access,
            signed,
            cause,
            anew: false,
        };
        match report {
            Report::Offers { region, offers } => {
                match bounds::offers(&region, &offers, self.currency) {
                    Ok(()) => self.registry.set_offers(teller.host_id, teller.session, region, offers),
                    Err(wrong) => {
                        tracing::warn!(host_id = teller.host_id, wrong, "offers refused");
                        self.registry.set_offers(teller.host_id, teller.session, String::new(), Vec::new());
                    }
                }
                self.continue_those_that_wait(self.clock.now()).await
            }
            Report::Leases { leases } => self.take_list(teller, leases).await,
            Report::Lease { lease, epoch, state, cause } => {
                self.take_one(teller, told(lease, epoch, state, None, cause)).await
            }
            Report::Ready { lease, epoch, access } => {
                self.take_one(teller, told(lease, epoch, LeaseState::Ready, Some(access), None)).await
            }
            Report::Declined { lease, epoch, reasons, no_room } => {
                tracing::info!(%lease, epoch = epoch.0, ?reasons, ?no_room, "declined");
                self.take_declined(teller, &lease, epoch, no_room).await
            }
            Report::Checked { gpu, answer } => self.take_checked(teller, &gpu, answer, signed).await,
            Report::CheckWanted { gpu } => self.take_retry(teller.host_id, gpu.as_ref()).await,
        }
    }

    async fn take_one(&self, teller: Teller<'_>, told: Told) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        self.take_told(tx.connection(), teller.host_id, told, now, &mut out).await?;
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }

    async fn take_declined(
        &self,
        teller: Teller<'_>,
        id: &LeaseId,
        epoch: Epoch,
        no_room: Option<NoRoom>,
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut out = Consequences::default();
        let mut tx = self.store.write().await?;
        let found = leases::by_id(tx.connection(), id).await?;
        let in_force = found.filter(|lease| {
            lease.placement.host_id == teller.host_id
                && lease.placement.epoch == epoch
                && lease.state == LeaseState::Offered
        });
        if let Some(mut lease) = in_force {
            // Where no other host takes it, the renter reads why this one did not.
            let reason = no_room.map_or(EndReason::Declined, |no_room| EndReason::PreparationFailed {
                cause: no_room.to_string(),
            });
            self.place_again(tx.connection(), &mut lease, reason, now, &mut out).await?;
        }
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }

    /// After a reconnect: both sides' lists are brought together.
    async fn take_list(
        &self,
        teller: Teller<'_>,
        listed: Vec<(LeaseId, Epoch, LeaseState)>,
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut out = Consequences::default();
        let held: HashSet<(LeaseId, Epoch)> =
            listed.iter().map(|(lease, epoch, _)| (lease.clone(), *epoch)).collect();
        let mut tx = self.store.write().await?;
        for (lease, epoch, state) in listed {
            let told = Told { lease, epoch, state, access: None, signed: false, cause: None, anew: true };
            self.take_told(tx.connection(), teller.host_id, told, now, &mut out).await?;
        }
        for mut lease in leases::open_on_host(tx.connection(), teller.host_id).await? {
            let key = (lease.id.clone(), lease.placement.epoch);
            // What was offered in this session cannot be in a list that was made when it began.
            if held.contains(&key) || lease.placement.offered_at >= teller.opened_at {
                continue;
            }
            if lease.state == LeaseState::Offered {
                let reason = EndReason::OfferExpired;
                self.place_again(tx.connection(), &mut lease, reason, now, &mut out).await?;
            } else {
                step(&mut lease, LeaseEvent::End { reason: EndReason::HostRestarted }, now, &mut out);
                step(&mut lease, LeaseEvent::Gone, now, &mut out);
                leases::save(tx.connection(), &lease).await?;
                self.after_end(tx.connection(), &lease, now).await?;
            }
        }
        tx.commit().await?;
        self.publish(out);
        Ok(())
    }

    async fn take_told(
        &self,
        db: &mut SqliteConnection,
        host_id: &str,
        told: Told,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        let found = leases::by_id(db, &told.lease).await?;
        let in_force =
            found.filter(|lease| lease.placement.host_id == host_id && lease.placement.epoch == told.epoch);
        let Some(mut lease) = in_force else {
            if !told.state.is_over() {
                tracing::warn!(lease = %told.lease, epoch = told.epoch.0, host_id, "not in force: the host is told to end it");
                out.end(host_id, &told.lease, told.epoch, EndReason::Superseded);
            }
            return Ok(());
        };
        if let LeaseState::Ended { reason } = &lease.state {
            if !told.state.is_over() {
                out.end(host_id, &lease.id, told.epoch, reason.clone());
            }
            return Ok(());
        }
        let state = bounds::reported_state(told.state);
        if self.take_own_failure(db, &mut lease, &state, now, out).await? {
            return Ok(());
        }
        let before = lease.clone();
        self.follow(&mut lease, &state, now, out);
        lease.cause = match lease.state {
            LeaseState::Yielded | LeaseState::Ending { .. } | LeaseState::Ended { .. } => {
                told.cause.map(bounds::reported_cause).or(lease.cause)
            }
            _ => None,
        };
        let mut newly_ready = false;
        if let Some(access) = told.access.filter(|_| lease.state == LeaseState::Ready) {
            newly_ready = self.take_access(db, &mut lease, access, told.signed, now, out).await?;
        }
        if lease.state == LeaseState::Ready && lease.placement.access.is_some() && (newly_ready || told.anew)
        {
            self.start(db, &mut lease, now, out).await?;
        }
        if let LeaseState::Ending { reason } = &lease.state
            && told.anew
            && !matches!(state, LeaseState::Ending { .. })
        {
            out.end(host_id, &lease.id, lease.placement.epoch, reason.clone());
        }
        if lease != before {
            leases::save(db, &lease).await?;
            self.after_end(db, &lease, now).await?;
        }
        Ok(())
    }

    /// Moves a lease to the state that its host tells, where a way leads there.
    fn follow(&self, lease: &mut LeaseRecord, state: &LeaseState, now: Timestamp, out: &mut Consequences) {
        let metered = matches!(state, LeaseState::Running | LeaseState::Yielded);
        if metered && lease.placement.started_at.is_none() {
            tracing::warn!(lease = %lease.id, "the host says that it runs and was never told to start it");
            return;
        }
        let Some(events) = events_towards(&lease.state, state) else {
            tracing::debug!(lease = %lease.id, known = ?lease.state, told = ?state, "overtaken report");
            return;
        };
        for event in events {
            step(lease, event, now, out);
        }
    }

    /// Tells the host of a lease that is ready to start, or to end it where the renter cannot pay.
    async fn start(
        &self,
        db: &mut SqliteConnection,
        lease: &mut LeaseRecord,
        now: Timestamp,
        out: &mut Consequences,
    ) -> Result<(), StoreError> {
        let (host_id, epoch) = (lease.placement.host_id.clone(), lease.placement.epoch);
        let balance = books::balance_micros(db, &Account::Renter { id: lease.renter.clone() }).await?;
        let open = leases::open_of_renter(db, &lease.renter).await?;
        let others = open.iter().filter(|other| other.id != lease.id && is_metered(other));
        let prices = others.map(LeaseRecord::price_per_hour).chain([lease.price_per_hour()]);
        if funds::covers(balance, prices, funds::TO_GO_ON_MS) {
            lease.placement.started_at.get_or_insert(now);
            out.order(&host_id, ToHost::Start { lease: lease.id.clone(), epoch });
        } else {
            step(lease, LeaseEvent::End { reason: EndReason::BalanceExhausted }, now, out);
            out.end(&host_id, &lease.id, epoch, EndReason::BalanceExhausted);
        }
        Ok(())
    }
}

/// Costs or may cost at any moment.
pub(super) fn is_metered(lease: &LeaseRecord) -> bool {
    lease.placement.started_at.is_some() && lease.closed_at.is_none()
}
