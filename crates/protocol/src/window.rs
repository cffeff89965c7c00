//! What the desktop window is told beside the view model and the answers to commands: closed codes, whose sentences the
//! window makes from the message table.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ErrorCode;

/// Why there is no host behind the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StartFailure {
    /// Another host, most likely a headless one, holds the data folder.
    AlreadyRunning,
    /// In English, with the chain of causes.
    Other { detail: String },
}

/// Why this host did not join a market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EnrolRefusal {
    Unreachable {
        url: String,
        detail: String,
    },
    /// Used, run out, or never was.
    PairingCode,
    Refused {
        code: ErrorCode,
        detail: String,
    },
    /// On this side.
    Failed {
        detail: String,
    },
}
