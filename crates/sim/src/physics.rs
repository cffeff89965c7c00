//! Heat, power and clocks of one card as a pure function of load and time.
//!
//! Between two moments nothing but the loads' own end times changes, so the state is advanced only when
//! somebody looks. Power follows load at once; temperature follows power through one thermal mass; the
//! clock is what the power limit leaves (power of the cores grows with its 2.4th power).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::CardModel;

/// Exponent between clock and core power: voltage falls with the clock, but not all the way.
const POWER_EXPONENT: f64 = 2.4;
/// The driver does not go below this share of the boost clock, whatever the limit.
const LOWEST_CLOCK_SHARE: f64 = 0.15;
/// One step of integration is never longer than this while the card is in use ...
const STEP: Duration = Duration::from_millis(100);
/// ... and a long absence is covered in at most this many.
const MOST_STEPS: u32 = 4000;

/// Why the clock is lower than it could be, in the terms of NVML's bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restraint {
    pub idle: bool,
    pub power: bool,
    pub thermal: bool,
}

/// What the card does at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    pub watts: f64,
    /// Share of the boost clock, 0 to 1.
    pub clock_share: f64,
    /// Share of what the card achieves at full load and full clock, 0 to 1.
    pub throughput: f64,
    /// Share of time in which work runs, 0 to 1.
    pub utilisation: f64,
    /// How much of the work waits for memory rather than for the cores, 0 to 1.
    pub memory_share: f64,
    pub restraint: Restraint,
}

/// How the fans are driven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fan {
    /// By temperature.
    Auto,
    /// Fixed, in percent of full speed; 0 is a failed or blocked fan.
    Fixed(f64),
}

/// Work that somebody has given the card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Share of the card's time that it takes, 0 to 1.
    pub duty: f64,
    /// How much of it waits for memory, 0 (prefill, large products) to 1 (decoding).
    pub memory_share: f64,
    /// When it ends by itself; work without an end stays until it is removed.
    pub until: Option<Duration>,
}

/// Who gave the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadSource {
    /// A connection of the CUDA stand-in.
    Session(u64),
    /// A process that a test invented, by its id.
    External(u32),
}

/// One card's physical state.
#[derive(Debug, Clone)]
pub struct Body {
    model: &'static CardModel,
    now: Duration,
    limit_watts: f64,
    room_celsius: f64,
    temperature_celsius: f64,
    /// What a broken thermometer says.
    stuck_celsius: Option<f64>,
    energy_joules: f64,
    work_seconds: f64,
    fan: Fan,
    loads: BTreeMap<LoadSource, Load>,
    /// What the card draws while it is powered down; `None` while it is not.
    parked_watts: Option<f64>,
}

impl Body {
    /// A card that has stood idle for long in a room of this temperature.
    pub fn new(model: &'static CardModel, room_celsius: f64, now: Duration) -> Self {
        let mut body = Self {
            model,
            now,
            limit_watts: model.default_limit_watts,
            room_celsius,
            temperature_celsius: room_celsius,
            stuck_celsius: None,
            energy_joules: 0.0,
            work_seconds: 0.0,
            fan: Fan::Auto,
            loads: BTreeMap::new(),
            parked_watts: None,
        };
        body.temperature_celsius = body.resting_celsius(model.idle_watts);
        body
    }

    /// Brings the state to `now`. A moment that is already past changes nothing.
    pub fn advance(&mut self, now: Duration) {
        let span = now.saturating_sub(self.now);
        let step = STEP.max(span / MOST_STEPS);
        while self.now < now {
            let end = self
                .loads
                .values()
                .filter_map(|load| load.until)
                .filter(|until| *until > self.now)
                .chain([now, self.now + step])
                .min()
                .unwrap_or(now);
            self.integrate(end.min(now));
            let reached = self.now;
            self.loads.retain(|_, load| load.until.is_none_or(|until| until > reached));
        }
    }

    fn integrate(&mut self, end: Duration) {
        let seconds = end.saturating_sub(self.now).as_secs_f64();
        let draw = self.draw();
        self.energy_joules += draw.watts * seconds;
        self.work_seconds += draw.throughput * seconds;
        let target = self.room_celsius + draw.watts * self.thermal_resistance();
        let decay = (-seconds / self.model.thermal_seconds).exp();
        self.temperature_celsius = target + (self.temperature_celsius - target) * decay;
        self.now = end;
    }

    /// What the card does right now (that is, at the moment of the last [`Body::advance`]).
    pub fn draw(&self) -> Draw {
        let active = self.loads.values().filter(|load| load.until.is_none_or(|until| until > self.now));
        let (duty, memory) = active.fold((0.0, 0.0), |(duty, memory), load| {
            (duty + load.duty, memory + load.duty * load.memory_share)
        });
        if duty <= 0.0 {
            return Draw {
                watts: self.parked_watts.unwrap_or(self.model.idle_watts),
                clock_share: f64::from(self.model.idle_clock_mhz) / f64::from(self.model.boost_clock_mhz),
                throughput: 0.0,
                utilisation: 0.0,
                memory_share: 0.0,
                restraint: Restraint { idle: true, ..Restraint::default() },
            };
        }
        let memory_share = (memory / duty).clamp(0.0, 1.0);
        let utilisation = duty.min(1.0);
        let floor = self.model.idle_watts + utilisation * (self.model.static_watts - self.model.idle_watts);
        let core_watts = utilisation * (self.model.full_watts - self.model.static_watts);
        let heat = self.thermal_share();
        let cap_watts = self.limit_watts * heat;
        let allowed = ((cap_watts - floor) / core_watts).clamp(0.0, 1.0).powf(1.0 / POWER_EXPONENT);
        let clock_share = allowed.clamp(LOWEST_CLOCK_SHARE, 1.0);
        Draw {
            watts: floor + core_watts * clock_share.powf(POWER_EXPONENT),
            clock_share,
            throughput: utilisation * ((1.0 - memory_share) * clock_share + memory_share),
            utilisation,
            memory_share,
            restraint: Restraint {
                idle: false,
                power: clock_share < 1.0 && heat >= 1.0,
                thermal: clock_share < 1.0 && heat < 1.0,
            },
        }
    }

    /// How much of the power limit the temperature leaves: everything up to the operating limit.
    fn thermal_share(&self) -> f64 {
        (1.0 - (self.temperature_celsius - self.model.max_operating_celsius) / 10.0).clamp(0.3, 1.0)
    }

    /// Fan speed in percent. The automatic curve starts at 45 °C and is continuous, so nothing flutters.
    pub fn fan_percent(&self) -> f64 {
        match self.fan {
            Fan::Fixed(percent) => percent,
            Fan::Auto => match self.temperature_celsius {
                t if t <= 45.0 => 0.0,
                t if t <= 55.0 => 3.0 * (t - 45.0),
                t => (30.0 + 70.0 * (t - 55.0) / 33.0).min(100.0),
            },
        }
    }

    fn thermal_resistance(&self) -> f64 {
        let (stopped, full) = self.model.thermal_resistance;
        full + (stopped - full) * (1.0 - self.fan_percent() / 100.0).powi(3)
    }

    /// The temperature at which a constant power neither warms nor cools the card.
    fn resting_celsius(&self, watts: f64) -> f64 {
        let mut probe = self.clone();
        for _ in 0..200 {
            let target = probe.room_celsius + watts * probe.thermal_resistance();
            probe.temperature_celsius += (target - probe.temperature_celsius) * 0.1;
        }
        probe.temperature_celsius
    }

    /// Gives the card work, or replaces what this source gave before.
    pub fn set_load(&mut self, source: LoadSource, load: Load) {
        let load =
            Load { duty: load.duty.clamp(0.0, 1.0), memory_share: load.memory_share.clamp(0.0, 1.0), ..load };
        self.loads.insert(source, load);
    }

    /// Takes the work of this source away.
    pub fn clear_load(&mut self, source: LoadSource) {
        self.loads.remove(&source);
    }

    /// Takes all work away.
    pub fn clear_loads(&mut self) {
        self.loads.clear();
    }

    /// Sets the power limit. Outside the card's range it is refused and nothing changes.
    pub fn set_limit_watts(&mut self, watts: f64) -> Result<(), String> {
        let (least, most) = (self.model.min_limit_watts, self.model.max_limit_watts);
        if !(least..=most).contains(&watts) {
            return Err(format!("the power limit must be between {least} and {most} W, not {watts} W"));
        }
        self.limit_watts = watts;
        Ok(())
    }

    /// Power while powered down, or `None` to power it up.
    pub fn set_parked_watts(&mut self, watts: Option<f64>) {
        self.parked_watts = watts;
    }

    pub fn set_room_celsius(&mut self, celsius: f64) {
        self.room_celsius = celsius;
    }

    pub fn set_fan(&mut self, fan: Fan) {
        self.fan = fan;
    }

    /// Moves the temperature by hand, for tests that cannot wait for the heat sink.
    pub fn set_temperature_celsius(&mut self, celsius: f64) {
        self.temperature_celsius = celsius;
    }

    /// Breaks the thermometer, or with `None` mends it.
    pub fn stick_temperature(&mut self, celsius: Option<f64>) {
        self.stuck_celsius = celsius;
    }

    /// What the thermometer says.
    pub fn shown_celsius(&self) -> f64 {
        self.stuck_celsius.unwrap_or(self.temperature_celsius)
    }

    pub fn model(&self) -> &'static CardModel {
        self.model
    }

    pub fn limit_watts(&self) -> f64 {
        self.limit_watts
    }

    pub fn temperature_celsius(&self) -> f64 {
        self.temperature_celsius
    }

    /// Energy since the card was made, in joules.
    pub fn energy_joules(&self) -> f64 {
        self.energy_joules
    }

    /// Work done since the card was made, in seconds of full load at full clock.
    pub fn work_seconds(&self) -> f64 {
        self.work_seconds
    }

    /// Share of the card's time that this source takes, 0 to 1.
    pub fn duty_of(&self, source: LoadSource) -> f64 {
        self.loads
            .get(&source)
            .filter(|load| load.until.is_none_or(|until| until > self.now))
            .map_or(0.0, |load| load.duty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: f64 = 22.0;

    fn card(key: &str) -> Body {
        Body::new(CardModel::find(key).unwrap(), ROOM, Duration::ZERO)
    }

    fn full(memory_share: f64) -> Load {
        Load { duty: 1.0, memory_share, until: None }
    }

    fn loaded(key: &str, limit_watts: f64, memory_share: f64) -> Body {
        let mut body = card(key);
        body.set_limit_watts(limit_watts).unwrap();
        body.set_load(LoadSource::Session(1), full(memory_share));
        body
    }

    #[test]
    fn idle_card_rests_where_it_stands() {
        let mut body = card("rtx4090");
        let before = body.temperature_celsius();
        body.advance(Duration::from_secs(3600));
        assert!(
            (body.temperature_celsius() - before).abs() < 0.2,
            "{before} -> {}",
            body.temperature_celsius()
        );
        assert!((before - 32.8).abs() < 1.0, "an idle 4090 is a little over room: {before}");
    }

    #[test]
    fn full_load_settles_at_a_believable_temperature() {
        for (key, low, high) in
            [("rtx4090", 60.0, 80.0), ("rtx3060", 55.0, 80.0), ("rtx4060-laptop", 60.0, 90.0)]
        {
            let mut body = card(key);
            body.set_load(LoadSource::Session(1), full(0.0));
            body.advance(Duration::from_secs(600));
            let settled = body.temperature_celsius();
            body.advance(Duration::from_secs(1200));
            assert!((low..high).contains(&settled), "{key}: {settled}");
            assert!((body.temperature_celsius() - settled).abs() < 0.1, "{key} has settled");
        }
    }

    #[test]
    fn limit_holds_power_and_costs_clock() {
        let mut last = f64::INFINITY;
        for limit in [450.0, 360.0, 250.0, 150.0] {
            let draw = loaded("rtx4090", limit, 0.5).draw();
            assert!(draw.watts <= limit + 1e-6, "{} W over a limit of {limit} W", draw.watts);
            assert!(draw.clock_share < last || draw.clock_share == 1.0);
            last = draw.clock_share;
        }
        assert!(loaded("rtx4090", 150.0, 0.5).draw().restraint.power);
    }

    #[test]
    fn throughput_falls_less_than_power() {
        let at = |limit, memory| loaded("rtx4090", limit, memory).draw().throughput;
        let ratio = |memory| at(450.0 * 0.8, memory) / at(450.0, memory);
        assert!(ratio(0.5) > 0.95, "training keeps 95 % at 80 % of the limit: {}", ratio(0.5));
        let decode = at(450.0 * 0.71, 0.85) / at(450.0, 0.85);
        let prefill = at(450.0 * 0.71, 0.0) / at(450.0, 0.0);
        assert!(decode > 0.97 && (0.80..0.90).contains(&prefill), "decode {decode}, prefill {prefill}");
    }

    #[test]
    fn limit_outside_the_range_is_refused() {
        let mut body = card("rtx3060");
        assert!(body.set_limit_watts(99.0).is_err());
        assert!(body.set_limit_watts(213.0).is_err());
        assert!(body.set_limit_watts(f64::NAN).is_err());
        assert_eq!(body.limit_watts(), 170.0);
    }

    #[test]
    fn dead_fan_in_a_hot_room_throttles() {
        let mut body = loaded("rtx4090", 450.0, 0.0);
        body.set_fan(Fan::Fixed(0.0));
        body.set_room_celsius(35.0);
        body.advance(Duration::from_secs(900));
        let draw = body.draw();
        assert!(draw.restraint.thermal && draw.watts < 300.0, "{draw:?}");
        assert!(body.temperature_celsius() > 90.0);
    }

    #[test]
    fn load_ends_at_its_own_moment() {
        let mut body = card("rtx3060");
        let until = Some(Duration::from_millis(1234));
        body.set_load(LoadSource::Session(1), Load { until, ..full(0.0) });
        body.advance(Duration::from_secs(10));
        assert!((body.work_seconds() - 1.234).abs() < 1e-9, "{}", body.work_seconds());
        assert_eq!(body.draw().utilisation, 0.0);
    }

    #[test]
    fn energy_is_the_integral_of_power() {
        // In these ten seconds nothing throttles, so power is constant in each half.
        let mut body = card("rtx4090");
        body.advance(Duration::from_secs(5));
        body.set_load(LoadSource::External(7), full(0.0));
        let loaded_watts = body.draw().watts;
        body.advance(Duration::from_secs(10));
        let expected = 5.0 * 18.0 + 5.0 * loaded_watts;
        assert!((body.energy_joules() - expected).abs() < 1e-6, "{} J", body.energy_joules());
    }

    proptest! {
        /// Looking often or seldom gives the same card, and counters never run backwards.
        #[test]
        fn looking_changes_nothing(steps in prop::collection::vec((1u64..3000, 0.0f64..1.0), 1..30)) {
            let (mut often, mut seldom) = (card("rtx4090"), card("rtx4090"));
            let mut now = Duration::ZERO;
            for (millis, duty) in steps {
                let load = Load { duty, memory_share: 0.3, until: None };
                often.set_load(LoadSource::Session(1), load);
                seldom.set_load(LoadSource::Session(1), load);
                let end = now + Duration::from_millis(millis);
                while now < end {
                    now = end.min(now + Duration::from_millis(77));
                    let before = often.energy_joules();
                    often.advance(now);
                    prop_assert!(often.energy_joules() >= before);
                }
                seldom.advance(end);
            }
            prop_assert!((often.energy_joules() - seldom.energy_joules()).abs() < 0.01 * seldom.energy_joules());
            prop_assert!((often.temperature_celsius() - seldom.temperature_celsius()).abs() < 0.5);
        }

        /// No mixture of loads, limits and fans gives an impossible card.
        #[test]
        fn stays_possible(
            limit in 150.0f64..600.0, duty in 0.0f64..1.0, memory in 0.0f64..1.0,
            fan in 0.0f64..100.0, room in -10.0f64..50.0, seconds in 0u64..100_000,
        ) {
            let mut body = card("rtx4090");
            body.set_limit_watts(limit).unwrap();
            body.set_room_celsius(room);
            body.set_fan(Fan::Fixed(fan));
            body.set_load(LoadSource::Session(1), Load { duty, memory_share: memory, until: None });
            body.advance(Duration::from_secs(seconds));
            let draw = body.draw();
            prop_assert!(draw.watts >= 18.0 - 1e-6 && draw.watts <= limit + 1e-6);
            prop_assert!((0.0..=1.0).contains(&draw.throughput) && draw.clock_share <= 1.0);
            prop_assert!(body.temperature_celsius() >= room.min(22.0) - 1e-6);
            prop_assert!(body.temperature_celsius() < 320.0);
        }
    }
}
