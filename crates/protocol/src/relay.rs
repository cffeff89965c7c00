//! Where the relay is and how to trust it.

use serde::{Deserialize, Serialize};

/// The coordinator hands this to hosts and renters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayInfo {
    /// `https://host:port`.
    pub url: String,
    /// DER of the authority that signed the relay's certificate, in hexadecimal; `None` where the system's do.
    pub ca_der: Option<String>,
    /// UDP port of QUIC address discovery.
    pub quic_port: u16,
}
