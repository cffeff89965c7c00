//! Signs of use beside mouse and keyboard: what one sensor says of one thing that it watches.

mod rule;
mod signs;
#[cfg(test)]
mod tests;

pub use rule::{SignalRule, SignalRules};
pub use signs::Signs;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What a sensor watches. Several sensors may watch the same thing; it is seen when any of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    Game,
    FullScreen,
    /// A film, a call, a presentation: a program keeps the screen from sleeping.
    IdleInhibitor,
    RemoteSession,
    /// Somebody sits at this PC in a session whose input is not heard: another account, after a switch of users.
    OtherAccount,
    Controller,
    /// Load of the processor that is not ours.
    ForeignCpu,
    OnBattery,
    MeteredNetwork,
    /// The owner locked the screen: a sign of absence, not of use.
    ScreenLocked,
    /// The PC is about to sleep.
    Suspending,
}

/// What one sensor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Standing {
    /// This desktop or system does not tell; the detail is a sentence for the owner.
    Unavailable {
        detail: String,
    },
    Quiet,
    /// The name of what is seen: the game, the window, the inhibitor, the device. For [`SignalKind::ForeignCpu`] the
    /// whole percent as decimal text.
    Seen {
        name: String,
    },
}

/// One sensor's word on one thing. Sent once at the start, and then at each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Sign {
    pub kind: SignalKind,
    /// Short and stable, e.g. `gamemode`, `x11`, `logind`.
    pub source: String,
    pub standing: Standing,
}
