//! A small closed set of codes for whoever must branch. What people read is made elsewhere: the chain of causes goes to
//! the log, the sentence comes from the message table.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request cannot be read, or a value is out of its bounds.
    BadRequest,
    /// No token, or one that is not known.
    Unauthorized,
    /// Known, but not allowed to touch this.
    Forbidden,
    NotFound,
    /// A pairing code that was used, has run out or never was.
    PairingCode,
    /// A signature that does not fit the key.
    Signature,
    /// The two programs do not speak the same version.
    Version,
    /// No card on offer is enough; the details say by which requirement they fail.
    NoMatch,
    /// The prepaid balance does not cover a minute of this card.
    Balance,
    /// The thing is in a state in which this cannot be done.
    Conflict,
    /// A message with an epoch that is no longer in force.
    StaleEpoch,
    /// Too much at once.
    TooMany,
    /// The other side cannot be reached.
    Unreachable,
    /// An error on the side that was asked; its log knows more.
    Internal,
}

impl ErrorCode {
    /// Its spelling on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::PairingCode => "pairing_code",
            Self::Signature => "signature",
            Self::Version => "version",
            Self::NoMatch => "no_match",
            Self::Balance => "balance",
            Self::Conflict => "conflict",
            Self::StaleEpoch => "stale_epoch",
            Self::TooMany => "too_many",
            Self::Unreachable => "unreachable",
            Self::Internal => "internal",
        }
    }
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{detail} ({})", code.as_str())]
pub struct ErrorBody {
    pub code: ErrorCode,
    /// What failed, why, and what to do, in English.
    pub detail: String,
}
