//! The next opening is the first instant at which the state flips: compared minute by minute with what the clock on the
//! wall shows, over the weeks on which it is changed.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use proptest::prelude::*;

use super::*;
use crate::host::{Effect, GpuReport, Host, HostState, Input, MarketInput, Report, sample};
use crate::money::Currency;
use crate::policy::{BlockReason, Presence, Runtime};
use crate::settings::Settings;
use crate::signal::{Sign, SignalKind, Standing};
use crate::tariff::TariffWindow;
use crate::week::{Day, WallClock, beginning};

const MINUTE: u64 = 60_000;

/// Weeks with a gap and with a fold on both sides of the globe, and a zone without either.
pub(crate) fn zones() -> Vec<(TimeZone, Timestamp, Timestamp)> {
    let at = |date: &str, zone: &TimeZone| {
        let date: Date = date.parse().unwrap();
        beginning(date.at(0, 0, 0, 0), zone).unwrap()
    };
    [
        ("Europe/Berlin", "2026-03-26", "2026-04-02"),
        ("Europe/Berlin", "2026-10-22", "2026-10-29"),
        ("America/New_York", "2026-03-05", "2026-03-12"),
        ("America/New_York", "2026-10-29", "2026-11-05"),
        // Half an hour forth and back.
        ("Australia/Lord_Howe", "2026-04-02", "2026-04-09"),
        ("Australia/Lord_Howe", "2026-10-01", "2026-10-08"),
        ("Asia/Shanghai", "2026-03-26", "2026-04-02"),
        // The clock is changed at midnight: forth from it, and back to the day before.
        ("America/Asuncion", "2024-10-03", "2024-10-10"),
        ("America/Asuncion", "2024-03-21", "2024-03-28"),
    ]
    .into_iter()
    .map(|(name, from, to)| {
        let zone = TimeZone::get(name).unwrap();
        (zone.clone(), at(from, &zone), at(to, &zone))
    })
    .collect()
}

pub(crate) fn minutes_of(from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    (0..to.since_ms(from) / MINUTE).map(move |minute| from.plus_ms(minute * MINUTE))
}

fn wall(at: Timestamp, zone: &TimeZone) -> DateTime {
    zone.to_datetime(jiff::Timestamp::from_millisecond(at.0).unwrap())
}

/// The slow way: of each window of each date, the first and the last minute at which the wall shows a time in it; all
/// between them is open.
fn brute(schedule: &Schedule, zone: &TimeZone, minutes: &[Timestamp]) -> BTreeMap<Timestamp, (bool, bool)> {
    let walls: Vec<DateTime> = minutes.iter().map(|at| wall(*at, zone)).collect();
    let mut found: BTreeMap<Timestamp, (bool, bool)> =
        minutes.iter().map(|at| (*at, (false, false))).collect();
    let mut date = walls[0].date().yesterday().unwrap();
    while date <= walls[walls.len() - 1].date() {
        let exception = |date: Date| schedule.exceptions.iter().find(|e| e.date.0 == date);
        let mut hours: Vec<(Hours, bool)> = Vec::new();
        if let Some(exception) = exception(date) {
            hours.extend(exception.windows.iter().map(|h| (*h, false)));
        } else {
            if schedule.windows.is_empty() {
                hours.push((Hours::WHOLE_DAY, false));
            }
            for (windows, even) in [(&schedule.windows, false), (&schedule.even_if_here, true)] {
                let of_day = windows.iter().filter(|w| w.days.contains(&Day::of(date)));
                hours.extend(of_day.map(|w| (w.hours(), even)));
            }
        }
        let next = date.tomorrow().unwrap();
        for (hours, even) in hours {
            let text = |clock: WallClock| clock.to_string();
            let on = |date: Date, clock: &str| -> DateTime {
                if clock == "24:00" {
                    date.tomorrow().unwrap().at(0, 0, 0, 0)
                } else {
                    format!("{date}T{clock}").parse().unwrap()
                }
            };
            let begin = on(date, &text(hours.from));
            let end = match (hours.to <= hours.from, exception(next).is_some()) {
                (false, _) => on(date, &text(hours.to)),
                (true, false) => on(next, &text(hours.to)),
                (true, true) => next.at(0, 0, 0, 0),
            };
            let inside = |index: &usize| begin <= walls[*index] && walls[*index] < end;
            let (first, last) = ((0..walls.len()).find(inside), (0..walls.len()).rev().find(inside));
            if let (Some(first), Some(last)) = (first, last) {
                for at in &minutes[first..=last] {
                    let entry = found.get_mut(at).unwrap();
                    *entry = (true, entry.1 | even);
                }
            }
        }
        date = next;
    }
    found
}

fn check(schedule: &Schedule, tariff: &Tariff) {
    for (zone, from, to) in zones() {
        let minutes: Vec<Timestamp> = minutes_of(from, to).collect();
        let mut expected = brute(schedule, &zone, &minutes);
        if let Some(threshold) = schedule.only_below_per_kwh_micros {
            for (at, entry) in &mut expected {
                if tariff.price_at(*at, &zone).micros >= threshold {
                    *entry = (false, false);
                }
            }
        }
        // From each minute on which something changes, and from one in between, the next change is looked for.
        let mut previous = None;
        let mut asked = Vec::new();
        for at in &minutes {
            if previous != Some(expected[at]) {
                asked.extend([*at, at.plus_ms(MINUTE / 2)]);
            }
            previous = Some(expected[at]);
        }
        for at in asked {
            let minute = Timestamp(at.0 - at.0.rem_euclid(MINUTE as i64));
            let (open, even) = expected[&minute];
            let standing = schedule.standing_at(at, &zone, tariff);
            let later = || expected.range(minute..).skip(1);
            let flip = later().find(|(_, entry)| entry.0 != open).map(|(at, _)| *at);
            let change = later().find(|(_, entry)| **entry != (open, even)).map(|(at, _)| *at);
            let said = match standing.state {
                ScheduleState::Open { closes_at, even_if_here } => {
                    assert!(
                        open && even == even_if_here,
                        "{schedule:?} {} {}",
                        wall(at, &zone),
                        zone.iana_name().unwrap()
                    );
                    closes_at
                }
                ScheduleState::Closed { opens_at } => {
                    assert!(!open, "{schedule:?} {} {}", wall(at, &zone), zone.iana_name().unwrap());
                    opens_at
                }
            };
            let within = |moment: Option<Timestamp>| moment.filter(|moment| *moment < to);
            assert_eq!(within(said), flip, "{schedule:?} from {}", wall(at, &zone));
            assert_eq!(within(standing.changes_at), change, "{schedule:?} from {}", wall(at, &zone));
        }
    }
}

fn any_hours() -> impl Strategy<Value = Hours> {
    // The night on which clocks are changed is where mistakes live.
    let clock =
        || prop_oneof![0_u16..1_440, 0_u16..240, Just(0), Just(120), Just(90), Just(150), Just(1_380)];
    let end = prop_oneof![0_u16..=1_440, 0_u16..240, Just(1_440), Just(120), Just(180), Just(90)];
    (clock(), end).prop_map(|(from, to)| {
        let to = if to == from { from + 1 } else { to };
        Hours { from: WallClock::from_minutes(from).unwrap(), to: WallClock::from_minutes(to).unwrap() }
    })
}

fn any_window() -> impl Strategy<Value = Window> {
    (prop::sample::subsequence(Day::ALL.to_vec(), 1..=7), any_hours()).prop_map(|(days, hours)| Window {
        days,
        from: hours.from,
        to: hours.to,
    })
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let dates =
        ["2026-03-29", "2026-03-28", "2026-10-25", "2026-11-01", "2026-04-05", "2026-10-04", "2024-03-24"];
    let exceptions = prop::sample::subsequence(dates.to_vec(), 0..4).prop_flat_map(|dates| {
        let windows = prop::collection::vec(prop::collection::vec(any_hours(), 0..3), dates.len());
        windows.prop_map(move |windows| {
            let exception =
                |(date, windows): (&&str, Vec<Hours>)| Exception { date: date.parse().unwrap(), windows };
            dates.iter().zip(windows).map(exception).collect::<Vec<_>>()
        })
    });
    let windows = || prop::collection::vec(any_window(), 0..3);
    (windows(), windows(), exceptions, prop::option::weighted(0.3, Just(500_000_i64))).prop_map(
        |(windows, even_if_here, exceptions, only_below_per_kwh_micros)| Schedule {
            only_below_per_kwh_micros,
            windows,
            even_if_here,
            exceptions,
        },
    )
}

fn tariff() -> Tariff {
    let Window { days, from, to } = "mon-sat 22:30-02:15".parse().unwrap();
    let cheap = TariffWindow { days, from, to, price_per_kwh_micros: 300_000 };
    Tariff { price_per_kwh_micros: 600_000, windows: vec![cheap], ..Tariff::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_next_opening_is_the_first_moment_at_which_the_state_flips(schedule in any_schedule()) {
        prop_assert_eq!(schedule.check(&tariff()), Ok(()));
        check(&schedule, &tariff());
    }

    /// What is told as the next change is one, and nothing changes before it.
    #[test]
    fn nothing_changes_before_the_told_moment(schedule in any_schedule(), minute in 0_u64..10_080, part in 0_u64..1_000) {
        for (zone, from, _) in zones() {
            let now = from.plus_ms(minute * MINUTE);
            let standing = schedule.standing_at(now, &zone, &tariff());
            if let Some(at) = standing.changes_at {
                let middle = now.plus_ms(at.since_ms(now).saturating_sub(1) * part / 1_000);
                prop_assert_eq!(schedule.standing_at(middle, &zone, &tariff()), standing);
                prop_assert_ne!(schedule.state_at(at, &zone, &tariff()), standing.state);
            }
        }
    }
}

fn at(text: &str, zone: &TimeZone) -> Timestamp {
    let wall: DateTime = text.parse().unwrap();
    Timestamp(zone.to_timestamp(wall).unwrap().as_millisecond())
}

fn open(windows: &[&str]) -> Schedule {
    Schedule { windows: windows.iter().map(|w| w.parse().unwrap()).collect(), ..Schedule::default() }
}

#[test]
fn without_windows_it_is_always_open() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let standing = Schedule::default().standing_at(at("2026-11-24T12:00", &zone), &zone, &Tariff::default());
    assert_eq!(standing, ScheduleStanding::default());
}

#[test]
fn a_night_is_one_window_whatever_the_clock_does() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let nights = open(&["daily 22:00-02:30"]);
    // The hour from two to three comes twice: the night lasts until the second half past two.
    let evening = at("2026-10-24T23:00", &zone);
    let closes = Timestamp("2026-10-25T01:30:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let open_until = |closes_at| ScheduleState::Open { closes_at: Some(closes_at), even_if_here: false };
    assert_eq!(nights.state_at(evening, &zone, &Tariff::default()), open_until(closes));
    // It is missing: the night ends where it would begin.
    let closes = Timestamp("2026-03-29T01:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond());
    assert_eq!(nights.state_at(at("2026-03-28T23:00", &zone), &zone, &Tariff::default()), open_until(closes));
}

#[test]
fn a_window_that_a_night_leaves_out_opens_a_week_later() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let schedule = open(&["sun 02:15-02:45"]);
    let state = schedule.state_at(at("2026-03-28T12:00", &zone), &zone, &Tariff::default());
    assert_eq!(state, ScheduleState::Closed { opens_at: Some(at("2026-04-05T02:15", &zone)) });
}

#[test]
fn the_next_opening_is_known_behind_a_long_holiday() {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let first: Date = "2026-12-01".parse().unwrap();
    let dates = std::iter::successors(Some(first), |date| date.tomorrow().ok()).take(60);
    let exceptions = dates.map(|date| Exception { date: WallDate(date), windows: vec![] }).collect();
    let schedule = Schedule { exceptions, ..open(&["fri 20:00-23:00"]) };
    let state = schedule.state_at(at("2026-11-30T12:00", &zone), &zone, &Tariff::default());
    assert_eq!(state, ScheduleState::Closed { opens_at: Some(at("2027-02-05T20:00", &zone)) });
    let never = Schedule { only_below_per_kwh_micros: Some(0), ..Schedule::default() };
    let state = never.state_at(at("2026-12-01T00:00", &zone), &zone, &tariff());
    assert_eq!(state, ScheduleState::Closed { opens_at: None });
}

#[test]
fn what_is_wrong_is_named() {
    let told = tariff();
    let said = |schedule: Schedule, tariff: &Tariff| schedule.check(tariff).unwrap_err().to_string();
    let empty = Window { days: vec![], from: WallClock::MIDNIGHT, to: WallClock::END_OF_DAY };
    assert!(
        said(Schedule { windows: vec![empty], ..Schedule::default() }, &told)
            .contains("schedule.windows, entry 1")
    );
    let twice = Exception { date: "2026-12-24".parse().unwrap(), windows: vec![] };
    let exceptions = vec![twice.clone(), twice];
    assert!(said(Schedule { exceptions, ..Schedule::default() }, &told).contains("2026-12-24"));
    let cheap = Schedule { only_below_per_kwh_micros: Some(500_000), ..Schedule::default() };
    assert!(said(cheap, &Tariff::default()).contains("[tariff]"));
    assert!(told.check(Currency::new("EUR").unwrap()).unwrap_err().to_string().contains("CNY"));
    assert_eq!(Tariff::default().check(Currency::new("EUR").unwrap()), Ok(()));
    for wrong in
        ["mon 8-9", "mon 22:00-22:00", "mon 24:00-08:00", "day 22:00-08:00", "22:00-08:00", "mon 25:00-26:00"]
    {
        assert!(wrong.parse::<Window>().is_err(), "{wrong}");
    }
    for wrong in ["2026-13-01", "2026-12-24T10:00", "24.12.2026", "1999-01-01"] {
        assert!(wrong.parse::<WallDate>().is_err(), "{wrong}");
    }
    assert_eq!("fri-mon 20:00-06:00".parse::<Window>().unwrap().to_string(), "mon,fri,sat,sun 20:00-06:00");
}

/// A host whose card is ready for a job, and whose owner has been away for long.
fn ready_host(schedule: Schedule, zone: &TimeZone, now: Timestamp) -> Host {
    let mut host = Host::new(Settings { schedule, ..Settings::default() });
    host.set_zone(zone.clone());
    let runtime = Runtime::Ready {
        unsafe_versions: vec![],
        images: vec!["pytorch-cuda:lite".into()],
        engine: Default::default(),
    };
    for input in [
        Input::Gpus(GpuReport::Readings { driver: sample::driver(), cards: vec![sample::card("GPU-0")] }),
        Input::Runtime(runtime),
        Input::Recovered(vec![]),
        Input::Market(MarketInput::Connected),
        Input::Presence(Presence::Idle { since: Timestamp(0) }),
    ] {
        host.handle(input, now);
    }
    host
}

#[test]
fn a_host_keeps_to_its_hours_and_wakes_at_their_edges() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let noon = at("2026-11-24T12:00", &zone);
    let mut host = ready_host(open(&["daily 22:00-08:00"]), &zone, noon);
    let evening = at("2026-11-24T22:00", &zone);
    let reason = BlockReason::OutsideSchedule { opens_at: Some(evening) };
    assert_eq!(host.view(noon).reason, Some(reason));
    assert_eq!(host.next_deadline().map(|(at, _)| at), Some(evening));
    let effects = host.handle(Input::Deadline, evening);
    assert_eq!(host.view(evening).state, HostState::Waiting);
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Tell(Report::Offers { offers, .. }) if offers.len() == 1))
    );
    assert_eq!(host.next_deadline().map(|(at, _)| at), Some(at("2026-11-25T08:00", &zone)));
    // Another zone, another hour: seven hours on, the night is over.
    host.set_zone(TimeZone::get("Asia/Shanghai").unwrap());
    let late = at("2026-11-25T01:30", &zone);
    host.handle(Input::Deadline, late);
    assert_eq!(host.view(late).state, HostState::Yours);
}

#[test]
fn even_if_here_overlooks_the_owner_but_no_game() {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let noon = at("2026-11-28T12:00", &zone);
    let even_if_here = vec!["sat-sun 00:00-24:00".parse().unwrap()];
    let schedule = Schedule { even_if_here, ..open(&["mon-fri 22:00-08:00"]) };
    let mut host = ready_host(schedule, &zone, noon);
    host.handle(Input::Presence(Presence::Active { since: noon }), noon);
    assert_eq!(host.view(noon).state, HostState::Waiting);
    let standing = Standing::Seen { name: "Factorio".into() };
    let sign = Sign { kind: SignalKind::Game, source: "gamemode".into(), standing };
    host.handle(Input::Sign(sign), noon);
    let later = noon.plus_ms(60_000);
    host.handle(Input::Deadline, later);
    assert_eq!(host.view(later).reason, Some(BlockReason::GameRunning { name: "Factorio".into() }));
}
