//! Which notifications the owner is shown: by kind, never in front of a full screen, and no more than one a minute of a
//! kind. What is held back is not shown later: it would be old. Trouble that still holds and last week's sum are not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::host::Notice;
use crate::policy::{BlockReason, Presence};
use crate::signal::{Sign, SignalKind, Standing};
use crate::time::Timestamp;

/// Of one kind, no more than one in so long.
pub const SHORTEST_GAP_MS: u64 = 60_000;
/// Trouble that passes by itself within this is not worth a word.
pub const TROUBLE_LASTS_MS: u64 = 20_000;
/// The gateway's image that fails again within this has not come in between: see [`TroubleWatch::take`].
pub const SAME_FAILURE_MS: u64 = 3_600_000;
const HALF_A_WEEK_MS: u64 = 302_400_000;
/// So long after the last input its owner still sees what the screen shows.
pub const STILL_THERE_MS: u64 = 60_000;

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

/// The sum of a week until its owner sees it: it comes when Monday begins, and then most are asleep or play.
#[derive(Clone, Debug, Default)]
pub struct KeptWeek {
    notice: Option<Notice>,
}

impl KeptWeek {
    /// In place of an earlier one.
    pub fn keep(&mut self, notice: Notice) {
        self.notice = Some(notice);
    }

    /// What is to be shown now, unless something holds it back: see [`Self::told`]. Where nobody can be seen, at once.
    pub fn due(&mut self, presence: &Presence, now: Timestamp) -> Option<Notice> {
        self.notice.take_if(|notice| matches!(notice, Notice::WeekOver { old_at, .. } if *old_at <= now));
        let is_there = match presence {
            Presence::Unknown { .. } | Presence::Active { .. } => true,
            Presence::Idle { since } => now.since_ms(*since) < STILL_THERE_MS,
        };
        self.notice.clone().filter(|_| is_there)
    }

    /// It was shown. Gives when it would have been old, which is to be kept: see [`week_is_told`].
    pub fn told(&mut self) -> Option<Timestamp> {
        match self.notice.take() {
            Some(Notice::WeekOver { old_at, .. }) => Some(old_at),
            _ => None,
        }
    }
}

/// Whether the owner was told of the week that ended at `monday`, by when the last sum that was shown would have been old:
/// a Monday later, which is another moment where the PC has travelled.
#[must_use]
pub fn week_is_told(old_at: Option<Timestamp>, monday: Timestamp) -> bool {
    old_at.is_some_and(|old_at| old_at >= monday.plus_ms(HALF_A_WEEK_MS))
}

/// A reason without its figures.
type Kind = std::mem::Discriminant<BlockReason>;

/// Trouble that has lasted and was not told yet.
#[derive(Clone, Debug, Default)]
pub struct TroubleWatch {
    current: Option<Trouble>,
    /// What a notice of its own has told, and when. It may come before the trouble does.
    told_by_notice: Option<(Kind, Timestamp)>,
    /// Until when the gateway's image failed, and its owner knew.
    failed_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Trouble {
    kind: Kind,
    since: Timestamp,
    told: bool,
    /// The gateway's image fails.
    is_of_the_gateway: bool,
}

impl TroubleWatch {
    /// Takes what holds now; `true` as long as the owner should be told and was not: see [`Self::told`]. A PC that is in
    /// no market yet is told that by the window, not by a notification. The gateway's image is tried again every quarter of an
    /// hour, and while that is under way nothing says whether it will fail again: it is one trouble all the same.
    pub fn take(&mut self, reason: Option<&BlockReason>, now: Timestamp) -> bool {
        let trouble = reason.filter(|reason| {
            (reason.is_trouble() && !matches!(reason, BlockReason::NotEnrolled))
                || matches!(reason, BlockReason::UpdateWaiting)
        });
        let kind = trouble.map(std::mem::discriminant);
        if let Some(over) = self.current.take_if(|current| Some(current.kind) != kind)
            && over.is_of_the_gateway
            && over.told
        {
            self.failed_until = Some(now);
        }
        let Some(reason) = trouble else { return false };
        let current = self.current.unwrap_or_else(|| self.begun(reason, now));
        self.current = Some(current);
        !current.told && now.since_ms(current.since) >= TROUBLE_LASTS_MS
    }

    fn begun(&mut self, reason: &BlockReason, now: Timestamp) -> Trouble {
        let kind = std::mem::discriminant(reason);
        let is_of_the_gateway = matches!(reason, BlockReason::GatewayFailed { .. });
        let by_notice = self.told_by_notice.take_if(|(told, _)| *told == kind);
        let was_told = by_notice.is_some_and(|(_, at)| now.since_ms(at) < TROUBLE_LASTS_MS);
        let fails_again = self.failed_until.is_some_and(|until| now.since_ms(until) < SAME_FAILURE_MS);
        Trouble { kind, since: now, told: was_told || is_of_the_gateway && fails_again, is_of_the_gateway }
    }

    /// It was shown. What began behind a full screen is not old when that ends, if it still holds.
    pub fn told(&mut self) {
        if let Some(current) = &mut self.current {
            current.told = true;
        }
    }

    /// This was shown. A trouble that it tells of is not told again.
    pub fn told_by(&mut self, notice: &Notice, now: Timestamp) {
        let Notice::DataCapReached { cap_mib, stops } = *notice else { return };
        let kind = std::mem::discriminant(&BlockReason::DataCapReached { cap_mib, stops, until: now });
        match &mut self.current {
            Some(current) if current.kind == kind => current.told = true,
            _ => self.told_by_notice = Some((kind, now)),
        }
    }

    /// When [`Self::take`] should be asked again although nothing changes.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.current.filter(|current| !current.told);
        waiting.map(|current| current.since.plus_ms(TROUBLE_LASTS_MS)).filter(|due| *due > now)
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

    #[test]
    fn trouble_that_a_notice_tells_of_is_not_told_again() {
        let reached = Notice::DataCapReached { cap_mib: 1_000, stops: true };
        let reason = BlockReason::DataCapReached { cap_mib: 1_000, stops: true, until: Timestamp(9_000_000) };
        // Whichever of the two is heard first.
        for notice_comes_first in [true, false] {
            let mut watch = TroubleWatch::default();
            if notice_comes_first {
                watch.told_by(&reached, Timestamp(0));
                assert!(!watch.take(None, Timestamp(0)), "a view of before");
            }
            assert!(!watch.take(Some(&reason), Timestamp(10)));
            if !notice_comes_first {
                watch.told_by(&reached, Timestamp(10));
            }
            for at in [20_000, 60_000, 3_600_000] {
                assert!(!watch.take(Some(&reason), Timestamp(at)), "told twice at {at}");
            }
            assert_eq!(watch.due_at(Timestamp(10)), None);
            // The next month is another trouble.
            assert!(
                !watch.take(None, Timestamp(9_000_000)) && !watch.take(Some(&reason), Timestamp(9_000_001))
            );
            assert!(watch.take(Some(&reason), Timestamp(9_020_001)));
        }
        // A game held the notice back.
        let mut watch = TroubleWatch::default();
        assert!(!watch.take(Some(&reason), Timestamp(10)) && watch.take(Some(&reason), Timestamp(20_010)));
        // What tells of no trouble changes nothing.
        let mut watch = TroubleWatch::default();
        watch.told_by(&Notice::DataCapNear { used_mib: 800, cap_mib: 1_000 }, Timestamp(0));
        assert!(!watch.take(Some(&reason), Timestamp(10)) && watch.take(Some(&reason), Timestamp(20_010)));
    }

    #[test]
    fn a_week_that_was_told_is_told_whatever_the_time_zone_and_the_next_is_not() {
        let (week_ms, hour_ms) = (604_800_000, 3_600_000);
        let monday = Timestamp(1_000 * 604_800_000);
        let old_at = Some(monday.plus_ms(week_ms));
        assert!(!week_is_told(None, monday));
        for hours in -24..=24 {
            let flown = |at: Timestamp| Timestamp(at.0 + hours * hour_ms);
            assert!(week_is_told(old_at, flown(monday)), "{hours} hours off");
            assert!(!week_is_told(old_at, flown(monday.plus_ms(week_ms))), "{hours} hours off");
        }
    }

    #[test]
    fn a_gateway_that_fails_again_and_again_is_told_once_and_later_anew() {
        let failed = || BlockReason::GatewayFailed {
            why: crate::images::ImageTrouble::Unreachable { detail: String::new() },
            again_at: Timestamp(0),
        };
        let mut watch = TroubleWatch::default();
        let lasts = |watch: &mut TroubleWatch, from: i64| {
            assert!(!watch.take(Some(&failed()), Timestamp(from)));
            watch.take(Some(&failed()), Timestamp(from + 30_000))
        };
        assert!(lasts(&mut watch, 0));
        watch.told();
        // A retry is under way; with its owner there, the reason is that.
        let between = [BlockReason::GatewayComing, BlockReason::TurnedOff];
        let mut at = 0;
        for round in 0..12 {
            at += 900_000;
            assert!(!watch.take(Some(&between[round % 2]), Timestamp(at - 60_000)));
            assert!(!lasts(&mut watch, at), "told again in round {round}");
            assert_eq!(watch.due_at(Timestamp(at)), None);
        }
        // It came, and fails on another day.
        assert!(!watch.take(None, Timestamp(at + 60_000)));
        assert!(lasts(&mut watch, at + 60_000 + 3_600_000));
        // One that nobody was told of, since it was over too soon or behind a game, is told when it comes again.
        let mut watch = TroubleWatch::default();
        assert!(!watch.take(Some(&failed()), Timestamp(0)) && !watch.take(None, Timestamp(1_000)));
        assert!(lasts(&mut watch, 2_000));
        // And no other trouble is taken for it.
        watch.told();
        let low = BlockReason::DiskLow { free_mib: 9, needed_mib: 10_240, folder: "/".into() };
        assert!(!watch.take(Some(&low), Timestamp(40_000)) && watch.take(Some(&low), Timestamp(60_000)));
    }

    proptest::proptest! {
        /// However its owner comes and plays, last week's sum is shown once, to somebody who is there, and not when it is old.
        #[test]
        fn a_week_is_kept_until_it_is_seen_or_old(
            looks in proptest::collection::vec((0_u64..40_000_000, 0_u8..3, proptest::bool::ANY), 1..60),
        ) {
            let (old_at, rules) = (Timestamp(604_800_000), NoticeRules::default());
            let net = crate::money::Money::new(1, crate::money::Currency::CNY);
            let (mut week, mut gate, mut now) = (KeptWeek::default(), Gate::default(), Timestamp(0));
            week.keep(Notice::WeekOver { net, running_ms: 1, jobs: 1, old_at });
            let mut shown = Vec::new();
            let mut chances = Vec::new();
            for (later_ms, there, plays) in looks {
                now = now.plus_ms(later_ms);
                let presence = match there {
                    0 => Presence::Active { since: now },
                    1 => Presence::Unknown { detail: "no desktop".into() },
                    _ => Presence::Idle { since: Timestamp(now.0 - 3_600_000) },
                };
                if there < 2 && !plays && now < old_at {
                    chances.push(now);
                }
                if week.due(&presence, now).is_some() && gate.opens(NoticeKind::Weekly, &rules, plays, now) {
                    proptest::prop_assert_eq!(week.told(), Some(old_at));
                    shown.push(now);
                }
            }
            proptest::prop_assert_eq!(shown, chances.first().copied().into_iter().collect::<Vec<_>>());
        }
    }
}
