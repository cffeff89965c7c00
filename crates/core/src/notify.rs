//! Which notifications the owner is shown: by kind, never in front of a full screen, and no more than one a minute of a
//! kind. What is held back is not shown later: it would be old.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::policy::BlockReason;
use crate::signal::{Sign, SignalKind, Standing};
use crate::time::Timestamp;

/// Of one kind, no more than one in so long.
pub const SHORTEST_GAP_MS: u64 = 60_000;
/// Trouble that passes by itself within this is not worth a word.
pub const TROUBLE_LASTS_MS: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    Arrived,
    Frozen,
    Resumed,
    Ended,
    Weekly,
    Trouble,
}

/// The owner's choice for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct NoticeRules {
    pub arrived: bool,
    pub frozen: bool,
    pub resumed: bool,
    pub ended: bool,
    pub weekly: bool,
    pub trouble: bool,
}

impl Default for NoticeRules {
    fn default() -> Self {
        Self { arrived: true, frozen: true, resumed: true, ended: true, weekly: true, trouble: true }
    }
}

impl NoticeRules {
    #[must_use]
    pub fn allows(&self, kind: NoticeKind) -> bool {
        match kind {
            NoticeKind::Arrived => self.arrived,
            NoticeKind::Frozen => self.frozen,
            NoticeKind::Resumed => self.resumed,
            NoticeKind::Ended => self.ended,
            NoticeKind::Weekly => self.weekly,
            NoticeKind::Trouble => self.trouble,
        }
    }
}

/// The screen belongs to a game, a film or a presentation.
#[must_use]
pub fn screen_is_taken(signs: &[Sign]) -> bool {
    let takes = |sign: &&Sign| matches!(sign.kind, SignalKind::FullScreen | SignalKind::Game);
    signs.iter().filter(takes).any(|sign| matches!(sign.standing, Standing::Seen { .. }))
}

/// When a notice of each kind was last shown.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    shown: BTreeMap<NoticeKind, Timestamp>,
}

impl Gate {
    /// Whether to show it; counts it as shown then.
    pub fn opens(
        &mut self,
        kind: NoticeKind,
        rules: &NoticeRules,
        screen_is_taken: bool,
        now: Timestamp,
    ) -> bool {
        let too_soon = self.shown.get(&kind).is_some_and(|last| now.since_ms(*last) < SHORTEST_GAP_MS);
        let opens = rules.allows(kind) && !screen_is_taken && !too_soon;
        if opens {
            self.shown.insert(kind, now);
        }
        opens
    }
}

/// Trouble that has lasted and was not told yet.
#[derive(Clone, Debug, Default)]
pub struct TroubleWatch {
    /// What it is, since when, and whether it was told.
    current: Option<(std::mem::Discriminant<BlockReason>, Timestamp, bool)>,
}

impl TroubleWatch {
    /// Takes what holds now; `true` as long as the owner should be told and was not: see [`Self::told`]. A PC that is in
    /// no market yet is told that by the window, not by a notification.
    pub fn take(&mut self, reason: Option<&BlockReason>, now: Timestamp) -> bool {
        let trouble = reason.filter(|reason| {
            (reason.is_trouble() && !matches!(reason, BlockReason::NotEnrolled))
                || matches!(reason, BlockReason::UpdateWaiting)
        });
        let Some(reason) = trouble else {
            self.current = None;
            return false;
        };
        let kind = std::mem::discriminant(reason);
        let (since, told) = match self.current {
            Some((known, since, told)) if known == kind => (since, told),
            _ => (now, false),
        };
        self.current = Some((kind, since, told));
        !told && now.since_ms(since) >= TROUBLE_LASTS_MS
    }

    /// It was shown. What began behind a full screen is not old when that ends, if it still holds.
    pub fn told(&mut self) {
        if let Some((_, _, told)) = &mut self.current {
            *told = true;
        }
    }

    /// When [`Self::take`] should be asked again although nothing changes.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.current.filter(|(_, _, told)| !told);
        waiting.map(|(_, since, _)| since.plus_ms(TROUBLE_LASTS_MS)).filter(|due| *due > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(kind: SignalKind, standing: Standing) -> Sign {
        Sign { kind, source: "x11".into(), standing }
    }

    #[test]
    fn one_a_minute_of_a_kind_and_each_kind_by_itself() {
        let (mut gate, rules) = (Gate::default(), NoticeRules::default());
        assert!(gate.opens(NoticeKind::Frozen, &rules, false, Timestamp(0)));
        assert!(!gate.opens(NoticeKind::Frozen, &rules, false, Timestamp(59_999)));
        assert!(gate.opens(NoticeKind::Resumed, &rules, false, Timestamp(59_999)));
        assert!(gate.opens(NoticeKind::Frozen, &rules, false, Timestamp(60_000)));
    }

    #[test]
    fn nothing_is_shown_over_a_full_screen_or_against_the_owners_choice() {
        let mut gate = Gate::default();
        let quiet = NoticeRules { ended: false, ..NoticeRules::default() };
        assert!(!gate.opens(NoticeKind::Ended, &quiet, false, Timestamp(0)));
        assert!(!gate.opens(NoticeKind::Arrived, &quiet, true, Timestamp(0)));
        assert!(
            gate.opens(NoticeKind::Arrived, &quiet, false, Timestamp(1)),
            "what was held back does not count"
        );
        let seen = Standing::Seen { name: "mpv".into() };
        assert!(screen_is_taken(&[sign(SignalKind::FullScreen, seen.clone())]));
        assert!(!screen_is_taken(&[
            sign(SignalKind::FullScreen, Standing::Quiet),
            sign(SignalKind::OnBattery, seen)
        ]));
    }

    #[test]
    fn trouble_is_told_once_and_only_when_it_lasts() {
        let mut watch = TroubleWatch::default();
        let low = |free_mib| BlockReason::DiskLow { free_mib, needed_mib: 10_240, folder: "/".into() };
        assert!(!watch.take(Some(&low(9)), Timestamp(0)));
        assert_eq!(watch.due_at(Timestamp(0)), Some(Timestamp(20_000)));
        assert!(!watch.take(Some(&low(8)), Timestamp(19_999)));
        assert!(watch.take(Some(&low(7)), Timestamp(20_000)));
        assert_eq!(watch.due_at(Timestamp(20_000)), None, "from here on it is asked with each view");
        assert!(watch.take(Some(&low(7)), Timestamp(30_000)), "a game hid it");
        watch.told();
        assert!(!watch.take(Some(&low(6)), Timestamp(40_000)), "once");
        assert!(!watch.take(None, Timestamp(50_000)));
        assert!(!watch.take(Some(&BlockReason::NotEnrolled), Timestamp(60_000)));
        assert!(!watch.take(Some(&BlockReason::NotEnrolled), Timestamp(90_000)));
        assert_eq!(watch.due_at(Timestamp(90_000)), None);
        let gone = BlockReason::TurnedOff;
        assert!(!watch.take(Some(&gone), Timestamp(90_000)) && !watch.take(Some(&gone), Timestamp(200_000)));
    }
}
