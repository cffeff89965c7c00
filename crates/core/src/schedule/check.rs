//! What a schedule and a tariff may hold, with a sentence that names what is wrong.

use crate::money::Currency;
use crate::tariff::{MOST_TARIFF_WINDOWS, Tariff};
use crate::week::Hours;

use super::Schedule;

/// A week of half hours.
const MOST_WINDOWS: usize = 336;
const MOST_EXCEPTIONS: usize = 366;
const MOST_HOURS_A_DAY: usize = 48;
/// A thousand of any currency for a kilowatt-hour.
pub const MOST_PER_KWH_MICROS: i64 = 1_000_000_000;
pub const MOST_OVERHEAD_WATTS: u32 = 2_000;

/// Why a schedule or a tariff is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    #[error("{field} has {given} entries; at most {most} are taken")]
    TooMany { field: &'static str, given: usize, most: usize },
    #[error(
        "{field}, entry {entry}: a window needs at least one day, and an end that differs from its beginning (given: \
         \"{given}\")"
    )]
    Window { field: &'static str, entry: usize, given: String },
    #[error("schedule.exceptions names {0} twice")]
    DateTwice(crate::week::WallDate),
    #[error("{field} is {given} micro-units; it must be between 0 and {MOST_PER_KWH_MICROS}")]
    Price { field: &'static str, given: i64 },
    #[error("tariff.overhead_watts is {given}; it must be between 0 and {MOST_OVERHEAD_WATTS}")]
    Overhead { given: u32 },
    #[error(
        "the tariff is in {tariff} and your price in {price}; both must be in the market's currency, {price}"
    )]
    Currency { tariff: Currency, price: Currency },
    #[error("schedule.only_below_per_kwh_micros is set, but no price is told under [tariff]")]
    NoTariff,
}

impl Schedule {
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, tariff: &Tariff) -> Result<(), HoursError> {
        for (field, windows) in
            [("schedule.windows", &self.windows), ("schedule.even_if_here", &self.even_if_here)]
        {
            at_most(field, windows.len(), MOST_WINDOWS)?;
            if let Some((index, wrong)) = windows.iter().enumerate().find(|(_, w)| !w.is_sound()) {
                return Err(HoursError::Window { field, entry: index + 1, given: wrong.to_string() });
            }
        }
        at_most("schedule.exceptions", self.exceptions.len(), MOST_EXCEPTIONS)?;
        for (index, exception) in self.exceptions.iter().enumerate() {
            let field = "schedule.exceptions";
            at_most("schedule.exceptions.windows", exception.windows.len(), MOST_HOURS_A_DAY)?;
            if let Some(wrong) = exception.windows.iter().find(|hours| !Hours::is_sound(**hours)) {
                return Err(HoursError::Window { field, entry: index + 1, given: wrong.to_string() });
            }
            if self.exceptions[..index].iter().any(|other| other.date == exception.date) {
                return Err(HoursError::DateTwice(exception.date));
            }
        }
        if let Some(threshold) = self.only_below_per_kwh_micros {
            price("schedule.only_below_per_kwh_micros", threshold)?;
            if !tariff.is_told() {
                return Err(HoursError::NoTariff);
            }
        }
        Ok(())
    }
}

impl Tariff {
    /// # Errors
    /// The first thing that is wrong with it, for an owner who is paid in `paid_in`.
    pub fn check(&self, paid_in: Currency) -> Result<(), HoursError> {
        price("tariff.price_per_kwh_micros", self.price_per_kwh_micros)?;
        at_most("tariff.windows", self.windows.len(), MOST_TARIFF_WINDOWS)?;
        for (index, entry) in self.windows.iter().enumerate() {
            let window = entry.window();
            if !window.is_sound() {
                let given = window.to_string();
                return Err(HoursError::Window { field: "tariff.windows", entry: index + 1, given });
            }
            price("tariff.windows.price_per_kwh_micros", entry.price_per_kwh_micros)?;
        }
        if self.overhead_watts > MOST_OVERHEAD_WATTS {
            return Err(HoursError::Overhead { given: self.overhead_watts });
        }
        // A tariff that was never told must not stand in the way of a market in another currency.
        if self.is_told() && self.currency != paid_in {
            return Err(HoursError::Currency { tariff: self.currency, price: paid_in });
        }
        Ok(())
    }
}

fn at_most(field: &'static str, given: usize, most: usize) -> Result<(), HoursError> {
    if given > most { Err(HoursError::TooMany { field, given, most }) } else { Ok(()) }
}

fn price(field: &'static str, given: i64) -> Result<(), HoursError> {
    if (0..=MOST_PER_KWH_MICROS).contains(&given) { Ok(()) } else { Err(HoursError::Price { field, given }) }
}
