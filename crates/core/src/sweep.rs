//! "Find my sweet spot": a few power limits are tried under a steady load, and what each yields is told.
//!
//! Work that computes and work that waits for memory answer differently to a limit (prefill loses 15 % where decoding
//! loses 3 %), so a curve belongs to a card and a kind of work; one number for a card would be wrong for both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::PowerLimits;
use crate::thermal::STEP_WATTS;
use crate::time::Timestamp;

/// Power is at its new limit at once; clocks and memory take a moment.
pub const SETTLE_MS: u64 = 3_000;
/// Long enough for the energy counter, which some drivers move only every few hundred milliseconds.
pub const MEASURE_MS: u64 = 10_000;
const MOST_LIMITS: u32 = 32;
/// A window may lose so much of its time to a load that stands still, in percent: limits that are worth choosing between
/// differ by more.
const LOST_AT_MOST_PERCENT: u64 = 3;
/// One limit is begun again for no longer than so many goes take.
const GOES: u64 = 3;

/// What a card was busy with when it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// Arithmetic: training, prefill, large products.
    Compute,
    /// Waiting for memory: decoding.
    Memory,
}

/// Which limits are tried, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Ascending, whole steps, no two the same.
    limits: Vec<u32>,
    settle_ms: u64,
    measure_ms: u64,
}

impl Plan {
    /// As many as show the bend of a curve in two minutes.
    pub const USUAL_LIMITS: u32 = 9;

    /// `count` limits from the card's least to its most, both among them. `None` for bounds that hold no whole step.
    #[must_use]
    pub fn new(limits: &PowerLimits, count: u32) -> Option<Self> {
        let step = f64::from(STEP_WATTS);
        let (least, most) = ((limits.min_watts / step).ceil(), (limits.max_watts / step).floor());
        if !(least.is_finite() && most.is_finite() && least >= 1.0 && most >= least && most < 10_000.0) {
            return None;
        }
        let count = count.clamp(2, MOST_LIMITS);
        let mut chosen: Vec<u32> = (0..count)
            .map(|number| {
                let share = f64::from(number) / f64::from(count - 1);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
                let steps = (least + share * (most - least)).round() as u32;
                steps * STEP_WATTS
            })
            .collect();
        chosen.dedup();
        Some(Self { limits: chosen, settle_ms: SETTLE_MS, measure_ms: MEASURE_MS })
    }

    #[must_use]
    pub fn lasting(mut self, settle_ms: u64, measure_ms: u64) -> Self {
        (self.settle_ms, self.measure_ms) = (settle_ms, measure_ms.max(1));
        self
    }

    #[must_use]
    pub fn limits(&self) -> &[u32] {
        &self.limits
    }

    /// How long all of it takes.
    #[must_use]
    pub fn takes_ms(&self) -> u64 {
        u64::try_from(self.limits.len()).unwrap_or(0) * self.one_takes_ms()
    }

    fn one_takes_ms(&self) -> u64 {
        self.settle_ms + self.measure_ms
    }
}

/// Counters of the card and of the load at one moment; both only ever grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counters {
    /// In whatever the load counts: products, tokens, steps.
    pub work: f64,
    pub joules: f64,
}

/// What one limit gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Point {
    pub limit_watts: u32,
    pub work_per_second: f64,
    /// Drawn, which may be less than allowed.
    pub watts: f64,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SweepAction {
    SetLimit {
        watts: u32,
    },
    /// Come back with the counters at this moment.
    Wait {
        until: Timestamp,
    },
    /// Put the limit back: all limits have been measured.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Begin,
    Settle { until: Timestamp },
    Measure { since: Timestamp, from: Counters, lost_ms: u64 },
}

/// One sweep under way.
#[derive(Clone, Debug)]
pub struct Sweep {
    plan: Plan,
    phase: Phase,
    /// When this limit was first set.
    set_at: Timestamp,
    points: Vec<Point>,
}

impl Sweep {
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, phase: Phase::Begin, set_at: Timestamp::default(), points: Vec::new() }
    }

    /// Takes the counters as they are now and says what is next.
    pub fn handle(&mut self, counters: Counters, now: Timestamp) -> SweepAction {
        let Some(limit_watts) = self.plan.limits.get(self.points.len()).copied() else {
            return SweepAction::Done;
        };
        match self.phase {
            Phase::Begin => {
                self.set_at = now;
                self.phase = Phase::Settle { until: now.plus_ms(self.plan.settle_ms) };
                SweepAction::SetLimit { watts: limit_watts }
            }
            Phase::Settle { until } if now < until => SweepAction::Wait { until },
            Phase::Settle { .. } => {
                self.phase = Phase::Measure { since: now, from: counters, lost_ms: 0 };
                SweepAction::Wait { until: now.plus_ms(self.plan.measure_ms) }
            }
            Phase::Measure { since, from, .. } => {
                let until = since.plus_ms(self.plan.measure_ms);
                if now < until {
                    return SweepAction::Wait { until };
                }
                // Measured over the time that really passed, not over what was planned.
                #[expect(clippy::cast_precision_loss, reason = "spans of seconds")]
                let seconds = now.since_ms(since) as f64 / 1_000.0;
                self.points.push(Point {
                    limit_watts,
                    work_per_second: (counters.work - from.work).max(0.0) / seconds,
                    watts: (counters.joules - from.joules).max(0.0) / seconds,
                });
                self.phase = Phase::Begin;
                self.handle(counters, now)
            }
        }
    }

    /// What this limit has given does not count: it settles and is measured anew.
    pub fn begin_again(&mut self, now: Timestamp) {
        if self.phase != Phase::Begin {
            self.phase = Phase::Settle { until: now.plus_ms(self.plan.settle_ms) };
        }
    }

    /// The load stood still for so long. Too much of it spoils the window, which begins again: the card was idle, and its
    /// clocks fell. `false` when this limit has been begun again for long enough.
    #[must_use]
    pub fn take_stall(&mut self, stall_ms: u64, now: Timestamp) -> bool {
        if let Phase::Measure { lost_ms, .. } = &mut self.phase {
            *lost_ms = lost_ms.saturating_add(stall_ms);
            if *lost_ms <= self.plan.measure_ms.saturating_mul(LOST_AT_MOST_PERCENT) / 100 {
                return true;
            }
        }
        self.begin_again(now);
        now.since_ms(self.set_at) < GOES * self.plan.one_takes_ms()
    }

    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The limit counts now: it has settled.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measure { .. })
    }
}

/// What an hour brings and costs, in micro-units of one currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Economics {
    /// The owner's part of the price of an hour at the fastest limit that was measured. A slower card is worth less to
    /// renters, so what it earns is taken to fall with its work.
    pub income_per_hour_micros: f64,
    pub electricity_per_kwh_micros: f64,
    /// What the rest of the PC draws because of the job.
    pub overhead_watts: f64,
}

/// One limit, judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Judged {
    pub point: Point,
    pub work_per_joule: f64,
    /// Of the fastest that was measured.
    pub speed_percent: f64,
    pub net_per_hour_micros: f64,
}

/// All limits of one curve, and which of them are best; indices into `judged`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Judgement {
    pub judged: Vec<Judged>,
    /// Earns most: the one to offer.
    #[ts(type = "number")]
    pub best_income: usize,
    /// Most work for the same electricity.
    #[ts(type = "number")]
    pub most_efficient: usize,
}

/// `None` where nothing was measured, or no work was done. Of two limits that are worth the same, the lower one: it is
/// cooler and quieter.
#[must_use]
pub fn judge(points: &[Point], economics: &Economics) -> Option<Judgement> {
    let fastest = points.iter().map(|point| point.work_per_second).fold(0.0, f64::max);
    if fastest <= 0.0 {
        return None;
    }
    let judged: Vec<Judged> = points
        .iter()
        .map(|point| {
            let speed = point.work_per_second / fastest;
            let kilowatts = (point.watts + economics.overhead_watts) / 1_000.0;
            Judged {
                point: *point,
                work_per_joule: if point.watts > 0.0 { point.work_per_second / point.watts } else { 0.0 },
                speed_percent: 100.0 * speed,
                net_per_hour_micros: economics.income_per_hour_micros * speed
                    - economics.electricity_per_kwh_micros * kilowatts,
            }
        })
        .collect();
    let best_income = lowest_of_the_best(&judged, |judged| judged.net_per_hour_micros)?;
    let most_efficient = lowest_of_the_best(&judged, |judged| judged.work_per_joule)?;
    Some(Judgement { judged, best_income, most_efficient })
}

fn lowest_of_the_best(judged: &[Judged], worth: fn(&Judged) -> f64) -> Option<usize> {
    let better = |a: &Judged, b: &Judged| {
        worth(a).total_cmp(&worth(b)).then(b.point.limit_watts.cmp(&a.point.limit_watts))
    };
    judged.iter().enumerate().max_by(|(_, a), (_, b)| better(a, b)).map(|(index, _)| index)
}

/// What was measured of one card at one kind of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub measured_at: Timestamp,
    pub points: Vec<Point>,
}

/// All that was measured of one card, each kind of work for itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Curves(pub BTreeMap<WorkKind, Curve>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: PowerLimits =
        PowerLimits { enforced_watts: 450.0, default_watts: 450.0, min_watts: 152.0, max_watts: 600.0 };

    #[test]
    fn limits_are_whole_steps_between_the_cards_own() {
        let plan = Plan::new(&LIMITS, 4).unwrap();
        assert_eq!(plan.limits(), [155, 305, 450, 600]);
        let narrow = PowerLimits { min_watts: 99.0, max_watts: 106.0, ..LIMITS };
        assert_eq!(Plan::new(&narrow, 9).unwrap().limits(), [100, 105]);
        let none = PowerLimits { min_watts: 101.0, max_watts: 104.0, ..LIMITS };
        assert_eq!(Plan::new(&none, 9), None);
    }

    #[test]
    fn each_limit_settles_before_it_is_measured() {
        let narrow = PowerLimits { min_watts: 100.0, max_watts: 105.0, ..LIMITS };
        let mut sweep = Sweep::new(Plan::new(&narrow, 2).unwrap().lasting(1_000, 2_000));
        let mut limit = 0;
        let mut set_at = Timestamp(0);
        let (mut now, mut work, mut joules) = (Timestamp(0), 0.0, 0.0);
        loop {
            match sweep.handle(Counters { work, joules }, now) {
                SweepAction::SetLimit { watts } => (limit, set_at) = (watts, now),
                SweepAction::Wait { .. } => {}
                SweepAction::Done => break,
            }
            now = now.plus_ms(100);
            // In its first second a limit gives rubbish.
            let rubbish = if now.since_ms(set_at) <= 1_000 { 50.0 } else { 1.0 };
            work += 0.1 * f64::from(limit) * rubbish;
            joules += 0.1 * f64::from(limit);
        }
        let found: Vec<(u32, u64, u64)> = sweep
            .points()
            .iter()
            .map(|point| {
                (point.limit_watts, point.work_per_second.round() as u64, point.watts.round() as u64)
            })
            .collect();
        assert_eq!(found, [(100, 100, 100), (105, 105, 105)]);
    }

    #[test]
    fn a_window_that_lost_too_much_begins_again_and_one_limit_not_for_ever() {
        let plan = Plan::new(&LIMITS, 2).unwrap().lasting(1_000, 10_000);
        let mut sweep = Sweep::new(plan);
        let look = |sweep: &mut Sweep, work: u32, seconds: u64| {
            let counters = Counters { work: f64::from(work), joules: 0.0 };
            sweep.handle(counters, Timestamp(0).plus_ms(seconds * 1_000));
            sweep.points().len()
        };
        look(&mut sweep, 0, 0);
        assert!(sweep.take_stall(200, Timestamp(500)), "it settles anew");
        look(&mut sweep, 0, 1);
        assert!(!sweep.is_measuring());
        look(&mut sweep, 0, 2);
        assert!(sweep.is_measuring());
        assert!(sweep.take_stall(150, Timestamp(3_000)) && sweep.take_stall(150, Timestamp(4_000)));
        assert!(sweep.is_measuring(), "3 % of it are not worth another ten seconds");
        assert!(sweep.take_stall(150, Timestamp(5_000)) && !sweep.is_measuring());
        look(&mut sweep, 1_000, 6);
        assert_eq!(look(&mut sweep, 1_900, 15), 0);
        assert_eq!(look(&mut sweep, 2_000, 16), 1);
        assert!((sweep.points()[0].work_per_second - 100.0).abs() < 0.1, "{:?}", sweep.points());
        assert!(sweep.take_stall(400, Timestamp(48_000)), "three goes of the second limit, from 16 s on");
        assert!(!sweep.take_stall(400, Timestamp(49_000)));
    }

    #[test]
    fn dear_electricity_wants_less_power_and_of_equals_the_lower_is_taken() {
        let point = |limit_watts, work_per_second| Point {
            limit_watts,
            work_per_second,
            watts: f64::from(limit_watts),
        };
        let points =
            [point(150, 60.0), point(250, 90.0), point(350, 99.0), point(450, 100.0), point(600, 100.0)];
        let best = |income, electricity| {
            let economics = Economics {
                income_per_hour_micros: income,
                electricity_per_kwh_micros: electricity,
                overhead_watts: 60.0,
            };
            let judgement = judge(&points, &economics).unwrap();
            (judgement.judged[judgement.best_income].point.limit_watts, judgement.most_efficient)
        };
        assert_eq!(best(1_500_000.0, 0.0), (450, 0), "power is free: the fastest, but no watt for nothing");
        assert_eq!(best(300_000.0, 600_000.0).0, 250);
        assert_eq!(
            judge(
                &[point(100, 0.0)],
                &Economics {
                    income_per_hour_micros: 1.0,
                    electricity_per_kwh_micros: 1.0,
                    overhead_watts: 0.0
                }
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_offered_is_never_beaten(
            points in prop::collection::vec((1u32..600, 0.0f64..100.0, 1.0f64..600.0), 1..20),
            income in 0.0f64..1e7, electricity in 0.0f64..1e7,
        ) {
            let points: Vec<Point> = points
                .into_iter()
                .map(|(limit_watts, work_per_second, watts)| Point { limit_watts, work_per_second, watts })
                .collect();
            let economics = Economics { income_per_hour_micros: income, electricity_per_kwh_micros: electricity, overhead_watts: 50.0 };
            if let Some(judgement) = judge(&points, &economics) {
                let best = judgement.judged[judgement.best_income].net_per_hour_micros;
                prop_assert!(judgement.judged.iter().all(|judged| judged.net_per_hour_micros <= best));
            }
        }
    }
}
