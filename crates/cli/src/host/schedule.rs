//! `nightjar schedule` and `nightjar tariff`: through the host that runs, else on its settings file.

use std::fmt::Write as _;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nightjar_agent::settings_file::{self, Loaded};
use nightjar_core::host::UserCommand;
use nightjar_core::money::Money;
use nightjar_core::schedule::{Exception, Schedule, ScheduleStanding, ScheduleState, Why};
use nightjar_core::settings::Settings;
use nightjar_core::tariff::Tariff;
use nightjar_core::time::Timestamp;
use nightjar_core::week::{self, Window};
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use serde_json::{Value, json};

use crate::arguments::HostPlace;
use crate::failure::{Exit, Failure};
use crate::moment::now;
use crate::output::{Output, texts};

use super::grip::{Grip, refused};
use super::schedule_arguments::{PriceSet, ScheduleCommand, ScheduleSet, ScheduleTest, TariffSet};

/// # Errors
/// When the settings cannot be read or what was given is not taken.
pub async fn schedule(command: &ScheduleCommand, output: Output) -> Result<(), Failure> {
    match command {
        ScheduleCommand::Show(place) => {
            let (settings, _) = open(place).await?;
            show(&settings, now(), &TimeZone::system(), output)
        }
        ScheduleCommand::Set(arguments) => set(arguments, output).await,
        ScheduleCommand::Test(arguments) => test(arguments, output).await,
        ScheduleCommand::Tariff(arguments) => tariff(arguments, output).await,
        ScheduleCommand::Price(arguments) => price(arguments, output).await,
    }
}

async fn set(arguments: &ScheduleSet, output: Output) -> Result<(), Failure> {
    let (mut settings, keeper) = open(&arguments.place).await?;
    settings.schedule = changed(&settings.schedule, arguments);
    keep(&settings, keeper).await?;
    show(&settings, now(), &TimeZone::system(), output)
}

/// What was given replaces what was there of its kind; the rest stays. `--always` begins anew.
fn changed(before: &Schedule, arguments: &ScheduleSet) -> Schedule {
    let mut schedule = if arguments.always { Schedule::default() } else { before.clone() };
    let replace = |windows: &mut Vec<Window>, given: &[Window]| {
        if !given.is_empty() {
            *windows = given.to_vec();
        }
    };
    replace(&mut schedule.windows, &arguments.open);
    replace(&mut schedule.even_if_here, &arguments.even_if_here);
    let closed = arguments.closed_on.iter().map(|date| Exception { date: *date, windows: Vec::new() });
    let mut given: Vec<Exception> = closed.collect();
    for own in &arguments.on {
        match given.iter_mut().find(|known| known.date == own.date) {
            Some(known) => known.windows.extend(&own.windows),
            None => given.push(own.clone()),
        }
    }
    schedule.exceptions.retain(|known| {
        !arguments.forget.contains(&known.date) && given.iter().all(|new| new.date != known.date)
    });
    schedule.exceptions.extend(given);
    schedule.exceptions.sort_by_key(|exception| exception.date);
    if arguments.any_price {
        schedule.only_below_per_kwh_micros = None;
    }
    schedule.only_below_per_kwh_micros = arguments.cheap_below.or(schedule.only_below_per_kwh_micros);
    schedule
}

async fn price(arguments: &PriceSet, output: Output) -> Result<(), Failure> {
    let (mut settings, keeper) = open(&arguments.place).await?;
    if let Some(currency) = arguments.currency {
        settings.reckon_in(currency);
    }
    settings.price_per_hour.micros = arguments.least.unwrap_or(settings.price_per_hour.micros);
    keep(&settings, keeper).await?;
    show(&settings, now(), &TimeZone::system(), output)
}

async fn tariff(arguments: &TariffSet, output: Output) -> Result<(), Failure> {
    let (mut settings, keeper) = open(&arguments.place).await?;
    let tariff = &mut settings.tariff;
    tariff.currency = settings.price_per_hour.currency;
    if let Some(micros) = arguments.flat {
        tariff.price_per_kwh_micros = micros;
        tariff.windows.clear();
    }
    if !arguments.window.is_empty() {
        tariff.windows.clone_from(&arguments.window);
    }
    tariff.overhead_watts = arguments.overhead.unwrap_or(tariff.overhead_watts);
    keep(&settings, keeper).await?;
    show(&settings, now(), &TimeZone::system(), output)
}

async fn test(arguments: &ScheduleTest, output: Output) -> Result<(), Failure> {
    let (settings, _) = open(&arguments.place).await?;
    let zone = TimeZone::system();
    let today = zone.to_datetime(jiff::Timestamp::now()).date();
    let at = arguments.at.on(today);
    let moment = week::beginning(at, &zone)
        .ok_or_else(|| Failure::usage(format!("{at} is outside of the calendar that can be looked at")))?;
    let standing = settings.schedule.standing_at(moment, &zone, &settings.tariff);
    let why = settings.schedule.why_at(moment, &zone, &settings.tariff);
    let reason = because(&why, &settings.tariff);
    let words =
        format!("{}: {}\n{reason}\n{}", spelled(moment, &zone), state(&standing), next(&standing, &zone));
    let mut object = standing_json(&standing);
    object["at"] = json!(moment);
    object["local"] = json!(spelled(moment, &zone));
    object["because"] = json!(reason);
    output.print(&object, &words)
}

fn show(settings: &Settings, now: Timestamp, zone: &TimeZone, output: Output) -> Result<(), Failure> {
    let standing = settings.schedule.standing_at(now, zone, &settings.tariff);
    let object = json!({
        "schedule": settings.schedule,
        "tariff": settings.tariff,
        "price_per_hour": settings.price_per_hour,
        "zone": zone.iana_name(),
        "now": standing_json(&standing),
    });
    output.print(&object, &words(settings, &standing, now, zone))
}

fn standing_json(standing: &ScheduleStanding) -> Value {
    json!({ "state": standing.state, "changes_at": standing.changes_at })
}

fn words(settings: &Settings, standing: &ScheduleStanding, now: Timestamp, zone: &TimeZone) -> String {
    let (schedule, tariff) = (&settings.schedule, &settings.tariff);
    let money = |micros: i64| texts().exact_money(Money::new(micros, tariff.currency));
    let mut text = String::new();
    if schedule.windows.is_empty() {
        text.push_str("open          always");
    }
    for (index, window) in schedule.windows.iter().enumerate() {
        let _ = write!(text, "{}open          {window}", if index == 0 { "" } else { "\n" });
    }
    for window in &schedule.even_if_here {
        let _ = write!(text, "\neven if here  {window}");
    }
    for exception in &schedule.exceptions {
        let hours: Vec<String> = exception.windows.iter().map(ToString::to_string).collect();
        let hours = if hours.is_empty() { String::from("closed") } else { hours.join(", ") };
        let _ = write!(text, "\non {}  {hours}", exception.date);
    }
    if let Some(threshold) = schedule.only_below_per_kwh_micros {
        let _ = write!(text, "\nonly below    {} per kWh", money(threshold));
    }
    if tariff.is_told() {
        let flat = money(tariff.price_per_kwh_micros);
        let _ = write!(text, "\nelectricity   {flat} per kWh");
        for window in &tariff.windows {
            let price = money(window.price_per_kwh_micros);
            let _ = write!(text, "\n              {} {price}", window.window());
        }
        let _ = write!(text, "\nnow           {} per kWh", texts().exact_money(tariff.price_at(now, zone)));
    }
    if tariff.overhead_watts > 0 {
        let _ = write!(text, "\noverhead      {} W", tariff.overhead_watts);
    }
    let _ = write!(text, "\nleast price   {} an hour", texts().exact_money(settings.price_per_hour));
    let _ = write!(text, "\n\nnow {}\n{}", state(standing), next(standing, zone));
    text
}

fn state(standing: &ScheduleStanding) -> &'static str {
    match standing.state {
        ScheduleState::Open { even_if_here: true, .. } => "open, even if you are here",
        ScheduleState::Open { .. } => "open",
        ScheduleState::Closed { .. } => "closed",
    }
}

fn next(standing: &ScheduleStanding, zone: &TimeZone) -> String {
    let flip = match standing.state {
        ScheduleState::Open { closes_at: Some(at), .. } => format!("closes {}", spelled(at, zone)),
        ScheduleState::Open { closes_at: None, .. } => String::from("does not close"),
        ScheduleState::Closed { opens_at: Some(at) } => format!("opens {}", spelled(at, zone)),
        ScheduleState::Closed { opens_at: None } => String::from("never opens as it is set"),
    };
    let flips_at = match standing.state {
        ScheduleState::Open { closes_at: at, .. } | ScheduleState::Closed { opens_at: at } => at,
    };
    match standing.changes_at.filter(|at| Some(*at) != flips_at) {
        Some(at) => format!("{flip}; whether you are here counts differently from {}", spelled(at, zone)),
        None => flip,
    }
}

fn because(why: &Why, tariff: &Tariff) -> String {
    let money = |micros: i64| texts().exact_money(Money::new(micros, tariff.currency));
    match why {
        Why::Always => String::from("no hours are set, so every hour is open"),
        Why::Window { window } => format!("open: {window}"),
        Why::EvenIfHere { window } => format!("even if you are here: {window}"),
        Why::OwnHours { date, hours } => format!("{date} has hours of its own: {hours}"),
        Why::ClosedOn { date } => format!("{date} is an exception, and none of its hours is now"),
        Why::NoWindow => String::from("none of the hours that are set is now"),
        Why::TooDear { per_kwh_micros, below_micros } => format!(
            "a kilowatt-hour costs {} then, and only hours below {} are taken",
            money(*per_kwh_micros),
            money(*below_micros)
        ),
    }
}

pub(super) fn spelled(at: Timestamp, zone: &TimeZone) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_| at.0.to_string(),
        |at| at.to_zoned_datetime(zone.clone()).strftime("%a %Y-%m-%d %H:%M (UTC%:z)").to_string(),
    )
}

/// Where changes go.
pub(super) enum Keeper {
    /// With the settings as it told them.
    Host(Grip, Box<Settings>),
    File(std::path::PathBuf),
}

/// The settings of the host that runs, else those in its file.
pub(super) async fn open(place: &HostPlace) -> Result<(Settings, Keeper), Failure> {
    if let Ok(mut grip) = Grip::connect(place).await {
        return match grip.ask(ControlRequest::Settings).await? {
            ControlAnswer::Settings(settings) => Ok(((*settings).clone(), Keeper::Host(grip, settings))),
            ControlAnswer::Refused(refusal) => Err(refused(&refusal)),
            _ => {
                Err(Failure::new(Exit::NotRunning, "the host answered with something else than its settings"))
            }
        };
    }
    let path = super::config(place)?.settings_path;
    let settings = match settings_file::load(&path) {
        Loaded::Fresh => Settings::default(),
        Loaded::Read(settings) => *settings,
        Loaded::Unreadable(detail) => {
            return Err(Failure::failed(format!("the settings cannot be read: {detail}"))
                .advise("repair or remove the file first"));
        }
    };
    Ok((settings, Keeper::File(path)))
}

pub(super) async fn keep(settings: &Settings, keeper: Keeper) -> Result<(), Failure> {
    settings.check().map_err(|error| Failure::usage(error.to_string()))?;
    match keeper {
        Keeper::Host(mut grip, base) => {
            let save = UserCommand::Save { settings: Box::new(settings.clone()), base: Some(base) };
            grip.command(save).await.map(drop)
        }
        Keeper::File(path) => settings_file::save(&path, settings)
            .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", path.display()))),
    }
}

/// A moment as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    Today(jiff::civil::Time),
    At(DateTime),
}

impl Wall {
    /// `23:30`, today; `2026-12-24 23:30`.
    ///
    /// # Errors
    /// What is wanted instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || String::from("HH:MM for today or \"YYYY-MM-DD HH:MM\" is wanted");
        let clock = |text: &str| -> Result<jiff::civil::Time, String> {
            text.parse::<week::WallClock>().map_err(|_| wanted())?;
            jiff::civil::Time::strptime("%H:%M", text).map_err(|_| wanted())
        };
        match text.trim().split_once([' ', 'T']) {
            None => Ok(Self::Today(clock(text.trim())?)),
            Some((date, time)) => {
                let date: week::WallDate = date.parse().map_err(|_| wanted())?;
                Ok(Self::At(date.0.to_datetime(clock(time.trim())?)))
            }
        }
    }

    fn on(self, today: jiff::civil::Date) -> DateTime {
        match self {
            Self::Today(time) => today.to_datetime(time),
            Self::At(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::schedule_arguments::exception;

    fn given(open: &[&str]) -> ScheduleSet {
        ScheduleSet { open: open.iter().map(|w| w.parse().unwrap()).collect(), ..ScheduleSet::default() }
    }

    #[test]
    fn what_is_given_replaces_its_kind_and_leaves_the_rest() {
        let date = |text: &str| text.parse().unwrap();
        let first = ScheduleSet { closed_on: vec![date("2026-12-24")], ..given(&["mon-fri 22:00-08:00"]) };
        let schedule = changed(&Schedule::default(), &first);
        let on = ["2026-12-24 10:00-12:00", "2026-12-24 14:00-15:00"].map(|text| exception(text).unwrap());
        let second =
            ScheduleSet { on: on.to_vec(), cheap_below: Some(500_000), ..given(&["daily 01:00-05:00"]) };
        let schedule = changed(&schedule, &second);
        assert_eq!(schedule.windows[0].to_string(), "mon,tue,wed,thu,fri,sat,sun 01:00-05:00");
        assert_eq!(schedule.exceptions.len(), 1);
        assert_eq!(schedule.exceptions[0].windows.len(), 2);
        let third =
            ScheduleSet { forget: vec![date("2026-12-24")], any_price: true, ..ScheduleSet::default() };
        let schedule = changed(&schedule, &third);
        assert!(schedule.exceptions.is_empty() && schedule.only_below_per_kwh_micros.is_none());
        let always = ScheduleSet { always: true, ..ScheduleSet::default() };
        assert_eq!(changed(&schedule, &always), Schedule::default());
    }

    #[test]
    fn moments_are_read() {
        assert!(matches!(Wall::parse("23:30"), Ok(Wall::Today(_))));
        assert!(matches!(Wall::parse("2026-12-24 23:30"), Ok(Wall::At(_))));
        assert!(matches!(Wall::parse("2026-12-24T23:30"), Ok(Wall::At(_))));
        for wrong in ["", "24.12. 10:00", "2026-12-24", "25:00", "24:00"] {
            assert!(Wall::parse(wrong).is_err(), "{wrong}");
        }
    }
}
