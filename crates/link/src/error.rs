//! The closed set of reasons for which the tunnel does not carry.

use iroh::endpoint::VarInt;

/// Why the host lets nothing through. This is all that the other side is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No such lease, or not with this key: the same answer for both, so that leases cannot be guessed.
    #[error("no lease of that name belongs to this key; `nightjar leases` lists yours")]
    NotYours,
    #[error("the host does not know this service; it offers ssh, jupyter and api")]
    UnknownService,
    /// The worker does not answer on this port (yet).
    #[error("the worker does not answer yet; wait until the lease is ready")]
    NotThere,
    /// The header cannot be read or is out of its bounds.
    #[error("the host could not read the request; use the same version of Nightjar on both sides")]
    BadHeader,
    #[error("too many streams at once; close some")]
    TooMany,
    /// The lease ended or was taken back while the stream was open.
    #[error("the lease was closed by the host")]
    LeaseClosed,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::NotYours,
        Self::UnknownService,
        Self::NotThere,
        Self::BadHeader,
        Self::TooMany,
        Self::LeaseClosed,
    ];

    /// Its number on the wire; 0 means "open".
    #[must_use]
    pub fn wire(self) -> u8 {
        match self {
            Self::NotYours => 1,
            Self::UnknownService => 2,
            Self::NotThere => 3,
            Self::BadHeader => 4,
            Self::TooMany => 5,
            Self::LeaseClosed => 6,
        }
    }

    /// The refusal with this number, if there is one.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.wire() == number)
    }

    /// Its spelling in logs and in JSON.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotYours => "not_yours",
            Self::UnknownService => "unknown_service",
            Self::NotThere => "not_there",
            Self::BadHeader => "bad_header",
            Self::TooMany => "too_many",
            Self::LeaseClosed => "lease_closed",
        }
    }

    pub(crate) fn reset_code(self) -> VarInt {
        VarInt::from(self.wire())
    }

    pub(crate) fn from_reset_code(code: VarInt) -> Option<Self> {
        u8::try_from(code.into_inner()).ok().and_then(Self::from_wire)
    }
}

/// Why the tunnel does not carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error(
        "the host did not answer within {waited_ms} ms: it is off, asleep or offline; \
         `nightjar leases` shows when the market last heard from it"
    )]
    PeerOffline { waited_ms: u64 },
    #[error("{0}")]
    Refused(Refusal),
    #[error(
        "the relay {url} cannot be reached ({reason}); check this machine's network and that the market is up"
    )]
    RelayUnreachable { url: String, reason: String },
    #[error(
        "the relay {url} does not admit this key ({reason}); log in to the market, or pair this host, again"
    )]
    RelayDenied { url: String, reason: String },
    #[error(
        "the other side does not keep to the protocol ({0}); use the same version of Nightjar on both sides"
    )]
    Protocol(String),
    /// It stood, and broke.
    #[error("the connection to the host broke ({0}); try again")]
    Broken(String),
    /// Something on this machine: a port, a file, a key, an argument.
    #[error("{what}: {reason}")]
    Local { what: String, reason: String },
}

impl LinkError {
    /// A name that does not change, for whoever must branch.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PeerOffline { .. } => "peer_offline",
            Self::Refused(_) => "refused",
            Self::RelayUnreachable { .. } => "relay_unreachable",
            Self::RelayDenied { .. } => "relay_denied",
            Self::Protocol(_) => "protocol",
            Self::Broken(_) => "broken",
            Self::Local { .. } => "local",
        }
    }

    pub(crate) fn local(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Local { what: what.into(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_wire(refusal.wire()), Some(refusal));
            assert_eq!(Refusal::from_reset_code(refusal.reset_code()), Some(refusal));
        }
        assert_eq!(Refusal::from_wire(0), None);
        assert_eq!(Refusal::from_wire(200), None);
        assert_eq!(Refusal::from_reset_code(VarInt::from_u32(70_000)), None);
    }
}
