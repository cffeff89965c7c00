//! The relay that a coordinator runs inside itself: TLS for the traffic, QUIC for address discovery.
//!
//! It forwards sealed packets between endpoints that cannot reach each other, and tells each how its address looks from
//! outside, which is what hole punching needs.

mod authority;
mod doorkeeper;

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use iroh_relay::server::{
    CertConfig, ClientRateLimit, QuicConfig, RelayConfig, RelayService, Server, ServerConfig, TlsConfig,
};
use nightjar_protocol::relay::RelayInfo;
use tracing::debug;

use crate::endpoint::chain;
use crate::error::LinkError;
use authority::Authority;
use doorkeeper::Doorkeeper;

const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

/// Asked with the public key of a host or a renter, which has proven that it comes in the name of that key.
pub type AdmissionQuestion = dyn Fn([u8; 32]) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

/// Who may use the relay.
#[derive(Clone)]
pub enum Admission {
    /// Whoever comes: for tests and a network of one's own. On the internet it gives bandwidth away.
    Everyone,
    /// Whoever the answer is `true` for.
    Ask(Arc<AdmissionQuestion>),
}

/// How a relay is set up.
#[derive(Clone, Debug)]
pub struct RelayServerConfig {
    /// TCP address for TLS; port 0 takes any free one.
    pub listen: SocketAddr,
    /// UDP port of address discovery, on the same address; 0 takes any free one.
    pub quic_port: u16,
    /// The name or IP address by which hosts and renters reach this machine.
    pub public_host: String,
    /// The TCP port by which they reach it, where a router forwards another one than `listen`'s.
    pub public_port: Option<u16>,
    /// Where the authority's key is kept; it is made on the first start, for the owner's eyes only.
    pub data_dir: PathBuf,
    pub admission: Admission,
    /// What one endpoint may send through the relay, in bytes a second.
    pub client_bytes_per_second: Option<NonZeroU32>,
}

/// A running relay; it stops when it is dropped.
pub struct RelayServer {
    /// Taken by whoever ends it.
    server: Option<Server>,
    doorkeeper: Arc<Doorkeeper>,
    info: RelayInfo,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Everyone => "Everyone",
            Self::Ask(_) => "Ask",
        })
    }
}

impl RelayServer {
    /// Starts the relay and returns when it listens.
    ///
    /// # Errors
    /// [`LinkError::Local`]: a port is taken, the public host's name is unusable, or the authority's key cannot be read or
    /// written.
    pub async fn start(config: RelayServerConfig) -> Result<Self, LinkError> {
        let authority = Authority::load_or_make(&config.data_dir)?;
        let tls = authority.server_config(&[&config.public_host, &config.listen.ip().to_string()])?;
        // This plain port only serves a captive-portal check that our endpoints do not make.
        let mut relay = RelayConfig::new((std::net::Ipv4Addr::LOCALHOST, 0));
        relay.tls = Some(TlsConfig::new(config.listen, CertConfig::Manual { server_config: tls }));
        let doorkeeper = Arc::new(Doorkeeper::new(config.admission));
        relay.access = Arc::clone(&doorkeeper) as _;
        relay.limits.client_rx = config.client_bytes_per_second.map(ClientRateLimit::new);
        let mut server = ServerConfig::default();
        server.relay = Some(relay);
        server.quic = Some(QuicConfig::new((config.listen.ip(), config.quic_port)));
        let server = Server::spawn(server).await.map_err(|error| {
            let what = format!(
                "the relay cannot listen on {} (TCP) and port {} (UDP)",
                config.listen, config.quic_port
            );
            LinkError::local(
                what,
                format!("{}; choose other ports or end the program that holds them", chain(&error)),
            )
        })?;
        let (Some(tcp), Some(udp)) = (server.https_addr(), server.quic_addr()) else {
            return Err(LinkError::local("the relay did not start", "it has no address"));
        };
        let host = bracketed(&config.public_host);
        let info = RelayInfo {
            url: format!("https://{host}:{}", config.public_port.unwrap_or(tcp.port())),
            ca_der: Some(hex::encode(authority.der())),
            quic_port: udp.port(),
        };
        Ok(Self { server: Some(server), doorkeeper, info })
    }

    /// What hosts and renters must know to use it.
    #[must_use]
    pub fn info(&self) -> &RelayInfo {
        &self.info
    }

    /// Ends all connections. Tunnels that stand on a direct path do not notice.
    pub async fn shutdown(mut self) {
        if let Some(server) = self.server.take() {
            end(server, Arc::clone(&self.doorkeeper)).await;
        }
    }
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        if let (Some(server), Ok(runtime)) = (self.server.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(end(server, Arc::clone(&self.doorkeeper)));
        }
    }
}

/// Ends the server and whoever was on the doorstep. iroh-relay's own shutdown overlooks an endpoint that it admitted but had
/// not listed yet; such an endpoint would stay with a relay that forwards nothing, and believe itself online.
async fn end(server: Server, doorkeeper: Arc<Doorkeeper>) {
    doorkeeper.shut();
    let service = server.relay_service().map(RelayService::clients).cloned();
    let orderly = async {
        if let Err(error) = server.shutdown().await {
            debug!(%error, "the relay ended with a fault");
        }
        while let Some(clients) = service.as_ref().filter(|_| doorkeeper.inside() > 0) {
            clients.shutdown().await;
            tokio::time::sleep(CLOSE_PAUSE).await;
        }
    };
    if tokio::time::timeout(CLOSE_WAIT, orderly).await.is_err() {
        debug!(inside = doorkeeper.inside(), "the relay was closed without waiting any longer");
    }
}

/// An IPv6 address needs brackets in a URL.
fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::bracketed;

    #[test]
    fn only_ipv6_gets_brackets() {
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("127.0.0.1"), "127.0.0.1");
        assert_eq!(bracketed("market.example"), "market.example");
    }
}
