//! The host's side of the tunnel.

mod leases;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iroh::endpoint::{Connection, Incoming, VarInt};
use iroh::{Endpoint, SecretKey, Watcher};
use nightjar_protocol::relay::RelayInfo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::endpoint::{self, LinkOptions, Relay, RelayStanding, Role};
use crate::error::{LinkError, Refusal};
use crate::path::PathKind;
pub use leases::LeaseBytes;
use leases::Leases;

/// Connections that have shown no right to anything yet.
const STRANGERS_AT_ONCE: usize = 32;
/// Connections that carry, or have carried, a lease.
const GUESTS_AT_ONCE: usize = 256;
/// A stranger that has not opened a stream of its own lease by then is sent away.
const STRANGER_STAY: Duration = Duration::from_secs(10);
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Close codes of a connection; they say no more than a stranger may know.
const CLOSE_GOING_AWAY: u8 = 0;
const CLOSE_NO_LEASE: u8 = 1;
const CLOSE_BUSY: u8 = 2;

/// Decides who may reach what. It is asked for every stream before a byte of it goes on.
pub trait Gate: Send + Sync + 'static {
    /// The TCP address that `service` of `lease_id` has for the renter with `renter_key`. Must answer at once: it is asked
    /// on the tunnel's own threads.
    ///
    /// # Errors
    /// The refusal that the renter is told.
    fn authorise(&self, renter_key: &[u8; 32], lease_id: &str, service: &str) -> Result<SocketAddr, Refusal>;
}

impl<F> Gate for F
where
    F: Fn(&[u8; 32], &str, &str) -> Result<SocketAddr, Refusal> + Send + Sync + 'static,
{
    fn authorise(&self, renter_key: &[u8; 32], lease_id: &str, service: &str) -> Result<SocketAddr, Refusal> {
        self(renter_key, lease_id, service)
    }
}

/// The host's endpoint. It accepts renters until it is shut down or dropped.
pub struct HostLink {
    endpoint: Endpoint,
    relay: Mutex<Relay>,
    leases: Arc<Leases>,
    addresses: watch::Receiver<Vec<IpAddr>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// What every connection of the host shares.
#[derive(Clone)]
struct Shared {
    gate: Arc<dyn Gate>,
    leases: Arc<Leases>,
    guests: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl HostLink {
    /// Opens the endpoint whose identity is `secret_key`'s public key and begins to accept. It does not wait for the relay:
    /// see [`HostLink::online`].
    ///
    /// # Errors
    /// [`LinkError::Local`] when the relay's description is unusable or no UDP port can be opened.
    pub async fn start(
        secret_key: &[u8; 32],
        relay: &RelayInfo,
        gate: Arc<dyn Gate>,
        options: &LinkOptions,
    ) -> Result<Self, LinkError> {
        let relay = Relay::check(relay)?;
        let endpoint = endpoint::bind(SecretKey::from_bytes(secret_key), &relay, options, Role::Host).await?;
        let stop = CancellationToken::new();
        let shared = Shared {
            gate,
            leases: Arc::default(),
            guests: Arc::new(Semaphore::new(GUESTS_AT_ONCE)),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        };
        let (leases, tasks) = (Arc::clone(&shared.leases), shared.tasks.clone());
        tasks.spawn(accept(endpoint.clone(), shared));
        let (found, addresses) = watch::channel(Vec::new());
        tasks.spawn(stop.clone().run_until_cancelled_owned(find(endpoint.clone(), found)));
        let _stop_on_drop = stop.clone().drop_guard();
        Ok(Self { endpoint, relay: Mutex::new(relay), leases, addresses, tasks, stop, _stop_on_drop })
    }

    /// The host's identity.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        *self.endpoint.id().as_bytes()
    }

    /// Addresses by which others could reach this PC, as they become known: those of its networks, and what relay and
    /// router say of it.
    #[must_use]
    pub fn addresses(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.addresses.clone()
    }

    /// Waits until renters can reach this host through the relay.
    ///
    /// # Errors
    /// [`LinkError::RelayDenied`] when the relay does not admit the key, [`LinkError::RelayUnreachable`] when `within` has
    /// passed (the cause is looked for for another second). The endpoint keeps trying in either case.
    pub async fn online(&self, within: Duration) -> Result<(), LinkError> {
        let relay = self.relay.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let standing = tokio::select! {
            () = self.endpoint.online() => return Ok(()),
            reason = endpoint::denied(&self.endpoint) => RelayStanding::Denied(reason),
            () = tokio::time::sleep(within) => endpoint::relay_standing(&self.endpoint),
        };
        Err(relay.fault(standing).await)
    }

    /// Whether the relay holds a connection to this host now.
    #[must_use]
    pub fn is_online(&self) -> bool {
        endpoint::relay_standing(&self.endpoint) == RelayStanding::Connected
    }

    /// Moves to another relay without a break in the streams that stand on direct paths. Returns `false`, having changed
    /// nothing, when the new relay is vouched for by another authority: that needs a new `HostLink`.
    ///
    /// # Errors
    /// [`LinkError::Local`] when the relay's description is unusable.
    pub async fn move_to_relay(&self, relay: &RelayInfo) -> Result<bool, LinkError> {
        let new = Relay::check(relay)?;
        let old = self.relay.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if new == old {
            return Ok(true);
        }
        if new.authority != old.authority {
            return Ok(false);
        }
        self.endpoint.insert_relay(new.url.clone(), Arc::new(new.config(None))).await;
        if new.url != old.url {
            self.endpoint.remove_relay(&old.url).await;
        }
        *self.relay.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    /// Ends every stream of this lease at once and forgets the lease. Close the gate first: a stream that comes after this
    /// call is asked about anew. Returns what the lease carried.
    pub fn close_lease(&self, lease_id: &str) -> LeaseBytes {
        self.leases.close(lease_id)
    }

    /// What the lease has carried so far; zero for one that no stream was opened for.
    #[must_use]
    pub fn lease_bytes(&self, lease_id: &str) -> LeaseBytes {
        self.leases.bytes(lease_id)
    }

    /// Which way the lease's newest stream goes.
    #[must_use]
    pub fn path_kind(&self, lease_id: &str) -> PathKind {
        self.leases.connection(lease_id).map_or(PathKind::Unknown, |connection| PathKind::of(&connection))
    }

    /// Ends all streams and connections and tells the other sides.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        let orderly = async {
            self.tasks.wait().await;
            self.endpoint.close().await;
        };
        if tokio::time::timeout(CLOSE_WAIT, orderly).await.is_err() {
            debug!("the tunnel was closed without waiting for the other sides any longer");
        }
    }
}

async fn find(endpoint: Endpoint, found: watch::Sender<Vec<IpAddr>>) {
    let mut watcher = endpoint.watch_addr();
    let mut known = watcher.get();
    loop {
        found.send_replace(known.ip_addrs().map(SocketAddr::ip).collect());
        match watcher.updated().await {
            Ok(next) => known = next,
            Err(_) => return,
        }
    }
}

async fn accept(endpoint: Endpoint, shared: Shared) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_AT_ONCE));
    loop {
        let incoming = tokio::select! {
            () = shared.stop.cancelled() => return,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming,
                None => return,
            },
        };
        match Arc::clone(&strangers).try_acquire_owned() {
            Ok(place) => {
                shared.tasks.spawn(receive(shared.clone(), incoming, place));
            }
            Err(_) => incoming.refuse(),
        }
    }
}

/// A connection from its first packet on. `place` is given back when the peer turns out to be a renter with a lease.
async fn receive(shared: Shared, incoming: Incoming, place: OwnedSemaphorePermit) {
    let connection = match tokio::time::timeout(STRANGER_STAY, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(%error, "a connection was not completed"),
        Err(_) => return debug!("a connection took too long to complete"),
    };
    let renter = connection.remote_id().fmt_short().to_string();
    let trusted = CancellationToken::new();
    let guest = tokio::select! {
        () = shared.stop.cancelled() => return connection.close(VarInt::from(CLOSE_GOING_AWAY), b"going away"),
        () = streams(&shared, &connection, &trusted) => return,
        () = tokio::time::sleep(STRANGER_STAY) => None,
        () = trusted.cancelled() => Some(Arc::clone(&shared.guests).try_acquire_owned()),
    };
    let _guest = match guest {
        Some(Ok(guest)) => guest,
        Some(Err(_)) => return connection.close(VarInt::from(CLOSE_BUSY), b"busy"),
        None => {
            debug!(%renter, "sent away: it opened no stream of a lease of its own");
            return connection.close(VarInt::from(CLOSE_NO_LEASE), b"no lease");
        }
    };
    drop(place);
    connection.set_receive_window(VarInt::from(endpoint::CONNECTION_WINDOW_BYTES));
    tokio::select! {
        () = shared.stop.cancelled() => connection.close(VarInt::from(CLOSE_GOING_AWAY), b"going away"),
        () = streams(&shared, &connection, &trusted) => {}
    }
}

/// Takes streams until the connection ends. May be dropped and called again between two streams.
async fn streams(shared: &Shared, connection: &Connection, trusted: &CancellationToken) {
    loop {
        match connection.accept_bi().await {
            Ok((send, recv)) => {
                let stream = stream::Stream::new(connection.clone(), send, recv, trusted.clone());
                shared.tasks.spawn(stream.serve(shared.clone()));
            }
            Err(reason) => return debug!(%reason, "a connection ended"),
        }
    }
}
