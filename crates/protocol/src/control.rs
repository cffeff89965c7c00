//! The local control socket of a running host: one JSON object a line, at most [`MAX_LINE_BYTES`].
//!
//! Each is answered once, but for `Watch` and `WatchClosely`: the view now and again after each change.

use nightjar_core::history::CardHistory;
use nightjar_core::host::{CommandError, UserCommand};
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::Volume;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::night::Night;
use crate::view::ViewModel;
use crate::window::{EnrolRefusal, Question, QuestionRefusal, Reply};

/// Longest line that either side reads.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", content = "data", rename_all = "snake_case")]
pub enum ControlRequest {
    Status,
    Watch,
    /// As `Watch`, for a window: cards are read each second while the connection lasts.
    WatchClosely,
    /// What the owner has chosen, as it is in force.
    Settings,
    Do(UserCommand),
    /// Where the time of a span went; without an end, until now.
    Why {
        since: Timestamp,
        until: Option<Timestamp>,
    },
    /// The cards' past: so long up to now, at most so many points of each card. Answered once.
    History {
        since_ms: u64,
        points: u32,
    },
    /// What a page asks for.
    Ask(Question),
    /// Join a market.
    Enrol {
        coordinator_url: String,
        pairing_code: String,
    },
    /// What renters keep on this PC.
    Volumes,
    /// Delete one of those; answered with the others.
    WipeVolume {
        name: String,
    },
    /// End the host as a signal would: jobs end, the power limit goes back.
    Quit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "data", rename_all = "snake_case")]
pub enum ControlAnswer {
    View(Box<ViewModel>),
    Settings(Box<Settings>),
    /// Or why it cannot be read.
    History(Result<Vec<CardHistory>, String>),
    /// Or why it cannot be told or done.
    Volumes(Result<Vec<Volume>, String>),
    Refused(Refusal),
    Night(Box<Night>),
    Reply(Result<Box<Reply>, QuestionRefusal>),
    Enrolled(Result<(), EnrolRefusal>),
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
    #[error("the journal cannot be read: {detail}")]
    Journal { detail: String },
}
