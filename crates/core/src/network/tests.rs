use proptest::prelude::*;

use super::*;
use crate::lease::LeaseId;

fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(text: &str) -> Timestamp {
    let wall: jiff::civil::DateTime = text.parse().unwrap();
    crate::week::beginning(wall, &zone()).unwrap()
}

fn with_night(hours: &str) -> NetworkSettings {
    let rates = Rates { up_kbit: 40_000, down_kbit: 200_000 };
    let night = Some(Night { hours: hours.parse().unwrap(), rates });
    NetworkSettings { night, ..NetworkSettings::default() }
}

#[test]
fn night_begins_and_ends_on_the_wall() {
    let settings = with_night("23:00-07:00");
    let by_day = settings.standing_at(at("2026-11-24T12:00"), &zone());
    assert_eq!((by_day.limits, by_day.at_night), (settings.day, false));
    assert_eq!(by_day.changes_at, Some(at("2026-11-24T23:00")));
    for moment in ["2026-11-24T23:00", "2026-11-25T06:59"] {
        let standing = settings.standing_at(at(moment), &zone());
        assert_eq!(
            (standing.at_night, standing.changes_at),
            (true, Some(at("2026-11-25T07:00"))),
            "{moment}"
        );
        assert_eq!(standing.limits.down_kbit, 200_000);
    }
    assert!(!settings.standing_at(at("2026-11-25T07:00"), &zone()).at_night);
    assert_eq!(NetworkSettings::default().standing_at(at("2026-11-25T07:00"), &zone()).changes_at, None);
}

#[test]
fn a_night_of_a_whole_day_does_not_end_at_midnight() {
    let standing = with_night("00:00-24:00").standing_at(at("2026-11-24T12:00"), &zone());
    assert!(standing.at_night && standing.changes_at > Some(at("2026-11-25T12:00")));
}

#[test]
fn the_months_end_is_midnight_on_the_wall_also_when_the_clock_changes() {
    let month = Month::of(at("2026-03-31T23:59"), &zone()).unwrap();
    assert_eq!((month.name.as_str(), month.ends_at), ("2026-03", at("2026-04-01T00:00")));
    assert_eq!(Month::of(month.ends_at, &zone()).unwrap().name, "2026-04");
    assert_eq!(Month::of(at("2026-12-31T12:00"), &zone()).unwrap().ends_at, at("2027-01-01T00:00"));
}

#[test]
fn bounds_are_told_with_their_field() {
    let wrong = |change: fn(&mut NetworkSettings)| {
        let mut settings = with_night("23:00-07:00");
        change(&mut settings);
        settings.check().unwrap_err().to_string()
    };
    assert!(wrong(|s| s.day.up_kbit = 63).contains("network.day.up_kbit is 63"));
    assert!(wrong(|s| s.day.down_kbit = MOST_KBIT + 1).contains("network.day.down_kbit"));
    assert!(wrong(|s| s.night.as_mut().unwrap().rates.up_kbit = 0).contains("network.night"));
    assert!(wrong(|s| s.monthly_cap_mib = Some(99)).contains("monthly_cap_mib is 99"));
    let same = |s: &mut NetworkSettings| {
        let hours = &mut s.night.as_mut().unwrap().hours;
        hours.to = hours.from;
    };
    let mut settings = with_night("23:00-07:00");
    same(&mut settings);
    assert!(settings.check().unwrap_err().to_string().contains("23:00-23:00"));
    with_night("23:00-07:00").check().unwrap();
}

#[test]
fn a_cap_is_near_at_four_fifths() {
    assert_eq!(CapLevel::of(79, 100), CapLevel::Free);
    assert_eq!(CapLevel::of(80, 100), CapLevel::Near);
    assert_eq!(CapLevel::of(100, 100), CapLevel::Reached);
    assert_eq!(CapLevel::of(u64::MAX / 2, u64::MAX), CapLevel::Free);
}

#[test]
fn a_new_month_begins_at_nothing_and_counts_only_what_comes() {
    let lease = LeaseId("a".into());
    let total = |bytes| Traffic { up_bytes: bytes, down_bytes: 0 };
    let mut used = DataUse::default();
    used.turn_to(&Month { name: "2026-11".into(), ends_at: Timestamp(0) });
    used.take(&lease, total(100));
    assert!(used.turn_to(&Month { name: "2026-12".into(), ends_at: Timestamp(0) }));
    assert_eq!(used.used().sum(), 0);
    used.take(&lease, total(130));
    assert_eq!(used.used().sum(), 30);
    // A new placement counts from nothing.
    used.take(&lease, total(5));
    assert_eq!(used.used().sum(), 35);
}

/// A clock without a battery is in another year until the network sets it, after each start of the PC.
#[test]
fn a_clock_that_shows_another_month_for_a_while_clears_nothing() {
    let lease = LeaseId("a".into());
    let month = |name: &str| Month { name: name.into(), ends_at: Timestamp(0) };
    let (mut used, mut total) = (DataUse::default(), 0);
    let mut carry = |used: &mut DataUse, bytes| {
        total += bytes;
        used.take(&lease, Traffic { up_bytes: total, down_bytes: 0 });
        used.used().sum()
    };
    used.turn_to(&month("2026-10"));
    assert_eq!(carry(&mut used, 7), 7);
    used.turn_to(&month("2026-11"));
    assert_eq!(carry(&mut used, 100), 100);
    for start in 1..=3 {
        for wrong in ["2020-01", "2098-03"] {
            assert!(used.turn_to(&month(wrong)));
            assert_eq!(carry(&mut used, 1), start);
            assert!(used.turn_to(&month("2026-11")));
            assert_eq!(used.used().sum(), 100);
        }
    }
    // The next month begins at nothing all the same, and in time the earliest are forgotten.
    used.turn_to(&month("2026-12"));
    assert_eq!(used.used().sum(), 0);
    for year in 2027..2050 {
        used.turn_to(&month(&format!("{year}-01")));
        assert_eq!(carry(&mut used, 5), 5);
    }
    for (name, known) in [("2026-11", 0), ("2049-01", 5), ("2048-01", 5), ("2098-03", 3)] {
        used.turn_to(&month(name));
        assert_eq!(used.used().sum(), known, "{name}");
    }
    assert!(serde_json::to_string(&used).unwrap().len() < 1_000);
}

#[test]
fn what_an_earlier_version_counted_goes_on() {
    let text = r#"{"month":"2026-11","used":{"up_bytes":5,"down_bytes":7},"counted":{"a":{"up_bytes":5,"down_bytes":7}}}"#;
    let mut used: DataUse = serde_json::from_str(text).unwrap();
    used.turn_to(&Month { name: "2026-11".into(), ends_at: Timestamp(0) });
    used.take(&LeaseId("a".into()), Traffic { up_bytes: 6, down_bytes: 7 });
    assert_eq!(used.used().sum(), 13);
    let written = serde_json::to_string(&used).unwrap();
    assert_eq!(serde_json::from_str::<DataUse>(&written).unwrap(), used);
}

proptest! {
    /// However often the program is restarted between two readings: the sum is what went through.
    #[test]
    fn restarts_neither_lose_nor_double_a_byte(steps in prop::collection::vec((0_usize..3, 0_u64..5_000, any::<bool>()), 1..60)) {
        let mut used = DataUse::default();
        let mut totals = [Traffic::default(); 3];
        let mut expected = 0;
        for (lease, bytes, restarts) in steps {
            totals[lease].up_bytes += bytes;
            expected += bytes;
            used.take(&LeaseId(lease.to_string()), totals[lease]);
            if restarts {
                // What is kept of it is what it was; the store's own test writes and reads it.
                used = used.clone();
                used.tidy(|_| false);
            }
        }
        prop_assert_eq!(used.used().sum(), expected);
    }

    #[test]
    fn shares_stay_within_the_total_and_leave_nobody_out(
        total in 10_000_u32..10_000_000,
        used in prop::collection::vec(0_u32..20_000_000, 1..8),
    ) {
        let shares = divide(total, &used, LEAST_KBIT);
        let sum: u64 = shares.iter().map(|share| u64::from(*share)).sum();
        prop_assert!(sum <= u64::from(total) + 8 * u64::from(LEAST_KBIT), "{:?}", shares);
        prop_assert!(shares.iter().all(|share| *share >= LEAST_KBIT));
        // The greediest gets an even share at least.
        let greediest = used.iter().enumerate().max_by_key(|(_, used)| **used).unwrap().0;
        prop_assert!(u64::from(shares[greediest]) >= u64::from(total) / used.len() as u64);
    }

    #[test]
    fn at_any_moment_one_limit_holds_until_it_changes(from in 0_u16..1_440, to in 1_u16..=1_440, hour in 0_i64..20_000) {
        prop_assume!(from != to);
        let clock = |minutes| crate::week::WallClock::from_minutes(minutes).unwrap();
        let hours = Hours { from: clock(from), to: clock(to) };
        let rates = Rates { up_kbit: 1_000, down_kbit: 2_000 };
        let settings = NetworkSettings { night: Some(Night { hours, rates }), ..NetworkSettings::default() };
        let now = Timestamp(1_767_225_600_000 + hour * 3_600_000);
        let standing = settings.standing_at(now, &zone());
        let change = standing.changes_at.unwrap();
        prop_assert!(change > now && change.since_ms(now) <= 72 * 3_600_000);
        let before = settings.standing_at(Timestamp(change.0 - 1), &zone());
        prop_assert_eq!(before.at_night, standing.at_night);
        if change.since_ms(now) < 26 * 3_600_000 && hours != Hours::WHOLE_DAY {
            prop_assert_ne!(settings.standing_at(change, &zone()).at_night, standing.at_night);
        }
    }
}
