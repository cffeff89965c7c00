//! What a kilowatt-hour costs at which hour.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::money::{Currency, Money};
use crate::time::Timestamp;
use crate::week::{Day, Hours, Stretch, WallClock, Window, wall_date};

/// Most windows of a tariff: two an hour over a day, say.
pub const MOST_TARIFF_WINDOWS: usize = 48;

/// Hours with a price of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct TariffWindow {
    pub days: Vec<Day>,
    pub from: WallClock,
    pub to: WallClock,
    #[ts(type = "number")]
    pub price_per_kwh_micros: i64,
}

impl TariffWindow {
    #[must_use]
    pub fn window(&self) -> Window {
        Window { days: self.days.clone(), from: self.from, to: self.to }
    }
}

/// The owner's tariff. A price of zero everywhere means that it was not told: electricity then counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Tariff {
    pub currency: Currency,
    /// Outside of all windows, in millionths of the currency's unit.
    #[ts(type = "number")]
    pub price_per_kwh_micros: i64,
    /// The first that fits holds.
    pub windows: Vec<TariffWindow>,
    /// What the rest of the PC draws because a job runs.
    pub overhead_watts: u32,
}

impl Default for Tariff {
    fn default() -> Self {
        Self { currency: Currency::CNY, price_per_kwh_micros: 0, windows: Vec::new(), overhead_watts: 0 }
    }
}

/// A price and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceStanding {
    pub per_kwh_micros: i64,
    /// `None`: for as long as can be foreseen.
    pub until: Option<Timestamp>,
}

/// Further than this every week is like the last, the changes of the clock included.
const HORIZON_DAYS: usize = 15;

impl Tariff {
    /// Some hour costs something.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.price_per_kwh_micros != 0 || self.windows.iter().any(|w| w.price_per_kwh_micros != 0)
    }

    /// What a kilowatt-hour costs at `at`.
    #[must_use]
    pub fn price_at(&self, at: Timestamp, zone: &TimeZone) -> Money {
        Money::new(self.micros_at(at, zone), self.currency)
    }

    fn micros_at(&self, at: Timestamp, zone: &TimeZone) -> i64 {
        if self.windows.is_empty() {
            return self.price_per_kwh_micros;
        }
        let Some(today) = wall_date(at, zone) else { return self.price_per_kwh_micros };
        // A stretch that is drawn out by a change of the clock still begins and ends within these days.
        let days = [today.yesterday().and_then(Date::yesterday), today.yesterday(), Ok(today)];
        let holds = |window: &&TariffWindow| {
            let hours = Hours { from: window.from, to: window.to };
            days.iter().flatten().any(|date| {
                window.days.contains(&Day::of(*date))
                    && hours.on(*date, false, zone).is_some_and(|stretch| stretch.contains(at))
            })
        };
        self.windows.iter().find(holds).map_or(self.price_per_kwh_micros, |w| w.price_per_kwh_micros)
    }

    /// The price at `at`, and the first moment at which it is another one.
    #[must_use]
    pub fn standing_at(&self, at: Timestamp, zone: &TimeZone) -> PriceStanding {
        let per_kwh_micros = self.micros_at(at, zone);
        let until = self.edges(at, zone).find(|edge| self.micros_at(*edge, zone) != per_kwh_micros);
        PriceStanding { per_kwh_micros, until }
    }

    /// The first moment after `at` at which the price is another one.
    #[must_use]
    pub fn next_change(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.standing_at(at, zone).until
    }

    /// Moments after `at`, in order, at which the price may change.
    fn edges<'a>(&'a self, at: Timestamp, zone: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        let today = wall_date(at, zone).filter(|_| !self.windows.is_empty());
        let days = std::iter::successors(today, |date| date.tomorrow().ok());
        days.take(HORIZON_DAYS).flat_map(move |date| self.edges_of(date, zone)).filter(move |edge| *edge > at)
    }

    /// The edges that fall on `date`, in order.
    pub(crate) fn edges_of(&self, date: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let Some(day) = Hours::WHOLE_DAY.on(date, false, zone) else { return Vec::new() };
        let begun = [date.yesterday().and_then(Date::yesterday), date.yesterday(), Ok(date)];
        let stretches = begun.into_iter().flatten().flat_map(|date| self.stretches(date, zone));
        let mut edges: Vec<Timestamp> = stretches.flat_map(|stretch| [stretch.from, stretch.to]).collect();
        edges.retain(|edge| day.contains(*edge));
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn stretches(&self, date: Date, zone: &TimeZone) -> Vec<Stretch> {
        let begins = self.windows.iter().filter(|window| window.days.contains(&Day::of(date)));
        begins.filter_map(|w| Hours { from: w.from, to: w.to }.on(date, false, zone)).collect()
    }

    /// What `millijoules`, drawn evenly from `from` to `to`, cost, in micro-units times millijoules a kilowatt-hour:
    /// divided once at the end, so that nothing is lost by rounding each second.
    #[must_use]
    pub fn cost(&self, millijoules: u64, from: Timestamp, to: Timestamp, zone: &TimeZone) -> i128 {
        let whole_ms = i128::from(to.since_ms(from));
        let energy = i128::from(millijoules);
        let mut at = from;
        let mut sum = 0;
        loop {
            let standing = self.standing_at(at, zone);
            let end = standing.until.map_or(to, |until| until.min(to));
            if whole_ms == 0 || (at == from && end >= to) {
                return sum + energy * i128::from(standing.per_kwh_micros);
            }
            sum += energy * i128::from(end.since_ms(at)) * i128::from(standing.per_kwh_micros) / whole_ms;
            if end >= to {
                return sum;
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::{minutes_of, zones};
    use proptest::prelude::*;

    fn window(spec: &str, micros: i64) -> TariffWindow {
        let Window { days, from, to } = spec.parse().unwrap();
        TariffWindow { days, from, to, price_per_kwh_micros: micros }
    }

    fn by_time_of_use() -> Tariff {
        Tariff {
            price_per_kwh_micros: 600_000,
            windows: vec![
                window("sat,sun 00:00-24:00", 400_000),
                window("daily 22:30-02:15", 300_000),
                window("mon-fri 17:00-21:00", 900_000),
            ],
            ..Tariff::default()
        }
    }

    #[test]
    fn the_first_window_that_fits_holds() {
        let zone = TimeZone::UTC;
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let tariff = by_time_of_use();
        for (time, micros) in [
            ("2026-11-24T12:00:00Z", 600_000),
            ("2026-11-24T18:00:00Z", 900_000),
            ("2026-11-24T21:00:00Z", 600_000),
            ("2026-11-25T01:00:00Z", 300_000),
            ("2026-11-28T23:00:00Z", 400_000),
            // The night that began on Sunday.
            ("2026-11-30T01:00:00Z", 300_000),
        ] {
            assert_eq!(tariff.price_at(at(time), &zone), Money::new(micros, Currency::CNY), "{time}");
        }
    }

    #[test]
    fn changes_are_found_over_the_nights_on_which_the_clock_is_changed() {
        let tariff = by_time_of_use();
        for (zone, from, to) in zones() {
            let minutes: Vec<Timestamp> = minutes_of(from, to).collect();
            let mut changes = 0;
            for pair in minutes.windows(2) {
                let (before, after) = (tariff.micros_at(pair[0], &zone), tariff.micros_at(pair[1], &zone));
                if before != after {
                    changes += 1;
                    assert_eq!(tariff.next_change(pair[0], &zone), Some(pair[1]));
                }
            }
            assert!(changes > 20);
        }
    }

    proptest! {
        /// Cut anywhere, the parts cost what the whole costs.
        #[test]
        fn costs_add_up(start in 0_u64..1_209_600, length in 2_u64..200_000, cut in 1_u64..1_000) {
            let (zone, begin, _) = zones().swap_remove(0);
            let tariff = by_time_of_use();
            let from = begin.plus_ms(start * 1_000);
            let (to, middle) = (from.plus_ms(length * 1_000), from.plus_ms(length * cut));
            // One millijoule a millisecond: a watt.
            let whole = tariff.cost(length * 1_000, from, to, &zone);
            let parts = tariff.cost(length * cut, from, middle, &zone)
                + tariff.cost(length * 1_000 - length * cut, middle, to, &zone);
            prop_assert!((whole - parts).abs() <= 1_000, "{whole} {parts}");
        }
    }
}
