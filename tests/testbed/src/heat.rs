//! The controller of a card's heat against the stand-in's physics, as two pure libraries in made-up time: an hour
//! passes in a moment. The stand-in is asked as its library asks it (whole degrees, errors and all), once a second.

use std::time::Duration;

use nightjar_core::thermal::{Aim, HeatSettings, Hold, Sample, Thermal, ThermalAction, WattRange, Work};
use nightjar_core::time::Timestamp;
use nightjar_sim::machine::{Machine, Peer};
use nightjar_sim::scenario::Scenario;
use nightjar_sim::wire::{CardReading, CardStats, Control, PROTOCOL, Reply, Request};

/// Between two readings while a job runs, as the agent's sampler has it.
const READ_EVERY: Duration = Duration::from_secs(1);
/// From a reading to a limit that is set or a tenant that is frozen: far more than either takes.
const HANDS_TAKE: Duration = Duration::from_millis(200);
/// How closely the truth is watched.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// An excess that is shorter does not count.
const LASTING: Duration = Duration::from_secs(3);
/// Beyond the ceiling by more than this for longer than [`LASTING`] is a failure.
pub const TOLERATED_KELVIN: f64 = 2.0;
pub const CEILING_CELSIUS: u32 = 83;
const TENANT_PID: u32 = 4242;

/// Who keeps the card from getting too hot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keeper {
    /// Nightjar; with or without a helper that may set limits.
    Thermal { helper: bool },
    /// A limit that somebody has set once.
    Fixed { watts: u32 },
}

/// One run.
#[derive(Clone, Debug)]
pub struct Course {
    pub scenario: &'static str,
    /// 0: arithmetic alone; 100: memory alone.
    pub memory_percent: f64,
    pub length: Duration,
    /// Work comes for this long and goes for this long; without it, it is there always.
    pub bursts: Option<(Duration, Duration)>,
}

impl Course {
    #[must_use]
    pub fn hours(scenario: &'static str, memory_percent: f64, hours: u64) -> Self {
        Self { scenario, memory_percent, length: Duration::from_secs(3_600 * hours), bursts: None }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Above the ceiling at worst for longer than three seconds; negative where it was never reached.
    pub lasting_excess_kelvin: f64,
    /// Above the ceiling at worst, however shortly.
    pub peak_excess_kelvin: f64,
    /// In seconds of full load at full clock.
    pub work_seconds: f64,
    /// Each limit that was set, and when.
    pub limits: Vec<(Duration, u32)>,
    /// Each freeze, and when.
    pub freezes: Vec<(Duration, Hold)>,
    pub stopped: Option<Duration>,
}

/// The stand-in machine, asked as a process of root would.
struct Rig {
    machine: Machine,
    session: u64,
    now: Duration,
}

impl Rig {
    fn new(scenario: &str) -> Result<Self, String> {
        let mut machine = Machine::new(Scenario::named(scenario)?, 0, Duration::ZERO);
        let session = machine.connect(Peer { pid: 1, uid: 0 });
        let mut rig = Self { machine, session, now: Duration::ZERO };
        rig.ask(&Request::Hello { protocol: PROTOCOL, visible: None });
        Ok(rig)
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.machine.handle(self.session, request, self.now)
    }

    fn read(&mut self, call: &str) -> Option<CardReading> {
        match self.ask(&Request::Card { call: call.to_owned(), card: 0 }) {
            Reply::Card { reading } => Some(*reading),
            _ => None,
        }
    }

    fn truth(&mut self) -> Option<CardStats> {
        match self.ask(&Request::Stats) {
            Reply::Stats { mut stats } => stats.cards.pop(),
            _ => None,
        }
    }

    fn set_limit(&mut self, watts: u32) -> bool {
        let set = Request::SetPowerLimit { card: 0, milliwatts: watts * 1_000 };
        self.ask(&set) == Reply::Done
    }

    fn work(&mut self, course: &Course, frozen: bool) {
        let is_on = course.bursts.is_none_or(|(on, off)| {
            Duration::from_millis(u64::try_from(self.now.as_millis() % (on + off).as_millis()).unwrap_or(0))
                < on
        });
        let load = Control::ExternalLoad {
            card: 0,
            pid: TENANT_PID,
            util_percent: if is_on && !frozen { 100.0 } else { 0.0 },
            vram_mib: 1_024,
            graphics: false,
            memory_percent: Some(course.memory_percent),
        };
        self.ask(&Request::Control { control: load });
    }

    /// What the controller is given.
    fn sample(&mut self, frozen: bool) -> Sample {
        let celsius = self.read("nvmlDeviceGetTemperature").map(|card| f64::from(card.temperature_celsius));
        let watts =
            self.read("nvmlDeviceGetPowerUsage").map(|card| f64::from(card.power_milliwatts) / 1_000.0);
        Sample { celsius, watts, work: if frozen { Work::Held } else { Work::Runs } }
    }

    /// Limits that may be set, where they may be set at all.
    fn range(&mut self) -> Option<WattRange> {
        let card = self.read("nvmlDeviceGetPowerManagementLimitConstraints")?;
        let watts = |milliwatts: u32| f64::from(milliwatts) / 1_000.0;
        let default = watts(card.default_limit_milliwatts);
        if !self.set_limit(card.default_limit_milliwatts / 1_000) {
            return None;
        }
        WattRange::new(watts(card.min_limit_milliwatts), default, default)
    }
}

/// Watches the true temperature.
#[derive(Default)]
struct Truth {
    recent: std::collections::VecDeque<f64>,
    lasting: Option<f64>,
    peak: Option<f64>,
}

impl Truth {
    fn see(&mut self, celsius: f64) {
        let most = usize::try_from(LASTING.as_millis() / WATCH_EVERY.as_millis()).unwrap_or(usize::MAX);
        self.recent.push_back(celsius);
        self.peak = Some(self.peak.map_or(celsius, |peak| peak.max(celsius)));
        if self.recent.len() > most {
            let least = self.recent.iter().copied().fold(f64::INFINITY, f64::min);
            self.lasting = Some(self.lasting.map_or(least, |lasting| lasting.max(least)));
            self.recent.pop_front();
        }
    }
}

/// Runs one course.
///
/// # Errors
/// When there is no such scenario.
pub fn run(course: &Course, keeper: Keeper, heat: &HeatSettings) -> Result<Outcome, String> {
    let mut rig = Rig::new(course.scenario)?;
    let mut outcome = Outcome::default();
    let mut truth = Truth::default();
    let mut thermal = Thermal::default();
    let mut frozen = false;
    let range = match keeper {
        Keeper::Thermal { helper: true } => rig.range(),
        Keeper::Thermal { helper: false } => None,
        Keeper::Fixed { watts } => {
            rig.set_limit(watts);
            None
        }
    };
    let aim = Aim::new(heat, CEILING_CELSIUS, range);
    let (mut read_at, mut due) = (Duration::ZERO, None);
    while rig.now < course.length {
        rig.work(course, frozen);
        if let Keeper::Thermal { .. } = keeper {
            if rig.now >= read_at {
                let now = Timestamp(i64::try_from(rig.now.as_millis()).unwrap_or(i64::MAX));
                due = Some((rig.now + HANDS_TAKE, thermal.handle(&aim, &rig.sample(frozen), now)));
                read_at += READ_EVERY;
            }
            if let Some((_, actions)) = due.take_if(|(at, _)| rig.now >= *at) {
                for action in actions {
                    perform(action, &mut rig, &mut frozen, &mut outcome);
                }
                rig.work(course, frozen);
            }
        }
        rig.now += if matches!(keeper, Keeper::Fixed { .. }) { READ_EVERY } else { WATCH_EVERY };
        if let Some(stats) = rig.truth() {
            truth.see(stats.true_celsius);
            outcome.work_seconds = Duration::from_millis(stats.work_millis).as_secs_f64();
        }
    }
    let above = |celsius: Option<f64>| celsius.unwrap_or(0.0) - f64::from(CEILING_CELSIUS);
    outcome.lasting_excess_kelvin = above(truth.lasting);
    outcome.peak_excess_kelvin = above(truth.peak);
    Ok(outcome)
}

fn perform(action: ThermalAction, rig: &mut Rig, frozen: &mut bool, outcome: &mut Outcome) {
    match action {
        ThermalAction::SetLimit { watts } => {
            rig.set_limit(watts);
            outcome.limits.push((rig.now, watts));
        }
        ThermalAction::Freeze { hold } => {
            *frozen = true;
            outcome.freezes.push((rig.now, hold));
        }
        ThermalAction::Resume => *frozen = false,
        ThermalAction::Stop { .. } => {
            *frozen = true;
            outcome.stopped = Some(rig.now);
        }
    }
}

/// The most work that a limit does which somebody sets once and which never lets the card over the ceiling; `None`
/// where no limit does. More watts are more work and more heat, so the highest that is cool enough is found by halving.
///
/// # Errors
/// When there is no such scenario.
pub fn best_fixed(course: &Course, heat: &HeatSettings) -> Result<Option<(u32, Outcome)>, String> {
    let card = Rig::new(course.scenario)?.read("nvmlDeviceGetName").ok_or("the card does not answer")?;
    let step = nightjar_core::thermal::STEP_WATTS;
    let (mut low, mut high) =
        (card.min_limit_milliwatts / 1_000 / step, card.default_limit_milliwatts / 1_000 / step);
    let mut best = None;
    while low <= high {
        let middle = u32::midpoint(low, high);
        let outcome = run(course, Keeper::Fixed { watts: middle * step }, heat)?;
        if outcome.peak_excess_kelvin <= 0.0 {
            best = Some((middle * step, outcome));
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    Ok(best)
}

/// The two figures of the bench: degrees above the ceiling that last, at worst over all scenarios, and the work beside
/// the best fixed limit's in percent, at worst over the scenarios in which some fixed limit is cool enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThermalFigures {
    pub thermal_overshoot_c: f64,
    pub thermal_work_percent_of_best_fixed: f64,
}

/// Scenarios in which the card can be kept cool and at work.
pub const COOLABLE: [&str; 3] = ["hot-room", "dusty-fan", "dead-fan-sensor"];
/// Scenarios in which it can only be stopped.
pub const HOPELESS: [&str; 4] = ["blocked-fan", "silent-thermometer", "blind-and-blocked", "laptop-in-bed"];

/// # Errors
/// When a scenario does not come with the stand-in.
pub fn figures() -> Result<ThermalFigures, String> {
    let heat = HeatSettings::default();
    let mut figures =
        ThermalFigures { thermal_overshoot_c: 0.0, thermal_work_percent_of_best_fixed: f64::INFINITY };
    for scenario in COOLABLE.into_iter().chain(HOPELESS) {
        for memory_percent in [0.0, 85.0] {
            let course = Course::hours(scenario, memory_percent, 1);
            let ours = run(&course, Keeper::Thermal { helper: true }, &heat)?;
            let without_helper = run(&course, Keeper::Thermal { helper: false }, &heat)?;
            figures.thermal_overshoot_c = figures
                .thermal_overshoot_c
                .max(ours.lasting_excess_kelvin)
                .max(without_helper.lasting_excess_kelvin);
            if COOLABLE.contains(&scenario)
                && let Some((_, fixed)) = best_fixed(&course, &heat)?
            {
                let percent = 100.0 * ours.work_seconds / fixed.work_seconds;
                figures.thermal_work_percent_of_best_fixed =
                    figures.thermal_work_percent_of_best_fixed.min(percent);
            }
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests;
