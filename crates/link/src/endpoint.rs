//! What the endpoints of host and renter have in common: identity, relay, trust, QUIC's numbers.

use std::net::SocketAddr;
use std::time::Duration;

use iroh::endpoint::{IdleTimeout, PortmapperConfig, QuicTransportConfig, VarInt, presets};
use iroh::{Endpoint, NetReportConfig, RelayConfig, RelayMap, RelayMode, RelayUrl, SecretKey, Watcher};
use iroh_relay::RelayQuicConfig;
use iroh_relay::tls::CaTlsConfig;
use nightjar_protocol::relay::RelayInfo;
use rustls::pki_types::CertificateDer;

use crate::error::LinkError;

/// A stream may have this much under way: 310 Mbit/s at 50 ms, 1.5 Gbit/s at 10 ms. More would be too much for noq 1.4.0: it
/// ends a connection when more than 2048 pieces of a stream lie behind one lost packet, and a full packet carries 1160 bytes
/// or more (`carry` has more on it).
const STREAM_WINDOW_BYTES: u32 = 1920 << 10;
/// All streams of a connection together.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// What a peer that has shown no right to anything may make this machine hold in memory.
pub(crate) const STRANGER_WINDOW_BYTES: u32 = 64 << 10;
/// A direct path that is blocked is noticed after this long instead of after 15 s. (A path through the relay has 30 s, so
/// that a relay may restart: iroh sets it.)
const PATH_IDLE: Duration = Duration::from_secs(4);
/// Two may be lost before a path counts as blocked.
const PATH_KEEP_ALIVE: Duration = Duration::from_millis(1500);
const CONNECTION_IDLE_MS: u32 = 30_000;
/// A notebook in a browser opens some dozens.
const STREAMS_AT_ONCE: u32 = 128;
const PORT_WAIT: Duration = Duration::from_secs(1);
/// Longest certificate that is taken from a coordinator.
const AUTHORITY_LIMIT_BYTES: usize = 8 << 10;

/// How an endpoint behaves towards the network that it is in.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// UDP addresses to use, at most one of each family. A peer learns these and the public address, and no other address
    /// of this machine; empty means every address that the machine has, and the peer learns them all.
    pub bind: Vec<SocketAddr>,
    /// Ask the router to forward a port (UPnP, PCP, NAT-PMP), which makes direct paths possible behind a NAT that picks
    /// ports at random.
    pub ask_router: bool,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self { bind: Vec::new(), ask_router: true }
    }
}

/// The public key that belongs to a secret key; it is the endpoint's identity.
#[must_use]
pub fn public_key(secret_key: &[u8; 32]) -> [u8; 32] {
    *SecretKey::from_bytes(secret_key).public().as_bytes()
}

/// A [`RelayInfo`] whose parts were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    pub url: RelayUrl,
    pub authority: Option<Vec<u8>>,
    pub quic_port: u16,
}

impl Relay {
    pub fn check(info: &RelayInfo) -> Result<Self, LinkError> {
        let fault = |reason: String| LinkError::local("the market's relay cannot be used", reason);
        let url: RelayUrl = info.url.parse().map_err(|error| fault(format!("{:?}: {error}", info.url)))?;
        if url.scheme() != "https" || url.host().is_none() {
            return Err(fault(format!("{url} is not of the form https://host:port")));
        }
        let authority = match &info.ca_der {
            None => None,
            Some(text) if text.len() > 2 * AUTHORITY_LIMIT_BYTES => {
                return Err(fault(format!("its authority is longer than {AUTHORITY_LIMIT_BYTES} bytes")));
            }
            Some(text) => Some(hex::decode(text).map_err(|error| fault(format!("its authority: {error}")))?),
        };
        Ok(Self { url, authority, quic_port: info.quic_port })
    }

    /// `acts_for` is what the relay is shown beside the endpoint's own key.
    pub fn config(&self, acts_for: Option<&str>) -> RelayConfig {
        let quic = (self.quic_port != 0).then(|| RelayQuicConfig::new(self.quic_port));
        let config = RelayConfig::new(self.url.clone(), quic);
        match acts_for {
            Some(word) => config.with_auth_token(word),
            None => config,
        }
    }

    /// The error for a relay that the endpoint is not connected to. iroh keeps the cause to itself until it has once settled
    /// on a relay, so the port is tried here.
    pub async fn fault(&self, standing: RelayStanding) -> LinkError {
        let url = self.url.to_string();
        match standing {
            RelayStanding::Denied(reason) => LinkError::RelayDenied { url, reason },
            RelayStanding::Away(Some(reason)) => LinkError::RelayUnreachable { url, reason },
            RelayStanding::Away(None) | RelayStanding::Connected => {
                LinkError::RelayUnreachable { url, reason: self.try_port().await }
            }
        }
    }

    async fn try_port(&self) -> String {
        let (Some(host), Some(port)) = (self.url.host_str(), self.url.port_or_known_default()) else {
            return "its URL names no host".to_owned();
        };
        let host = host.trim_matches(['[', ']']);
        match tokio::time::timeout(PORT_WAIT, tokio::net::TcpStream::connect((host, port))).await {
            Err(_) => "its port does not answer".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(_)) => "its port is open, but what answers is not vouched for by the market's authority, \
                          or does not answer in time"
                .to_owned(),
        }
    }

    /// Only the relay is met over ordinary TLS, so no other authority than its own is trusted where it has one.
    fn trust(&self) -> CaTlsConfig {
        match &self.authority {
            Some(der) => CaTlsConfig::custom_roots([CertificateDer::from(der.clone())]),
            None => CaTlsConfig::embedded(),
        }
    }
}

/// Which side the endpoint is on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role<'a> {
    Host,
    Renter { acts_for: &'a str },
}

/// An endpoint that knows one relay and asks no public server for anything.
pub(crate) async fn bind(
    secret_key: SecretKey,
    relay: &Relay,
    options: &LinkOptions,
    role: Role<'_>,
) -> Result<Endpoint, LinkError> {
    let mut net_report = NetReportConfig::default();
    // The check asks for port 80 of the relay's host, which is not ours.
    net_report.captive_portal_check = false;
    let acts_for = match role {
        Role::Host => None,
        Role::Renter { acts_for } => Some(acts_for),
    };
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(secret_key)
        .relay_mode(RelayMode::Custom(RelayMap::from(relay.config(acts_for))))
        .clear_address_lookup()
        .ca_tls_config(relay.trust())
        .net_report_config(net_report)
        .transport_config(transport(role))
        .portmapper_config(if options.ask_router {
            PortmapperConfig::default()
        } else {
            PortmapperConfig::Disabled
        });
    if role == Role::Host {
        builder = builder.alpns(vec![crate::ALPN.to_vec()]);
    }
    if !options.bind.is_empty() {
        builder = builder.clear_ip_transports();
    }
    for address in &options.bind {
        builder = builder
            .bind_addr(*address)
            .map_err(|error| LinkError::local(format!("the address {address} cannot be used"), error))?;
    }
    builder
        .bind()
        .await
        .map_err(|error| LinkError::local("no UDP port could be opened for the tunnel", chain(&error)))
}

/// Congestion control stays at noq's default, Cubic.
fn transport(role: Role<'_>) -> QuicTransportConfig {
    let (streams_to_us, connection_window) = match role {
        // Widened once the peer has shown a lease of its own.
        Role::Host => (STREAMS_AT_ONCE, STRANGER_WINDOW_BYTES),
        Role::Renter { .. } => (0, CONNECTION_WINDOW_BYTES),
    };
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from(streams_to_us))
        .max_concurrent_uni_streams(VarInt::from(0_u8))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from(connection_window))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from(CONNECTION_IDLE_MS))))
        .default_path_max_idle_timeout(PATH_IDLE)
        .default_path_keep_alive_interval(PATH_KEEP_ALIVE)
        .build()
}

/// How the endpoint stands with its relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelayStanding {
    Connected,
    Denied(String),
    /// Not connected, with the last cause if there was one.
    Away(Option<String>),
}

pub(crate) fn relay_standing(endpoint: &Endpoint) -> RelayStanding {
    standing(&endpoint.home_relay_status().get())
}

fn standing(relays: &[iroh::endpoint::RelayStatus]) -> RelayStanding {
    if relays.iter().any(iroh::endpoint::RelayStatus::is_connected) {
        return RelayStanding::Connected;
    }
    if let Some(reason) = relays.iter().find_map(iroh::endpoint::RelayStatus::auth_denied_reason) {
        return RelayStanding::Denied(reason.to_owned());
    }
    RelayStanding::Away(relays.iter().find_map(|relay| relay.last_error()).map(|error| format!("{error:#}")))
}

/// Returns the reason when the relay says that it does not admit this key; otherwise waits on.
pub(crate) async fn denied(endpoint: &Endpoint) -> String {
    let mut watcher = endpoint.home_relay_status();
    let mut relays = watcher.get();
    loop {
        if let RelayStanding::Denied(reason) = standing(&relays) {
            return reason;
        }
        match watcher.updated().await {
            Ok(next) => relays = next,
            Err(_) => std::future::pending().await,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(url: &str, ca_der: Option<String>) -> RelayInfo {
        RelayInfo { url: url.to_owned(), ca_der, quic_port: 1 }
    }

    #[test]
    fn a_relay_that_cannot_be_trusted_is_refused() {
        assert!(Relay::check(&info("https://127.0.0.1:7843", Some("00ff".to_owned()))).is_ok());
        for bad in [
            info("http://127.0.0.1:7843", None),
            info("not a url", None),
            info("https://127.0.0.1", Some("xyz".to_owned())),
            info("https://127.0.0.1", Some("00".repeat(AUTHORITY_LIMIT_BYTES + 1))),
        ] {
            assert_eq!(Relay::check(&bad).unwrap_err().code(), "local", "{bad:?}");
        }
    }
}
