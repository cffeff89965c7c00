//! How fast a host's line to its market is, as the market itself measured it: it sends bytes that nobody can foresee and
//! waits for a word on all of them, and names bytes that nobody could have sent before. The clock is the market's each
//! time, so a host can be slower than it is, and never faster.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::network::Rates;
use crate::proof::split_mix;
use crate::time::Timestamp;

/// The first block of a direction: a line at the least limit carries it in two seconds.
const FIRST_BYTES: u32 = 16 * 1024;
/// The largest: enough for a line of some hundred Mbit/s, and what a data plan of some GB does not feel once a day.
pub const MOST_BYTES: u32 = 4 * 1024 * 1024;
/// What a whole check may carry in one direction.
pub const MOST_ALL_BYTES: u64 = 8 * 1024 * 1024;
/// A block that took so long tells the rate.
const LONG_ENOUGH_US: u64 = 500_000;
/// One that took less than this can be followed by one that is larger by far.
const SHORT_US: u64 = 100_000;
/// A long block that is slower than this part of the one before it may have been held up,
const BELIEVED_PERCENT: u64 = 75;
/// and a block of this part of it shows whether it was.
const AGAIN_PART: u32 = 4;
/// A block's frames. Small, so that the slowest line is paced evenly.
pub const CHUNK_BYTES: usize = 16 * 1024;
/// How often the way there and back is timed.
pub const ECHOES: usize = 5;
/// What is not over by then tells nothing.
pub const CHECK_WITHIN_MS: u64 = 20_000;
/// A host that was asked comes within this time or not at all.
pub const COMES_WITHIN_MS: u64 = 10_000;

/// A host is asked between once and twice this after it came on offer: before its cards are asked for their proofs.
const FIRST_CHECK_MS: u64 = 5_000;
/// And then once a day, give or take six hours.
const CHECK_LEAST_MS: u64 = 18 * 3_600_000;
const CHECK_SPREAD_MS: u64 = 12 * 3_600_000;
/// One that did not come, or left in the middle, is asked again so much later.
const ASK_AGAIN_MS: u64 = 600_000;
/// Figures that are older are of another time.
const SHOWN_MS: u64 = 14 * 86_400_000;
/// Of the owner's limit: whoever carries so much is held by it.
const AT_LIMIT_PERCENT: u64 = 80;

/// One direction's blocks: each larger than the last, until one takes long enough to tell the rate.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    next: Option<u32>,
    /// What may still be asked for.
    left: u64,
    /// Of the last block, and of the one before it.
    kbit: u32,
    kbit_before: Option<u32>,
    again: Again,
}

/// A machine that stood still for a moment looks like a slow line. One block is not believed, and then asked for once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Not,
    /// The next block.
    Asked,
    Done,
}

impl Default for Course {
    fn default() -> Self {
        Self { next: Some(FIRST_BYTES), left: MOST_ALL_BYTES, kbit: 0, kbit_before: None, again: Again::Not }
    }
}

impl Course {
    /// Bytes of the next block; `None` when the rate is known.
    #[must_use]
    pub fn next_bytes(&self) -> Option<u32> {
        self.next
    }

    /// The next block took so long, on the market's clock.
    pub fn took(&mut self, us: u64) {
        let Some(bytes) = self.next else { return };
        let us = us.max(1);
        let is_first = self.left == MOST_ALL_BYTES;
        self.left = self.left.saturating_sub(bytes.into());
        self.kbit_before = (!is_first).then_some(self.kbit);
        // Bits by milliseconds are kilobits a second.
        self.kbit = u32::try_from(u64::from(bytes).saturating_mul(8_000) / us).unwrap_or(u32::MAX);
        let next = self.block_after(bytes, us);
        self.next = next.filter(|bytes| u64::from(*bytes) <= self.left);
    }

    fn block_after(&mut self, bytes: u32, us: u64) -> Option<u32> {
        let is_long = us >= LONG_ENOUGH_US;
        match self.again {
            Again::Not if is_long && self.is_doubtful() => {
                self.again = Again::Asked;
                // The slowest line, which a first block could be of, carries that much in its time as well.
                return Some(bytes / AGAIN_PART);
            }
            Again::Asked => {
                self.again = Again::Done;
                // The line is that slow: a smaller block is faster only where the larger one was held up.
                if self.kbit_before.is_some_and(|before| self.kbit <= before) {
                    return None;
                }
            }
            Again::Not | Again::Done => {}
        }
        let factor = if us < SHORT_US { 4 } else { 2 };
        let is_over = is_long || bytes >= MOST_BYTES;
        (!is_over).then(|| bytes.saturating_mul(factor).min(MOST_BYTES))
    }

    /// A line is not slower to a larger block.
    fn is_doubtful(&self) -> bool {
        let is_slower = |before| u64::from(self.kbit) * 100 < u64::from(before) * BELIEVED_PERCENT;
        self.kbit_before.is_none_or(is_slower)
    }

    /// Of the two last and largest blocks, the faster one: the line does at least this, and what the way there and back took
    /// is in it. Not of the small ones, which a line may let through at once before it keeps to its rate.
    #[must_use]
    pub fn kbit(&self) -> u32 {
        self.kbit.max(self.kbit_before.unwrap_or_default())
    }
}

/// A word for bytes that could not be foreseen: whoever lacks one of them can only guess it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// In pieces whose lengths are multiples of 8, whichever they are.
    pub fn take(&mut self, piece: &[u8]) {
        for part in piece.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    /// 16 hexadecimal digits.
    #[must_use]
    pub fn word(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// The bytes that a seed stands for.
#[derive(Clone, Copy, Debug)]
pub struct Stream(u64);

impl Stream {
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next ones; pieces whose lengths are multiples of 8 make the same stream.
    pub fn fill(&mut self, piece: &mut [u8]) {
        for part in piece.chunks_mut(8) {
            let word = split_mix(&mut self.0).to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

/// What a market measured of a host's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LineFigures {
    pub at: Timestamp,
    /// At least so much, seen from the host.
    pub down_kbit: u32,
    pub up_kbit: u32,
    /// To the market and back.
    pub rtt_us: u32,
    /// The owner's limits at that moment, in the host's own words: they say why a figure is low, and make none higher.
    pub limits: Rates,
}

impl LineFigures {
    /// Whether they may still be told.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since_ms(self.at) < SHOWN_MS
    }

    /// Whether the owner's limits, rather than the line, are what was measured.
    #[must_use]
    pub fn is_at_limit(&self) -> bool {
        let is_at = |found: u32, limit: u32| u64::from(found) * 100 >= u64::from(limit) * AT_LIMIT_PERCENT;
        is_at(self.down_kbit, self.limits.down_kbit) || is_at(self.up_kbit, self.limits.up_kbit)
    }
}

/// What a market knows of one host's line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineStanding {
    pub figures: Option<LineFigures>,
    /// When the host was asked, if nothing has come of it yet.
    #[serde(default)]
    pub asked_at: Option<Timestamp>,
}

impl LineStanding {
    /// Written down before the host is asked: one that goes away is not asked at once again.
    pub fn ask(&mut self, now: Timestamp) {
        self.asked_at = Some(now);
    }

    pub fn measured(&mut self, figures: LineFigures) {
        (self.figures, self.asked_at) = (Some(figures), None);
    }

    /// When a host that is on offer from `now` on is asked. `draw` is any number of the market's own.
    #[must_use]
    pub fn check_at(&self, now: Timestamp, draw: u64) -> Timestamp {
        let soon = now.plus_ms(FIRST_CHECK_MS + draw % FIRST_CHECK_MS);
        let due = match (self.asked_at, &self.figures) {
            (Some(asked_at), _) => asked_at.plus_ms(ASK_AGAIN_MS),
            (None, Some(figures)) => figures.at.plus_ms(CHECK_LEAST_MS + draw % CHECK_SPREAD_MS),
            (None, None) => now,
        };
        due.max(soon)
    }

    /// What may still be told of it.
    #[must_use]
    pub fn shown(&self, now: Timestamp) -> Option<LineFigures> {
        self.figures.filter(|figures| figures.is_fresh(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How long a line needs for it: its rate, and the way there and back.
    fn us(bytes: u32, kbit: u32, rtt_us: u64) -> u64 {
        u64::from(bytes) * 8_000 / u64::from(kbit) + rtt_us
    }

    /// How a course ends on a line whose block of this number takes so much longer: what it found, its bytes and its time.
    fn measured(kbit: u32, rtt_us: u64, held_up: Option<(usize, u64)>) -> (u32, u64, u64) {
        let (mut course, mut number, mut bytes, mut spent_us) = (Course::default(), 0, 0, 0);
        while let Some(block) = course.next_bytes() {
            let stall_us = held_up.filter(|(which, _)| *which == number).map_or(0, |(_, us)| us);
            let took = us(block, kbit, rtt_us) + stall_us;
            course.took(took);
            (number, bytes, spent_us) = (number + 1, bytes + u64::from(block), spent_us + took);
        }
        (course.kbit(), bytes, spent_us)
    }

    #[test]
    fn a_line_of_four_megabits_is_seen_as_such_though_one_block_is_held_up() {
        // The last block, and the one before it, which then takes half a second as well.
        for (which, stall_us) in [(3, 250_000), (3, 2_000_000), (2, 250_000), (2, 700_000), (0, 500_000)] {
            let (found, ..) = measured(4_000, 1_000, Some((which, stall_us)));
            assert!((3_500..=4_000).contains(&found), "{found} with {stall_us} us in block {which}");
        }
        // A fast one carries as much as ever.
        for which in 0..5 {
            let (found, bytes, _) = measured(900_000, 500, Some((which, 600_000)));
            assert!(found > 300_000 && bytes > 5 << 20, "{found}, {bytes} B, block {which}");
        }
    }

    #[test]
    fn what_a_line_lets_through_at_once_is_not_its_rate() {
        let mut course = Course::default();
        while let Some(bytes) = course.next_bytes() {
            // 64 KiB at once, and then 4 Mbit/s.
            course.took(us(bytes.saturating_sub(64 * 1024).max(8), 4_000, 1_000));
        }
        assert!(course.kbit() < 8_000, "{}", course.kbit());
    }

    proptest! {
        #[test]
        fn one_stall_costs_any_line_a_quarter_of_its_figure_at_most(
            kbit in 300_u32..50_000,
            rtt_us in 0_u64..20_000,
            which in 0_usize..12,
            stall_us in 0_u64..3_000_000,
        ) {
            let (found, bytes, spent_us) = measured(kbit, rtt_us, Some((which, stall_us)));
            prop_assert!(bytes <= MOST_ALL_BYTES && spent_us < stall_us + 5_000_000, "{bytes} B in {spent_us} us");
            prop_assert!(u64::from(found) <= u64::from(kbit) + u64::from(kbit) / 100 + 1);
            prop_assert!(u64::from(found) * 100 >= u64::from(kbit) * 75, "{found} of {kbit}");
        }

        #[test]
        fn any_line_is_measured_in_a_few_seconds_and_bytes_and_never_for_faster_than_it_is(
            kbit in crate::network::LEAST_KBIT..crate::network::MOST_KBIT,
            rtt_us in 0_u64..300_000,
        ) {
            let (mut course, mut spent_us, mut bytes) = (Course::default(), 0_u64, 0_u64);
            while let Some(block) = course.next_bytes() {
                let took = us(block, kbit, rtt_us);
                course.took(took);
                spent_us += took;
                bytes += u64::from(block);
            }
            prop_assert!(bytes <= MOST_ALL_BYTES && spent_us < 4_000_000, "{bytes} B in {spent_us} us");
            // Whole microseconds.
            prop_assert!(u64::from(course.kbit()) <= u64::from(kbit) + u64::from(kbit) / 100 + 1);
            // What is slow enough to be measured well is measured well.
            if kbit < 50_000 && rtt_us < 50_000 {
                prop_assert!(course.kbit() * 10 >= kbit * 9, "{} of {kbit}", course.kbit());
            }
        }

        #[test]
        fn a_stream_and_its_sum_are_the_same_in_whatever_pieces(
            seed in any::<u64>(),
            pieces in proptest::collection::vec(1_usize..40, 1..20),
        ) {
            let whole: usize = pieces.iter().map(|words| words * 8).sum();
            let (mut at_once, mut together) = (vec![0; whole], Sum::default());
            Stream::of(seed).fill(&mut at_once);
            together.take(&at_once);
            let (mut stream, mut sum, mut joined) = (Stream::of(seed), Sum::default(), Vec::new());
            for words in pieces {
                let mut piece = vec![0; words * 8];
                stream.fill(&mut piece);
                sum.take(&piece);
                joined.extend(piece);
            }
            prop_assert_eq!(&joined, &at_once);
            prop_assert_eq!(sum, together);
            // One byte that is not known, and another word.
            joined[whole - 1] ^= 1;
            let mut other = Sum::default();
            other.take(&joined);
            prop_assert_ne!(other, together);
        }

        #[test]
        fn a_host_is_asked_soon_then_daily_and_never_at_once_again(draw in any::<u64>(), later in 0_u64..10_000_000) {
            let now = Timestamp(1_000_000);
            let mut standing = LineStanding::default();
            let first = standing.check_at(now, draw).since_ms(now);
            prop_assert!((FIRST_CHECK_MS..2 * FIRST_CHECK_MS).contains(&first));
            standing.ask(now);
            prop_assert!(standing.check_at(now.plus_ms(later), draw).since_ms(now) >= ASK_AGAIN_MS);
            standing.measured(figures(1, 1));
            let wait = standing.check_at(now, draw).since_ms(now);
            prop_assert!((CHECK_LEAST_MS..CHECK_LEAST_MS + CHECK_SPREAD_MS).contains(&wait), "{}", wait);
            // A host that was away asks for no more than its turn.
            let back = now.plus_ms(10 * 86_400_000);
            prop_assert!(standing.check_at(back, draw).since_ms(back) >= FIRST_CHECK_MS);
        }
    }

    fn figures(down_kbit: u32, up_kbit: u32) -> LineFigures {
        let limits = Rates { up_kbit: 20_000, down_kbit: 50_000 };
        LineFigures { at: Timestamp(1_000_000), down_kbit, up_kbit, rtt_us: 9_000, limits }
    }

    #[test]
    fn figures_at_the_owners_limit_are_told_from_those_of_a_slow_line_and_old_ones_are_not_shown() {
        assert!(!figures(30_000, 10_000).is_at_limit());
        assert!(figures(49_000, 10_000).is_at_limit() && figures(30_000, 16_000).is_at_limit());
        let standing = LineStanding { figures: Some(figures(1, 1)), asked_at: None };
        let at = Timestamp(1_000_000);
        assert!(standing.shown(at).is_some());
        assert_eq!(standing.shown(at.plus_ms(SHOWN_MS)), None);
    }
}
