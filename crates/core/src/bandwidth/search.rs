//! When addresses for probes are looked for, and what holds while there are none.

use super::{Mood, START_KBIT, Vantage, whole};
use crate::network::Rates;
use crate::time::Timestamp;

/// A line that is not up yet, or whose names cannot be looked up yet, is so soon.
const AGAIN_SOON_MS: u64 = 5_000;
/// Without an address behind the line: a market in the home itself has none.
const AGAIN_NEAR_MS: u64 = 10_000;
/// Without a word from behind the line: the PC may have other addresses than the probes were begun with, or the market has.
const AGAIN_BLIND_MS: u64 = 60_000;
/// What a system forbids it mostly forbids for good.
const AGAIN_FORBIDDEN_MS: u64 = 300_000;

/// What came of it the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probing {
    /// It was not tried yet.
    #[default]
    Untried,
    /// There is no address that can be reached: no network yet, say.
    NoAddress,
    /// This account may not ask, or this system does not know how.
    Forbidden { detail: String },
    /// Addresses are asked that are seen from there.
    At(Vec<Vantage>),
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Search {
    probing: Probing,
    tried_at: Option<Timestamp>,
    blind_since: Option<Timestamp>,
}

impl Search {
    #[must_use]
    pub fn probing(&self) -> &Probing {
        &self.probing
    }

    /// Whether addresses are to be looked for now; `mood` is that of the controller, where there is one.
    pub fn is_due(&mut self, mood: Option<Mood>, now: Timestamp) -> bool {
        let is_blind = mood == Some(Mood::Blind);
        self.blind_since = is_blind.then(|| self.blind_since.unwrap_or(now));
        let Some(tried_at) = self.tried_at else { return true };
        let (since, again_ms) = match &self.probing {
            Probing::Untried | Probing::NoAddress => (tried_at, AGAIN_SOON_MS),
            Probing::Forbidden { .. } => (tried_at, AGAIN_FORBIDDEN_MS),
            Probing::At(vantages) if !vantages.contains(&Vantage::Beyond) => (tried_at, AGAIN_NEAR_MS),
            Probing::At(_) => match self.blind_since {
                Some(since) => (since.max(tried_at), AGAIN_BLIND_MS),
                None => return false,
            },
        };
        now.since_ms(since) >= again_ms
    }

    /// It is being tried from now on.
    pub fn try_now(&mut self, now: Timestamp) {
        self.tried_at = Some(now);
    }

    /// Whether those that were found are to be asked instead of those that are: not when less is seen from there, and not
    /// the same ones anew that see nothing.
    #[must_use]
    pub fn prefers(&self, found: &[Vantage], are_others: bool) -> bool {
        let sees = |vantages: &[Vantage]| vantages.contains(&Vantage::Beyond);
        match &self.probing {
            Probing::At(asked) => sees(found) || (are_others && !sees(asked)),
            _ => true,
        }
    }

    /// What came of it. Where something is asked already, it still is when nothing else was found.
    pub fn take(&mut self, found: Probing) {
        if !matches!(
            (&self.probing, &found),
            (Probing::At(_), Probing::NoAddress | Probing::Forbidden { .. })
        ) {
            self.probing = found;
        }
    }

    /// Nothing of ours is on the line any more. What is forbidden stays known.
    pub fn rest(&mut self) {
        if !matches!(self.probing, Probing::Forbidden { .. }) {
            *self = Self::default();
        }
    }

    /// What holds while there is no controller: all that the owner allows only where no probe can ever be had.
    #[must_use]
    pub fn rates(&self, limits: Rates) -> Rates {
        match self.probing {
            Probing::Forbidden { .. } => limits,
            _ => limits.min(Rates { up_kbit: whole(START_KBIT), down_kbit: whole(START_KBIT) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Rates = Rates { up_kbit: 1_000, down_kbit: 50_000 };
    const CAREFUL: Rates = Rates { up_kbit: 1_000, down_kbit: 2_000 };

    /// Seconds until it is due, with the same mood all the while.
    fn due_after(search: &mut Search, mood: Option<Mood>, from: Timestamp) -> Option<u64> {
        (0..1_000).find(|seconds| search.is_due(mood, from.plus_ms(seconds * 1_000)))
    }

    #[test]
    fn a_line_that_is_not_up_yet_is_tried_again_soon_and_is_used_carefully_until_then() {
        let (mut search, now) = (Search::default(), Timestamp(1_000_000));
        assert!(search.is_due(None, now));
        assert_eq!(search.rates(LIMITS), CAREFUL);
        search.try_now(now);
        search.take(Probing::NoAddress);
        assert_eq!(due_after(&mut search, None, now), Some(5));
        assert_eq!(search.rates(LIMITS), CAREFUL);
    }

    #[test]
    fn what_is_forbidden_leaves_the_owners_limits_and_is_not_forgotten_between_jobs() {
        let (mut search, now) = (Search::default(), Timestamp(1_000_000));
        search.try_now(now);
        search.take(Probing::Forbidden { detail: "no".into() });
        search.rest();
        assert_eq!(due_after(&mut search, None, now), Some(300));
        assert_eq!(search.rates(LIMITS), LIMITS);
    }

    #[test]
    fn who_sees_nothing_behind_the_line_looks_again_and_who_sees_does_not() {
        let (mut search, now) = (Search::default(), Timestamp(1_000_000));
        search.try_now(now);
        search.take(Probing::At(vec![Vantage::Near]));
        assert_eq!(due_after(&mut search, Some(Mood::Blind), now), Some(10));
        search.try_now(now);
        search.take(Probing::At(vec![Vantage::Near, Vantage::Beyond]));
        assert_eq!(due_after(&mut search, Some(Mood::Growing), now), None);
        let blind_at = now.plus_ms(2_000_000);
        assert_eq!(due_after(&mut search, Some(Mood::Blind), blind_at), Some(60));
        // Nothing was found: what there is goes on, and is looked after again in a minute.
        let again_at = blind_at.plus_ms(60_000);
        search.try_now(again_at);
        search.take(Probing::NoAddress);
        assert_eq!(search.probing(), &Probing::At(vec![Vantage::Near, Vantage::Beyond]));
        assert_eq!(due_after(&mut search, Some(Mood::Blind), again_at), Some(60));
        // One answer in between begins the minute anew.
        assert!(!search.is_due(Some(Mood::Resting), again_at.plus_ms(59_000)));
        assert_eq!(due_after(&mut search, Some(Mood::Blind), again_at.plus_ms(59_500)), Some(60));
        assert!(search.prefers(&[Vantage::Beyond], false), "the PC may have another address than then");
        assert!(!search.prefers(&[Vantage::Near], true));
        search.rest();
        assert_eq!(search.probing(), &Probing::Untried);
        assert!(search.prefers(&[], false));
        search.take(Probing::At(vec![Vantage::Near]));
        assert_eq!(
            [false, true].map(|are_others| search.prefers(&[Vantage::Near], are_others)),
            [false, true]
        );
    }
}
