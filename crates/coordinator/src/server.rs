//! One coordinator in one process: database, relay, HTTP, and the look at what waits.

use std::fs::{File, TryLockError};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use axum::serve::ListenerExt;
use nightjar_core::money::Currency;
use nightjar_link::{LinkError, RelayServer};
use nightjar_protocol::relay::RelayInfo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::http::{Shared, router};
use crate::market::Market;
use crate::registry::Registry;
use crate::relay;
pub use crate::store::OpenError;
use crate::store::Store;

/// What is let finish when the coordinator ends; the rest is cut, and nothing is lost by it.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
const LOCK_FILE: &str = "serve.lock";

/// How a coordinator is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where hosts and renters connect; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Database, relay key; made when it is not there.
    pub data_dir: PathBuf,
    /// Where the relay listens (TCP, and UDP by the same number); port 0 takes any free ones; `None` runs no relay.
    pub relay_listen: Option<SocketAddr>,
    /// How hosts and renters reach this coordinator, where it is not `listen`'s address: `https://market.example`.
    pub public_url: Option<String>,
    /// The market's part of what renters pay, in hundredths of a percent, at most 10,000.
    pub fee_basis_points: u32,
    /// Kept with the first start; `None` is what was kept, else CNY.
    pub currency: Option<Currency>,
}

impl Config {
    /// On this machine only, on any free ports: what a test or a demonstration wants.
    #[must_use]
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: any_port,
            data_dir: data_dir.into(),
            relay_listen: Some(any_port),
            public_url: None,
            fee_basis_points: 500,
            currency: None,
        }
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("another coordinator serves the data folder {}; end it first, or choose another with --data-dir", .0.display())]
    AlreadyServed(PathBuf),
    #[error("the lock {} cannot be taken: {cause}", path.display())]
    Lock { path: PathBuf, cause: std::io::Error },
    #[error(
        "{at} is taken: another program listens on port {}; end it, or choose another with --listen {}:PORT",
        at.port(),
        at.ip()
    )]
    PortTaken { at: SocketAddr },
    #[error("{listen} cannot be listened on: {cause}; choose another address with --listen")]
    Listen { listen: SocketAddr, cause: std::io::Error },
    #[error(
        "the relay did not start: {0}; choose its address with --relay-listen, or do without it by --no-relay"
    )]
    Relay(#[from] LinkError),
    #[error(
        "\"{0}\" is no address that others can use; give one such as https://market.example with --public-url"
    )]
    PublicUrl(String),
    #[error(
        "the relay listens on all addresses and must know by which name it is reached: give --public-url"
    )]
    PublicUrlMissing,
    #[error("a fee of {0} hundredths of a percent is more than all of it; 10000 at most")]
    Fee(u32),
}

/// Starts markets.
#[derive(Debug)]
pub struct Coordinator;

/// A market that is being served. Dropped, it ends at once, which is what a crash does too; better is
/// [`Running::shutdown`].
pub struct Running {
    http_addr: SocketAddr,
    url: String,
    market: Arc<Market>,
    relay: Option<RelayServer>,
    server: JoinHandle<std::io::Result<()>>,
    sweeper: JoinHandle<()>,
    sessions: TaskTracker,
    /// Held as long as the data folder is served.
    _lock: File,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("http_addr", &self.http_addr).finish_non_exhaustive()
    }
}

impl Coordinator {
    /// Opens the database, starts the relay and listens.
    ///
    /// # Errors
    /// Whatever stands in the way, with what to do; nothing is left running then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        if config.fee_basis_points > 10_000 {
            return Err(StartError::Fee(config.fee_basis_points));
        }
        let public_host = config.public_url.as_deref().map(public_host).transpose()?;
        let store = Store::open(&config.data_dir).await?;
        let lock = lock(&config.data_dir)?;
        let currency = store.currency(&config.data_dir, config.currency).await?;
        let listener = listen(config.listen).await?;
        let http_addr =
            listener.local_addr().map_err(|cause| StartError::Listen { listen: config.listen, cause })?;
        let relay = match config.relay_listen {
            Some(at) => {
                let host = relay_host(public_host, at)?;
                Some(relay::start(at, host, &config.data_dir, store.clone()).await?)
            }
            None => None,
        };
        let url = config.public_url.unwrap_or_else(|| format!("http://{http_addr}"));
        if let Err(error) = store.keep_address(&url).await {
            return Err(OpenError::Broken { path: config.data_dir, cause: error.to_string() }.into());
        }
        let clock = Clock::default();
        let market = Arc::new(Market {
            store,
            registry: Registry::default(),
            changes: Changes::new(),
            since: clock.now(),
            clock,
            currency,
            fee_basis_points: config.fee_basis_points,
            relay: relay.as_ref().map(|relay| relay.info().clone()),
            closing: CancellationToken::new(),
        });
        Ok(Running::serve(listener, http_addr, url, market, relay, lock))
    }
}

impl Running {
    fn serve(
        listener: TcpListener,
        http_addr: SocketAddr,
        url: String,
        market: Arc<Market>,
        relay: Option<RelayServer>,
        lock: File,
    ) -> Self {
        let sessions = TaskTracker::new();
        let app = router(Shared::new(Arc::clone(&market), sessions.clone()));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let listener = listener.tap_io(|stream| {
            // Orders are small and must not wait for more.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("a connection keeps its delay: {error}");
            }
        });
        let closing = market.closing.clone().cancelled_owned();
        let server = tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(closing).into_future());
        let sweeping = Arc::clone(&market);
        let sweeper = tokio::spawn(async move { sweeping.sweep_until_closing().await });
        Self { http_addr, url, market, relay, server, sweeper, sessions, _lock: lock }
    }

    /// Where it listens.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The address to give to hosts and renters.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `None` where no relay runs.
    #[must_use]
    pub fn relay_info(&self) -> Option<&RelayInfo> {
        self.relay.as_ref().map(RelayServer::info)
    }

    #[must_use]
    pub fn currency(&self) -> Currency {
        self.market.currency
    }

    /// Takes no more requests, lets those that run finish, closes the database.
    pub async fn shutdown(mut self) {
        self.market.closing.cancel();
        self.sessions.close();
        if timeout(CLOSE_WITHIN, self.sessions.wait()).await.is_err() {
            tracing::warn!("hosts' sessions did not end in time and are cut");
        }
        if timeout(CLOSE_WITHIN, &mut self.server).await.is_err() {
            tracing::warn!("requests did not end in time and are cut");
            self.server.abort();
        }
        if timeout(CLOSE_WITHIN, &mut self.sweeper).await.is_err() {
            self.sweeper.abort();
        }
        if let Some(relay) = self.relay.take() {
            relay.shutdown().await;
        }
        self.market.store.close().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.market.closing.cancel();
        self.server.abort();
        self.sweeper.abort();
    }
}

async fn listen(at: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(at).await.map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AddrInUse => StartError::PortTaken { at },
        _ => StartError::Listen { listen: at, cause },
    })
}

/// Two coordinators on one database would each offer cards whose hosts are connected to the other.
fn lock(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join(LOCK_FILE);
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|cause| StartError::Lock { path: path.clone(), cause })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::AlreadyServed(data_dir.to_owned())),
        Err(TryLockError::Error(cause)) => Err(StartError::Lock { path, cause }),
    }
}

/// The name or address in a public URL, without brackets.
fn public_host(url: &str) -> Result<String, StartError> {
    let wrong = || StartError::PublicUrl(url.chars().take(200).collect());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong());
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    Ok(host.trim_matches(|c| matches!(c, '[' | ']')).to_owned())
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn relay_host(public_host: Option<String>, at: SocketAddr) -> Result<String, StartError> {
    match public_host {
        Some(host) => {
            if at.ip().is_loopback() && !is_this_machine(&host) {
                tracing::warn!(
                    "the relay listens at {at}, where nobody outside of this machine reaches it, and is told to \
                     hosts and renters as {host}: give --relay-listen 0.0.0.0:{} and let TCP and UDP through to it",
                    at.port()
                );
            }
            Ok(host)
        }
        None if at.ip().is_unspecified() => Err(StartError::PublicUrlMissing),
        None => Ok(at.ip().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_has_a_host() {
        assert_eq!(public_host("https://market.example").unwrap(), "market.example");
        assert_eq!(public_host("http://[::1]:7440/").unwrap(), "::1");
        for wrong in ["market.example", "ftp://market.example", "", "https://"] {
            assert!(public_host(wrong).is_err(), "{wrong}");
        }
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 1));
        assert!(matches!(relay_host(None, everywhere), Err(StartError::PublicUrlMissing)));
    }
}
