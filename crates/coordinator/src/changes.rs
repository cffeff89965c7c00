//! Wakes whoever waits for a lease to change. Only a hint: the database is asked each time.

use std::time::Duration;

use nightjar_core::lease::LeaseId;
use tokio::sync::broadcast;

/// A waiter looks again after this long without a hint, for another process may have written.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Changes {
    sender: broadcast::Sender<LeaseId>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(1_024).0 }
    }

    pub(crate) fn tell(&self, lease: &LeaseId) {
        // Nobody waits: nothing to do.
        let _ = self.sender.send(lease.clone());
    }

    pub(crate) fn listen(&self) -> Listener {
        Listener { receiver: self.sender.subscribe() }
    }
}

pub(crate) struct Listener {
    receiver: broadcast::Receiver<LeaseId>,
}

impl Listener {
    /// Returns when `lease` may have changed.
    pub(crate) async fn changed(&mut self, lease: &LeaseId) {
        let hint = async {
            loop {
                match self.receiver.recv().await {
                    Ok(changed) if changed != *lease => {}
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let _ = tokio::time::timeout(LOOK_AGAIN_AFTER, hint).await;
    }
}
