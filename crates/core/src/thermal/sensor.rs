//! Can the thermometer be believed?

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
        self.take_power(watts, now);
        let found = match celsius {
            None => Some(Doubt::Silent),
            Some(celsius) => self.take_celsius(celsius, span_watts, now),
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

    fn take_power(&mut self, watts: Option<f64>, now: Timestamp) {
        let Some(watts) = watts.filter(|watts| watts.is_finite()) else { return };
        let smoothed = match self.power {
            None => watts,
            Some(power) => {
                let share = 1.0 - (-seconds(power.at, now) / SMOOTH_SECONDS).exp();
                power.watts + (watts - power.watts) * share
            }
        };
        self.power = Some(Power { watts: smoothed, at: now });
    }

    fn take_celsius(&mut self, celsius: f64, span_watts: Option<f64>, now: Timestamp) -> Option<Doubt> {
        if !POSSIBLE.contains(&celsius) {
            return Some(Doubt::Impossible);
        }
        let jumped = self.last.is_some_and(|(at, before)| {
            (celsius - before).abs() > JUMP_KELVIN + JUMP_KELVIN_PER_SECOND * seconds(at, now)
        });
        self.before = self.last.filter(|_| !jumped);
        self.last = Some((now, celsius));
        let stuck = self.is_stuck(celsius, span_watts, now);
        if jumped { Some(Doubt::Impossible) } else { stuck.then_some(Doubt::Stuck) }
    }

    fn is_stuck(&mut self, celsius: f64, span_watts: Option<f64>, now: Timestamp) -> bool {
        let watts = self.power.map(|power| power.watts);
        let same = match &mut self.same {
            Some(same) if (same.celsius - celsius).abs() < f64::EPSILON => same,
            _ => {
                self.same = Some(Same { celsius, since: now, watts: None });
                return false;
            }
        };
        if now.since_ms(same.since) < SETTLE_MS {
            return false;
        }
        same.watts = match (same.watts, watts) {
            (Some((least, most)), Some(watts)) => Some((least.min(watts), most.max(watts))),
            (None, Some(watts)) => Some((watts, watts)),
            (bounds, None) => bounds,
        };
        let swing = span_watts.map_or(SWING_WATTS, |span| SWING_SHARE * span);
        now.since_ms(same.since) >= STUCK_MS && same.watts.is_some_and(|(least, most)| most - least >= swing)
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "spans of seconds, not of ages")]
    let seconds = to.since_ms(from) as f64 / 1_000.0;
    seconds
}
