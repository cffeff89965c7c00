//! What moves leases. Each operation is one transaction: read, decide by `nightjar-core`, write; then hosts get their
//! orders and waiting renters a hint. Orders that do not arrive are given again when the host connects.

mod checks;
mod continuation;
mod demand;
mod funds;
mod line;
mod matching;
mod metering;
mod path;
mod rent;
mod report;
mod silence;
mod standing;
mod sweep;
mod usage;
mod view;
mod volumes;
mod waiting;

use nightjar_core::lease::{EndReason, Epoch, LeaseEvent, LeaseId};
use nightjar_core::money::Currency;
use nightjar_core::time::Timestamp;
use nightjar_protocol::error::{ErrorBody, ErrorCode};
use nightjar_protocol::host_session::ToHost;
use nightjar_protocol::market_api::About;
use nightjar_protocol::relay::RelayInfo;
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::store::leases::LeaseRecord;
use crate::store::{Store, StoreError};

pub(crate) use report::Teller;
pub(crate) use view::{Wait, lease_id};

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Refused(#[from] ErrorBody),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure {
    pub(crate) fn refused(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::Refused(ErrorBody { code, detail: detail.into() })
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// One market, shared by all requests and sessions of this process.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) changes: Changes,
    pub(crate) clock: Clock,
    pub(crate) currency: Currency,
    pub(crate) fee_basis_points: u32,
    pub(crate) relay: Option<RelayInfo>,
    /// When this process began to listen: a host cannot be blamed for a silence before that.
    pub(crate) since: Timestamp,
    /// Cancelled when the coordinator ends.
    pub(crate) closing: CancellationToken,
}

/// What follows from a transaction once it is committed.
#[derive(Debug, Default)]
struct Consequences {
    orders: Vec<(String, ToHost)>,
    changed: Vec<LeaseId>,
    /// Hosts that are told soon why no job comes.
    waiting: Vec<String>,
}

impl Consequences {
    fn order(&mut self, host_id: &str, order: ToHost) {
        self.orders.push((host_id.to_owned(), order));
    }

    fn end(&mut self, host_id: &str, lease: &LeaseId, epoch: Epoch, reason: EndReason) {
        self.order(host_id, ToHost::End { lease: lease.clone(), epoch, reason });
    }
}

impl Market {
    pub(crate) fn about(&self) -> About {
        About {
            name: "nightjar-coordinator".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            currency: self.currency,
            fee_basis_points: self.fee_basis_points,
            relay: self.relay.clone(),
        }
    }

    fn publish(&self, consequences: Consequences) {
        for (host_id, order) in consequences.orders {
            self.registry.send(&host_id, order);
        }
        for lease in consequences.changed {
            self.changes.tell(&lease);
        }
        for host_id in consequences.waiting {
            self.registry.look_soon(&host_id);
        }
    }
}

/// One step of a lease along its state machine. `false` when there is no such step or nothing changed.
fn step(lease: &mut LeaseRecord, event: LeaseEvent, now: Timestamp, out: &mut Consequences) -> bool {
    let is_end = matches!(event, LeaseEvent::End { .. });
    let next = match lease.state.after(event) {
        Ok(next) if next != lease.state => next,
        Ok(_) => return false,
        Err(step) => {
            tracing::debug!(lease = %lease.id, %step, "not a step of a lease");
            return false;
        }
    };
    tracing::info!(lease = %lease.id, epoch = lease.placement.epoch.0, state = ?next, "lease");
    if is_end {
        lease.closed_at.get_or_insert(now);
    }
    if next.is_over() {
        out.waiting.push(lease.placement.host_id.clone());
    }
    lease.state = next;
    lease.state_since = now;
    if !out.changed.contains(&lease.id) {
        out.changed.push(lease.id.clone());
    }
    true
}
