//! Time as a value. Nothing in this crate asks what time it is.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Milliseconds since 1970-01-01 UTC. The agent makes these from one wall-clock anchor plus a clock that never goes
/// back, so that differences between two of them can be metered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(transparent)]
pub struct Timestamp(#[ts(type = "number")] pub i64);

impl Timestamp {
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// `2026-03-01T18:00:00Z`, for a table or a log.
    #[must_use]
    pub fn utc(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(|_| self.0.to_string(), |at| format!("{at:.0}"))
    }
}

/// Tells whether the wall was set to another time than a run goes by: by the network, which is asked after the login, or by
/// the owner. A run keeps its clock, since what it reckons of must not go back under it; the next run begins with the right
/// one.
#[derive(Debug, Default)]
pub struct WallWatch {
    /// By the run's own clock.
    apart_since: Option<Timestamp>,
    is_off: bool,
}

/// Nobody plans a night or reads a log by less.
const APART_BY_MS: u64 = 60_000;
/// A wall that is set and set back, and a look into which a sleep fell, are over by then.
const APART_FOR_MS: u64 = 90_000;

impl WallWatch {
    /// Takes what both show at one moment, and says where that changes whether this run's clock is off for good.
    #[must_use]
    pub fn take(&mut self, wall: Timestamp, own: Timestamp) -> Option<bool> {
        let is_apart = wall.0.abs_diff(own.0) >= APART_BY_MS;
        let since = is_apart.then(|| self.apart_since.unwrap_or(own));
        self.apart_since = since;
        let is_off = since.is_some_and(|since| own.since_ms(since) >= APART_FOR_MS);
        (std::mem::replace(&mut self.is_off, is_off) != is_off).then_some(is_off)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK_MS: u64 = 60_000;

    proptest! {
        /// Whatever the wall does, a run that begins anew when it should ends up with the right time, and none does so more
        /// often than the wall was set.
        #[test]
        fn a_wall_that_was_set_is_followed_once_it_stays(
            sets in prop::collection::vec((-90_000_000_i64..90_000_000, 0_u64..6), 0..12),
            noise in -500_i64..500,
        ) {
            let (mut steady, mut wall_ahead, mut begun_ahead) = (0_u64, 0_i64, 0_i64);
            let (mut watch, mut begun) = (WallWatch::default(), 0_usize);
            let mut look = |wall_ahead: i64| {
                steady += LOOK_MS;
                let now = Timestamp(1_700_000_000_000).plus_ms(steady);
                let (wall, own) = (Timestamp(now.0 + wall_ahead + noise), Timestamp(now.0 + begun_ahead));
                let said = watch.take(wall, own);
                if said == Some(true) {
                    (begun_ahead, begun) = (wall_ahead + noise, begun + 1);
                    watch = WallWatch::default();
                }
                (said, wall.0.abs_diff(own.0))
            };
            for (by, looks) in &sets {
                wall_ahead = wall_ahead.saturating_add(*by);
                for _ in 0..*looks {
                    let (said, apart) = look(wall_ahead);
                    prop_assert!(said != Some(true) || apart >= APART_BY_MS, "off by {apart} ms");
                }
            }
            for _ in 0..=APART_FOR_MS.div_ceil(LOOK_MS) {
                look(wall_ahead);
            }
            let (said, apart) = look(wall_ahead);
            prop_assert!(said.is_none() && apart < APART_BY_MS, "off by {apart} ms for good");
            prop_assert!(begun <= sets.len(), "begun anew {begun} times");
        }
    }

    #[test]
    fn a_wall_that_is_set_back_at_once_changes_nothing_and_one_that_is_later_is_told() {
        let mut watch = WallWatch::default();
        let mut look = |own_s: i64, ahead_s: i64| {
            watch.take(Timestamp((own_s + ahead_s) * 1_000), Timestamp(own_s * 1_000))
        };
        assert_eq!([look(0, 28_800), look(60, 0), look(120, -28_800), look(180, 0)], [None; 4]);
        assert_eq!([look(240, 59), look(300, 59), look(900, 59)], [None; 3], "not worth a new start");
        assert_eq!([look(960, 28_800), look(1_020, 28_800), look(1_080, 28_800)], [None, None, Some(true)]);
        assert_eq!([look(1_140, 28_800), look(1_200, 0), look(1_260, 0)], [None, Some(false), None]);
    }
}
