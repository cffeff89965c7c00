//! Heat: what one card is told so that it stays at a temperature of the owner's choice.
//!
//! Two roads, and the second never waits for the first. The power limit moves in steps so that a job goes on, only
//! slower ([`Regulator`]); at the owner's ceiling, or when it cannot be missed any more, the tenant is frozen. A card
//! whose limit cannot be set has only the second road. Whether the thermometer can be believed at all is asked before
//! both ([`Sensor`]).

mod regulator;
mod sensor;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use regulator::{STEP_WATTS, WattRange};
pub use sensor::Doubt;
pub use settings::{HeatSettings, QuietHours};

use regulator::Regulator;
use sensor::Sensor;

use crate::time::Timestamp;

/// Trips are counted over this long, and so long does a card stay stopped.
pub const HOUR_MS: u64 = 3_600_000;
/// A card that was cool is worked without a thermometer, at the least power, until two more answers are missed ...
pub const BLIND_AT_MOST_MS: u64 = 2_000;
/// ... and where the power cannot be lowered, until one more is.
pub const BLIND_AT_FULL_POWER_MS: u64 = 1_000;
/// One that was so near to the ceiling is not worked blind at all: without a fan it has a few seconds.
const NEAR_KELVIN: f64 = 10.0;
/// Until the next reading has been acted on: the temperature is looked ahead by it.
const LOOK_AHEAD_SECONDS: f64 = 1.5;
/// A rise that rounding alone cannot make.
const STEEP_KELVIN_PER_SECOND: f64 = 3.0;

/// What is to be held. Made anew from the settings for each reading, so that a change counts at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    pub target_celsius: f64,
    pub ceiling_celsius: f64,
    /// So far below the ceiling a frozen card may go on ...
    pub resume_below_kelvin: f64,
    /// ... when it has also been frozen for this long.
    pub cool_at_least_ms: u64,
    pub trips_per_hour: usize,
    /// `None` where the limit of this card cannot be set.
    pub range: Option<WattRange>,
}

impl Aim {
    /// The target stays at least two degrees under the ceiling: closer, the regulator could not keep them apart.
    #[must_use]
    pub fn new(heat: &HeatSettings, ceiling_celsius: u32, range: Option<WattRange>) -> Self {
        let ceiling_celsius = f64::from(ceiling_celsius);
        Self {
            target_celsius: f64::from(heat.target_celsius).min(ceiling_celsius - 2.0),
            ceiling_celsius,
            resume_below_kelvin: f64::from(heat.resume_below_kelvin),
            cool_at_least_ms: heat.cool_at_least_ms,
            trips_per_hour: usize::try_from(heat.trips_per_hour).unwrap_or(usize::MAX),
            range,
        }
    }

    fn resume_celsius(&self) -> f64 {
        self.ceiling_celsius - self.resume_below_kelvin
    }
}

/// What a tenant does on the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    None,
    /// It is frozen: what heats the card is not it.
    Held,
    Runs,
}

/// One look at the card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// `None`: the thermometer was asked and did not answer. A card that sleeps is not asked, and gives no sample.
    pub celsius: Option<f64>,
    pub watts: Option<f64>,
    pub work: Work,
}

/// Why nothing may run on the card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    /// At the ceiling, until it has cooled.
    Cooling { since: Timestamp },
    /// The thermometer cannot be believed.
    Blind { since: Timestamp, doubt: Doubt },
    /// Too hot too often: until then, or until the owner says so.
    Stopped { trips: usize, until: Timestamp },
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThermalAction {
    SetLimit { watts: u32 },
    Freeze { hold: Hold },
    Resume,
    Stop { trips: usize, until: Timestamp },
}

/// One card's heat. See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Thermal {
    sensor: Sensor,
    regulator: Regulator,
    hold: Option<Hold>,
    /// Moments at which a working card reached the ceiling, of the last hour.
    trips: VecDeque<Timestamp>,
}

impl Thermal {
    /// Why nothing may run on the card now.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Why the thermometer is not believed now.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.sensor.doubt().map(|(doubt, _)| doubt)
    }

    /// The limit that was last asked for, in watts.
    #[must_use]
    pub fn limit_watts(&self) -> Option<u32> {
        self.regulator.told()
    }

    /// When a stop passes by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Timestamp, &'static str)> {
        match self.hold {
            Some(Hold::Stopped { until, .. }) => Some((until, "the stop for heat passes")),
            _ => None,
        }
    }

    /// The owner says that the card may try again: trips are forgotten.
    pub fn allow_again(&mut self) {
        self.trips.clear();
        if matches!(self.hold, Some(Hold::Stopped { .. })) {
            self.hold = None;
        }
    }

    /// A stop passes by time alone, also while no readings come.
    pub fn tick(&mut self, now: Timestamp) -> Vec<ThermalAction> {
        match self.hold {
            Some(Hold::Stopped { until, .. }) if now >= until => {
                self.trips.clear();
                // It may still be hot; the next reading says so, and until then it stays cool for safety.
                self.hold = Some(Hold::Cooling { since: now });
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Takes one look at the card and says what is to be done.
    pub fn handle(&mut self, aim: &Aim, sample: &Sample, now: Timestamp) -> Vec<ThermalAction> {
        let mut actions = self.tick(now);
        self.sensor.take(sample.celsius, sample.watts, aim.range.map(|range| range.span_watts()), now);
        while self.trips.front().is_some_and(|at| now.since_ms(*at) >= HOUR_MS) {
            self.trips.pop_front();
        }
        let before = self.hold;
        self.judge(aim, sample, now);
        self.set_limit(aim, sample, before, now, &mut actions);
        match (before, self.hold) {
            (_, Some(Hold::Stopped { trips, until })) if before != self.hold => {
                if before.is_none() {
                    actions.push(ThermalAction::Freeze { hold: Hold::Cooling { since: now } });
                }
                actions.push(ThermalAction::Stop { trips, until });
            }
            (None, Some(hold)) => actions.push(ThermalAction::Freeze { hold }),
            (Some(_), None) => actions.push(ThermalAction::Resume),
            _ => {}
        }
        actions
    }

    /// Decides whether anything may run.
    fn judge(&mut self, aim: &Aim, sample: &Sample, now: Timestamp) {
        let hot = self.sensor.celsius().is_some_and(|celsius| self.is_too_hot(celsius, aim));
        match self.hold {
            Some(Hold::Stopped { .. }) => {}
            None if hot => self.trip(aim, sample.work == Work::Runs, now),
            None => self.hold = self.blind(aim, now),
            Some(Hold::Blind { .. }) if hot => self.hold = Some(Hold::Cooling { since: now }),
            Some(Hold::Cooling { since } | Hold::Blind { since, .. }) => {
                let cool = self.sensor.doubt().is_none()
                    && self.sensor.celsius().is_some_and(|celsius| celsius <= aim.resume_celsius());
                if cool && now.since_ms(since) >= aim.cool_at_least_ms {
                    self.hold = None;
                }
            }
        }
    }

    /// A reading at the ceiling counts whether it is believed or not.
    fn is_too_hot(&self, celsius: f64, aim: &Aim) -> bool {
        let at_least = aim.range.is_none_or(|range| self.regulator.is_at_least(range));
        celsius >= aim.ceiling_celsius || (at_least && self.will_pass(celsius, aim))
    }

    /// It heats so fast from the target on that the next reading comes too late.
    fn will_pass(&self, celsius: f64, aim: &Aim) -> bool {
        let rise = self.sensor.rise_per_second();
        celsius >= aim.target_celsius
            && rise >= STEEP_KELVIN_PER_SECOND
            && celsius + rise * LOOK_AHEAD_SECONDS > aim.ceiling_celsius + 1.0
    }

    fn blind(&self, aim: &Aim, now: Timestamp) -> Option<Hold> {
        let (doubt, since) = self.sensor.doubt()?;
        let is_near = |celsius: f64| celsius > aim.ceiling_celsius - NEAR_KELVIN;
        let at_most_ms = match doubt {
            // It was blind all along, and nobody knew.
            Doubt::Stuck => 0,
            Doubt::Silent if self.sensor.celsius().is_some_and(is_near) => 0,
            _ if aim.range.is_none() => BLIND_AT_FULL_POWER_MS,
            Doubt::Silent | Doubt::Impossible => BLIND_AT_MOST_MS,
        };
        (now.since_ms(since) >= at_most_ms).then_some(Hold::Blind { since: now, doubt })
    }

    fn trip(&mut self, aim: &Aim, counts: bool, now: Timestamp) {
        if counts {
            self.trips.push_back(now);
        }
        self.hold = Some(if counts && self.trips.len() >= aim.trips_per_hour {
            Hold::Stopped { trips: self.trips.len(), until: now.plus_ms(HOUR_MS) }
        } else {
            Hold::Cooling { since: now }
        });
    }

    fn set_limit(
        &mut self,
        aim: &Aim,
        sample: &Sample,
        before: Option<Hold>,
        now: Timestamp,
        actions: &mut Vec<ThermalAction>,
    ) {
        let Some(range) = aim.range.filter(|_| sample.work != Work::None) else {
            // Nobody works: the limit is not ours, and the next job starts with all that the owner allows.
            self.regulator = Regulator::default();
            return;
        };
        if self.hold.is_some() && before.is_none() {
            self.regulator.back_off(range);
        }
        let watts = match (self.hold, self.sensor.doubt(), self.sensor.celsius()) {
            // A frozen card draws what it draws; the limit waits for it where the job will go on.
            (Some(_), None, _) => self.regulator.stay(range),
            (_, None, Some(celsius)) if !self.will_pass(celsius, aim) => {
                self.regulator.regulate(range, aim.target_celsius, celsius, now)
            }
            _ => self.regulator.least(range),
        };
        actions.extend(watts.map(|watts| ThermalAction::SetLimit { watts }));
    }
}
