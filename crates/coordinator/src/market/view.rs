//! What renters see.

use std::time::Duration;

use nightjar_core::lease::{EndReason, LeaseId, LeaseState};
use nightjar_core::ledger::Account as BookAccount;
use nightjar_core::market::HostAccount;
use nightjar_core::money::Money;
use nightjar_core::parting::Cause;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::market_api::{Account, Booking, Interruption, Lease, Leases, Statement, Waits};
use sqlx::sqlite::SqliteConnection;

use super::continuation::any_host_from;
use super::{Failure, Market};
use crate::store::leases::LeaseRecord;
use crate::store::renters::Renter;
use crate::store::{StoreError, books, leases, payouts};

/// The latest of a renter's leases that are listed.
const MOST_LISTED: u32 = 200;
/// Ten weeks of uninterrupted running.
const MOST_BOOKINGS: u32 = 600_000;

/// A long poll: answers when the lease is in another state than this, or after this long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) known_state: String,
    pub(crate) at_most: Duration,
}

/// A lease's name as it came in a request.
pub(crate) fn lease_id(text: &str) -> Result<LeaseId, Failure> {
    match uuid::Uuid::try_parse(text) {
        Ok(id) => Ok(LeaseId(id.hyphenated().to_string())),
        Err(_) => Err(not_found(text)),
    }
}

fn not_found(id: &str) -> Failure {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
    Failure::refused(ErrorCode::NotFound, format!("you have no lease {shown}; GET /v1/leases lists yours"))
}

/// A state's name on the wire: `running`.
fn state_name(state: &LeaseState) -> &'static str {
    match state {
        LeaseState::Offered => "offered",
        LeaseState::Accepted => "accepted",
        LeaseState::Preparing => "preparing",
        LeaseState::Ready => "ready",
        LeaseState::Running => "running",
        LeaseState::Yielded => "yielded",
        LeaseState::Ending { .. } => "ending",
        LeaseState::Ended { .. } => "ended",
    }
}

impl Market {
    /// A host's money, as its owner is told.
    pub(crate) async fn account_of_host(&self, host_id: &str) -> Result<HostAccount, StoreError> {
        let mut snapshot = self.store.reader().begin().await?;
        payouts::account(&mut snapshot, host_id, self.currency).await
    }

    pub(crate) async fn account(&self, renter: &Renter) -> Result<Account, Failure> {
        let mut db = self.store.reader().acquire().await?;
        let micros = books::balance_micros(&mut db, &BookAccount::Renter { id: renter.id.clone() }).await?;
        Ok(Account { renter: renter.id.clone(), balance: Money::new(micros, self.currency) })
    }

    pub(crate) async fn leases(&self, renter: &Renter) -> Result<Leases, Failure> {
        let mut db = self.store.reader().acquire().await?;
        let records = leases::of_renter(&mut db, &renter.id, MOST_LISTED).await?;
        Ok(Leases { leases: records.iter().map(|record| self.shown(record)).collect() })
    }

    pub(crate) async fn lease(
        &self,
        renter: &Renter,
        id: &LeaseId,
        wait: Option<Wait>,
    ) -> Result<Lease, Failure> {
        // Listening begins before the first look, so that no change falls in between.
        let mut listener = self.changes.listen();
        let first = self.look(renter, id).await?;
        let Some(wait) = wait else { return Ok(first) };
        let changed = async {
            let mut lease = first.clone();
            while state_name(&lease.state) == wait.known_state {
                listener.changed(id).await;
                lease = self.look(renter, id).await?;
            }
            Ok(lease)
        };
        tokio::select! {
            changed = changed => changed,
            () = tokio::time::sleep(wait.at_most) => self.look(renter, id).await,
            () = self.closing.cancelled() => self.look(renter, id).await,
        }
    }

    async fn look(&self, renter: &Renter, id: &LeaseId) -> Result<Lease, Failure> {
        let mut db = self.store.reader().acquire().await?;
        Ok(self.shown(&self.own(&mut db, renter, id).await?))
    }

    /// A lease of this renter; somebody else's is not told from none.
    pub(super) async fn own(
        &self,
        db: &mut SqliteConnection,
        renter: &Renter,
        id: &LeaseId,
    ) -> Result<LeaseRecord, Failure> {
        let found = leases::by_id(db, id).await?;
        found.filter(|lease| lease.renter == renter.id).ok_or_else(|| not_found(&id.0))
    }

    pub(crate) async fn statement(&self, renter: &Renter, id: &LeaseId) -> Result<Statement, Failure> {
        let mut db = self.store.reader().acquire().await?;
        self.own(&mut db, renter, id).await?;
        drop(db);
        let entries = books::entries(self.store.reader(), Some(id), MOST_BOOKINGS).await?;
        let bookings = entries.into_iter().map(|entry| Booking {
            at: entry.at,
            sequence: entry.usage.map_or(0, |usage| usage.sequence),
            running_ms: entry.running_ms,
            legs: entry.legs,
        });
        Ok(Statement { lease: id.clone(), currency: self.currency, bookings: bookings.collect() })
    }

    pub(super) fn shown(&self, record: &LeaseRecord) -> Lease {
        let placement = &record.placement;
        Lease {
            lease: record.id.clone(),
            epoch: placement.epoch,
            state: record.state.clone(),
            state_since: record.state_since,
            created_at: record.created_at,
            image: record.image.clone(),
            serve_model: record.requirements.serve_model.clone(),
            model: placement.card.model.clone(),
            gpu: placement.card.gpu.clone(),
            host_id: placement.host_id.clone(),
            host_key: placement.host_key.clone(),
            region: placement.region.clone(),
            price_per_hour: record.price_per_hour(),
            running_ms: record.running_ms,
            charged: Money::new(record.charged_micros, self.currency),
            interruption: interruption(record),
            after_interruption: record.after_interruption,
            continues: record.continues.clone(),
            continued_by: record.continued_by.clone(),
            waits: record.waits.map(|(since, until)| Waits {
                since,
                until,
                any_host_from: any_host_from(record.after_interruption, since),
            }),
            volume: placement.card.volume,
            footing: placement.volume,
            line: self.registry.line_of(&placement.host_id, self.clock.now()),
            access: placement.access.clone().filter(|_| record.state.is_reachable()),
            relay: self.relay.clone(),
        }
    }
}

/// Why it is frozen, or why it ended. A host's word counts for what hosts decide.
fn interruption(record: &LeaseRecord) -> Option<Interruption> {
    let ended = |reason: &EndReason| {
        let told = match reason {
            EndReason::OwnerStopped
            | EndReason::OwnerReturned
            | EndReason::FrozenTooLong
            | EndReason::WorkerDied { .. } => record.cause,
            _ => None,
        };
        Interruption {
            cause: told.unwrap_or_else(|| Cause::of_end(reason)),
            since: record.closed_at.unwrap_or(record.state_since),
        }
    };
    match &record.state {
        LeaseState::Yielded => {
            Some(Interruption { cause: record.cause.unwrap_or(Cause::OwnerBack), since: record.state_since })
        }
        LeaseState::Ending { reason } | LeaseState::Ended { reason } => Some(ended(reason)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_on_the_wire() {
        let reason = EndReason::Declined;
        for state in [
            LeaseState::Offered,
            LeaseState::Accepted,
            LeaseState::Preparing,
            LeaseState::Ready,
            LeaseState::Running,
            LeaseState::Yielded,
            LeaseState::Ending { reason: reason.clone() },
            LeaseState::Ended { reason },
        ] {
            assert_eq!(serde_json::to_value(&state).unwrap()["state"], state_name(&state));
        }
    }
}
