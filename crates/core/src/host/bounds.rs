//! The bounds within which a tenant shares the PC with its owner: as they are to be, and as the hands last answered.
//!
//! What is asked for may be refused. A tenant pays for no more than it is known to have: for less as soon as less is asked
//! for, and for the whole again once the whole was given back.

use crate::settings::Sharing;
use crate::time::Timestamp;

/// Bounds that could not be lifted are lifted again after so long, twice as long each time.
const AGAIN_FIRST_MS: u64 = 10_000;
const AGAIN_MOST_MS: u64 = 300_000;

/// `None` of a [`Sharing`] is the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    wanted: Option<Sharing>,
    in_force: Option<Sharing>,
    /// Those that are wanted were refused.
    refused: bool,
    again_at: Option<Timestamp>,
    /// Refusals in a row to lift them.
    refusals: u32,
}

impl Bounds {
    /// Of a tenant that an earlier run may have left within these. They are being lifted.
    pub(super) fn left(in_force: Option<Sharing>) -> Self {
        Self { in_force, ..Self::default() }
    }

    /// Of a tenant that can be kept to none.
    pub(super) fn impossible() -> Self {
        Self { refused: true, ..Self::default() }
    }

    pub(super) fn are_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Once refused, sharing that cannot be bounded is none.
    pub(super) fn were_refused(&self) -> bool {
        self.refused
    }

    /// So many percent of what it rented does it have for certain.
    pub(super) fn share_percent(&self) -> u32 {
        let percent = |sharing: Option<Sharing>| sharing.map_or(100, |sharing| sharing.share_percent());
        percent(self.wanted).min(percent(self.in_force))
    }

    /// Whether that is to be asked for now.
    pub(super) fn want(&mut self, sharing: Option<Sharing>, now: Timestamp) -> bool {
        let is_due = self.wanted != sharing || self.again_at.is_some_and(|at| at <= now);
        if self.wanted != sharing {
            self.refusals = 0;
        }
        if is_due {
            (self.wanted, self.again_at) = (sharing, None);
        }
        is_due
    }

    /// Answers come in the order of what was asked for. What was replaced before it was done may have none.
    pub(super) fn given(&mut self, sharing: Option<Sharing>) {
        self.in_force = sharing;
        self.refused &= sharing.is_none();
        if sharing.is_none() {
            (self.again_at, self.refusals) = (None, 0);
        }
    }

    pub(super) fn refuse(&mut self, sharing: Option<Sharing>, now: Timestamp) {
        // What was asked for since has an answer of its own.
        if sharing != self.wanted {
            return;
        }
        if sharing.is_some() {
            self.refused = true;
            return;
        }
        let wait_ms = AGAIN_FIRST_MS << self.refusals.min(8);
        self.again_at = Some(now.plus_ms(wait_ms.min(AGAIN_MOST_MS)));
        self.refusals = self.refusals.saturating_add(1);
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.again_at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn sharing(cpu_percent: u32) -> Sharing {
        Sharing { cpu_percent, ..Sharing::default() }
    }

    fn percent(sharing: Option<Sharing>) -> u32 {
        sharing.map_or(100, |sharing| sharing.share_percent())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Want(Option<u32>),
        Answer { is_done: bool },
        Wait(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            prop_oneof![Just(None), Just(Some(5)), Just(Some(25)), Just(Some(100))].prop_map(Step::Want),
            any::<bool>().prop_map(|is_done| Step::Answer { is_done }),
            (1_u64..400_000).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn nobody_pays_for_more_than_is_there_and_the_whole_comes_back(
            steps in prop::collection::vec(any_step(), 1..80),
        ) {
            let (mut bounds, mut now) = (Bounds::default(), Timestamp(1_000));
            let (mut wish, mut there) = (None, None);
            let mut asked = VecDeque::new();
            for step in steps {
                match step {
                    Step::Want(cpu) => wish = cpu.map(sharing),
                    Step::Wait(ms) => now = now.plus_ms(ms),
                    Step::Answer { is_done } => match asked.pop_front() {
                        Some(sharing) if is_done => {
                            there = sharing;
                            bounds.given(sharing);
                        }
                        Some(sharing) if asked.is_empty() => bounds.refuse(sharing, now),
                        _ => {}
                    },
                }
                if bounds.want(wish, now) {
                    // The first one is under way.
                    asked.truncate(1);
                    asked.push_back(wish);
                }
                prop_assert!(!bounds.want(wish, now), "asked for once");
                prop_assert!(bounds.share_percent() <= percent(there), "{bounds:?}, there is {there:?}");
            }
            // The owner stays away, and the Engine does as it is told from now on.
            for _ in 0..2 {
                now = now.plus_ms(AGAIN_MOST_MS);
                if bounds.want(None, now) {
                    asked.push_back(None);
                }
                asked.drain(..).for_each(|sharing| bounds.given(sharing));
            }
            prop_assert_eq!(bounds.share_percent(), 100);
            prop_assert_eq!(bounds.deadline(), None);
        }
    }

    #[test]
    fn what_is_refused_is_asked_for_less_and_less_often() {
        let (mut bounds, mut now) = (Bounds::left(Some(sharing(25))), Timestamp(0));
        let mut waits = Vec::new();
        for _ in 0..7 {
            bounds.refuse(None, now);
            let at = bounds.deadline().unwrap();
            assert!(!bounds.want(None, Timestamp(at.0 - 1)));
            waits.push(at.since_ms(now) / 1_000);
            now = at;
            assert!(bounds.want(None, now));
            assert_eq!((bounds.deadline(), bounds.share_percent()), (None, 25));
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_late_refusal_to_lift_them_says_nothing_of_those_that_are_wanted_again() {
        let (mut bounds, now) = (Bounds::default(), Timestamp(0));
        let narrow = Some(sharing(25));
        for wish in [narrow, None, narrow] {
            assert!(bounds.want(wish, now));
        }
        bounds.given(narrow);
        bounds.refuse(None, now);
        bounds.given(narrow);
        assert!(!bounds.were_refused());
        assert_eq!((bounds.share_percent(), bounds.deadline()), (25, None));
        // What was refused once and is kept to now, is not refused.
        bounds.refuse(narrow, now);
        assert!(bounds.were_refused());
        bounds.given(narrow);
        assert!(!bounds.were_refused());
    }
}
