//! Rates that follow the line's latency: probes and counters in, rates out, with the time as an argument.
//!
//! Where a line is full, packets wait in front of it, and a game's among them. How long they wait is seen by probes
//! ([`reflector`]); [`Controller`] keeps all of Nightjar's traffic just below what the line carries.
//!
//! It begins at cake-autorate's way (probes, a baseline that falls at once and rises slowly, cuts by how bad it is, growth
//! only under load, a pause after a cut) and departs from it where its aim, 30 ms, is not ours, 5 ms over the idle line:
//!
//! | cake-autorate | here | why |
//! | --- | --- | --- |
//! | bloat: 3 of 6 samples of all reflectors over +30 ms | 4 of the last 6 of *one* reflector over +4 ms and twice the idle line's own jitter | the first hop does not see the queue behind it and must not outvote what does; and a wireless line that jitters by 10 ms when idle would starve under a bare 4 ms |
//! | a cut multiplies the shaped rate | a cut multiplies the most that was really carried in the last second or two | the rate may stand far above what the line bears; from there several cuts are needed while a game suffers. A single sample may lie in a moment in which the senders paused |
//! | each bloat counts alike | one that a single cut ends moves what is known of the line by three tenths, one that outlives it in full | the connections of a download pause together every ten seconds (BBR looks for its shortest round trip) and come back in a burst, which taking turns (`guest::gateway::shaping`) makes short and does not end; taken for the line, one such held it at 38 % |
//! | after 300 ms a cut may follow a cut | only while the wait does not become shorter | a queue drains for longer than that, and was paid for several times |
//! | grows by the same steps up to the maximum | remembers where bloat came, waits a tenth below that for 30 s, then feels its way by a quarter of a percent a second | at +4 % a step the line is full again in a second; this is a queue of some milliseconds for a blink of each minute, and a tenth is what the senders' bursts need |
//! | both directions have their own delay, or are cut together | the directions that carry load are cut; where none does, both | only round trips are measured; a cut that costs nothing makes room for whoever fills the line |
//! | the baseline rises by 0.001 a sample, always | it rises while the line is idle or whatever carries load lies at the floor | under our own load a rising baseline would take our queue for the line |
//! | each reflector says as much as another | rates grow only while one beyond the first hop answers | the router answers at once however long packets wait behind it, in front of the provider's line |
//! | returns to a base rate that the user sets | rests at half of what the line last bore | nobody in a home knows that number |

mod reflector;
mod search;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::network::Rates;
use crate::time::Timestamp;
use reflector::Reflector;
pub use search::{Probing, Search};

/// What a game's ping may lose is 5 ms; acting takes a moment, so it begins a little before.
const TARGET_US: f64 = 4_000.0;
/// Enough for a login; more might be more than a slow line has.
const FLOOR_KBIT: f64 = 256.0;
/// Up to here of it counts as there: a baseline that ceased to rise with the first step up would stay just short of what
/// the line is now.
const NEAR_FLOOR: f64 = 1.5;
/// A limit of no more than so many floors says nothing of the line by being reached: it is the owner's wish.
const FAR_FROM_FLOOR: f64 = 2.0;
/// No line is known to bear more before it has been tried.
const START_KBIT: f64 = 2_000.0;
/// A direction carries load when it uses so much of its rate.
const LOADED: f64 = 0.75;
/// It may be the cause of a full line from here on.
const SUSPECT: f64 = 0.4;
/// What is so little beside the other direction are its acknowledgements: to cut them would cut that one a second time.
const ANSWERS: f64 = 0.05;
/// Between two cuts: the effect of the first must be seen.
const REFRACTORY_MS: u64 = 300;
/// Within so long of a cut, bloat is what that cut did not end, and cut again only while it stays above this share of
/// what it was.
const OUTLIVES_MS: u64 = 1_500;
const DRAINS: f64 = 0.75;
/// How much of a bloat that a single cut ends is believed of the line.
const LONE: f64 = 0.3;
/// What is carried comes in samples; the most of one to two times so long counts.
const PEAK_MS: u64 = 1_000;
/// Between two steps up.
const STEP_MS: u64 = 200;
/// Up to here of where bloat came the rate grows fast.
const NEAR: f64 = 0.9;
/// How long it stays there.
const HOLD_MS: u64 = 30_000;
/// Steps: where nothing is known, below the last bloat, around it, and beyond it.
const STEP_UNKNOWN: f64 = 1.04;
const STEP_BELOW: f64 = 1.02;
const STEP_FEEL: f64 = 1.0005;
const STEP_BEYOND: f64 = 1.01;
/// The line bears so much more than it did: what was known of it is old.
const BEYOND: f64 = 1.08;
/// Without load for so long the rate goes to where it rests.
const REST_AFTER_MS: u64 = 30_000;
const REST: f64 = 0.5;
const STEP_REST: f64 = 0.98;
/// Where a direction is at its floor for so long, what latency there still is was not of its making.
const NOT_OURS_MS: u64 = 5_000;
/// Nothing was heard of any reflector behind the line for so long.
const BLIND_MS: u64 = 3_000;

/// Where a reflector answers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vantage {
    /// In front of the line, the home's router say: it shows a full wireless network, and nothing of the line.
    Near,
    /// Behind the line.
    Beyond,
}

/// Why the rates are what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(rename = "LineMood")]
pub enum Mood {
    /// Nothing of ours wants more.
    Resting,
    Growing,
    /// Just below what the line bears.
    Holding,
    /// Packets wait: it just went down.
    BackingOff,
    /// The line bears all that the owner allows.
    AtLimit,
    /// No probe is answered from behind the line, so that nothing can be known.
    Blind,
}

/// One direction of the line.
#[derive(Clone, Copy, Debug)]
struct Way {
    limit: f64,
    kbit: f64,
    /// What is carried, as last told.
    carried: f64,
    /// The most that was carried in this stretch of time and in the one before.
    peaks: [f64; 2],
    peaks_since: Timestamp,
    /// What was carried when bloat came.
    bore: Option<f64>,
    cut_at: Option<Timestamp>,
    loaded_at: Timestamp,
    at_floor_since: Option<Timestamp>,
}

impl Way {
    fn new(limit_kbit: u32, now: Timestamp) -> Self {
        let limit = f64::from(limit_kbit);
        Self {
            limit,
            kbit: START_KBIT.min(limit),
            carried: 0.0,
            peaks: [0.0; 2],
            peaks_since: now,
            bore: None,
            cut_at: None,
            loaded_at: now,
            at_floor_since: None,
        }
    }

    fn take(&mut self, carried: f64, now: Timestamp) {
        self.carried = carried;
        let [peak, _] = self.peaks;
        match now.since_ms(self.peaks_since) / PEAK_MS {
            0 => self.peaks[0] = peak.max(carried),
            stretches => {
                self.peaks = [carried, if stretches == 1 { peak } else { 0.0 }];
                self.peaks_since = now;
            }
        }
        if self.is_suspect() {
            self.loaded_at = now;
        }
    }

    fn peak(&self) -> f64 {
        self.peaks[0].max(self.peaks[1])
    }

    fn floor(&self) -> f64 {
        FLOOR_KBIT.min(self.limit)
    }

    fn is_low(&self) -> bool {
        self.kbit <= NEAR_FLOOR * self.floor()
    }

    /// What was learned from a latency that the floor did not end says nothing of the line.
    fn heed_floor(&mut self, now: Timestamp) {
        let is_there = self.is_low() && self.limit > FAR_FROM_FLOOR * FLOOR_KBIT;
        self.at_floor_since = is_there.then(|| self.at_floor_since.unwrap_or(now));
        if self.is_at_floor(now) {
            self.bore = None;
        }
    }

    fn is_at_floor(&self, now: Timestamp) -> bool {
        self.at_floor_since.is_some_and(|since| now.since_ms(since) >= NOT_OURS_MS)
    }

    /// It cannot be what fills the line: it carries nothing to speak of, or no less could be had of it.
    fn is_innocent(&self, now: Timestamp) -> bool {
        self.is_low() || now.since_ms(self.loaded_at) >= NOT_OURS_MS
    }

    fn is_loaded(&self) -> bool {
        self.carried > LOADED * self.kbit
    }

    fn is_suspect(&self) -> bool {
        self.carried > SUSPECT * self.kbit
    }

    fn set(&mut self, kbit: f64) {
        self.kbit = kbit.clamp(self.floor(), self.limit);
    }

    /// `factor` of what was carried, or of the rate where somebody else fills the line.
    fn cut(&mut self, factor: f64, is_ours: bool, now: Timestamp) {
        if is_ours {
            let carried = self.peak().min(self.kbit);
            let outlives = self.cut_at.is_some_and(|at| now.since_ms(at) <= OUTLIVES_MS);
            self.bore = Some(match self.bore {
                // The rate is that of the cut before, by which this may be the same queue.
                Some(bore) if outlives => bore.min(carried * 1.05),
                Some(bore) if carried < bore => bore + LONE * (carried - bore),
                _ => carried,
            });
            self.set(carried * factor);
        } else {
            self.set(self.kbit * factor);
        }
        self.cut_at = Some(now);
    }

    fn grow(&mut self, now: Timestamp) -> Mood {
        if self.kbit >= self.limit {
            return Mood::AtLimit;
        }
        let since_cut = self.cut_at.map_or(u64::MAX, |at| now.since_ms(at));
        let step = match self.bore {
            None => STEP_UNKNOWN,
            Some(bore) if self.kbit < bore * NEAR => STEP_BELOW,
            Some(_) if since_cut < HOLD_MS => return Mood::Holding,
            Some(bore) if self.kbit < bore * BEYOND => STEP_FEEL,
            Some(_) => STEP_BEYOND,
        };
        self.set(self.kbit * step);
        if step == STEP_FEEL { Mood::Holding } else { Mood::Growing }
    }

    fn rest(&mut self) {
        let target =
            self.bore.map_or(START_KBIT.min(self.limit), |bore| (bore * REST).max(START_KBIT.min(bore)));
        let next = if self.kbit > target {
            (self.kbit * STEP_REST).max(target)
        } else {
            (self.kbit / STEP_REST).min(target)
        };
        self.set(next);
    }
}

/// A reading of the line, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub rtt_us: u64,
    pub idle_us: u64,
    /// Over the idle line.
    pub added_us: u64,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Controller {
    up: Way,
    down: Way,
    reflectors: Vec<(Vantage, Reflector)>,
    /// Of a reflector behind the line.
    heard_at: Option<Timestamp>,
    began_at: Timestamp,
    cut_at: Option<Timestamp>,
    /// How bad it was then.
    cut_us: f64,
    stepped_at: Timestamp,
    mood: Mood,
}

impl Controller {
    /// `reflectors` answer probes; they are told apart by their place in the list.
    #[must_use]
    pub fn new(limits: Rates, reflectors: &[Vantage], now: Timestamp) -> Self {
        Self {
            up: Way::new(limits.up_kbit, now),
            down: Way::new(limits.down_kbit, now),
            reflectors: reflectors.iter().map(|vantage| (*vantage, Reflector::default())).collect(),
            heard_at: None,
            began_at: now,
            cut_at: None,
            cut_us: 0.0,
            stepped_at: now,
            mood: Mood::Resting,
        }
    }

    /// Other limits of the owner's; what is known of the line stays.
    pub fn set_limits(&mut self, limits: Rates) {
        for (way, kbit) in [(&mut self.up, limits.up_kbit), (&mut self.down, limits.down_kbit)] {
            way.limit = f64::from(kbit);
            way.set(way.kbit);
        }
    }

    /// Others answer from now on. What is known of the line stays, and so does blindness until one of them answers.
    pub fn look_by(&mut self, reflectors: &[Vantage]) {
        self.reflectors = reflectors.iter().map(|vantage| (*vantage, Reflector::default())).collect();
    }

    /// What Nightjar's traffic carries now.
    pub fn carried(&mut self, rates: Rates, now: Timestamp) {
        for (way, kbit) in [(&mut self.up, rates.up_kbit), (&mut self.down, rates.down_kbit)] {
            way.take(f64::from(kbit), now);
        }
    }

    /// The answer to a probe, or `None` where none came in time. A cut takes effect at once.
    pub fn probed(&mut self, reflector: usize, rtt_us: Option<u64>, now: Timestamp) {
        let is_quiet = !self.up.is_suspect() && !self.down.is_suspect();
        // One direction at its floor acquits nobody while the other carries load that could be less.
        let is_not_ours = (self.up.is_at_floor(now) && self.down.is_innocent(now))
            || (self.down.is_at_floor(now) && self.up.is_innocent(now));
        let Some((vantage, seen)) = self.reflectors.get_mut(reflector) else { return };
        seen.take(rtt_us, is_quiet, is_not_ours);
        if rtt_us.is_some() && *vantage == Vantage::Beyond {
            self.heard_at = Some(now);
        }
        let bloat_us = self
            .reflectors
            .iter()
            .filter_map(|(_, reflector)| reflector.bloat_us())
            .fold(None, |worst: Option<f64>, us| Some(worst.map_or(us, |worst| worst.max(us))));
        if let Some(bloat_us) = bloat_us {
            self.back_off(bloat_us, now);
        }
    }

    fn back_off(&mut self, bloat_us: f64, now: Timestamp) {
        let since_cut = self.cut_at.map_or(u64::MAX, |at| now.since_ms(at));
        let drains = since_cut <= OUTLIVES_MS && bloat_us < DRAINS * self.cut_us;
        if since_cut < REFRACTORY_MS || drains {
            return;
        }
        // From 0.95 for what is just too much to 0.6 for eight times that.
        let factor = (0.95 - 0.05 * (bloat_us / TARGET_US - 1.0).max(0.0)).max(0.6);
        let is_cause = |way: &Way, other: &Way| way.is_suspect() && way.carried > ANSWERS * other.carried;
        let (up, down) = (is_cause(&self.up, &self.down), is_cause(&self.down, &self.up));
        let nobody = !up && !down;
        if up || nobody {
            self.up.cut(factor, up, now);
        }
        if down || nobody {
            self.down.cut(factor, down, now);
        }
        (self.cut_at, self.cut_us) = (Some(now), bloat_us);
        self.mood = Mood::BackingOff;
        for (_, reflector) in &mut self.reflectors {
            reflector.forget_recent();
        }
    }

    /// To be called some times a second: grows, rests, or gives up what cannot be known.
    pub fn tick(&mut self, now: Timestamp) {
        self.up.heed_floor(now);
        self.down.heed_floor(now);
        if now.since_ms(self.stepped_at) < STEP_MS {
            return;
        }
        self.stepped_at = now;
        if now.since_ms(self.heard_at.unwrap_or(self.began_at)) >= BLIND_MS {
            self.mood = Mood::Blind;
            self.up.rest();
            self.down.rest();
            return;
        }
        if self.cut_at.is_some_and(|at| now.since_ms(at) < 2 * REFRACTORY_MS) {
            return;
        }
        // Before the first answer from behind the line nothing is known of it.
        let is_clear =
            self.heard_at.is_some() && self.reflectors.iter().all(|(_, reflector)| reflector.is_clear());
        let mut moods = [Mood::Resting; 2];
        for (way, mood) in [&mut self.up, &mut self.down].into_iter().zip(&mut moods) {
            *mood = if way.is_loaded() {
                if is_clear { way.grow(now) } else { Mood::Holding }
            } else {
                if now.since_ms(way.loaded_at) >= REST_AFTER_MS {
                    way.rest();
                }
                Mood::Resting
            };
        }
        let order = [Mood::Growing, Mood::Holding, Mood::AtLimit];
        self.mood = order.into_iter().find(|mood| moods.contains(mood)).unwrap_or(Mood::Resting);
    }

    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates { up_kbit: whole(self.up.kbit), down_kbit: whole(self.down.kbit) }
    }

    #[must_use]
    pub fn mood(&self) -> Mood {
        self.mood
    }

    /// Of the reflector whose last answer shows the most; `None` before the first.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.reflectors
            .iter()
            .filter_map(|(_, reflector)| reflector.latency())
            .max_by_key(|latency| latency.added_us)
    }
}

fn whole(kbit: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the owner's limit"
    )]
    let kbit = kbit.round().clamp(1.0, 4e9) as u32;
    kbit
}
