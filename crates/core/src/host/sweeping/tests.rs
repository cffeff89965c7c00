use crate::gpu::{GpuUuid, PowerLimits};
use crate::host::sample::{card, driver, terms};
use crate::host::{
    Effect, GpuReport, Host, Input, JournalEntry, LoadEvent, MarketInput, Report, UserCommand,
};
use crate::policy::Presence;
use crate::settings::Settings;

use super::*;

const LIMITS: PowerLimits =
    PowerLimits { enforced_watts: 450.0, default_watts: 450.0, min_watts: 150.0, max_watts: 600.0 };

/// A host with a card that does as it is told: its work and its draw follow from its limit.
struct Bench {
    host: Host,
    now: Timestamp,
    /// What the card has, and whether the load is on it.
    limit: f64,
    loaded: bool,
    done: f64,
    joules: f64,
    said: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        let settings = Settings { disk_reserve_mib: 0, ..Settings::default() };
        let (host, now) = (Host::new(settings), Timestamp(10_000_000));
        let mut bench =
            Self { host, now, limit: 450.0, loaded: false, done: 0.0, joules: 0.0, said: Vec::new() };
        bench.read();
        bench.put(Input::Runtime(Runtime::Ready {
            unsafe_versions: vec![],
            images: vec!["pytorch-cuda:lite".into()],
            engine: Default::default(),
        }));
        bench.put(Input::Disks(vec![crate::host::sample::disk("/", 100_000)]));
        bench.put(Input::Recovered(vec![]));
        bench.put(Input::Helper(HelperStanding::Available { version: "1".into() }));
        bench.put(Input::Market(MarketInput::Connected));
        bench
    }

    fn put(&mut self, input: Input) {
        for effect in self.host.handle(input, self.now) {
            match &effect {
                Effect::SetPowerLimit { watts, .. } => self.limit = f64::from(*watts),
                Effect::RestorePowerLimit { .. } => self.limit = 450.0,
                Effect::StartLoad { .. } => self.loaded = true,
                Effect::StopLoad { .. } => self.loaded = false,
                _ => {}
            }
            self.said.push(effect);
        }
    }

    fn read(&mut self) {
        let mut reading = card("GPU-1");
        reading.power_limits = Some(PowerLimits { enforced_watts: self.limit, ..LIMITS });
        reading.power_watts = Some(self.watts());
        reading.temperature_celsius = Some(30.0 + self.watts() / 10.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's card")]
        let counted = (self.joules * 1_000.0) as u64;
        reading.energy_millijoules = Some(counted);
        self.put(Input::Gpus(GpuReport::Readings { driver: driver(), cards: vec![reading] }));
    }

    fn watts(&self) -> f64 {
        if self.loaded { self.limit.min(430.0) } else { 20.0 }
    }

    /// A second of the card's life, with the load's words and a reading at its end.
    fn second(&mut self) {
        for _ in 0..10 {
            self.tenth();
        }
        self.read();
        self.put(Input::Deadline);
    }

    fn tenth(&mut self) {
        if let Some(done) = self.unheard_tenth() {
            self.load(LoadEvent::Work { done });
        }
    }

    /// What the load says at its end.
    fn unheard_tenth(&mut self) -> Option<u64> {
        self.now = self.now.plus_ms(100);
        self.joules += self.watts() / 10.0;
        self.loaded.then(|| {
            self.done += 100.0 * (self.watts() / 430.0).sqrt();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's work")]
            let done = self.done as u64;
            done
        })
    }

    /// A second in which the load works and nothing that it says comes through before its end.
    fn held_up_second(&mut self) {
        let held_up: Vec<u64> = (0..10).filter_map(|_| self.unheard_tenth()).collect();
        for done in held_up {
            self.load(LoadEvent::Work { done });
        }
        self.read();
    }

    /// The PC is busy with something else, and the card, with nothing to do, draws little.
    fn stall(&mut self) {
        self.now = self.now.plus_ms(300);
        self.joules += 20.0 * 0.3;
    }

    fn sweeping(&self) -> &Sweeping {
        self.host.cards[&GpuUuid("GPU-1".into())].sweep.as_ref().unwrap()
    }

    fn is_measuring(&self) -> bool {
        self.sweeping().sweep.is_measuring()
    }

    /// To its end; how many seconds that took.
    fn finish(&mut self, each: impl Fn(&mut Self, usize)) -> usize {
        let mut seconds = 0;
        while self.loaded {
            each(self, seconds);
            seconds += 1;
            assert!(seconds < 200, "{:?}", self.phase());
        }
        self.gone();
        seconds
    }

    fn curve(&self) -> Vec<Point> {
        let curve = self.said.iter().find_map(|effect| match effect {
            Effect::Journal(JournalEntry::Curve { curve, kind: WorkKind::Compute, .. }) => Some(curve),
            _ => None,
        });
        curve.unwrap().points.clone()
    }

    fn assert_true_curve(&self) {
        let points = self.curve();
        assert_eq!(points.len(), 4);
        for point in points {
            let watts = f64::from(point.limit_watts).min(430.0);
            assert!((point.watts - watts).abs() < 0.03 * watts, "{point:?}");
            let work = 1_000.0 * (watts / 430.0).sqrt();
            assert!((point.work_per_second - work).abs() < 0.02 * work, "{point:?}");
        }
    }

    fn load(&mut self, event: LoadEvent) {
        self.put(Input::Load { gpu: GpuUuid("GPU-1".into()), event });
    }

    fn gone(&mut self) {
        self.load(LoadEvent::Gone { cause: "told".into() });
    }

    fn idle(&mut self) {
        self.put(Input::Presence(Presence::Idle { since: Timestamp(0) }));
    }

    fn sweep(&mut self) {
        let wish = SweepWish { gpu: None, kind: WorkKind::Compute, limits: Some(4), measure_ms: Some(2_000) };
        assert_eq!(self.host.check_command(&UserCommand::Sweep(wish.clone())), Ok(()));
        self.put(Input::User(UserCommand::Sweep(wish)));
    }

    fn phase(&self) -> SweepPhase {
        self.sweeping().phase.clone()
    }

    fn running() -> Self {
        let mut bench = Self::new();
        bench.idle();
        bench.sweep();
        bench.second();
        bench.second();
        assert!(
            matches!(bench.phase(), SweepPhase::Measuring { limit_watts: Some(150) }),
            "{:?}",
            bench.phase()
        );
        assert!((bench.limit - 150.0).abs() < 0.1);
        bench
    }

    fn offered(&self) -> usize {
        let last = self.said.iter().rev().find_map(|effect| match effect {
            Effect::Tell(Report::Offers { offers, .. }) => Some(offers.len()),
            _ => None,
        });
        last.unwrap()
    }
}

#[test]
fn every_limit_is_measured_and_then_all_is_as_before() {
    let mut bench = Bench::running();
    assert_eq!(bench.offered(), 0, "a card that is measured takes no job");
    let mut limits = Vec::new();
    while bench.loaded {
        limits.push(bench.limit);
        bench.second();
        assert!(limits.len() < 60, "{:?}", bench.phase());
    }
    limits.dedup();
    assert_eq!(limits, [150.0, 250.0, 350.0, 450.0]);
    bench.gone();
    assert!(matches!(bench.phase(), SweepPhase::Over { end: SweepEnd::Done, .. }));
    assert!((bench.limit - 450.0).abs() < 0.1);
    assert_eq!(bench.offered(), 1);
    bench.assert_true_curve();
    let view = bench.host.view(bench.now);
    assert_eq!(view.cards[0].sweet_spots.len(), 1);
    assert_eq!(view.cards[0].sweet_spots[0].judgement.judged.len(), 4);
}

#[test]
fn the_owner_is_not_kept_waiting_for_a_moment() {
    let mut bench = Bench::running();
    bench.said.clear();
    bench.put(Input::Presence(Presence::Active { since: bench.now }));
    assert_eq!(bench.said.first(), Some(&Effect::StopLoad { gpu: GpuUuid("GPU-1".into()) }));
    assert!((bench.limit - 450.0).abs() < 0.1, "the owner's limit is the owner's at once");
    bench.gone();
    assert!(matches!(
        bench.phase(),
        SweepPhase::Over { end: SweepEnd::Interrupted { reason: Some(BlockReason::UserHere { .. }) }, .. }
    ));
    assert!(bench.host.view(bench.now).cards[0].sweet_spots.is_empty(), "half a curve is none");
}

#[test]
fn it_waits_until_the_card_is_free_and_takes_no_jobs_place() {
    let mut bench = Bench::new();
    bench.put(Input::Presence(Presence::Active { since: bench.now }));
    bench.sweep();
    bench.second();
    assert!(matches!(bench.phase(), SweepPhase::Waiting { .. }) && !bench.loaded);
    let again = SweepWish { gpu: None, kind: WorkKind::Memory, limits: None, measure_ms: None };
    assert_eq!(bench.host.check_command(&UserCommand::Sweep(again)), Err(CommandError::SweepRuns));
    bench.idle();
    assert!(bench.loaded, "nobody is there, so it begins");
    bench.put(Input::Market(MarketInput::Offer(Box::new(terms("lease", 1, "GPU-1")))));
    assert!(
        matches!(bench.said.last(), Some(Effect::Tell(Report::Declined { .. }))),
        "{:?}",
        bench.said.last()
    );
    bench.put(Input::User(UserCommand::StopSweep { gpu: None }));
    assert!(!bench.loaded);
    bench.gone();
    assert!(matches!(bench.phase(), SweepPhase::Over { end: SweepEnd::Cancelled, .. }));
    assert_eq!(bench.offered(), 1);
}

#[test]
fn another_programs_limit_and_a_load_that_hangs_or_ends_are_failures() {
    let mut bench = Bench::running();
    bench.second();
    bench.second();
    bench.limit = 300.0;
    bench.second();
    assert!(!bench.loaded);
    bench.gone();
    assert!(
        matches!(bench.phase(), SweepPhase::Over { end: SweepEnd::Failed { cause }, .. } if cause.contains("300 W"))
    );

    let mut bench = Bench::running();
    bench.now = bench.now.plus_ms(SILENT_AT_MOST_MS);
    bench.put(Input::Deadline);
    assert!(!bench.loaded && matches!(bench.phase(), SweepPhase::Ending { end: SweepEnd::Failed { .. } }));

    let mut bench = Bench::running();
    bench.gone();
    assert!((bench.limit - 450.0).abs() < 0.1);
    assert!(matches!(bench.phase(), SweepPhase::Over { end: SweepEnd::Failed { .. }, .. }));

    let mut bench = Bench::running();
    bench.put(Input::Helper(HelperStanding::NotInstalled));
    assert!(!bench.loaded, "without the helper the limit is what it was");
    let wish = SweepWish { gpu: None, kind: WorkKind::Compute, limits: None, measure_ms: None };
    assert_eq!(bench.host.check_command(&UserCommand::Sweep(wish)), Err(CommandError::NoHelper));
}

#[test]
fn a_stall_of_the_pc_falsifies_no_point() {
    let usual = Bench::running().finish(|bench, _| bench.second());
    for at in 0..usual {
        let mut bench = Bench::running();
        let took = bench.finish(|bench, seconds| {
            if seconds == at {
                bench.tenth();
                bench.stall();
            }
            bench.second();
        });
        assert!(matches!(bench.phase(), SweepPhase::Over { end: SweepEnd::Done, .. }), "{:?}", bench.phase());
        bench.assert_true_curve();
        assert!(took <= usual + 5, "one limit is done again and no more: {took} s, usually {usual} s");
    }

    let mut bench = Bench::running();
    bench.finish(|bench, seconds| {
        if seconds % 4 == 3 {
            bench.tenth();
            bench.stall();
        }
        bench.second();
    });
    let phase = bench.phase();
    assert!(
        matches!(&phase, SweepPhase::Over { end: SweepEnd::Failed { cause }, .. } if cause.contains("too busy")),
        "no curve is better than a false one: {phase:?}"
    );
    assert!((bench.limit - 450.0).abs() < 0.1);
}

#[test]
fn reports_that_were_held_up_neither_falsify_a_point_nor_cost_time() {
    let usual = Bench::running().finish(|bench, _| bench.second());
    for at in 0..usual - 1 {
        let mut bench = Bench::running();
        let took = bench.finish(
            |bench, seconds| {
                if seconds == at { bench.held_up_second() } else { bench.second() }
            },
        );
        bench.assert_true_curve();
        assert!(took <= usual + 1, "held up at {at}: {took} s, usually {usual} s");
    }
}

#[test]
fn one_reading_of_the_limit_before_is_no_other_program() {
    let until_measured = |power_is_late: bool| {
        let mut bench = Bench::running();
        while bench.limit < 200.0 {
            bench.read();
            bench.tenth();
        }
        // No reading comes through until it has settled, and then one that was taken before.
        while !bench.is_measuring() {
            bench.tenth();
        }
        bench.limit = 150.0;
        bench.read();
        if !power_is_late {
            bench.limit = 250.0;
        }
        bench
    };
    let mut bench = until_measured(false);
    assert!(bench.loaded, "{:?}", bench.phase());
    bench.second();
    assert!(
        bench.loaded && !bench.is_measuring(),
        "nobody knows since when it has this limit: it settles anew"
    );
    bench.finish(|bench, _| bench.second());
    bench.assert_true_curve();

    // The window of a limit that no reading has shown does not end.
    let mut bench = until_measured(false);
    for _ in 0..40 {
        bench.tenth();
    }
    assert!(bench.sweeping().view().points.len() == 1 && bench.loaded);

    // Two of them: it has that limit, also where a stall has made it settle anew in between.
    let mut bench = until_measured(true);
    bench.tenth();
    bench.stall();
    bench.tenth();
    bench.tenth();
    assert!(bench.loaded && !bench.is_measuring());
    bench.second();
    assert!(!bench.loaded);
    let mut bench = until_measured(true);
    bench.second();
    assert!(!bench.loaded);
    bench.gone();
    assert!(
        matches!(bench.phase(), SweepPhase::Over { end: SweepEnd::Failed { cause }, .. } if cause.contains("150 W"))
    );
}

#[test]
fn what_was_measured_before_a_restart_is_known_after_it() {
    let mut bench = Bench::new();
    let point =
        |limit_watts, work_per_second| Point { limit_watts, work_per_second, watts: f64::from(limit_watts) };
    let curve = Curve {
        measured_at: Timestamp(5),
        points: vec![point(150, 60.0), point(300, 90.0), point(450, 100.0)],
    };
    let curves = crate::sweep::Curves([(WorkKind::Memory, curve)].into());
    bench.put(Input::Curves(vec![(GpuUuid("GPU-1".into()), curves)]));
    let view = bench.host.view(bench.now);
    let spots: Vec<WorkKind> = view.cards[0].sweet_spots.iter().map(|spot| spot.work).collect();
    assert_eq!(spots, [WorkKind::Memory]);
}
