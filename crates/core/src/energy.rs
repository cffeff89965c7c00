//! How much energy a card took: from its counter where it has one, else from samples of its power, with the error stated.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuReading;
use crate::time::Timestamp;

/// More than any card draws, with room for a sample that comes late. What a counter gains beyond it was no gain.
const MOST_WATTS: u64 = 1_500;
/// Allowed to a counter beyond that, whatever the time between: its own steps and the reading's delay.
const SLACK_MILLIJOULES: u64 = 1_500_000;

/// What one sample says of energy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnergySample {
    pub at: Timestamp,
    /// Since the driver was loaded.
    pub counter_millijoules: Option<u64>,
    pub watts: Option<f64>,
}

impl EnergySample {
    #[must_use]
    pub fn of(reading: &GpuReading, at: Timestamp) -> Self {
        Self { at, counter_millijoules: reading.energy_millijoules, watts: reading.power_watts }
    }
}

/// Energy with what it may be off by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct Energy {
    #[ts(type = "number")]
    pub millijoules: u64,
    /// The true value lies within so much of it, as far as power went one way between two samples. Nothing of what the
    /// counter told.
    #[ts(type = "number")]
    pub uncertain_millijoules: u64,
}

impl Energy {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            millijoules: self.millijoules.saturating_add(other.millijoules),
            uncertain_millijoules: self.uncertain_millijoules.saturating_add(other.uncertain_millijoules),
        }
    }
}

/// What was taken between two samples.
#[must_use]
pub fn between(before: &EnergySample, after: &EnergySample) -> Energy {
    let passed_ms = after.at.since_ms(before.at);
    let sampled = || from_power(before.watts, after.watts, passed_ms);
    let (Some(first), Some(last)) = (before.counter_millijoules, after.counter_millijoules) else {
        return sampled();
    };
    if let Some(gain) = counted(first, last, passed_ms) {
        return Energy { millijoules: gain, uncertain_millijoules: 0 };
    }
    // The driver was loaded anew in between: what the counter shows since then was taken for sure, if it can be; the
    // rest is known from power alone.
    let estimate = sampled();
    let sure = if last <= possible(passed_ms) { last } else { 0 };
    Energy { millijoules: estimate.millijoules.max(sure), ..estimate }
}

/// The counter's gain, one wrap allowed for; `None` when it was set back.
fn counted(first: u64, last: u64, passed_ms: u64) -> Option<u64> {
    let possible = possible(passed_ms);
    if last >= first {
        return (last - first <= possible).then_some(last - first);
    }
    // Some drivers count in 32 bits: over at 4.29 MJ, after seven hours at 170 W.
    let short = u64::from(u32::MAX);
    let wrapped = if first <= short { last + (short - first) + 1 } else { last.wrapping_sub(first) };
    // Only a counter that was near its end can have gone over it.
    (wrapped <= possible).then_some(wrapped)
}

fn possible(passed_ms: u64) -> u64 {
    passed_ms.saturating_mul(MOST_WATTS).saturating_add(SLACK_MILLIJOULES)
}

/// A watt over a millisecond is a millijoule.
fn from_power(first: Option<f64>, last: Option<f64>, passed_ms: u64) -> Energy {
    let sound = |watts: Option<f64>| watts.filter(|watts| watts.is_finite() && *watts >= 0.0);
    let (first, last) = match (sound(first), sound(last)) {
        (Some(first), Some(last)) => (first, last),
        (Some(one), None) | (None, Some(one)) => (one, one),
        (None, None) => return Energy::default(),
    };
    let ms = passed_ms as f64;
    Energy {
        millijoules: whole((first + last) / 2.0 * ms),
        // Between two samples power went from one to the other: all at once at either end, at worst.
        uncertain_millijoules: whole((first - last).abs() / 2.0 * ms),
    }
}

fn whole(millijoules: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
    let whole = millijoules.round().clamp(0.0, 9e15) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A card's life in seconds: what it drew, and what its counter showed of it.
    struct Truth {
        watts: Vec<f64>,
        counter: Vec<u64>,
        total: u64,
    }

    /// Power that holds for a while and then is another one; a counter of `bits` that begins at `start` and is set back
    /// to nothing at `reloads`.
    fn life(loads: &[(u16, u16)], start: u64, bits: u32, reloads: &[usize]) -> Truth {
        let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        let (mut watts, mut counter, mut total) = (Vec::new(), vec![start & mask], 0);
        for (draw, seconds) in loads {
            for _ in 0..*seconds {
                let second = watts.len();
                watts.push(f64::from(*draw));
                let millijoules = u64::from(*draw) * 1_000;
                total += millijoules;
                let before = if reloads.contains(&second) { 0 } else { counter[second] };
                counter.push(before.wrapping_add(millijoules) & mask);
            }
        }
        watts.push(f64::from(loads.last().map_or(0, |load| load.0)));
        Truth { watts, counter, total }
    }

    fn measured(truth: &Truth, every: usize, has_counter: bool) -> Energy {
        let sample = |second: usize| EnergySample {
            at: Timestamp(1_000 * i64::try_from(second).unwrap()),
            counter_millijoules: has_counter.then(|| truth.counter[second]),
            watts: Some(truth.watts[second]),
        };
        let last = truth.watts.len() - 1;
        let mut seconds: Vec<usize> = (0..last).step_by(every).collect();
        seconds.push(last);
        seconds
            .windows(2)
            .fold(Energy::default(), |sum, pair| sum.plus(between(&sample(pair[0]), &sample(pair[1]))))
    }

    fn error_percent(energy: Energy, truth: &Truth) -> f64 {
        (energy.millijoules as f64 - truth.total as f64).abs() * 100.0 / truth.total.max(1) as f64
    }

    fn loads() -> impl Strategy<Value = Vec<(u16, u16)>> {
        prop::collection::vec((20_u16..450, 120_u16..900), 4..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// A counter loses nothing, also where it wraps, in 32 bits or in 64.
        #[test]
        fn a_wrap_loses_nothing(loads in loads(), before_end in 0_u64..2_000_000, every in 1_usize..30, wide in any::<bool>()) {
            let (bits, end) = if wide { (64, u64::MAX) } else { (32, u64::from(u32::MAX)) };
            let truth = life(&loads, end - before_end, bits, &[]);
            let energy = measured(&truth, every, true);
            prop_assert_eq!(energy, Energy { millijoules: truth.total, uncertain_millijoules: 0 });
        }

        /// The driver is loaded anew in the middle of a lease, up to three times: at most 1 % is lost.
        #[test]
        fn a_reload_costs_at_most_a_percent(loads in loads(), at in prop::collection::vec(0.0_f64..1.0, 1..4), start in 0_u64..u64::MAX / 2) {
            let seconds: usize = loads.iter().map(|load| usize::from(load.1)).sum();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
            let reloads: Vec<usize> = at.iter().map(|part| (part * (seconds - 1) as f64) as usize).collect();
            let truth = life(&loads, start, 64, &reloads);
            let energy = measured(&truth, 1, true);
            prop_assert!(error_percent(energy, &truth) <= 1.0, "{} %", error_percent(energy, &truth));
        }

        /// Without a counter the truth lies within the error that is stated.
        #[test]
        fn without_a_counter_the_error_is_stated(loads in loads(), every in 1_usize..30) {
            let truth = life(&loads, 0, 64, &[]);
            let energy = measured(&truth, every, false);
            let off = energy.millijoules.abs_diff(truth.total);
            prop_assert!(off <= energy.uncertain_millijoules + 100, "{off} of {energy:?}");
            prop_assert!(every > 1 || error_percent(energy, &truth) <= 1.0, "{} %", error_percent(energy, &truth));
        }

        #[test]
        fn nonsense_is_no_energy(first in any::<Option<u64>>(), last in any::<Option<u64>>(), ms in 0_u64..100_000) {
            let sample = |ms: u64, counter, watts| EnergySample { at: Timestamp(0).plus_ms(ms), counter_millijoules: counter, watts };
            let energy = between(&sample(0, first, Some(f64::NAN)), &sample(ms, last, None));
            prop_assert!(energy.millijoules <= possible(ms));
        }
    }
}
