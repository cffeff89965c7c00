//! Choices that pass by themselves. None of them turns idle mode off for good: a snooze, a finished last job and an
//! "earn now" all end by their time at the latest, and what the settings say holds again.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::Presence;
use crate::time::Timestamp;

/// So long the owner must have been away before input counts as coming back: whoever presses "earn now" is there.
const AWAY_AFTER_MS: u64 = 30_000;

/// "Earn now", although the owner is there or the clock says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EarnNow {
    pub until: Timestamp,
    /// It also ends when the owner comes back after having left.
    pub until_back: bool,
    /// The owner has left since.
    pub has_left: bool,
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Overrides {
    pub snoozed_until: Option<Timestamp>,
    /// The snooze ends with this game, if it ends sooner.
    pub snoozed_for_game: Option<String>,
    /// No new job until then.
    pub last_job_until: Option<Timestamp>,
    pub earn_now: Option<EarnNow>,
}

impl Overrides {
    /// Ends what has run out.
    pub fn settle(&mut self, presence: &Presence, game_runs: bool, now: Timestamp) {
        if self.snoozed_for_game.is_some() && !game_runs {
            self.end_snooze();
        }
        if self.snoozed_until.is_some_and(|until| until <= now) {
            self.end_snooze();
        }
        if self.last_job_until.is_some_and(|until| until <= now) {
            self.last_job_until = None;
        }
        if let Some(earn) = &mut self.earn_now {
            let away = matches!(presence, Presence::Idle { since } if now.since_ms(*since) >= AWAY_AFTER_MS);
            earn.has_left |= earn.until_back && away;
            let is_back = earn.has_left && matches!(presence, Presence::Active { .. });
            if earn.until <= now || is_back {
                self.earn_now = None;
            }
        }
    }

    /// Whatever it was to end with; other choices stay.
    pub fn end_snooze(&mut self) {
        (self.snoozed_for_game, self.snoozed_until) = (None, None);
    }

    /// When time alone changes something here.
    #[must_use]
    pub fn next_change(&self, presence: &Presence) -> Option<Timestamp> {
        let leaves = match (&self.earn_now, presence) {
            (Some(EarnNow { until_back: true, has_left: false, .. }), Presence::Idle { since }) => {
                Some(since.plus_ms(AWAY_AFTER_MS))
            }
            _ => None,
        };
        let earn = self.earn_now.map(|earn| earn.until);
        [self.snoozed_until, self.last_job_until, earn, leaves].into_iter().flatten().min()
    }
}
