//! How much a sign counts: the owner's choice for each kind.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::SignalKind;

/// The owner's choice for one kind of sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct SignalRule {
    pub on: bool,
    /// Seen for less than this it does not count.
    #[ts(type = "number")]
    pub grace_ms: u64,
    /// It counts for this long after it was last seen.
    #[ts(type = "number")]
    pub linger_ms: u64,
}

impl SignalRule {
    #[must_use]
    pub const fn new(on: bool, grace_ms: u64, linger_ms: u64) -> Self {
        Self { on, grace_ms, linger_ms }
    }
}

impl Default for SignalRule {
    fn default() -> Self {
        Self::new(true, 0, 0)
    }
}

/// A rule for each kind that the owner can switch. Sleep of the PC always counts, a locked screen has a setting of its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct SignalRules {
    pub game: SignalRule,
    pub full_screen: SignalRule,
    pub idle_inhibitor: SignalRule,
    pub remote_session: SignalRule,
    pub other_account: SignalRule,
    pub controller: SignalRule,
    pub foreign_cpu: SignalRule,
    pub on_battery: SignalRule,
    pub metered_network: SignalRule,
}

impl Default for SignalRules {
    fn default() -> Self {
        Self {
            // Between two rounds a game is restarted or reloads; the card should not be taken meanwhile.
            game: SignalRule::new(true, 0, 60_000),
            full_screen: SignalRule::new(true, 0, 10_000),
            // A page that plays a sound of a second holds one too.
            idle_inhibitor: SignalRule::new(true, 5_000, 5_000),
            remote_session: SignalRule::new(true, 0, 10_000),
            // As long as a locked screen waits: who logs out for the next account has not left the PC yet.
            other_account: SignalRule::new(true, 0, 15_000),
            // Between two touches of a controller.
            controller: SignalRule::new(true, 0, 120_000),
            // A scheduled task of a few seconds is no user.
            foreign_cpu: SignalRule::new(true, 15_000, 30_000),
            on_battery: SignalRule::new(true, 0, 5_000),
            metered_network: SignalRule::new(true, 0, 5_000),
        }
    }
}

impl SignalRules {
    /// The rule for a kind.
    #[must_use]
    pub fn of(&self, kind: SignalKind) -> SignalRule {
        match kind {
            SignalKind::Game => self.game,
            SignalKind::FullScreen => self.full_screen,
            SignalKind::IdleInhibitor => self.idle_inhibitor,
            SignalKind::RemoteSession => self.remote_session,
            SignalKind::OtherAccount => self.other_account,
            SignalKind::Controller => self.controller,
            SignalKind::ForeignCpu => self.foreign_cpu,
            SignalKind::OnBattery => self.on_battery,
            SignalKind::MeteredNetwork => self.metered_network,
            SignalKind::ScreenLocked | SignalKind::Suspending => SignalRule::default(),
        }
    }

    /// Every rule with its name in the settings file.
    #[must_use]
    pub fn named(&self) -> [(&'static str, SignalRule); 9] {
        [
            ("signals.game", self.game),
            ("signals.full_screen", self.full_screen),
            ("signals.idle_inhibitor", self.idle_inhibitor),
            ("signals.remote_session", self.remote_session),
            ("signals.other_account", self.other_account),
            ("signals.controller", self.controller),
            ("signals.foreign_cpu", self.foreign_cpu),
            ("signals.on_battery", self.on_battery),
            ("signals.metered_network", self.metered_network),
        ]
    }
}
