//! What is open for each lease, and how much it has carried.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iroh::endpoint::{Connection, WeakConnectionHandle};
use tokio_util::sync::CancellationToken;

use crate::carry::Backlogs;
use crate::error::Refusal;

/// Streams of one lease at once, over all connections.
const STREAMS_OF_A_LEASE: usize = 256;

/// What a lease has carried, in bytes of the service itself (no protocol overhead).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseBytes {
    pub to_worker: u64,
    pub from_worker: u64,
}

#[derive(Default)]
pub(super) struct Leases {
    table: Mutex<HashMap<String, Arc<Lease>>>,
}

#[derive(Default)]
pub(super) struct Lease {
    closed: CancellationToken,
    streams: AtomicUsize,
    pub to_worker: AtomicU64,
    pub from_worker: AtomicU64,
    pub backlogs: Backlogs,
    newest: Mutex<Option<WeakConnectionHandle>>,
}

/// A stream's place in its lease.
pub(super) struct Pass {
    leases: Arc<Leases>,
    lease_id: String,
    pub lease: Arc<Lease>,
}

impl Leases {
    /// Takes a place. To be taken before the gate is asked: so a lease that is closed in between ends this stream too.
    pub fn enter(self: &Arc<Self>, lease_id: &str) -> Result<Pass, Refusal> {
        let lease = Arc::clone(self.table().entry(lease_id.to_owned()).or_default());
        let before = lease.streams.fetch_add(1, Ordering::AcqRel);
        let pass = Pass { leases: Arc::clone(self), lease_id: lease_id.to_owned(), lease };
        if before >= STREAMS_OF_A_LEASE { Err(Refusal::TooMany) } else { Ok(pass) }
    }

    pub fn close(&self, lease_id: &str) -> LeaseBytes {
        let Some(lease) = self.table().remove(lease_id) else { return LeaseBytes::default() };
        lease.closed.cancel();
        lease.bytes()
    }

    pub fn bytes(&self, lease_id: &str) -> LeaseBytes {
        self.table().get(lease_id).map(|lease| lease.bytes()).unwrap_or_default()
    }

    pub fn connection(&self, lease_id: &str) -> Option<Connection> {
        let lease = Arc::clone(self.table().get(lease_id)?);
        let newest = lease.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().and_then(WeakConnectionHandle::upgrade)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Lease>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn bytes(&self) -> LeaseBytes {
        LeaseBytes {
            to_worker: self.to_worker.load(Ordering::Relaxed),
            from_worker: self.from_worker.load(Ordering::Relaxed),
        }
    }
}

impl Pass {
    pub fn note_connection(&self, connection: &Connection) {
        let mut newest = self.lease.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(connection.weak_handle());
    }

    pub fn is_closed(&self) -> bool {
        self.lease.closed.is_cancelled()
    }

    pub async fn closed(&self) {
        self.lease.closed.cancelled().await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut table = self.leases.table();
        let was_last = self.lease.streams.fetch_sub(1, Ordering::AcqRel) == 1;
        // A stranger may name any lease: what carried nothing leaves nothing behind.
        let is_listed = table.get(&self.lease_id).is_some_and(|listed| Arc::ptr_eq(listed, &self.lease));
        if was_last && is_listed && self.lease.bytes() == LeaseBytes::default() {
            table.remove(&self.lease_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_stream_leaves_nothing_behind() {
        let leases = Arc::new(Leases::default());
        let first = leases.enter("a").unwrap();
        let second = leases.enter("a").unwrap();
        drop(first);
        assert_eq!(leases.table().len(), 1);
        drop(second);
        assert_eq!(leases.table().len(), 0);
    }

    #[test]
    fn counts_stay_until_the_lease_is_closed() {
        let leases = Arc::new(Leases::default());
        let pass = leases.enter("a").unwrap();
        pass.lease.to_worker.fetch_add(7, Ordering::Relaxed);
        drop(pass);
        assert_eq!(leases.bytes("a"), LeaseBytes { to_worker: 7, from_worker: 0 });
        assert_eq!(leases.close("a"), LeaseBytes { to_worker: 7, from_worker: 0 });
        assert_eq!(leases.bytes("a"), LeaseBytes::default());
    }

    #[test]
    fn closing_reaches_a_stream_that_is_still_being_asked_about() {
        let leases = Arc::new(Leases::default());
        let pass = leases.enter("a").unwrap();
        leases.close("a");
        assert!(pass.is_closed());
        let next = leases.enter("a").unwrap();
        assert!(!next.is_closed());
        drop(pass);
        assert_eq!(leases.table().len(), 1, "the old stream's end must not remove the new lease");
    }

    #[test]
    fn a_lease_has_a_bound_of_streams() {
        let leases = Arc::new(Leases::default());
        let passes: Vec<Pass> = (0..STREAMS_OF_A_LEASE).map(|_| leases.enter("a").unwrap()).collect();
        assert_eq!(leases.enter("a").err(), Some(Refusal::TooMany));
        drop(passes);
        assert!(leases.enter("a").is_ok());
    }
}
