//! Never out of pocket: what a card asks for at least, and when a job has used up what it brought.

use crate::economics::{HourEstimate, Outlook, draw_watts, hour_estimate, outlook, price_floor};
use crate::money::Money;
use crate::power::HelperStanding;

use super::{Card, Host};

/// The market's part until the market has told it.
pub(super) const ASSUMED_FEE_BASIS_POINTS: u32 = 1_000;

impl Host {
    /// The price an hour below which `card` would cost more than it brings at this hour of the tariff, after a fee.
    pub(super) fn floor(&self, card: &Card, fee_basis_points: u32) -> Money {
        let drawn = draw_watts(&card.reading, card.peak_watts).unwrap_or(0);
        // What a tenant will be allowed is not what the card is allowed now; during a job, whichever is more.
        let watts = match (self.tenant_watts(card), &card.job) {
            (Some(tenant), None) => tenant,
            (Some(tenant), Some(_)) => tenant.max(drawn),
            (None, _) => drawn,
        };
        let watts = watts.saturating_add(self.settings.tariff.overhead_watts);
        // Where the market keeps everything, no price is enough.
        let floor = price_floor(watts, self.hours.per_kwh_micros(), fee_basis_points).unwrap_or(i64::MAX);
        Money::new(floor, self.settings.price_per_hour.currency)
    }

    /// The limit that the helper will set for a tenant; `None` where it stays as it is.
    fn tenant_watts(&self, card: &Card) -> Option<u32> {
        let has_helper = matches!(self.helper, HelperStanding::Available { .. });
        self.chosen_limit_watts(card).filter(|_| has_helper)
    }

    /// What `card` takes a job for: the owner's price, and never less than it costs.
    pub(super) fn least_price(&self, card: &Card, fee_basis_points: u32) -> Money {
        let floor = self.floor(card, fee_basis_points);
        Money::new(self.settings.price_per_hour.micros.max(floor.micros), floor.currency)
    }

    /// What an hour of a job would bring `card` now, at what it asks for and at the most that it may draw.
    pub(super) fn hour_estimate(&self, card: &Card) -> HourEstimate {
        self.hour_at(self.least_price(card, self.fee_basis_points), card)
    }

    /// The same at the price that such cards had in the market's last week, where the market tells it.
    pub(super) fn usual_hour(&self, card: &Card) -> Option<HourEstimate> {
        let price = card.demand?.median_price_per_hour?;
        let is_ours = price.currency == self.settings.price_per_hour.currency;
        is_ours.then(|| self.hour_at(price, card))
    }

    /// What so many hours of work would leave.
    pub(super) fn outlook(&self, card: &Card, hours: u32) -> Outlook {
        let rented_percent = card.demand.and_then(|demand| demand.rented_percent);
        outlook(hours, &self.hour_estimate(card), self.usual_hour(card).as_ref(), rented_percent)
    }

    /// What the owner chose that a tenant may draw, whether it can be set here or not.
    pub(super) fn chosen_limit_watts(&self, card: &Card) -> Option<u32> {
        let limits = card.reading.power_limits.as_ref()?;
        self.settings.power.renting(&card.reading.uuid, limits)
    }

    fn hour_at(&self, price: Money, card: &Card) -> HourEstimate {
        let watts = draw_watts(&card.reading, card.peak_watts);
        let total = watts.unwrap_or(0).saturating_add(self.settings.tariff.overhead_watts);
        let floor = self.floor(card, self.fee_basis_points);
        hour_estimate(price, floor, watts, total, self.hours.per_kwh_micros(), self.fee_basis_points)
    }

    /// The job on `card` has used up what it brought, and at this hour each further one costs the owner money.
    pub(super) fn is_out_of_pocket(&self, card: &Card, now: crate::time::Timestamp) -> bool {
        card.job.as_ref().is_some_and(|job| {
            let terms = job.terms();
            terms.price_per_hour.micros < self.floor(card, terms.fee_basis_points).micros
                && job.account(now).net.micros < 0
        })
    }
}
