//! Who comes in, and how many are inside.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId};

use super::Admission;
use crate::delegation;

#[derive(Debug)]
pub(super) struct Doorkeeper {
    admission: Admission,
    is_shut: AtomicBool,
    inside: AtomicUsize,
}

impl Doorkeeper {
    pub fn new(admission: Admission) -> Self {
        Self { admission, is_shut: AtomicBool::new(false), inside: AtomicUsize::new(0) }
    }

    /// From now on nobody comes in.
    pub fn shut(&self) {
        self.is_shut.store(true, Ordering::SeqCst);
    }

    /// Connections that were admitted and have not ended.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }
}

/// The key in whose name an endpoint comes: the one that it shows to act for, or its own.
fn key_of(request: &ClientRequest) -> Option<[u8; 32]> {
    match request.auth_token() {
        None => Some(*request.endpoint_id().as_bytes()),
        Some(word) => delegation::read(&word, &request.endpoint_id()),
    }
}

impl AccessControl for Doorkeeper {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let is_admitted = match &self.admission {
            Admission::Everyone => true,
            Admission::Ask(question) => match key_of(request) {
                Some(key) => question(key).await,
                None => false,
            },
        };
        if !is_admitted {
            return Access::Deny { reason: Some("not known to this market".to_owned()) };
        }
        // Counted before the door is looked at, so that whoever shuts it sees everybody who came through.
        self.inside.fetch_add(1, Ordering::SeqCst);
        if self.is_shut.load(Ordering::SeqCst) {
            self.inside.fetch_sub(1, Ordering::SeqCst);
            return Access::Deny { reason: Some("the relay is going away".to_owned()) };
        }
        Access::Allow
    }

    fn on_disconnect(&self, _endpoint_id: EndpointId, _connection_id: ConnectionId) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
