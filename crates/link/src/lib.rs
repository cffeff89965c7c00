//! The tunnel between a renter and a host, on iroh (QUIC, ed25519 identities).
//!
//! | module | what it is |
//! | --- | --- |
//! | [`host`] | the host's side: asks a [`Gate`] who may reach what, then carries bytes to a worker |
//! | [`renter`] | the renter's side: opens streams, redials, forwards stdio or a port |
//! | [`relay`] | the relay that the coordinator runs; it sees only ciphertext |
//! | [`endpoint`] | what both sides' endpoints have in common |
//! | [`error`] | the closed set of reasons for a failure |
//!
//! Neither side needs a public address: both reach a relay, and iroh moves a connection to a direct path when the
//! network allows.

mod carry;
mod delegation;
pub mod endpoint;
pub mod error;
mod greeting;
pub mod host;
pub mod path;
pub mod relay;
pub mod renter;

pub use endpoint::{LinkOptions, public_key};
pub use error::{LinkError, Refusal};
pub use host::{Gate, HostLink, LeaseBytes};
pub use nightjar_protocol::relay::RelayInfo;
pub use path::PathKind;
pub use relay::{Admission, RelayServer, RelayServerConfig};
pub use renter::{RenterLink, RenterStream};

/// The protocol that both ends must speak; its number rises with an incompatible change.
pub const ALPN: &[u8] = b"nightjar/lease/1";
