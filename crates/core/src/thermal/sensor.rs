//! Can the thermometer be believed?

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::time::Timestamp;

/// A value that does not move while this much of the card's range of power comes or goes is not measured.
const SWING_SHARE: f64 = 0.25;
/// Where the range is not known.
const SWING_WATTS: f64 = 40.0;
const STUCK_MS: u64 = 60_000;
/// Heat follows power late: what the power did before the temperature stood still is no evidence.
const SETTLE_MS: u64 = 45_000;
/// Power is smoothed by this much, for a heat sink does not see what is shorter.
const SMOOTH_SECONDS: f64 = 15.0;
/// So many seconds of the card's whole range of power, beyond what went with the temperature as it is, move every real
/// thermometer by a degree: with the fan stopped a card has little more time than that.
const HEAT_SECONDS: f64 = 3.0;
/// What power goes with a temperature is seen in the moments before and after it was reached ...
const AROUND_MS: u64 = 5_000;
/// ... and within this share of the range of it, a fan can make up for what comes beyond.
const MARGIN_SHARE: f64 = 0.2;
/// A reading that comes after a longer time says little of the time between.
const LONGEST_STEP_SECONDS: f64 = 5.0;
/// Silicon moves so far at once under a new load, and so fast with no cooling at all; more is no measurement.
const JUMP_KELVIN: f64 = 25.0;
const JUMP_KELVIN_PER_SECOND: f64 = 10.0;
/// No silicon has such a temperature.
const POSSIBLE: std::ops::RangeInclusive<f64> = 1.0..=130.0;
/// A thermometer that comes back has to be right for so long.
const PROBATION_MS: u64 = 10_000;
/// Why it is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// It does not answer.
    Silent,
    /// It says the same while the power says otherwise.
    Stuck,
    /// It says what cannot be.
    Impossible,
}

/// What is known of one card's thermometer.
#[derive(Clone, Debug, Default)]
pub(super) struct Sensor {
    last: Option<(Timestamp, f64)>,
    before: Option<(Timestamp, f64)>,
    doubt: Option<(Doubt, Timestamp)>,
    /// Since when a doubted thermometer has been right again.
    right_since: Option<Timestamp>,
    power: Option<Power>,
    /// What was drawn in the last [`AROUND_MS`].
    recent: VecDeque<(Timestamp, f64)>,
    /// Since when it says the same, and the smoothed power's bounds from [`SETTLE_MS`] after that.
    same: Option<Same>,
}

#[derive(Clone, Copy, Debug)]
struct Power {
    watts: f64,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Same {
    celsius: f64,
    since: Timestamp,
    watts: Option<(f64, f64)>,
    /// The bounds of the power that this temperature goes with, and what came beyond them, in watt seconds.
    around: Option<(f64, f64)>,
    excess: f64,
}

impl Sensor {
    /// The last answer, believed or not.
    pub(super) fn celsius(&self) -> Option<f64> {
        self.last.map(|(_, celsius)| celsius)
    }

    pub(super) fn doubt(&self) -> Option<(Doubt, Timestamp)> {
        self.doubt
    }

    /// Kelvin a second between the last two readings; rounding alone makes up to one.
    pub(super) fn rise_per_second(&self) -> f64 {
        match (self.before, self.last) {
            (Some(before), Some(last)) => {
                let seconds = seconds(before.0, last.0);
                if seconds > 0.0 { (last.1 - before.1) / seconds } else { 0.0 }
            }
            _ => 0.0,
        }
    }

    pub(super) fn take(
        &mut self,
        celsius: Option<f64>,
        watts: Option<f64>,
        span_watts: Option<f64>,
        now: Timestamp,
    ) {
        let watts = watts.filter(|watts| watts.is_finite());
        let step = self.power.map_or(0.0, |power| seconds(power.at, now)).min(LONGEST_STEP_SECONDS);
        if let Some(watts) = watts {
            self.power = Some(smoothed(self.power, watts, now));
            self.recent.push_back((now, watts));
        }
        while self.recent.front().is_some_and(|(at, _)| now.since_ms(*at) > AROUND_MS) {
            self.recent.pop_front();
        }
        let found = match celsius {
            None => Some(Doubt::Silent),
            Some(celsius) => self.take_celsius(celsius, (watts, step), span_watts, now),
        };
        if found.is_some() {
            self.right_since = None;
        }
        self.doubt = match (self.doubt, found) {
            (None, Some(doubt)) => Some((doubt, now)),
            // The reason may change; since when it is without a thermometer does not.
            (Some((_, since)), Some(doubt)) => Some((doubt, since)),
            (Some(doubted), None) => {
                let right_since = *self.right_since.get_or_insert(now);
                (now.since_ms(right_since) < PROBATION_MS).then_some(doubted)
            }
            (None, None) => None,
        };
    }

    fn take_celsius(
        &mut self,
        celsius: f64,
        power: (Option<f64>, f64),
        span_watts: Option<f64>,
        now: Timestamp,
    ) -> Option<Doubt> {
        if !POSSIBLE.contains(&celsius) {
            return Some(Doubt::Impossible);
        }
        let jumped = self.last.is_some_and(|(at, before)| {
            (celsius - before).abs() > JUMP_KELVIN + JUMP_KELVIN_PER_SECOND * seconds(at, now)
        });
        self.before = self.last.filter(|_| !jumped);
        self.last = Some((now, celsius));
        let stuck = self.is_stuck(celsius, power, span_watts, now);
        if jumped { Some(Doubt::Impossible) } else { stuck.then_some(Doubt::Stuck) }
    }

    /// `now_watts` held for about `step` seconds.
    fn is_stuck(
        &mut self,
        celsius: f64,
        (now_watts, step): (Option<f64>, f64),
        span_watts: Option<f64>,
        now: Timestamp,
    ) -> bool {
        let watts = self.power.map(|power| power.watts);
        let recent = self.recent.iter().map(|(_, watts)| (*watts, *watts)).reduce(widened);
        let same = match &mut self.same {
            Some(same) if (same.celsius - celsius).abs() < f64::EPSILON => same,
            _ => {
                self.same = Some(Same { celsius, since: now, watts: None, around: recent, excess: 0.0 });
                return false;
            }
        };
        let swing = span_watts.map_or(SWING_WATTS, |span| SWING_SHARE * span);
        let range = swing / SWING_SHARE;
        if same.excess_of(now_watts, step, MARGIN_SHARE * range, now).abs() >= HEAT_SECONDS * range {
            return true;
        }
        if now.since_ms(same.since) < SETTLE_MS {
            return false;
        }
        same.watts = match (same.watts, watts) {
            (Some((least, most)), Some(watts)) => Some((least.min(watts), most.max(watts))),
            (None, Some(watts)) => Some((watts, watts)),
            (bounds, None) => bounds,
        };
        now.since_ms(same.since) >= STUCK_MS && same.watts.is_some_and(|(least, most)| most - least >= swing)
    }
}

impl Same {
    /// Watt seconds more, or fewer, than what goes with this temperature.
    fn excess_of(&mut self, watts: Option<f64>, step: f64, margin: f64, now: Timestamp) -> f64 {
        let Some(watts) = watts else { return self.excess };
        if now.since_ms(self.since) <= AROUND_MS {
            self.around = Some(self.around.map_or((watts, watts), |around| widened(around, (watts, watts))));
        }
        let (least, most) = self.around.unwrap_or((watts, watts));
        let beyond = (watts - most - margin).max(0.0) - (least - margin - watts).max(0.0);
        self.excess += beyond * step;
        self.excess
    }
}

fn widened(one: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    (one.0.min(other.0), one.1.max(other.1))
}

fn smoothed(before: Option<Power>, watts: f64, now: Timestamp) -> Power {
    let watts = before.map_or(watts, |power| {
        let share = 1.0 - (-seconds(power.at, now) / SMOOTH_SECONDS).exp();
        power.watts + (watts - power.watts) * share
    });
    Power { watts, at: now }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "spans of seconds, not of ages")]
    let seconds = to.since_ms(from) as f64 / 1_000.0;
    seconds
}
