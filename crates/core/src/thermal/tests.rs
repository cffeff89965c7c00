use proptest::prelude::*;

use super::*;

const CEILING: u32 = 83;

fn aim(range: Option<WattRange>) -> Aim {
    Aim::new(&HeatSettings::default(), CEILING, range)
}

fn range() -> Option<WattRange> {
    WattRange::new(150.0, 450.0, 450.0)
}

/// One card, read each second.
struct Bench {
    thermal: Thermal,
    aim: Aim,
    now: Timestamp,
}

impl Bench {
    fn new(range: Option<WattRange>) -> Self {
        Self { thermal: Thermal::default(), aim: aim(range), now: Timestamp(0) }
    }

    fn read(&mut self, celsius: impl Into<Option<f64>>, watts: f64) -> Vec<ThermalAction> {
        self.now = self.now.plus_ms(1_000);
        let sample = Sample { celsius: celsius.into(), watts: Some(watts), work: Work::Runs };
        self.thermal.handle(&self.aim, &sample, self.now)
    }

    fn read_for(&mut self, seconds: u64, celsius: f64) -> Vec<ThermalAction> {
        (0..seconds).flat_map(|_| self.read(celsius, 200.0)).collect()
    }
}

#[test]
fn a_cold_card_may_draw_all_that_the_owner_allows() {
    let mut bench = Bench::new(range());
    assert_eq!(bench.read(40.0, 20.0), [ThermalAction::SetLimit { watts: 450 }]);
    assert_eq!(bench.read_for(600, 70.0), []);
}

#[test]
fn peers_15_pause_by_temperature_at_the_ceiling_and_go_on_well_below_it() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.read_for(5, 82.0), []);
    let frozen = bench.read(83.0, 400.0);
    assert_eq!(frozen, [ThermalAction::Freeze { hold: Hold::Cooling { since: bench.now } }]);
    assert_eq!(bench.read_for(60, 76.0), [], "a degree too warm is not cool, however long");
    assert_eq!(bench.read(75.0, 20.0), [ThermalAction::Resume]);

    bench.read_for(30, 70.0);
    bench.read(84.0, 400.0);
    assert_eq!(bench.read_for(18, 60.0), [], "cool, but not for long enough");
    assert_eq!(bench.read_for(3, 60.0), [ThermalAction::Resume]);
}

#[test]
fn peers_15_too_many_trips_stop_the_card_until_an_hour_has_passed_or_the_owner_says_so() {
    let mut bench = Bench::new(None);
    let trip = |bench: &mut Bench| {
        let actions = bench.read(83.0, 400.0);
        bench.read_for(30, 70.0);
        actions
    };
    assert_eq!(trip(&mut bench).len(), 1);
    assert_eq!(trip(&mut bench).len(), 1);
    let third = trip(&mut bench);
    assert!(
        matches!(third[..], [ThermalAction::Freeze { .. }, ThermalAction::Stop { trips: 3, .. }]),
        "{third:?}"
    );
    assert_eq!(bench.read_for(3_500, 30.0), []);
    let mut patient = bench.thermal.clone();
    assert!(matches!(patient.next_deadline(), Some((until, _)) if until > bench.now));
    assert_eq!(bench.read_for(200, 30.0), [ThermalAction::Resume], "the hour has passed");
    patient.allow_again();
    assert_eq!(patient.hold(), None, "the owner says so");
}

#[test]
fn trips_of_an_idle_card_or_of_long_ago_do_not_count() {
    let mut bench = Bench::new(None);
    for _ in 0..10 {
        assert_eq!(bench.read(83.0, 400.0).len(), 1);
        bench.read_for(2_000, 70.0);
    }
    let idle = Sample { celsius: Some(90.0), watts: Some(400.0), work: Work::None };
    let mut thermal = Thermal::default();
    for second in 0..100 {
        let celsius = if second % 2 == 0 { 90.0 } else { 40.0 };
        thermal.handle(&bench.aim, &Sample { celsius: Some(celsius), ..idle }, Timestamp(second * 60_000));
    }
    assert!(!matches!(thermal.hold(), Some(Hold::Stopped { .. })));
}

#[test]
fn a_silent_thermometer_means_least_power_and_then_a_freeze() {
    let mut bench = Bench::new(range());
    bench.read_for(10, 70.0);
    assert_eq!(bench.read(None, 300.0), [ThermalAction::SetLimit { watts: 150 }]);
    assert_eq!(bench.read(None, 150.0), []);
    let hold = Hold::Blind { since: bench.now.plus_ms(1_000), doubt: Doubt::Silent };
    assert_eq!(bench.read(None, 150.0), [ThermalAction::Freeze { hold }]);
    assert!(bench.read_for(40, 50.0).contains(&ThermalAction::Resume), "it is back");
}

#[test]
fn near_the_ceiling_or_at_full_power_there_is_no_time_to_be_blind() {
    let frozen = |actions: &[ThermalAction]| {
        actions.iter().any(|action| matches!(action, ThermalAction::Freeze { hold: Hold::Blind { .. } }))
    };
    let mut hot = Bench::new(range());
    hot.read_for(10, 78.0);
    assert!(frozen(&hot.read(None, 300.0)));
    let mut at_full_power = Bench::new(None);
    at_full_power.read_for(10, 60.0);
    assert!(!frozen(&at_full_power.read(None, 300.0)), "one answer may be missed");
    assert!(frozen(&at_full_power.read(None, 300.0)));
}

#[test]
fn a_thermometer_that_does_not_move_under_load_is_not_believed_for_longer_than_three_seconds() {
    let mut cold = Bench::new(range());
    for _ in 0..300 {
        assert!(cold.read(35.0, 20.0).iter().all(|action| !matches!(action, ThermalAction::Freeze { .. })));
    }
    let mut frozen_after = None;
    for second in 1..10 {
        let frozen = cold.read(35.0, 440.0).iter().any(|it| matches!(it, ThermalAction::Freeze { .. }));
        frozen_after = frozen_after.or(frozen.then_some(second));
    }
    assert!(frozen_after.is_some_and(|second| second <= 3), "{frozen_after:?}");
    assert_eq!(cold.thermal.doubt(), Some(Doubt::Stuck));
}

#[test]
fn a_thermometer_that_sticks_or_lies_is_not_believed() {
    let mut stuck = Bench::new(range());
    for second in 0..200 {
        stuck.read(65.0, if second < 100 { 440.0 } else { 160.0 });
    }
    assert_eq!(stuck.thermal.doubt(), Some(Doubt::Stuck));

    let mut lies = Bench::new(range());
    lies.read_for(5, 80.0);
    assert_eq!(lies.read(22.0, 400.0), [ThermalAction::SetLimit { watts: 150 }]);
    assert_eq!(lies.thermal.doubt(), Some(Doubt::Impossible));
    lies.read_for(12, 22.0);
    assert_eq!(lies.thermal.doubt(), None, "it has been right for ten seconds");
    lies.read(255.0, 400.0);
    assert_eq!(lies.thermal.doubt(), Some(Doubt::Impossible));
}

#[test]
fn a_job_of_steady_power_at_a_steady_temperature_is_no_stuck_thermometer() {
    let mut bench = Bench::new(range());
    for second in 0..3_600 {
        // Short bursts do not reach the heat sink.
        bench.read(65.0, if second % 4 < 2 { 440.0 } else { 160.0 });
    }
    assert_eq!(bench.thermal.doubt(), None);
}

#[test]
fn quiet_hours_are_of_the_owners_day_and_the_lowest_counts() {
    let night = QuietHours { from_minute: 1_320, to_minute: 420, limit_percent: 60 };
    let nap = QuietHours { from_minute: 780, to_minute: 840, limit_percent: 80 };
    let deep = QuietHours { from_minute: 0, to_minute: 300, limit_percent: 50 };
    let heat = HeatSettings { quiet_hours: vec![night, nap, deep], ..HeatSettings::default() };
    let at = |hour: u16, minute: u16| heat.quiet_percent(hour * 60 + minute);
    assert_eq!((at(21, 59), at(22, 0), at(23, 59)), (None, Some(60), Some(60)));
    assert_eq!(
        (at(0, 0), at(4, 59), at(5, 0), at(6, 59), at(7, 0)),
        (Some(50), Some(50), Some(60), Some(60), None)
    );
    assert_eq!((at(13, 30), at(14, 0)), (Some(80), None));
    heat.check().unwrap();
    let wrong = HeatSettings { quiet_hours: vec![QuietHours { from_minute: 1_440, ..night }], ..heat };
    assert_eq!(wrong.check().unwrap_err().field, "heat.quiet_hours.from_minute");
}

#[test]
fn a_lower_cap_counts_at_once_and_a_higher_one_soon() {
    let mut bench = Bench::new(range());
    bench.read_for(5, 60.0);
    bench.aim.range = WattRange::new(150.0, 450.0, 270.0);
    assert_eq!(bench.read(60.0, 400.0), [ThermalAction::SetLimit { watts: 270 }]);
    bench.aim.range = range();
    bench.read_for(120, 60.0);
    assert_eq!(bench.thermal.limit_watts(), Some(450));
}

proptest! {
    /// Whatever a thermometer says: limits are whole steps within the range, and at the ceiling nothing runs.
    #[test]
    fn whatever_is_read_the_ceiling_holds(
        readings in prop::collection::vec((prop::option::of(-300.0f64..400.0), 0.0f64..500.0, 1u64..40_000, any::<bool>()), 1..200),
        least in 20.0f64..200.0, room in 0.0f64..300.0, share in 0.0f64..1.0,
    ) {
        let (default, cap) = (least + room, least + room * share);
        let range = WattRange::new(least, default, cap);
        let (mut thermal, mut now) = (Thermal::default(), Timestamp(0));
        let mut running = true;
        for (celsius, watts, millis, working) in readings {
            now = now.plus_ms(millis);
            let sample = Sample { celsius, watts: Some(watts), work: if working { Work::Runs } else { Work::Held } };
            for action in thermal.handle(&aim(range), &sample, now) {
                match action {
                    ThermalAction::SetLimit { watts } => {
                        prop_assert!(f64::from(watts) <= cap, "{watts} over {cap}");
                        prop_assert!(watts.is_multiple_of(STEP_WATTS) || f64::from(watts) == cap.floor());
                        prop_assert!(f64::from(watts) >= least.floor());
                    }
                    ThermalAction::Resume => {
                        prop_assert!(!running);
                        running = true;
                    }
                    ThermalAction::Freeze { .. } => {
                        prop_assert!(running);
                        running = false;
                    }
                    ThermalAction::Stop { .. } => prop_assert!(!running),
                }
            }
            prop_assert_eq!(running, thermal.hold().is_none());
            if celsius.is_some_and(|celsius| (83.0..130.0).contains(&celsius)) {
                prop_assert!(!running);
            }
        }
    }
}
