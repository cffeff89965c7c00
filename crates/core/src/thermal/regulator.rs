//! From a temperature to a power limit: proportional and integral, in whole steps.
//!
//! In the form that adds to the last limit, so that nothing can wind up: what does not fit into the card's range is
//! gone. In this form it also brakes before the target, as soon as the temperature comes nearer faster than it should.
//! Gains are shares of the card's own range, for a 4090 moves its temperature with ten times the watts of a laptop.
//! Nothing hunts: a degree either way moves nothing, and a step back needs half a step more than the step was.

use crate::time::Timestamp;

/// Limits are whole multiples of this: finer than any card regulates, coarse enough not to chatter.
pub const STEP_WATTS: u32 = 5;

/// Share of the range for each degree.
const PROPORTIONAL: f64 = 0.07;
/// About the time constant of a card's heat sink, which it cancels.
const INTEGRAL_SECONDS: f64 = 20.0;
/// Readings are whole degrees and limits whole steps: without room for one step, no limit would ever be right. The
/// room is above the target, for below it work is lost.
const DEAD_KELVIN: f64 = 1.0;
/// Above the target there is less room than below it.
const ABOVE_WEIGHT: f64 = 3.0;
/// A reading between two whole degrees goes to and fro by so much either way.
const ROUNDING_KELVIN: f64 = 0.5;
/// Only so far below the target a rise is braked: a cold card may heat as fast as it likes.
const BRAKE_KELVIN: f64 = 12.0;
/// A step that proved too high is not tried again for so long, unless much is missing.
const TOO_HIGH_MS: u64 = 300_000;
const MUCH_KELVIN: f64 = 3.0;
/// Slew, in shares of the range each second. Down is for the card, up is for the money.
const DOWN_PER_SECOND: f64 = 0.25;
const UP_PER_SECOND: f64 = 0.03;
/// After a longer silence the past says nothing of how much to integrate.
const LONGEST_STEP_SECONDS: f64 = 5.0;

/// Limits that may be set on a card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WattRange {
    least: f64,
    cap: f64,
    span: f64,
}

impl WattRange {
    /// `least` and `default` are the card's; `cap` is the lowest of what the owner allows, and at least `least`.
    /// `None` where a driver names no usable range.
    #[must_use]
    pub fn new(least: f64, default: f64, cap: f64) -> Option<Self> {
        let sound = |watts: f64| watts.is_finite() && (1.0..=10_000.0).contains(&watts);
        (sound(least) && sound(default) && cap.is_finite()).then(|| Self {
            least,
            cap: cap.clamp(least, 10_000.0),
            span: (default - least).max(f64::from(STEP_WATTS)),
        })
    }

    /// What the gains are shares of: it does not change when the owner changes the cap.
    pub(super) fn span_watts(&self) -> f64 {
        self.span
    }

    /// The highest whole step that is not above `watts`, and not below what the card takes.
    fn step(&self, watts: f64) -> u32 {
        let step = f64::from(STEP_WATTS);
        let wanted = (watts / step).floor() * step;
        let wanted = if wanted < self.least { (self.least / step).ceil() * step } else { wanted };
        // A range that holds no whole step has its cap.
        let wanted = if wanted > self.cap { self.cap.floor() } else { wanted };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 10 000")]
        let whole = wanted.clamp(0.0, 10_000.0) as u32;
        whole
    }
}

/// The state between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Regulator {
    /// The limit before it is rounded; `None` before the first reading.
    wanted: Option<f64>,
    /// The temperature with its rounding taken out, and when; `None` when the last one says nothing of the next.
    last: Option<(f64, Timestamp)>,
    told: Option<u32>,
    /// The last limit that had to be left downwards, and when.
    too_high: Option<(u32, Timestamp)>,
}

impl Regulator {
    pub(super) fn told(&self) -> Option<u32> {
        self.told
    }

    pub(super) fn is_at_least(&self, range: WattRange) -> bool {
        self.wanted.is_some_and(|wanted| wanted <= range.least)
    }

    pub(super) fn regulate(
        &mut self,
        range: WattRange,
        target_celsius: f64,
        celsius: f64,
        now: Timestamp,
    ) -> Option<u32> {
        // A job starts with all that it may have: a card that is cold has much to store.
        let wanted = self.wanted.unwrap_or(range.cap);
        let (before, seconds) = match self.last {
            Some((before, then)) => (before, seconds(now, then)),
            None => (celsius, 0.0),
        };
        let smooth = before.clamp(celsius - ROUNDING_KELVIN, celsius + ROUNDING_KELVIN);
        let missing = target_celsius - celsius;
        let top = match self.too_high {
            Some((level, at)) if missing < MUCH_KELVIN && now.since_ms(at) < TOO_HIGH_MS => {
                f64::from(level.saturating_sub(1))
            }
            _ => range.cap,
        };
        let missing = missing - missing.clamp(-DEAD_KELVIN, 0.0);
        let missing = if missing < 0.0 { missing * ABOVE_WEIGHT } else { missing };
        let gain = PROPORTIONAL * range.span;
        let warm = target_celsius - BRAKE_KELVIN;
        let change =
            gain * (before.max(warm) - smooth.max(warm)) + gain * missing * seconds / INTEGRAL_SECONDS;
        let (down, up) = (DOWN_PER_SECOND * range.span * seconds, UP_PER_SECOND * range.span * seconds);
        self.last = Some((smooth, now));
        let told = self.told;
        let next = self.tell(range, (wanted + change.clamp(-down, up)).min(top));
        if let (Some(told), Some(next)) = (told, next)
            && next < told
        {
            self.too_high = Some((told, now));
        }
        next
    }

    /// The least that the card takes, at once.
    pub(super) fn least(&mut self, range: WattRange) -> Option<u32> {
        self.last = None;
        self.tell(range, range.least)
    }

    /// Nothing moves but what the owner moves.
    pub(super) fn stay(&mut self, range: WattRange) -> Option<u32> {
        self.last = None;
        self.tell(range, self.wanted.unwrap_or(range.cap))
    }

    /// The ceiling was reached, so what was thought to be right was too much: half of it.
    pub(super) fn back_off(&mut self, range: WattRange) {
        let wanted = self.wanted.unwrap_or(range.cap);
        self.wanted = Some(range.least + (wanted - range.least).max(0.0) / 2.0);
    }

    /// A step down as soon as it is wanted, a step up only when half a step more is.
    fn tell(&mut self, range: WattRange, wanted: f64) -> Option<u32> {
        let wanted = wanted.clamp(range.least, range.cap);
        self.wanted = Some(wanted);
        let next = range.step(wanted);
        let worth_it = match self.told {
            None => true,
            Some(told) if next < told => true,
            Some(told) => {
                let margin = wanted - f64::from(told) >= 1.5 * f64::from(STEP_WATTS);
                next > told && (margin || wanted >= range.cap)
            }
        };
        worth_it.then(|| {
            self.told = Some(next);
            next
        })
    }
}

fn seconds(now: Timestamp, then: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "bounded right after")]
    let seconds = now.since_ms(then) as f64 / 1_000.0;
    seconds.min(LONGEST_STEP_SECONDS)
}
