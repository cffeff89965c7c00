//! What Nightjar may use of the owner's line: limits by day and by night, the automatic, and a cap for a month.
//!
//! A rate is what all of Nightjar's traffic together may use, however many cards are lent.

mod data_use;
mod divide;
mod names;
mod own;
mod route;
#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

pub use data_use::{DataUse, Month, Traffic};
pub use divide::divide;
pub use names::public_name_servers;
pub use own::{OwnAddresses, Teller};
pub use route::{DefaultRoute, DefaultRoute6, default_route, default_route6, is_on_link, is_on_link6};

use crate::settings::OutOfBounds;
use crate::time::Timestamp;
use crate::week::{Hours, Stretch, wall_date};

/// Below this a login is no longer usable.
pub const LEAST_KBIT: u32 = 64;
pub const MOST_KBIT: u32 = 10_000_000;
/// Least and most of a month's cap.
pub const CAP_MIB: std::ops::RangeInclusive<u64> = 100..=1_073_741_824;
/// Of the cap, when the owner is warned.
pub const WARN_PERCENT: u64 = 80;

/// Both directions in kbit/s, seen from the PC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "LineRates")]
pub struct Rates {
    pub up_kbit: u32,
    pub down_kbit: u32,
}

impl Rates {
    /// The lesser of both in each direction.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { up_kbit: self.up_kbit.min(other.up_kbit), down_kbit: self.down_kbit.min(other.down_kbit) }
    }
}

/// Hours with limits of their own, each day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(rename = "NightRates")]
pub struct Night {
    pub hours: Hours,
    pub rates: Rates,
}

/// What becomes of a job when a month's cap is used up. No other begins in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum AtCap {
    /// It goes on to its end.
    #[default]
    Finish,
    /// It is told and ends, as when earning is turned off.
    Stop,
}

/// What the owner has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    pub day: Rates,
    /// `None`: the day's limits hold around the clock.
    pub night: Option<Night>,
    /// Stay below the limits as the line's latency asks for it.
    pub automatic: bool,
    /// What may be carried in a calendar month, both directions together.
    #[ts(type = "number | null")]
    pub monthly_cap_mib: Option<u64>,
    pub at_cap: AtCap,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            day: Rates { up_kbit: 20_000, down_kbit: 50_000 },
            night: None,
            automatic: false,
            monthly_cap_mib: None,
            at_cap: AtCap::Finish,
        }
    }
}

/// Why hours of the night are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Bounds(#[from] OutOfBounds),
    #[error("network.night.hours are {0}: a beginning and an end that differ are wanted, e.g. 23:00-07:00")]
    Hours(Hours),
}

/// Which limits hold at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(rename = "LineStanding")]
pub struct Standing {
    pub limits: Rates,
    pub at_night: bool,
    /// When the others begin to hold.
    pub changes_at: Option<Timestamp>,
}

impl NetworkSettings {
    /// # Errors
    /// The first field that is out of its bounds.
    pub fn check(&self) -> Result<(), NetworkError> {
        for (field, given) in self.numbers() {
            if !(LEAST_KBIT..=MOST_KBIT).contains(&given) {
                let (given, least, most) = (u64::from(given), u64::from(LEAST_KBIT), u64::from(MOST_KBIT));
                return Err(OutOfBounds { field, given, least, most }.into());
            }
        }
        if let Some(given) = self.monthly_cap_mib.filter(|cap| !CAP_MIB.contains(cap)) {
            let field = "network.monthly_cap_mib";
            return Err(OutOfBounds { field, given, least: *CAP_MIB.start(), most: *CAP_MIB.end() }.into());
        }
        match self.night {
            Some(night) if !night.hours.is_sound() => Err(NetworkError::Hours(night.hours)),
            _ => Ok(()),
        }
    }

    /// Every rate with its field's name.
    #[must_use]
    pub fn numbers(&self) -> [(&'static str, u32); 4] {
        let night = self.night.map_or(self.day, |night| night.rates);
        [
            ("network.day.up_kbit", self.day.up_kbit),
            ("network.day.down_kbit", self.day.down_kbit),
            ("network.night.rates.up_kbit", night.up_kbit),
            ("network.night.rates.down_kbit", night.down_kbit),
        ]
    }

    /// What holds at any hour: for who does not know yet which it is.
    #[must_use]
    pub fn least(&self) -> Rates {
        self.night.map_or(self.day, |night| night.rates.min(self.day))
    }

    #[must_use]
    pub fn standing_at(&self, now: Timestamp, zone: &TimeZone) -> Standing {
        let by_day = Standing { limits: self.day, at_night: false, changes_at: None };
        let (Some(night), Some(today)) = (self.night, wall_date(now, zone)) else { return by_day };
        let dates = [today.yesterday(), Ok(today), today.tomorrow()];
        let nights: Vec<Stretch> =
            dates.into_iter().flatten().filter_map(|date| night.hours.on(date, false, zone)).collect();
        if let Some(this) = nights.iter().find(|stretch| stretch.contains(now)) {
            // One that begins where the other ends is the same night.
            let mut to = this.to;
            while let Some(next) = nights.iter().find(|next| next.from <= to && to < next.to) {
                to = next.to;
            }
            return Standing { limits: night.rates, at_night: true, changes_at: Some(to) };
        }
        let changes_at = nights.iter().map(|stretch| stretch.from).filter(|from| *from > now).min();
        Standing { changes_at, ..by_day }
    }

    /// The cap in bytes.
    #[must_use]
    pub fn cap_bytes(&self) -> Option<u64> {
        self.monthly_cap_mib.map(|mib| mib.saturating_mul(1 << 20))
    }
}

/// How far a cap is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CapLevel {
    Free,
    Near,
    Reached,
}

impl CapLevel {
    #[must_use]
    pub fn of(used_bytes: u64, cap_bytes: u64) -> Self {
        if used_bytes >= cap_bytes {
            Self::Reached
        } else if u128::from(used_bytes) * 100 >= u128::from(cap_bytes) * u128::from(WARN_PERCENT) {
            Self::Near
        } else {
            Self::Free
        }
    }
}
