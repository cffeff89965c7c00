//! What a card did in the past, in steps that grow coarser with age, and how a question about it is cut into points.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuReading;
use crate::time::Timestamp;

/// Most points of one answer: more than a chart of the window is wide.
pub const MOST_POINTS: u32 = 1_000;
/// A card that was not read for longer was not watched: the time between counts no further.
const LONGEST_GAP_MS: u64 = 60_000;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A step of the history. The finer ones are forgotten; those in between only make long questions short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    /// Its number in the store.
    pub number: u8,
    pub step_ms: u64,
    /// `None` is for ever.
    pub kept_ms: Option<u64>,
}

/// The finest first.
pub const LEVELS: [Level; 6] = [
    Level { number: 0, step_ms: SECOND, kept_ms: Some(HOUR) },
    Level { number: 1, step_ms: MINUTE, kept_ms: Some(31 * DAY) },
    Level { number: 2, step_ms: 10 * MINUTE, kept_ms: Some(31 * DAY) },
    Level { number: 3, step_ms: HOUR, kept_ms: None },
    Level { number: 4, step_ms: 6 * HOUR, kept_ms: None },
    Level { number: 5, step_ms: DAY, kept_ms: None },
];

impl Level {
    /// The beginning of the step that `at` lies in.
    #[must_use]
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let step = i64::try_from(self.step_ms).unwrap_or(i64::MAX);
        Timestamp(at.0 - at.0.rem_euclid(step))
    }

    fn reaches(self, from: Timestamp, now: Timestamp) -> bool {
        self.kept_ms.is_none_or(|kept| now.since_ms(from) <= kept)
    }
}

/// What is kept of a reading, in the order of the store's columns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
    pub utilisation_percent: Option<f64>,
    pub vram_used_mib: Option<f64>,
    pub power_limit_watts: Option<f64>,
}

impl Sample {
    /// `None` for a card that sleeps: nothing was asked of it.
    #[must_use]
    pub fn of(reading: &GpuReading) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "no card has 2^53 MiB")]
        let vram_used_mib = Some((reading.vram_used_bytes >> 20) as f64);
        (!reading.asleep).then_some(Self {
            temperature_celsius: reading.temperature_celsius,
            power_watts: reading.power_watts,
            utilisation_percent: reading.utilisation_percent.map(f64::from),
            vram_used_mib,
            power_limit_watts: reading.power_limits.map(|limits| limits.enforced_watts),
        })
    }

    /// Its values in order.
    #[must_use]
    pub fn values(&self) -> [Option<f64>; 5] {
        [
            self.temperature_celsius,
            self.power_watts,
            self.utilisation_percent,
            self.vram_used_mib,
            self.power_limit_watts,
        ]
    }
}

/// A quantity over some time. The mean is by time, so that it does not matter how often the card was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    pub weight: f64,
    /// Sum of value times weight.
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Tally {
    #[must_use]
    pub fn of(value: f64, weight: f64) -> Self {
        Self { weight, sum: value * weight, min: value, max: value }
    }

    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Seconds for which a reading stands: since the one before it, within bounds.
#[must_use]
pub fn weight_seconds(before: Option<Timestamp>, now: Timestamp) -> f64 {
    let passed = before.map_or(SECOND, |before| now.since_ms(before)).clamp(1, LONGEST_GAP_MS);
    #[expect(clippy::cast_precision_loss, reason = "at most a minute")]
    let seconds = passed as f64 / 1_000.0;
    seconds
}

/// Least, mean and most of a quantity, rounded to hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Spread {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
}

/// One point of an answer. A quantity that was never read in this time is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct HistoryPoint {
    /// Where its time begins.
    pub at: Timestamp,
    pub temperature_celsius: Option<Spread>,
    pub power_watts: Option<Spread>,
    pub utilisation_percent: Option<Spread>,
    pub vram_used_mib: Option<Spread>,
    pub power_limit_watts: Option<Spread>,
}

/// One card's past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct CardHistory {
    pub uuid: crate::gpu::GpuUuid,
    pub name: String,
    /// How much time each point stands for.
    #[ts(type = "number")]
    pub span_ms: u64,
    /// Times in which the card was not read are left out.
    pub points: Vec<HistoryPoint>,
}

/// How a question is answered: from which level, cut into spans of what length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub level: Level,
    /// The beginning of the first span.
    pub from: Timestamp,
    pub span_ms: u64,
}

/// At most `most_points` spans that cover `from` to `to`, as fine as what is kept allows.
#[must_use]
pub fn plan(from: Timestamp, to: Timestamp, most_points: u32, now: Timestamp) -> Plan {
    let points = u64::from(most_points.clamp(1, MOST_POINTS));
    let range = to.since_ms(from).max(1);
    let coarsest = LEVELS[LEVELS.len() - 1];
    // The coarsest that still gives half of the points, so that few rows are read; else the finest that is kept.
    let rich = LEVELS
        .iter()
        .rev()
        .find(|level| level.reaches(from, now) && range / level.step_ms >= (points / 2).max(1));
    let kept = LEVELS.iter().find(|level| level.reaches(from, now));
    let level = rich.or(kept).copied().unwrap_or(coarsest);
    let first = level.start_of(from);
    let span_ms = to.since_ms(first).max(1).div_ceil(points).next_multiple_of(level.step_ms);
    Plan { level, from: first, span_ms }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn ago(ms: u64) -> Timestamp {
        Timestamp(NOW.0 - i64::try_from(ms).unwrap())
    }

    #[test]
    fn the_level_fits_age_and_length() {
        let level = |from: u64, to: u64, points| plan(ago(from), ago(to), points, NOW).level.step_ms;
        assert_eq!(level(5 * MINUTE, 0, 300), SECOND);
        assert_eq!(level(HOUR, 0, 100), MINUTE);
        assert_eq!(level(2 * HOUR, 0, 500), MINUTE, "seconds are gone by then");
        assert_eq!(level(DAY, DAY - 5 * MINUTE, 500), MINUTE, "a short look far back");
        assert_eq!(level(30 * DAY, 0, 500), HOUR);
        assert_eq!(level(40 * DAY, 39 * DAY, 500), HOUR, "minutes are gone by then");
        assert_eq!(level(5 * 365 * DAY, 0, 500), DAY);
    }

    #[test]
    fn a_mean_is_by_time() {
        let long = Tally::of(100.0, weight_seconds(Some(ago(30_000)), NOW));
        let both = Tally::of(40.0, weight_seconds(None, NOW)).with(long);
        assert!((both.sum / both.weight - 98.06).abs() < 0.005, "{both:?}");
        assert!((weight_seconds(Some(ago(DAY)), NOW) - 60.0).abs() < 1e-9, "a gap is no reading");
    }

    proptest! {
        #[test]
        fn never_more_points_than_asked_and_few_rows(
            length in 1_u64..6 * 365 * DAY, age in 0_u64..6 * 365 * DAY, points in 1_u32..5_000
        ) {
            let (from, to) = (ago(age + length), ago(age));
            let plan = plan(from, to, points, NOW);
            let spans = to.since_ms(plan.from).div_ceil(plan.span_ms);
            prop_assert!(spans <= u64::from(points.min(MOST_POINTS)));
            prop_assert!(plan.from <= from && plan.span_ms.is_multiple_of(plan.level.step_ms));
            let rows = to.since_ms(plan.from) / plan.level.step_ms;
            prop_assert!(rows <= 12_000, "{} rows of {} ms", rows, plan.level.step_ms);
        }
    }
}
