use nightjar_core::thermal::Doubt;

use super::*;

/// Of limits in the second half of a run: a card that is steady is left alone.
const STEADY_CHANGES: usize = 12;

fn keep(course: &Course, helper: bool) -> Outcome {
    run(course, Keeper::Thermal { helper }, &HeatSettings::default()).unwrap()
}

fn kinds_of_work(scenario: &'static str) -> [Course; 2] {
    [0.0, 85.0].map(|memory_percent| Course::hours(scenario, memory_percent, 1))
}

#[test]
fn peers_16_throttle_instead_of_stop_keeps_the_work_of_the_best_fixed_limit() {
    for course in COOLABLE.into_iter().flat_map(kinds_of_work) {
        let ours = keep(&course, true);
        let (watts, fixed) =
            best_fixed(&course, &HeatSettings::default()).unwrap().expect("some limit is cool");
        let percent = 100.0 * ours.work_seconds / fixed.work_seconds;
        println!(
            "{} {}: {percent:.1} % of {watts} W, peak {:+.1} K, {} limits",
            course.scenario,
            course.memory_percent,
            ours.peak_excess_kelvin,
            ours.limits.len()
        );
        assert_eq!(ours.freezes, [], "{course:?}");
        assert!(ours.peak_excess_kelvin <= 0.0, "{course:?}: {} K over", ours.peak_excess_kelvin);
        assert!(percent >= 95.0, "{course:?}: {percent} % of {watts} W");
        let late = ours.limits.iter().filter(|(at, _)| *at > course.length / 2).count();
        assert!(late <= STEADY_CHANGES, "{course:?}: hunts, {late} changes in half an hour");
    }
}

#[test]
fn peers_15_pause_by_temperature_holds_the_ceiling_where_no_limit_can_be_set() {
    for course in COOLABLE.into_iter().chain(HOPELESS).flat_map(kinds_of_work) {
        let ours = keep(&course, false);
        println!(
            "{} {}: lasting {:+.1} K, peak {:+.1} K, stopped {:?}",
            course.scenario,
            course.memory_percent,
            ours.lasting_excess_kelvin,
            ours.peak_excess_kelvin,
            ours.stopped
        );
        assert!(ours.lasting_excess_kelvin <= TOLERATED_KELVIN, "{course:?}");
        assert!(!ours.freezes.is_empty(), "{course:?}");
    }
}

#[test]
fn peers_15_a_blocked_fan_stops_the_card_for_good_and_within_the_ceiling() {
    for course in kinds_of_work("blocked-fan") {
        let ours = keep(&course, true);
        assert!(ours.lasting_excess_kelvin <= TOLERATED_KELVIN, "{course:?}: {ours:?}");
        assert_eq!(ours.freezes.len(), 3, "{course:?}: {ours:?}");
        assert!(ours.stopped.is_some_and(|at| at < Duration::from_secs(900)), "{course:?}: {ours:?}");
    }
}

#[test]
fn a_thermometer_that_dies_leads_to_least_power_and_then_a_freeze() {
    for (scenario, seconds, doubt) in
        [("silent-thermometer", 1, Doubt::Silent), ("stuck-thermometer", 120, Doubt::Stuck)]
    {
        let mut course = Course::hours(scenario, 0.0, 1);
        if doubt == Doubt::Stuck {
            // It can be noticed only by what the power does.
            course.bursts = Some((Duration::from_secs(50), Duration::from_secs(40)));
        }
        let ours = keep(&course, true);
        let (dies, (lowered, _)) = (Duration::from_secs(600), *ours.limits.last().unwrap());
        let (frozen, hold) = ours.freezes[0];
        assert!(lowered >= dies && lowered <= dies + Duration::from_secs(seconds), "{scenario}: {ours:?}");
        assert!(frozen - lowered <= Duration::from_secs(3), "{scenario}: {ours:?}");
        assert!(matches!(hold, Hold::Blind { doubt: found, .. } if found == doubt), "{scenario}: {hold:?}");
        assert!(ours.peak_excess_kelvin <= 0.0, "{scenario}");
    }
}

#[test]
fn a_dead_thermometer_and_a_blocked_fan_at_once_do_not_pass_the_ceiling() {
    for (course, helper) in
        kinds_of_work("blind-and-blocked").iter().flat_map(|course| [(course, true), (course, false)])
    {
        let ours = keep(course, helper);
        println!(
            "{} {helper}: lasting {:+.1} K, peak {:+.1} K",
            course.memory_percent, ours.lasting_excess_kelvin, ours.peak_excess_kelvin
        );
        assert!(ours.lasting_excess_kelvin <= TOLERATED_KELVIN, "{course:?}: {ours:?}");
        assert!(!ours.freezes.is_empty(), "{course:?}: {ours:?}");
    }
}

#[test]
fn a_right_thermometer_is_believed_whatever_the_work_does() {
    for scenario in COOLABLE {
        for (on, off) in [(1, 1), (3, 7), (20, 20), (50, 40), (300, 90), (61, 599)] {
            let bursts = Some((Duration::from_secs(on), Duration::from_secs(off)));
            let course = Course { bursts, ..Course::hours(scenario, 30.0, 1) };
            let ours = keep(&course, true);
            let blind = ours.freezes.iter().any(|(_, hold)| matches!(hold, Hold::Blind { .. }));
            assert!(!blind, "{course:?}: {ours:?}");
            assert!(ours.lasting_excess_kelvin <= TOLERATED_KELVIN, "{course:?}");
        }
    }
}

#[test]
fn the_bench_has_both_figures() {
    let figures = figures().unwrap();
    println!("{figures:?}");
    assert!(figures.thermal_overshoot_c <= TOLERATED_KELVIN && figures.thermal_overshoot_c >= 0.0);
    assert!((95.0..120.0).contains(&figures.thermal_work_percent_of_best_fixed));
}
