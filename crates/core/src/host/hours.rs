//! What schedule and tariff say now, worked out once and kept until it changes: nothing of it may be on the way from an
//! input to a freeze.

use jiff::tz::TimeZone;

use crate::schedule::ScheduleStanding;
use crate::settings::Settings;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct Hours {
    zone: TimeZone,
    schedule: Option<ScheduleStanding>,
}

impl Default for Hours {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, schedule: None }
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
        self.schedule = None;
    }

    pub(super) fn schedule_at(&mut self, settings: &Settings, now: Timestamp) -> ScheduleStanding {
        let kept = self.schedule.filter(|kept| kept.changes_at.is_none_or(|at| now < at));
        let standing =
            kept.unwrap_or_else(|| settings.schedule.standing_at(now, &self.zone, &settings.tariff));
        self.schedule = Some(standing);
        standing
    }
}
