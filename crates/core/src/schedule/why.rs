//! Why a schedule is open or closed at a moment, for who sets it.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Cause, Schedule};
use crate::tariff::Tariff;
use crate::time::Timestamp;
use crate::week::{Hours, WallDate, Window, wall_date};

/// What makes the state what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Why {
    Always,
    Window { window: Window },
    EvenIfHere { window: Window },
    OwnHours { date: WallDate, hours: Hours },
    ClosedOn { date: WallDate },
    NoWindow,
    TooDear { per_kwh_micros: i64, below_micros: i64 },
}

impl Schedule {
    /// What holds at `at`; where several windows do, the one that asks least of the owner.
    #[must_use]
    pub fn why_at(&self, at: Timestamp, zone: &TimeZone, tariff: &Tariff) -> Why {
        if let Some(below_micros) = self.only_below_per_kwh_micros {
            let per_kwh_micros = tariff.price_at(at, zone).micros;
            if per_kwh_micros >= below_micros {
                return Why::TooDear { per_kwh_micros, below_micros };
            }
        }
        let Some(today) = wall_date(at, zone) else { return Why::NoWindow };
        let begun = [today.yesterday().and_then(Date::yesterday), today.yesterday(), Ok(today)];
        let open = begun.into_iter().flatten().flat_map(|date| self.stretches(date, zone));
        let causes: Vec<Cause> =
            open.filter(|(stretch, _)| stretch.contains(at)).map(|(_, cause)| cause).collect();
        let even = causes.iter().find(|cause| matches!(cause, Cause::EvenIfHere(_)));
        match even.or(causes.first()) {
            Some(Cause::Always) => Why::Always,
            Some(Cause::Window(index)) => Why::Window { window: self.windows[*index].clone() },
            Some(Cause::EvenIfHere(index)) => Why::EvenIfHere { window: self.even_if_here[*index].clone() },
            Some(Cause::OwnHours(date, hours)) => Why::OwnHours { date: WallDate(*date), hours: *hours },
            None if self.exception(today).is_some() => Why::ClosedOn { date: WallDate(today) },
            None => Why::NoWindow,
        }
    }
}
