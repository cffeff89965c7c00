//! Hours of a week as the clock on the wall shows them, and the moments at which they begin and end.
//!
//! On the two nights of a year on which the clock is changed, a time of day can be missing or come twice. A stretch then
//! begins at the first moment at which the wall shows its beginning or later, and ends at the last at which the wall
//! shows less than its end: it is never cut in two, and one that lies in a missing hour as a whole is left out.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ts_rs::TS;

use crate::time::Timestamp;

/// Why a text is no day, hour or window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeekError {
    #[error("\"{0}\" is no day of the week: mon, tue, wed, thu, fri, sat or sun is wanted")]
    Day(String),
    #[error("\"{0}\" is no time of day: HH:MM between 00:00 and 24:00 is wanted")]
    Clock(String),
    #[error("\"{0}\" is no date: YYYY-MM-DD is wanted, e.g. 2026-12-24")]
    Date(String),
    #[error(
        "\"{0}\" are no hours: a beginning and an end that differ are wanted, e.g. 22:00-08:00 or 00:00-24:00"
    )]
    Hours(String),
    #[error(
        "\"{0}\" is no window: days and hours are wanted, e.g. \"mon-fri 22:00-08:00\" or \"sat,sun 00:00-24:00\""
    )]
    Window(String),
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
pub enum Day {
    #[serde(rename = "mon")]
    Monday,
    #[serde(rename = "tue")]
    Tuesday,
    #[serde(rename = "wed")]
    Wednesday,
    #[serde(rename = "thu")]
    Thursday,
    #[serde(rename = "fri")]
    Friday,
    #[serde(rename = "sat")]
    Saturday,
    #[serde(rename = "sun")]
    Sunday,
}

impl Day {
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    #[must_use]
    pub fn of(date: Date) -> Self {
        Self::ALL[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0) % 7]
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][self as usize]
    }
}

impl FromStr for Day {
    type Err = WeekError;

    fn from_str(text: &str) -> Result<Self, WeekError> {
        let found = Self::ALL.into_iter().find(|day| day.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| WeekError::Day(short(text)))
    }
}

/// A time of day on the wall, in minutes from midnight; 24:00 ends a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, TS)]
#[ts(type = "string")]
pub struct WallClock(u16);

impl WallClock {
    /// Minutes of a whole day.
    pub const DAY: u16 = 1_440;
    pub const MIDNIGHT: Self = Self(0);
    pub const END_OF_DAY: Self = Self(Self::DAY);

    /// `None` past 24:00.
    #[must_use]
    pub fn from_minutes(minutes: u16) -> Option<Self> {
        (minutes <= Self::DAY).then_some(Self(minutes))
    }

    /// This time on the wall on `date`.
    fn on(self, date: Date) -> Option<DateTime> {
        let (date, minutes) = if self.0 == Self::DAY { (date.tomorrow().ok()?, 0) } else { (date, self.0) };
        let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
        Some(DateTime::from_parts(date, Time::new(hour, minute, 0, 0).ok()?))
    }
}

impl std::fmt::Display for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for WallClock {
    type Err = WeekError;

    fn from_str(text: &str) -> Result<Self, WeekError> {
        let wrong = || WeekError::Clock(short(text));
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str, longest: usize| {
            let fits = (1..=longest).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let hour = number(hour, 2).ok_or_else(wrong)?;
        let minute = number(minute, 2).filter(|m| minute.len() == 2 && *m < 60).ok_or_else(wrong)?;
        Self::from_minutes(hour * 60 + minute).ok_or_else(wrong)
    }
}

/// A date on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, TS)]
#[ts(type = "string")]
pub struct WallDate(pub Date);

impl std::fmt::Display for WallDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WallDate {
    type Err = WeekError;

    fn from_str(text: &str) -> Result<Self, WeekError> {
        let wrong = || WeekError::Date(short(text));
        // The library's own reader also takes times and zones, which would be passed over here.
        let shape = text.len() == 10 && text.bytes().filter(|b| *b == b'-').count() == 2;
        let date: Date = if shape { text.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
        // Far from both ends of the calendar, so that the days around it are there.
        if (2000..=2200).contains(&date.year()) { Ok(Self(date)) } else { Err(wrong()) }
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(WallClock, WallDate);

/// From one time of day to another; an end that is not later lies on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    pub from: WallClock,
    pub to: WallClock,
}

impl Hours {
    pub const WHOLE_DAY: Self = Self { from: WallClock::MIDNIGHT, to: WallClock::END_OF_DAY };

    /// A beginning and an end that differ, and a beginning that is a time of its own day.
    #[must_use]
    pub fn is_sound(self) -> bool {
        self.from != self.to && self.from < WallClock::END_OF_DAY
    }

    /// These hours as they begin on `date`; what reaches into the next day is cut off where `only_this_day`. `None`
    /// where the clock leaves them out.
    #[must_use]
    pub fn on(self, date: Date, only_this_day: bool, zone: &TimeZone) -> Option<Stretch> {
        let over_midnight = self.to <= self.from;
        let end = match (over_midnight, only_this_day) {
            (false, _) => self.to.on(date)?,
            (true, true) => WallClock::END_OF_DAY.on(date)?,
            (true, false) => self.to.on(date.tomorrow().ok()?)?,
        };
        let from = beginning(self.from.on(date)?, zone)?;
        let to = ending(end, zone)?;
        (from < to).then_some(Stretch { from, to })
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

impl FromStr for Hours {
    type Err = WeekError;

    fn from_str(text: &str) -> Result<Self, WeekError> {
        let wrong = || WeekError::Hours(short(text));
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let hours = Self { from: from.trim().parse()?, to: to.trim().parse()? };
        if hours.is_sound() { Ok(hours) } else { Err(wrong()) }
    }
}

/// The same hours on some days of the week. They belong to the day on which they begin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "WeekWindow")]
pub struct Window {
    pub days: Vec<Day>,
    pub from: WallClock,
    pub to: WallClock,
}

impl Window {
    #[must_use]
    pub fn hours(&self) -> Hours {
        Hours { from: self.from, to: self.to }
    }

    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.hours().is_sound() && !self.days.is_empty() && self.days.len() <= 7
    }

    #[must_use]
    pub fn begins_on(&self, date: Date) -> bool {
        self.days.contains(&Day::of(date))
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.name()).collect();
        write!(f, "{} {}", days.join(","), self.hours())
    }
}

/// `mon-fri 22:00-08:00`, `sat,sun 00:00-24:00`, `fri-mon 20:00-06:00` or `daily 22:00-08:00`.
impl FromStr for Window {
    type Err = WeekError;

    fn from_str(text: &str) -> Result<Self, WeekError> {
        let (days, hours) =
            text.trim().split_once(char::is_whitespace).ok_or_else(|| WeekError::Window(short(text)))?;
        let Hours { from, to } = hours.trim().parse()?;
        Ok(Self { days: parse_days(days)?, from, to })
    }
}

/// `mon-fri`, `sat,sun`, `daily`: each day once, in the order of the week.
///
/// # Errors
/// The part that is no day.
pub fn parse_days(text: &str) -> Result<Vec<Day>, WeekError> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok(Day::ALL.to_vec());
    }
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (Day, Day) = (first.trim().parse()?, last.trim().parse()?);
        let length = (last as usize + 7 - first as usize) % 7;
        days.extend((0..=length).map(|step| Day::ALL[(first as usize + step) % 7]));
    }
    days.sort_unstable();
    days.dedup();
    Ok(days)
}

/// A stretch of time: `from` belongs to it, `to` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Stretch {
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// The date on the wall at `at`.
#[must_use]
pub fn wall_date(at: Timestamp, zone: &TimeZone) -> Option<Date> {
    let moment = jiff::Timestamp::from_millisecond(at.0).ok()?;
    Some(zone.to_datetime(moment).date())
}

/// The first moment at which the wall shows `wall` or later.
#[must_use]
pub fn beginning(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    let at = match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => the_change(wall, zone)?,
        _ => ambiguous.earlier().ok()?,
    };
    Some(Timestamp(at.as_millisecond()))
}

/// The moment after the last one at which the wall shows less than `wall`.
fn ending(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    let at = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => ambiguous.earlier().ok()?,
        AmbiguousOffset::Gap { .. } => the_change(wall, zone)?,
        AmbiguousOffset::Fold { .. } => {
            let (first, second) = (ambiguous.earlier().ok()?, ambiguous.later().ok()?);
            // The clock goes back to this very time: less than it is not shown again.
            if the_change(wall, zone)? == second { first } else { second }
        }
    };
    Some(Timestamp(at.as_millisecond()))
}

/// When the clock is changed over the missing or repeated `wall`.
fn the_change(wall: DateTime, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let first = zone.to_ambiguous_timestamp(wall).earlier().ok()?;
    zone.following(first).next().map(|change| change.timestamp())
}
