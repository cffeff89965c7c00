//! The renter's side of the tunnel.

mod forward;
mod stream;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iroh::endpoint::{
    ConnectError, ConnectingError, Connection, ConnectionError, TransportErrorCode, VarInt,
};
use iroh::{Endpoint, EndpointAddr, PublicKey, SecretKey};
use nightjar_protocol::relay::RelayInfo;
use tokio::time::Instant;
use tracing::debug;

use crate::delegation;
use crate::endpoint::{self, LinkOptions, Relay, RelayStanding, Role};
use crate::error::LinkError;
use crate::greeting::{self, Header};
use crate::path::PathKind;
pub use stream::RenterStream;

/// Whatever is wrong, a caller knows within this time and the second that looking for the cause may take. Ten are promised:
/// the rest is for a PC with much else to do.
const OPEN_WITHIN: Duration = Duration::from_secs(7);
/// A new first packet goes out this often: QUIC alone would double its pauses, and miss a host that comes back.
const DIAL_ATTEMPT: Duration = Duration::from_secs(4);
/// A connection that stood may have lost its other end without a word (a host that was switched off or started anew). An
/// answer that takes longer is not waited for; a new connection is made.
const STALE_AFTER: Duration = Duration::from_secs(3);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(2);
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_FAILED_WAIT: Duration = Duration::from_millis(500);
/// TLS alert 120: the other side speaks none of our protocols.
const ALERT_NO_PROTOCOL: u8 = 120;

/// A renter's tunnel to one host. Clones share one endpoint and one connection.
#[derive(Clone)]
pub struct RenterLink {
    inner: Arc<Inner>,
}

struct Inner {
    /// The renter's own key, in whose name the endpoint comes.
    id: [u8; 32],
    acts_for: String,
    endpoint: Endpoint,
    relay: Relay,
    host: EndpointAddr,
    current: Mutex<Option<Connection>>,
    /// Held while dialing, so that many streams that find no connection make one and not many.
    dialing: tokio::sync::Mutex<()>,
}

impl RenterLink {
    /// Opens an endpoint that acts for the renter with `secret_key` and connects to the host with `host_id` (its public key).
    ///
    /// # Errors
    /// Within ten seconds: [`LinkError::PeerOffline`], [`LinkError::RelayUnreachable`], [`LinkError::RelayDenied`],
    /// [`LinkError::Protocol`], or [`LinkError::Local`] for unusable arguments and ports.
    pub async fn dial(
        secret_key: &[u8; 32],
        host_id: &[u8; 32],
        relay: &RelayInfo,
        options: &LinkOptions,
    ) -> Result<Self, LinkError> {
        let link = Self::prepare(secret_key, host_id, relay, options).await?;
        match link.connection(Instant::now() + OPEN_WITHIN).await {
            Ok(_) => Ok(link),
            Err(error) => {
                // iroh calls an endpoint that is dropped open an error; the caller waits for no more than a moment.
                let _ = tokio::time::timeout(CLOSE_FAILED_WAIT, link.inner.endpoint.close()).await;
                Err(error)
            }
        }
    }

    /// As [`RenterLink::dial`], but connects only when the first stream is opened.
    ///
    /// # Errors
    /// [`LinkError::Local`] for unusable arguments and ports.
    pub async fn prepare(
        secret_key: &[u8; 32],
        host_id: &[u8; 32],
        relay: &RelayInfo,
        options: &LinkOptions,
    ) -> Result<Self, LinkError> {
        let relay = Relay::check(relay)?;
        let host = PublicKey::from_bytes(host_id)
            .map_err(|error| LinkError::local("the host's key is not an ed25519 key", error))?;
        let (renter, own) = (SecretKey::from_bytes(secret_key), SecretKey::generate());
        let acts_for = delegation::write(&renter, &own.public());
        let endpoint = endpoint::bind(own, &relay, options, Role::Renter { acts_for: &acts_for }).await?;
        let host = EndpointAddr::new(host).with_relay_url(relay.url.clone());
        let (current, dialing) = (Mutex::default(), tokio::sync::Mutex::default());
        let id = *renter.public().as_bytes();
        Ok(Self { inner: Arc::new(Inner { id, acts_for, endpoint, relay, host, current, dialing }) })
    }

    /// Opens a stream to `service` (`ssh`, `jupyter` or `api`) of a lease. Connects anew when the connection has broken.
    ///
    /// # Errors
    /// Within ten seconds: [`LinkError::Refused`] with the host's reason, or those of [`RenterLink::dial`].
    pub async fn open(&self, lease_id: &str, service: &str) -> Result<RenterStream, LinkError> {
        let header = Header::new(lease_id, service, &self.inner.acts_for)?;
        let started = Instant::now();
        let deadline = started + OPEN_WITHIN;
        let mut backoff = BACKOFF_FIRST;
        loop {
            let (connection, is_new) = self.connection(deadline).await?;
            let patience = if is_new { deadline } else { deadline.min(Instant::now() + STALE_AFTER) };
            let failure = match tokio::time::timeout_at(patience, request(&connection, &header)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error @ (LinkError::Refused(_) | LinkError::Protocol(_)))) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => LinkError::PeerOffline { waited_ms: elapsed_ms(started) },
            };
            debug!(%failure, "the connection is given up");
            self.forget(&connection);
            if Instant::now() + backoff >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(backoff).await;
            backoff = BACKOFF_MOST.min(backoff * 2);
        }
    }

    /// Which way the bytes go now.
    #[must_use]
    pub fn path_kind(&self) -> PathKind {
        self.current().as_ref().map_or(PathKind::Unknown, PathKind::of)
    }

    /// The renter's identity, as a lease names it.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        self.inner.id
    }

    /// Ends every stream and tells the host. To be called before the last clone is dropped.
    pub async fn close(&self) {
        if let Some(connection) = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            connection.close(VarInt::from(0_u8), b"done");
        }
        // The word may not get through; the host then notices by itself.
        let _ = tokio::time::timeout(CLOSE_WAIT, self.inner.endpoint.close()).await;
    }

    /// The connection that stands, or a new one (`true`).
    async fn connection(&self, deadline: Instant) -> Result<(Connection, bool), LinkError> {
        let _dialing = self.inner.dialing.lock().await;
        if let Some(connection) = self.current() {
            return Ok((connection, false));
        }
        let connection = self.dial_until(deadline).await?;
        *self.inner.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok((connection, true))
    }

    async fn dial_until(&self, deadline: Instant) -> Result<Connection, LinkError> {
        let inner = &self.inner;
        let started = Instant::now();
        let mut backoff = BACKOFF_FIRST;
        loop {
            let attempt = deadline.min(Instant::now() + DIAL_ATTEMPT);
            let connecting = inner.endpoint.connect(inner.host.clone(), crate::ALPN);
            let failure = tokio::select! {
                reason = endpoint::denied(&inner.endpoint) => {
                    return Err(LinkError::RelayDenied { url: inner.relay.url.to_string(), reason });
                }
                outcome = tokio::time::timeout_at(attempt, connecting) => match outcome {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) if speaks_otherwise(&error) => {
                        return Err(LinkError::Protocol("the host speaks another version".to_owned()));
                    }
                    Ok(Err(error)) => Some(endpoint::chain(&error)),
                    Err(_) => None,
                },
            };
            if Instant::now() + backoff >= deadline {
                return Err(self.why_not(started, failure).await);
            }
            tokio::time::sleep(backoff).await;
            backoff = BACKOFF_MOST.min(backoff * 2);
        }
    }

    async fn why_not(&self, started: Instant, failure: Option<String>) -> LinkError {
        let relay = &self.inner.relay;
        match (endpoint::relay_standing(&self.inner.endpoint), failure) {
            (RelayStanding::Connected, Some(failure)) => LinkError::Broken(failure),
            (RelayStanding::Connected, None) => LinkError::PeerOffline { waited_ms: elapsed_ms(started) },
            (standing, _) => relay.fault(standing).await,
        }
    }

    fn current(&self) -> Option<Connection> {
        let mut current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|connection| connection.close_reason().is_some()) {
            *current = None;
        }
        current.clone()
    }

    /// New streams get another connection; streams that stand on this one keep it.
    fn forget(&self, connection: &Connection) {
        let mut current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|held| held.stable_id() == connection.stable_id()) {
            *current = None;
        }
    }
}

async fn request(connection: &Connection, header: &Header) -> Result<RenterStream, LinkError> {
    let (mut send, mut recv) =
        connection.open_bi().await.map_err(|error| LinkError::Broken(error.to_string()))?;
    header.send(&mut send).await?;
    greeting::await_answer(&mut recv).await?;
    Ok(RenterStream::new(connection.clone(), send, recv))
}

fn speaks_otherwise(error: &ConnectError) -> bool {
    let cause = match error {
        ConnectError::Connection { source, .. } => source,
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => source,
        _ => return false,
    };
    match cause {
        ConnectionError::ConnectionClosed(close) => {
            close.error_code == TransportErrorCode::crypto(ALERT_NO_PROTOCOL)
        }
        ConnectionError::TransportError(fault) => fault.code == TransportErrorCode::crypto(ALERT_NO_PROTOCOL),
        ConnectionError::VersionMismatch => true,
        _ => false,
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
