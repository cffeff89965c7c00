//! What a market thinks of one card of a host: whether it proved itself, when it is to do so again, and how long it is
//! left out if it did not.

use serde::{Deserialize, Serialize};

use crate::proof::{Known, Proof, ProofFault};
use crate::time::Timestamp;

/// A card that failed a check is left out for so long; doubled with each failure in a row.
const OUT_FIRST_MS: u64 = 600_000;
const OUT_MOST_MS: u64 = 86_400_000;
/// The owner's word ends it earlier, but no sooner than this after the failure.
const RETRY_AFTER_MS: u64 = 30_000;
/// A card that waits for a job is asked to prove itself so often, on average, and at no hour that anybody could know.
const CHECK_EVERY_MS: u64 = 86_400_000;
/// But no sooner than this after it last did.
const CHECK_LEAST_MS: u64 = 3_600_000;
/// One that never did is asked between once and twice this after it came on offer: whoever rents at once gets the card,
/// and its proof with the lease.
const FIRST_CHECK_MS: u64 = 20_000;
/// A question that was left without an answer (the owner came back, a job came, the line broke) is followed by the next
/// so soon: nobody gets away by being away.
const ASK_AGAIN_MS: u64 = 600_000;
/// A question without a lease is answered in this time.
pub const ANSWER_WITHIN_MS: u64 = 120_000;

/// Of one card on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardStanding {
    /// When it last passed a check.
    pub passed_at: Option<Timestamp>,
    pub known: Option<Known>,
    pub failed: Option<Failed>,
    /// When it passed for the first time.
    #[serde(default)]
    pub first_passed_at: Option<Timestamp>,
    /// When it was asked something, without a lease, that it has not answered yet.
    #[serde(default)]
    pub asked_at: Option<Timestamp>,
    #[serde(default)]
    pub last: Option<LastCheck>,
}

/// What a card was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A lease was about to begin.
    Lease,
    /// It waited for a job.
    Waiting,
}

/// The last check, passed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    pub at: Timestamp,
    pub kind: CheckKind,
    pub passed: bool,
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

    /// Since when the host is known to have this card; `None` where it never showed it.
    #[must_use]
    pub fn known_since(&self) -> Option<Timestamp> {
        self.first_passed_at.or(self.passed_at)
    }

    /// It is asked to prove itself while it waits for a job.
    pub fn ask(&mut self, now: Timestamp) {
        self.asked_at = Some(now);
    }

    /// When a card that is on offer from `now` on is to be asked. `draw` is any number of the market's own: what comes of
    /// it has no memory, so that a card which comes and goes is asked neither sooner nor later for it.
    #[must_use]
    pub fn check_at(&self, now: Timestamp, draw: u64) -> Timestamp {
        let soon = now.plus_ms(FIRST_CHECK_MS + draw % FIRST_CHECK_MS);
        if let Some(asked_at) = self.asked_at {
            return asked_at.plus_ms(ASK_AGAIN_MS).max(soon).max(self.out_until());
        }
        if let Some(failed) = self.failed {
            return failed.until.max(now);
        }
        let Some(passed_at) = self.passed_at else { return soon };
        let part = (draw as f64 + 1.0) / (u64::MAX as f64 + 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 45 means")]
        let wait_ms = (-part.ln() * CHECK_EVERY_MS as f64) as u64;
        now.plus_ms(wait_ms).max(passed_at.plus_ms(CHECK_LEAST_MS))
    }

    pub fn pass(&mut self, proof: &Proof, kind: CheckKind, now: Timestamp) {
        self.first_passed_at = self.known_since().or(Some(now));
        self.asked_at = None;
        self.last = Some(LastCheck { at: now, kind, passed: true });
        self.passed_at = Some(now);
        self.known = Some(Known::after(self.known, proof));
        self.failed = None;
    }

    pub fn fail(&mut self, why: ProofFault, kind: CheckKind, now: Timestamp) {
        self.asked_at = None;
        self.last = Some(LastCheck { at: now, kind, passed: false });
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
                self.asked_at = None;
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
            standing.fail(WHY, CheckKind::Waiting, now);
            assert_eq!(standing.out_for(now), Some(WHY));
            let out_ms = standing.out_until().since_ms(now);
            assert!(out_ms > last || out_ms == OUT_MOST_MS, "{out_ms} after {last}");
            last = out_ms;
            now = standing.out_until();
            assert_eq!(standing.out_for(now), None);
        }
        standing.fail(WHY, CheckKind::Waiting, now);
        assert!(!standing.retry(now.plus_ms(RETRY_AFTER_MS - 1)));
        let later = now.plus_ms(RETRY_AFTER_MS);
        assert!(standing.retry(later) && !standing.retry(later));
        assert_eq!(standing.out_for(later), None);
    }

    fn proof() -> Proof {
        Proof {
            nonce: Default::default(),
            gpu: crate::gpu::GpuUuid("GPU-a".into()),
            device_name: String::new(),
            vram_mib: 1,
            answer: String::new(),
            gflops: 1,
            memory_mib_per_s: 1,
            to_card_mib_per_s: 1,
            from_card_mib_per_s: 1,
            vram_checked_mib: 1,
            disk_write_mib_per_s: 0,
        }
    }

    fn passed(at: Timestamp) -> CardStanding {
        let mut standing = CardStanding::default();
        standing.pass(&proof(), CheckKind::Lease, at);
        standing
    }

    #[test]
    fn a_card_that_waits_is_asked_once_a_day_on_average_and_at_no_hour_that_follows_from_another() {
        let (passed, draws) = (passed(Timestamp(0)), 100_000_u64);
        let now = Timestamp(0).plus_ms(CHECK_LEAST_MS);
        let waits: Vec<u64> = (0..draws)
            .map(|number| passed.check_at(now, number * (u64::MAX / draws)).since_ms(now))
            .collect();
        let mean_ms = waits.iter().sum::<u64>() / draws;
        assert!(mean_ms.abs_diff(CHECK_EVERY_MS) < CHECK_EVERY_MS / 50, "{mean_ms}");
        // No quiet time after a check, and none of an hour's length that is surely quiet later.
        for hour in 0..48 {
            let asked = waits.iter().filter(|wait| **wait / 3_600_000 == hour).count();
            assert!(asked > 0, "never in hour {hour}");
        }
    }

    #[test]
    fn an_unanswered_question_is_asked_again_soon_and_a_failed_card_when_it_may_be_rented_again() {
        let now = Timestamp(1_000_000);
        let soon = now.plus_ms(FIRST_CHECK_MS);
        assert_eq!(CardStanding::default().check_at(now, 0), soon);
        let mut standing = passed(now);
        standing.ask(now);
        assert_eq!(standing.check_at(now, 7), now.plus_ms(ASK_AGAIN_MS));
        let later = now.plus_ms(ASK_AGAIN_MS);
        assert_eq!(standing.check_at(later, 0), later.plus_ms(FIRST_CHECK_MS));
        standing.fail(WHY, CheckKind::Waiting, later);
        assert_eq!(standing.check_at(later, 7), standing.out_until());
        standing.pass(&proof(), CheckKind::Waiting, later);
        assert_eq!((standing.asked_at, standing.known_since()), (None, Some(now)));
    }

    proptest! {
        /// Whatever happens to it, a card is asked in the end, and never twice within the time that an honest one needs.
        #[test]
        fn no_card_is_asked_too_often_nor_never(
            steps in proptest::collection::vec((0_u8..4, 0_u64..200_000_000, any::<u64>()), 1..60)
        ) {
            let mut standing = CardStanding::default();
            let (mut now, mut passed_at) = (Timestamp(0), None);
            for (what, ms, draw) in steps {
                now = now.plus_ms(ms);
                match what {
                    0 => standing.fail(WHY, CheckKind::Waiting, now),
                    1 => { standing.pass(&proof(), CheckKind::Waiting, now); passed_at = Some(now) }
                    2 => standing.ask(now),
                    _ => {}
                }
                let at = standing.check_at(now, draw);
                prop_assert!(at >= now && at.since_ms(now) <= 46 * CHECK_EVERY_MS);
                let has_passed = standing.failed.is_none() && standing.asked_at.is_none();
                if let Some(passed_at) = passed_at.filter(|_| has_passed) {
                    prop_assert!(at.since_ms(passed_at) >= CHECK_LEAST_MS);
                }
                if what == 2 {
                    prop_assert!(at.since_ms(now) >= ANSWER_WITHIN_MS);
                }
            }
        }

        #[test]
        fn a_card_is_out_only_after_a_failure_and_never_for_more_than_a_day(
            steps in proptest::collection::vec((0_u8..3, 0_u64..200_000_000), 1..60)
        ) {
            let mut standing = CardStanding::default();
            let (mut now, mut failed_at) = (Timestamp(0), None);
            for (what, ms) in steps {
                now = now.plus_ms(ms);
                match what {
                    0 => { standing.fail(WHY, CheckKind::Waiting, now); failed_at = Some(now) }
                    1 => { standing.retry(now); }
                    _ => {}
                }
                prop_assert!(standing.out_for(now).is_none()
                    || failed_at.is_some_and(|at: Timestamp| now.since_ms(at) < OUT_MOST_MS));
            }
        }
    }
}
