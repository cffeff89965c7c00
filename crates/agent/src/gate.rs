//! Who may come through the tunnel, and where to. A renter's key opens its own lease and nothing else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use nightjar_core::lease::LeaseId;
use nightjar_link::Refusal;
use nightjar_protocol::guest::{API_PORT, JUPYTER_PORT, SSH_PORT};
use nightjar_worker::Workers;

/// The table is written by the host's loop and read by the tunnel for each new stream.
#[derive(Clone)]
pub struct Gate {
    workers: Workers,
    keys: Arc<RwLock<HashMap<String, String>>>,
}

impl Gate {
    #[must_use]
    pub fn new(workers: Workers) -> Self {
        Self { workers, keys: Arc::default() }
    }

    pub fn open(&self, lease: &LeaseId, renter_key: &str) {
        self.table(|keys| keys.insert(lease.0.clone(), renter_key.to_ascii_lowercase()));
    }

    pub fn close(&self, lease: &LeaseId) {
        self.table(|keys| keys.remove(&lease.0));
    }

    fn table<T>(&self, change: impl FnOnce(&mut HashMap<String, String>) -> T) -> T {
        change(&mut self.keys.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl nightjar_link::Gate for Gate {
    fn authorise(&self, renter_key: &[u8; 32], lease: &str, service: &str) -> Result<SocketAddr, Refusal> {
        let port = match service {
            "ssh" => SSH_PORT,
            "jupyter" => JUPYTER_PORT,
            "api" => API_PORT,
            _ => return Err(Refusal::UnknownService),
        };
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.get(lease).is_none_or(|key| *key != hex::encode(renter_key)) {
            return Err(Refusal::NotYours);
        }
        self.workers.address(&LeaseId(lease.to_owned()), port).ok_or(Refusal::NotThere)
    }
}
