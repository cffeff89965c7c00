//! What the owner chooses about heat. The ceiling itself is `Settings::temperature_ceiling_celsius`.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::settings::OutOfBounds;

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 1_440;
/// More windows than a day has uses for are a mistake.
const MOST_WINDOWS: u64 = 16;

/// A time of day, in the owner's own time, with a lower power limit: for sleep, or for the office next door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// Minutes after midnight; 1320 is 22:00.
    pub from_minute: u16,
    /// First minute after the window. Before `from_minute` it is on the next day.
    pub to_minute: u16,
    /// Of the card's default limit.
    pub limit_percent: u32,
}

impl QuietHours {
    #[must_use]
    pub fn contains(&self, minute: u16) -> bool {
        if self.from_minute < self.to_minute {
            (self.from_minute..self.to_minute).contains(&minute)
        } else {
            minute >= self.from_minute || minute < self.to_minute
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct HeatSettings {
    /// The power limit is moved so that a job keeps the card at this.
    pub target_celsius: u32,
    /// A job that was frozen at the ceiling goes on so far below it.
    pub resume_below_kelvin: u32,
    #[ts(type = "number")]
    pub cool_at_least_ms: u64,
    /// At the ceiling so often in an hour, the card stops for an hour.
    pub trips_per_hour: u32,
    pub quiet_hours: Vec<QuietHours>,
}

impl Default for HeatSettings {
    fn default() -> Self {
        Self {
            target_celsius: 81,
            resume_below_kelvin: 8,
            cool_at_least_ms: 20_000,
            trips_per_hour: 3,
            quiet_hours: Vec::new(),
        }
    }
}

impl HeatSettings {
    /// Every number with its name and bounds.
    #[must_use]
    pub fn numbers(&self) -> Vec<(&'static str, u64, u64, u64)> {
        let windows = u64::try_from(self.quiet_hours.len()).unwrap_or(u64::MAX);
        let fixed = [
            ("heat.target_celsius", u64::from(self.target_celsius), 45, 93),
            ("heat.resume_below_kelvin", u64::from(self.resume_below_kelvin), 2, 30),
            ("heat.cool_at_least_ms", self.cool_at_least_ms, 1_000, 600_000),
            ("heat.trips_per_hour", u64::from(self.trips_per_hour), 1, 60),
            ("heat.quiet_hours", windows, 0, MOST_WINDOWS),
        ];
        let last = u64::from(DAY_MINUTES) - 1;
        let of_windows = self.quiet_hours.iter().flat_map(|window| {
            [
                ("heat.quiet_hours.from_minute", u64::from(window.from_minute), 0, last),
                ("heat.quiet_hours.to_minute", u64::from(window.to_minute), 0, last),
                ("heat.quiet_hours.limit_percent", u64::from(window.limit_percent), 10, 100),
            ]
        });
        fixed.into_iter().chain(of_windows).collect()
    }

    /// # Errors
    /// The first field that is out of its bounds.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        for (field, given, least, most) in self.numbers() {
            if given < least || given > most {
                return Err(OutOfBounds { field, given, least, most });
            }
        }
        Ok(())
    }

    /// Share of the default limit that this minute of the owner's day allows, in percent; the lowest counts.
    #[must_use]
    pub fn quiet_percent(&self, minute: u16) -> Option<u32> {
        self.quiet_hours
            .iter()
            .filter(|window| window.contains(minute))
            .map(|window| window.limit_percent)
            .min()
    }
}
