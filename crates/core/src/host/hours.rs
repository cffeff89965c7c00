//! What schedule and tariff say now, worked out once and kept until it changes: nothing of it may be on the way from an
//! input to a freeze.

use jiff::tz::TimeZone;

use crate::schedule::ScheduleStanding;
use crate::settings::Settings;
use crate::tariff::PriceStanding;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct Hours {
    zone: TimeZone,
    schedule: Option<ScheduleStanding>,
    price: Option<PriceStanding>,
}

impl Default for Hours {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, schedule: None, price: None }
    }
}

impl Hours {
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn set_zone(&mut self, zone: TimeZone) {
        if zone != self.zone {
            self.zone = zone;
            self.forget();
        }
    }

    /// The settings are others now.
    pub(super) fn forget(&mut self) {
        (self.schedule, self.price) = (None, None);
    }

    /// What a kilowatt-hour costs now, as of the last [`Hours::schedule_at`].
    pub(super) fn per_kwh_micros(&self) -> i64 {
        self.price.map_or(0, |price| price.per_kwh_micros)
    }

    /// When it costs something else.
    pub(super) fn price_until(&self) -> Option<Timestamp> {
        self.price.and_then(|price| price.until)
    }

    pub(super) fn schedule_at(&mut self, settings: &Settings, now: Timestamp) -> ScheduleStanding {
        let kept = self.schedule.filter(|kept| kept.changes_at.is_none_or(|at| now < at));
        let standing =
            kept.unwrap_or_else(|| settings.schedule.standing_at(now, &self.zone, &settings.tariff));
        self.schedule = Some(standing);
        let price = self.price.filter(|kept| kept.until.is_none_or(|until| now < until));
        self.price = Some(price.unwrap_or_else(|| settings.tariff.standing_at(now, &self.zone)));
        standing
    }
}
