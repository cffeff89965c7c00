//! What a market thinks of one card of a host: whether it proved itself, and how long it is left out if it did not.

use serde::{Deserialize, Serialize};

use crate::proof::{Known, Proof, ProofFault};
use crate::time::Timestamp;

/// A card that failed a check is left out for so long; doubled with each failure in a row.
const OUT_FIRST_MS: u64 = 600_000;
const OUT_MOST_MS: u64 = 86_400_000;
/// The owner's word ends it earlier, but no sooner than this after the failure.
const RETRY_AFTER_MS: u64 = 30_000;

/// Of one card on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardStanding {
    /// When it last passed a check.
    pub passed_at: Option<Timestamp>,
    pub known: Option<Known>,
    pub failed: Option<Failed>,
}

/// The last check was not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub at: Timestamp,
    pub why: ProofFault,
    /// Until when the card is left out.
    pub until: Timestamp,
    pub in_a_row: u32,
}

impl CardStanding {
    /// Why the card is left out at `now`; `None` while it is not.
    #[must_use]
    pub fn out_for(&self, now: Timestamp) -> Option<ProofFault> {
        self.failed.filter(|failed| now < failed.until).map(|failed| failed.why)
    }

    /// Until when it is left out; the beginning of time where it is not.
    #[must_use]
    pub fn out_until(&self) -> Timestamp {
        self.failed.map_or(Timestamp::default(), |failed| failed.until)
    }

    pub fn pass(&mut self, proof: &Proof, now: Timestamp) {
        self.passed_at = Some(now);
        self.known = Some(Known::after(self.known, proof));
        self.failed = None;
    }

    pub fn fail(&mut self, why: ProofFault, now: Timestamp) {
        let before = self.failed.map_or(0, |failed| failed.in_a_row);
        let out_ms = OUT_FIRST_MS.saturating_mul(2_u64.saturating_pow(before)).min(OUT_MOST_MS);
        self.failed =
            Some(Failed { at: now, why, until: now.plus_ms(out_ms), in_a_row: before.saturating_add(1) });
        if matches!(why, ProofFault::Slower { .. } | ProofFault::SlowerMemory { .. }) {
            // One that stays as slow for good is taken for what it is in the end.
            self.known = self.known.map(Known::fading);
        }
    }

    /// The owner says that it is put right. `true` where that changes something.
    pub fn retry(&mut self, now: Timestamp) -> bool {
        match &mut self.failed {
            Some(failed) if now < failed.until && now.since_ms(failed.at) >= RETRY_AFTER_MS => {
                failed.until = now;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHY: ProofFault = ProofFault::Answer;

    #[test]
    fn a_failure_leaves_the_card_out_for_longer_each_time_and_the_owner_may_retry() {
        let mut standing = CardStanding::default();
        let mut now = Timestamp(1_000);
        let mut last = 0;
        for _ in 0..100 {
            standing.fail(WHY, now);
            assert_eq!(standing.out_for(now), Some(WHY));
            let out_ms = standing.out_until().since_ms(now);
            assert!(out_ms > last || out_ms == OUT_MOST_MS, "{out_ms} after {last}");
            last = out_ms;
            now = standing.out_until();
            assert_eq!(standing.out_for(now), None);
        }
        standing.fail(WHY, now);
        assert!(!standing.retry(now.plus_ms(RETRY_AFTER_MS - 1)));
        let later = now.plus_ms(RETRY_AFTER_MS);
        assert!(standing.retry(later) && !standing.retry(later));
        assert_eq!(standing.out_for(later), None);
    }

    proptest! {
        #[test]
        fn a_card_is_out_only_after_a_failure_and_never_for_more_than_a_day(
            steps in proptest::collection::vec((0_u8..3, 0_u64..200_000_000), 1..60)
        ) {
            let mut standing = CardStanding::default();
            let (mut now, mut failed_at) = (Timestamp(0), None);
            for (what, ms) in steps {
                now = now.plus_ms(ms);
                match what {
                    0 => { standing.fail(WHY, now); failed_at = Some(now) }
                    1 => { standing.retry(now); }
                    _ => {}
                }
                prop_assert!(standing.out_for(now).is_none()
                    || failed_at.is_some_and(|at: Timestamp| now.since_ms(at) < OUT_MOST_MS));
            }
        }
    }
}
