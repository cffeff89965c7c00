//! When the owner wants to earn: hours of the week, exceptions by date, cheap hours, and hours in which the owner's being
//! there does not count. The time zone is an argument; nothing here looks it up.

mod check;
mod says;
#[cfg(test)]
pub(crate) mod tests;
mod why;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

pub use check::{HoursError, MOST_OVERHEAD_WATTS, MOST_PER_KWH_MICROS};
pub use says::schedule_says;
pub use why::Why;

use crate::tariff::Tariff;
use crate::time::Timestamp;
use crate::week::{Hours, Stretch, WallDate, Window, wall_date};

/// One date on which other hours hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "ScheduleException")]
pub struct Exception {
    pub date: WallDate,
    /// None: closed from midnight to midnight.
    #[serde(default)]
    pub windows: Vec<Hours>,
}

/// The owner's hours. Without windows every hour is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Only while a kilowatt-hour costs less than this, in millionths of the tariff's currency.
    #[ts(type = "number | null")]
    pub only_below_per_kwh_micros: Option<i64>,
    pub windows: Vec<Window>,
    /// Open too, and the owner's being there does not count: for a second PC. Games and full screen still do.
    pub even_if_here: Vec<Window>,
    /// On these dates their own hours hold and no others, from midnight to midnight.
    pub exceptions: Vec<Exception>,
}

/// What the schedule says at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleState {
    Open {
        /// `None`: it does not close as far as can be foreseen.
        closes_at: Option<Timestamp>,
        even_if_here: bool,
    },
    Closed {
        /// `None`: it never opens as it is set.
        opens_at: Option<Timestamp>,
    },
}

/// A state, and until when nothing about it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ScheduleStanding {
    pub state: ScheduleState,
    /// The state closes or opens then, or `even_if_here` begins or ends.
    pub changes_at: Option<Timestamp>,
}

impl Default for ScheduleStanding {
    fn default() -> Self {
        Self { state: ScheduleState::Open { closes_at: None, even_if_here: false }, changes_at: None }
    }
}

/// What opens a stretch, by its place in the schedule.
#[derive(Clone, Copy)]
enum Cause {
    Always,
    Window(usize),
    EvenIfHere(usize),
    OwnHours(Date, Hours),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment {
    open: bool,
    even_if_here: bool,
}

/// Every week is like the last from here on; twice, because a change of the clock can swallow a window for one week.
const HORIZON_DAYS: i64 = 16;

impl Schedule {
    #[must_use]
    pub fn is_always_open(&self) -> bool {
        self.windows.is_empty()
            && self.even_if_here.is_empty()
            && self.exceptions.is_empty()
            && self.only_below_per_kwh_micros.is_none()
    }

    #[must_use]
    pub fn state_at(&self, now: Timestamp, zone: &TimeZone, tariff: &Tariff) -> ScheduleState {
        self.standing_at(now, zone, tariff).state
    }

    /// The state with the moment until which it holds, so that it need not be asked for again before.
    #[must_use]
    pub fn standing_at(&self, now: Timestamp, zone: &TimeZone, tariff: &Tariff) -> ScheduleStanding {
        if self.is_always_open() {
            return ScheduleStanding::default();
        }
        let present = self.moment(now, zone, tariff);
        let mut changes_at = None;
        let mut flips_at = None;
        for edge in self.edges(now, zone, tariff) {
            let then = self.moment(edge, zone, tariff);
            if then != present {
                changes_at = changes_at.or(Some(edge));
            }
            if then.open != present.open {
                flips_at = Some(edge);
                break;
            }
        }
        let state = if present.open {
            ScheduleState::Open { closes_at: flips_at, even_if_here: present.even_if_here }
        } else {
            ScheduleState::Closed { opens_at: flips_at }
        };
        ScheduleStanding { state, changes_at }
    }

    fn moment(&self, at: Timestamp, zone: &TimeZone, tariff: &Tariff) -> Moment {
        let closed = Moment { open: false, even_if_here: false };
        let cheap = self
            .only_below_per_kwh_micros
            .is_none_or(|threshold| tariff.price_at(at, zone).micros < threshold);
        let Some(today) = wall_date(at, zone).filter(|_| cheap) else { return closed };
        let mut found = closed;
        // A night reaches into the next day, and a change of the clock draws it out by little.
        for date in
            [today.yesterday().and_then(Date::yesterday), today.yesterday(), Ok(today)].iter().flatten()
        {
            for (stretch, cause) in self.stretches(*date, zone) {
                if stretch.contains(at) {
                    found.open = true;
                    found.even_if_here |= matches!(cause, Cause::EvenIfHere(_));
                }
            }
        }
        found
    }

    fn exception(&self, date: Date) -> Option<&Exception> {
        self.exceptions.iter().find(|exception| exception.date.0 == date)
    }

    /// What is open of the hours that begin on `date`, and why.
    fn stretches(&self, date: Date, zone: &TimeZone) -> Vec<(Stretch, Cause)> {
        // A date with hours of its own is left to them from its midnight on.
        let only_this_day = date.tomorrow().is_ok_and(|next| self.exception(next).is_some());
        let on = |hours: Hours, cause: Cause| Some((hours.on(date, only_this_day, zone)?, cause));
        if let Some(exception) = self.exception(date) {
            let own = exception.windows.iter();
            return own.filter_map(|hours| on(*hours, Cause::OwnHours(date, *hours))).collect();
        }
        let always = self.windows.is_empty().then_some((Hours::WHOLE_DAY, Cause::Always));
        let begins = |windows: &[Window], cause: fn(usize) -> Cause| -> Vec<(Hours, Cause)> {
            let begun = windows.iter().enumerate().filter(|(_, window)| window.begins_on(date));
            begun.map(|(index, window)| (window.hours(), cause(index))).collect()
        };
        let usual = always.into_iter().chain(begins(&self.windows, Cause::Window));
        let all = usual.chain(begins(&self.even_if_here, Cause::EvenIfHere));
        all.filter_map(|(hours, cause)| on(hours, cause)).collect()
    }

    /// Moments after `now`, in order, at which the state may change.
    fn edges<'a>(
        &'a self,
        now: Timestamp,
        zone: &'a TimeZone,
        tariff: &'a Tariff,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let today = wall_date(now, zone);
        let last_exception = self.exceptions.iter().map(|exception| exception.date.0).max();
        let last = today
            .map(|today| last_exception.map_or(today, |date| date.max(today)))
            .and_then(|date| date.checked_add(jiff::Span::new().days(HORIZON_DAYS)).ok());
        let days = std::iter::successors(today, |date| date.tomorrow().ok());
        days.take_while(move |date| last.is_some_and(|last| *date <= last))
            .flat_map(move |date| self.edges_of(date, now, zone, tariff))
    }

    /// The edges that fall on `date`.
    fn edges_of(&self, date: Date, now: Timestamp, zone: &TimeZone, tariff: &Tariff) -> Vec<Timestamp> {
        let Some(day) = Hours::WHOLE_DAY.on(date, false, zone) else { return Vec::new() };
        let begun = [date.yesterday().and_then(Date::yesterday), date.yesterday(), Ok(date)];
        let stretches = begun.into_iter().flatten().flat_map(|date| self.stretches(date, zone));
        let mut edges: Vec<Timestamp> =
            stretches.flat_map(|(stretch, _)| [stretch.from, stretch.to]).collect();
        if self.only_below_per_kwh_micros.is_some() {
            edges.extend(tariff.edges_of(date, zone));
        }
        edges.retain(|edge| *edge > now && day.contains(*edge));
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}
