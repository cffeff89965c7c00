//! How busy the processor is with what is not ours.
//!
//! Whole counts since the start of the PC are compared, moment by moment: the time of all programs together, and that of
//! ours. Ours are Nightjar itself, what runs in containers, and the Engine that unpacks their images.

/// What the processor has done until now, in any unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// All cores together, idle or not.
    pub(crate) whole: u64,
    pub(crate) busy: u64,
    /// The part of `busy` that is ours.
    pub(crate) ours: u64,
}

/// A word is said again only when the load has moved by so many points.
const MOVED_POINTS: u8 = 5;

/// Makes percent of counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    last: Option<Spent>,
    told: Option<u8>,
}

impl Load {
    /// The percentage of the whole processor, if it is to be said.
    pub(crate) fn heard(&mut self, now: Spent) -> Option<u8> {
        let last = self.last.replace(now)?;
        let percent = foreign_percent(last, now)?;
        if self.told.is_some_and(|told| told.abs_diff(percent) < MOVED_POINTS) {
            return None;
        }
        self.told = Some(percent);
        Some(percent)
    }
}

/// `None` where it cannot be told: no time has passed, or a program of ours ended and took its count along.
fn foreign_percent(last: Spent, now: Spent) -> Option<u8> {
    let whole = now.whole.checked_sub(last.whole).filter(|whole| *whole > 0)?;
    let busy = now.busy.checked_sub(last.busy)?;
    let ours = now.ours.checked_sub(last.ours)?;
    let foreign = u128::from(busy.saturating_sub(ours)) * 100 / u128::from(whole);
    Some(u8::try_from(foreign.min(100)).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Load, Spent};

    fn spent(whole: u64, busy: u64, ours: u64) -> Spent {
        Spent { whole, busy, ours }
    }

    #[test]
    fn peers_10_our_own_load_is_not_the_users() {
        let mut load = Load::default();
        assert_eq!(load.heard(spent(1000, 200, 100)), None);
        // The tenant takes all of it.
        assert_eq!(load.heard(spent(2000, 1200, 1100)), Some(0));
        // The user compiles beside the tenant.
        assert_eq!(load.heard(spent(3000, 2200, 1600)), Some(50));
    }

    #[test]
    fn a_little_more_or_less_is_not_news() {
        let mut load = Load::default();
        load.heard(spent(0, 0, 0));
        assert_eq!(load.heard(spent(100, 40, 0)), Some(40));
        assert_eq!(load.heard(spent(200, 84, 0)), None);
        assert_eq!(load.heard(spent(300, 129, 0)), Some(45));
    }

    #[test]
    fn when_a_container_ends_nothing_is_said_of_that_moment() {
        let mut load = Load::default();
        load.heard(spent(0, 0, 500));
        assert_eq!(load.heard(spent(100, 90, 3)), None);
        assert_eq!(load.heard(spent(200, 100, 3)), Some(10));
    }

    proptest! {
        #[test]
        fn whatever_the_counts_it_is_a_percentage(counts in proptest::collection::vec(any::<(u64, u64, u64)>(), 0..9)) {
            let mut load = Load::default();
            for (whole, busy, ours) in counts {
                prop_assert!(load.heard(spent(whole, busy, ours)).is_none_or(|percent| percent <= 100));
            }
        }

        #[test]
        fn more_of_ours_is_never_more_of_the_users(busy in 0_u64..1000, ours in 0_u64..1000, more in 0_u64..1000) {
            let percent = |ours| super::foreign_percent(spent(0, 0, 0), spent(1000, busy, ours)).unwrap();
            prop_assert!(percent(ours + more) <= percent(ours));
        }
    }
}
