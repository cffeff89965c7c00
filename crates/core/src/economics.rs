//! What a job brings after electricity and the market's part, and the price below which it would bring nothing.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::energy::Energy;
use crate::gpu::GpuReading;
use crate::meter::{Split, owed};
use crate::money::{Currency, Money};
use crate::tariff::Tariff;
use crate::time::Timestamp;

/// A thousandth of a micro-unit, in micro-units times millijoules a kilowatt-hour (which has 3.6 thousand million).
const NANO: i128 = 3_600_000;
const FULL_FEE: i128 = 10_000;
/// A card that tells no power limit is taken to draw a little more than it was ever seen to.
const PEAK_STEP_WATTS: u32 = 10;

/// What electricity a lease has cost so far. Kept undivided, so that a second's rounding never adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Consumption {
    /// Of the card.
    pub energy: Energy,
    /// Of the rest of the PC, by the owner's word.
    pub overhead_millijoules: u64,
    /// A thousand to a micro-unit, and what is left undivided of one.
    cost_nanos: i64,
    cost_rest: i64,
}

impl Consumption {
    /// Adds what was taken between two moments while the job had the card.
    pub fn add(&mut self, energy: Energy, from: Timestamp, to: Timestamp, tariff: &Tariff, zone: &TimeZone) {
        let overhead = to.since_ms(from).saturating_mul(u64::from(tariff.overhead_watts));
        self.energy = self.energy.plus(energy);
        self.overhead_millijoules = self.overhead_millijoules.saturating_add(overhead);
        let cost = tariff.cost(energy.millijoules.saturating_add(overhead), from, to, zone);
        let undivided = cost + i128::from(self.cost_rest);
        let nanos = i64::try_from(undivided.div_euclid(NANO)).unwrap_or(i64::MAX);
        self.cost_nanos = self.cost_nanos.saturating_add(nanos);
        self.cost_rest = i64::try_from(undivided.rem_euclid(NANO)).unwrap_or(0);
    }

    /// Rounded up: the owner is never told less than it was.
    #[must_use]
    pub fn electricity(&self, currency: Currency) -> Money {
        let begun = i64::from(self.cost_rest > 0);
        Money::new(self.cost_nanos.saturating_add(begun).saturating_add(999).div_euclid(1_000), currency)
    }
}

/// A lease's account on the host's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Account {
    pub gross: Money,
    pub fee: Money,
    pub electricity: Money,
    /// What is left of the host's part; below zero where the job cost more than it brought.
    pub net: Money,
    /// Of the card.
    pub energy: Energy,
    #[ts(type = "number")]
    pub overhead_millijoules: u64,
}

impl Account {
    /// What is left of the gross after the market's part.
    #[must_use]
    pub fn host(&self) -> Money {
        Money::new(self.gross.micros - self.fee.micros, self.gross.currency)
    }
}

/// The account of a lease that has earned `split`.
#[must_use]
pub fn account(split: Split, consumption: &Consumption) -> Account {
    let electricity = consumption.electricity(split.host.currency);
    Account {
        gross: split.gross,
        fee: split.fee,
        electricity,
        net: Money::new(split.host.micros.saturating_sub(electricity.micros), split.host.currency),
        energy: consumption.energy,
        overhead_millijoules: consumption.overhead_millijoules,
    }
}

/// The most that `card` may draw for a job, in whole watts: its power limit, else its highest reading so far.
#[must_use]
pub fn draw_watts(card: &GpuReading, peak_watts: Option<f64>) -> Option<u32> {
    let limit = card.power_limits.map(|limits| limits.enforced_watts);
    let steps = |watts: f64| (watts / f64::from(PEAK_STEP_WATTS)).ceil() * f64::from(PEAK_STEP_WATTS);
    let watts = limit.or(peak_watts.map(steps)).filter(|watts| watts.is_finite() && *watts > 0.0)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
    let whole = watts.ceil().clamp(0.0, 10_000.0) as u32;
    Some(whole)
}

/// The price an hour at which the host's part just pays for `watts`, at `per_kwh_micros`. `None` where no price does.
#[must_use]
pub fn price_floor(watts: u32, per_kwh_micros: i64, fee_basis_points: u32) -> Option<i64> {
    let cost = i128::from(watts) * i128::from(per_kwh_micros.max(0));
    if cost == 0 {
        return Some(0);
    }
    let kept = FULL_FEE - i128::from(fee_basis_points.min(10_000));
    if kept == 0 {
        return None;
    }
    // Watts for an hour are thousandths of a kilowatt-hour. Rounded up, never to the owner's cost.
    let divisor = 1_000 * kept;
    i64::try_from((cost * FULL_FEE + divisor - 1) / divisor).ok()
}

/// What an hour of a job would bring: an estimate, with what it assumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HourEstimate {
    /// The most that the card may draw; `None` where it does not tell, and no electricity is counted for it.
    pub watts: Option<u32>,
    /// What the rest of the PC draws because a job runs is in it.
    pub total_watts: u32,
    #[ts(type = "number")]
    pub per_kwh_micros: i64,
    pub fee_basis_points: u32,
    /// The price at which nothing would be left.
    pub floor: Money,
    pub gross: Money,
    pub fee: Money,
    pub electricity: Money,
    pub net: Money,
}

/// See [`HourEstimate`]. Electricity is rounded up.
#[must_use]
pub fn hour_estimate(
    price: Money,
    floor: Money,
    watts: Option<u32>,
    total_watts: u32,
    per_kwh_micros: i64,
    fee_basis_points: u32,
) -> HourEstimate {
    let split = owed(price, fee_basis_points, 3_600_000);
    let cost = i128::from(total_watts) * i128::from(per_kwh_micros.max(0));
    let electricity = i64::try_from((cost + 999) / 1_000).unwrap_or(i64::MAX);
    let money = |micros| Money::new(micros, price.currency);
    HourEstimate {
        watts,
        total_watts,
        per_kwh_micros,
        fee_basis_points,
        floor,
        gross: split.gross,
        fee: split.fee,
        electricity: money(electricity),
        net: money(split.host.micros.saturating_sub(electricity)),
    }
}

/// The night that an outlook is made for.
pub const NIGHT_HOURS: u32 = 8;

/// What some hours of work would leave: sums, as they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Outlook {
    pub hours: u32,
    pub net: Money,
    /// Of those hours only as many as such cards are rented; `None` where the market does not tell it.
    pub net_when_rented: Option<Money>,
    /// At the price that such cards had in the market's last week; `None` where the market does not tell it.
    pub net_at_usual: Option<Money>,
}

/// See [`Outlook`].
#[must_use]
pub fn outlook(
    hours: u32,
    hour: &HourEstimate,
    usual: Option<&HourEstimate>,
    rented_percent: Option<u32>,
) -> Outlook {
    let money = |micros: i128, of: Money| {
        Money::new(i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX }), of.currency)
    };
    let sum = |of: Money| i128::from(of.micros) * i128::from(hours);
    // To the nearest; the half of a micro-unit goes up.
    let share = |percent: u32| (sum(hour.net) * i128::from(percent) + 50).div_euclid(100);
    Outlook {
        hours,
        net: money(sum(hour.net), hour.net),
        net_when_rented: rented_percent.map(|percent| money(share(percent), hour.net)),
        net_at_usual: usual.map(|usual| money(sum(usual.net), usual.net)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::zones;
    use crate::tariff::TariffWindow;
    use crate::week::Window;
    use proptest::prelude::*;

    #[test]
    fn a_floor_pays_for_the_limit_the_overhead_and_the_fee() {
        // 170 W and 40 W at 0.60 a kilowatt-hour are 0.126 an hour; a market that keeps 5 % must pay 0.132632.
        assert_eq!(price_floor(210, 600_000, 500), Some(132_632));
        assert_eq!(price_floor(210, 0, 500), Some(0));
        assert_eq!(price_floor(210, 600_000, 10_000), None);
        assert_eq!(price_floor(0, 600_000, 10_000), Some(0));
    }

    #[test]
    fn an_hour_at_the_floor_leaves_nothing() {
        let floor = Money::new(price_floor(210, 600_000, 500).unwrap(), Currency::CNY);
        let hour = hour_estimate(floor, floor, Some(170), 210, 600_000, 500);
        assert_eq!((hour.electricity.micros, hour.net.micros), (126_000, 1));
        assert_eq!(hour.gross.micros, hour.fee.micros + hour.electricity.micros + hour.net.micros);
    }

    #[test]
    fn an_outlook_is_the_hours_sum_and_says_nothing_that_the_market_does_not_say() {
        let price = Money::new(1_500_000, Currency::CNY);
        let hour = hour_estimate(price, price, Some(450), 490, 600_000, 500);
        let usual = hour_estimate(Money::new(100_000, Currency::CNY), price, Some(450), 490, 600_000, 500);
        let night = outlook(NIGHT_HOURS, &hour, Some(&usual), Some(35));
        let micros = |money: Money| money.micros;
        assert_eq!(micros(night.net), 8 * 1_131_000);
        assert_eq!(night.net_when_rented.map(micros), Some(3_166_800));
        assert_eq!(night.net_at_usual.map(micros), Some(8 * (95_000 - 294_000)));
        let alone = outlook(1, &hour, None, None);
        assert_eq!((alone.net, alone.net_when_rented, alone.net_at_usual), (hour.net, None, None));
    }

    fn any_tariff() -> impl Strategy<Value = Tariff> {
        let window = (
            0_i64..3_000_000,
            prop::sample::select(vec![
                "daily 22:00-08:00",
                "sat,sun 00:00-24:00",
                "mon-fri 17:00-21:00",
                "daily 01:30-02:30",
            ]),
        )
            .prop_map(|(price_per_kwh_micros, spec)| {
                let Window { days, from, to } = spec.parse().unwrap();
                TariffWindow { days, from, to, price_per_kwh_micros }
            });
        (0_i64..3_000_000, prop::collection::vec(window, 0..3), 0_u32..200).prop_map(
            |(price_per_kwh_micros, windows, overhead_watts)| Tariff {
                price_per_kwh_micros,
                windows,
                overhead_watts,
                ..Tariff::default()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Never out of pocket: what is taken at or above the floor of its hour brings nothing less than it costs in that
        /// hour, at a draw up to the one that the floor was made for.
        #[test]
        fn a_job_that_is_taken_never_costs_more_than_it_brings(
            tariff in any_tariff(),
            limit in 20_u32..600,
            part in 0_u32..=100,
            fee in 0_u32..9_000,
            above in 0_i64..1_000_000,
            hour in 0_u64..168,
            seconds in 1_u64..36_000,
        ) {
            let (zone, begin, _) = zones().swap_remove(1);
            let from = begin.plus_ms(hour * 3_600_000);
            let standing = tariff.standing_at(from, &zone);
            let floor = price_floor(limit + tariff.overhead_watts, standing.per_kwh_micros, fee).unwrap();
            let end = from.plus_ms(seconds * 1_000);
            let end = standing.until.map_or(end, |until| until.min(end));
            let mut consumption = Consumption::default();
            let mut at = from;
            while at < end {
                let next = at.plus_ms(60_000).min(end);
                let millijoules = next.since_ms(at) * u64::from(limit * part / 100);
                consumption.add(Energy { millijoules, uncertain_millijoules: 0 }, at, next, &tariff, &zone);
                at = next;
            }
            let price = Money::new(floor + above, Currency::CNY);
            let split = owed(price, fee, end.since_ms(from));
            let account = account(split, &consumption);
            // A micro-unit each for the gross, the fee and the electricity.
            prop_assert!(account.net.micros >= -3, "{account:?}");
            prop_assert_eq!(account.gross.micros, account.fee.micros + account.electricity.micros + account.net.micros);
        }
    }
}
