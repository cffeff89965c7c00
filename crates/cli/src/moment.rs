//! Moments as people type them: `24h` (ago), `22:00`, `2026-03-28`, `2026-03-28T22:00`.

use jiff::civil::{Date, DateTime, Time};
use jiff::{ToSpan, ZonedDateTime};

use nightjar_core::time::Timestamp;

use crate::quantity;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many milliseconds ago.
    Ago(u64),
    /// The last time that the clock on the wall showed this.
    Clock(Time),
    /// Of this PC's time zone.
    Local(DateTime),
}

/// By the clock on the wall.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// # Errors
/// A sentence that shows how a moment is written.
pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ms) = quantity::duration_ms(text) {
        return Ok(Moment::Ago(ms));
    }
    let is_clock = text.contains(':') && !text.contains('-');
    if is_clock && let Ok(time) = text.parse::<Time>() {
        return Ok(Moment::Clock(time));
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return Ok(Moment::Local(at));
    }
    if let Ok(day) = text.parse::<Date>() {
        return Ok(Moment::Local(day.at(0, 0, 0, 0)));
    }
    let quoted: String = text.chars().take(32).collect();
    Err(format!("\"{quoted}\" is not a moment: write 24h, 22:00, 2026-03-28 or 2026-03-28T22:00"))
}

impl Moment {
    /// # Errors
    /// When there is no such moment, e.g. in a year that no clock reaches.
    pub fn resolve(self, now: &ZonedDateTime) -> Result<Timestamp, jiff::Error> {
        let at = match self {
            Self::Ago(ms) => {
                let ago = i64::try_from(ms).unwrap_or(i64::MAX);
                return Ok(Timestamp(now.timestamp().as_millisecond().saturating_sub(ago)));
            }
            Self::Clock(time) => {
                let today = now.date().to_datetime(time).to_zoned_datetime(now.time_zone().clone())?;
                if today <= *now { today } else { today.checked_sub(1.day())? }
            }
            Self::Local(at) => at.to_zoned_datetime(now.time_zone().clone())?,
        };
        Ok(Timestamp(at.timestamp().as_millisecond()))
    }
}

/// A moment as the clock on this PC's wall shows it.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_| format!("{} ms", at.0),
        |at| at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> String {
        let now: ZonedDateTime = "2026-03-29T12:00[Europe/Berlin]".parse().unwrap();
        let at = moment(text).unwrap().resolve(&now).unwrap();
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap();
        at.to_zoned_datetime(now.time_zone().clone()).strftime("%m-%d %H:%M").to_string()
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        assert_eq!(resolved("11:30"), "03-29 11:30");
        assert_eq!(resolved("22:00"), "03-28 22:00");
        assert_eq!(resolved("2026-03-28"), "03-28 00:00");
        assert_eq!(resolved("2026-03-28T22:00"), "03-28 22:00");
        // The clock was put forward in the night: 24 hours ago it was eleven.
        assert_eq!(resolved("24h"), "03-28 11:00");
        for wrong in ["", "yesterday", "25:00", "2026-13-01", "-1h"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
