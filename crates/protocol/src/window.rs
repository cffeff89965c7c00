//! What the desktop window is told beside the view model and the answers to commands: closed codes, whose sentences the
//! window makes from the message table.

use nightjar_core::books::{Books, NightTakings, Span};
use nightjar_core::history::CardHistory;
use nightjar_core::images::TaskKind;
use nightjar_core::lease::LeaseId;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::Volume;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::components::Component;
use crate::doctor::{Findings, Repair, RepairOutcome};
use crate::error::ErrorCode;
use crate::images::PulledImages;
use crate::night::Night;

/// What a page asks for when it is opened, beside the view that is always there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Question {
    /// The cards' past: so long up to now, at most so many points of each card.
    History {
        #[ts(type = "number")]
        since_ms: u64,
        points: u32,
    },
    Books {
        span: Span,
    },
    /// The nights of a month on the wall; 0 is this one.
    Nights {
        months_ago: u32,
    },
    /// Where the time of a span went.
    Night {
        since: Timestamp,
        until: Timestamp,
    },
    /// Writes the table of a span into the folder for downloads.
    SaveBooks {
        span: Span,
    },
    Checks,
    /// Mends something, after the system has asked for a password.
    Repair {
        repair: Repair,
    },
    Images,
    /// What became of the last jobs' containers.
    Steps,
    /// What was pulled from a registry, and the room for it.
    PulledImages,
    /// Fetch an image of the catalogue while the owner is away.
    PullImage {
        name: String,
    },
    /// Remove a pulled image, or stop fetching it.
    FreeImage {
        name: String,
    },
    /// What renters keep on this PC.
    Volumes,
    /// Delete one of those at once; answered with the others.
    WipeVolume {
        name: String,
    },
    /// What Nightjar is built of, with licences.
    Components,
    /// What a report of a problem would hold. It goes nowhere by itself.
    Report,
    /// Writes the report that was shown last into the folder for downloads.
    SaveReport,
    /// The link that was opened since this was last asked.
    Invitation,
    /// What only the desktop knows.
    Desktop,
    SetAutostart {
        on: bool,
    },
    SetLinks {
        on: bool,
    },
    /// Ends the app: jobs end, the power limit goes back.
    Quit,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "reply", content = "data", rename_all = "snake_case")]
pub enum Reply {
    History(Vec<CardHistory>),
    Books(Books),
    Nights(Vec<NightTakings>),
    Night(Box<Night>),
    Checks(Findings),
    Repaired(RepairOutcome),
    Images(Vec<ImageLine>),
    /// The newest first.
    Steps(Vec<StepLine>),
    Components(Vec<Component>),
    Report {
        text: String,
    },
    Saved {
        path: String,
    },
    PulledImages(PulledImages),
    /// The next to be wiped first.
    Volumes(Vec<Volume>),
    Invitation(Option<OpenedLink>),
    Desktop(DesktopFacts),
    Done,
}

/// An image that this host may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ImageLine {
    /// E.g. `pytorch-cuda:lite`.
    pub name: String,
    /// In the owner's language; the catalogue's own English where the messages know no such image.
    pub title: String,
    #[ts(type = "number")]
    pub size_mib: u64,
    pub licence: String,
    /// What it is good for; it is offered when the owner agreed to one of these.
    pub task_kinds: Vec<TaskKind>,
    pub is_present: bool,
    /// It can be fetched from a registry; otherwise it is made on the PC itself.
    pub can_be_pulled: bool,
    /// Not lent itself: every job needs it, so it is fetched first and stays.
    #[serde(default)]
    pub is_needed: bool,
}

/// One step of a job's container. What goes on inside it is in no journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StepLine {
    pub at: Timestamp,
    pub lease: LeaseId,
    pub image: String,
    /// A pseudonym.
    pub renter: String,
    pub sentence: String,
}

/// A market that wants this PC, and the code with which it would take it, from a link. Joining is for the owner to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Invitation {
    /// `https`, or `http` to this PC itself.
    pub market: String,
    pub code: String,
}

/// A `nightjar://` link that somebody has opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "link", rename_all = "snake_case")]
pub enum OpenedLink {
    Market(Invitation),
    /// None that this app takes. Of what stands in it nothing is shown.
    Refused {
        sentence: String,
    },
}

/// What only the desktop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DesktopFacts {
    /// There is a panel that shows the tray icon.
    pub has_tray: bool,
    /// The app starts at login; `None` where this system has no such thing that Nightjar knows.
    pub starts_at_login: Option<bool>,
    /// `nightjar://` links open this app; `None` where that is not for the app to say.
    pub opens_links: Option<bool>,
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QuestionRefusal {
    /// In English, with the chain of causes.
    Failed { detail: String },
}

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
