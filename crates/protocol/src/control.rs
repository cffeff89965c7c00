//! The local control socket of a running host: one JSON object a line, at most [`MAX_LINE_BYTES`].
//!
//! `Status` and `Do` are answered once; `Watch` is answered with the view now and again after each change.

use nightjar_core::host::{CommandError, UserCommand};
use nightjar_core::settings::Settings;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::view::ViewModel;

/// Longest line that either side reads.
pub const MAX_LINE_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", content = "data", rename_all = "snake_case")]
pub enum ControlRequest {
    Status,
    Watch,
    /// What the owner has chosen, as it is in force.
    Settings,
    Do(UserCommand),
    /// End the host as a signal would: jobs end, the power limit goes back.
    Quit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "data", rename_all = "snake_case")]
pub enum ControlAnswer {
    View(Box<ViewModel>),
    Settings(Box<Settings>),
    Refused(Refusal),
    Bye,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Refusal {
    #[error(transparent)]
    Command(CommandError),
    #[error("the request cannot be read: {detail}")]
    Unreadable { detail: String },
}
