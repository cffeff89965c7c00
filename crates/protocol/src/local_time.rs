//! Moments as the clock on this PC's wall shows them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, ZonedDateTime};
use nightjar_core::time::Timestamp;

use crate::text::Texts;

/// Within so many hours the time of day alone says which moment is meant, past midnight too.
const NEAR: SignedDuration = SignedDuration::from_hours(12);
/// Within so many days the day of the week says it.
const A_WEEK_DAYS: i32 = 6;
const DAYS: [&str; 7] = [
    "day-monday",
    "day-tuesday",
    "day-wednesday",
    "day-thursday",
    "day-friday",
    "day-saturday",
    "day-sunday",
];

/// The time zone of this PC, with the nights on which its clock is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub zone: TimeZone,
}

impl Default for LocalTime {
    fn default() -> Self {
        Self { zone: TimeZone::UTC }
    }
}

impl LocalTime {
    fn wall(&self, at: Timestamp) -> Option<ZonedDateTime> {
        jiff::Timestamp::from_millisecond(at.0).ok().map(|at| at.to_zoned_datetime(self.zone.clone()))
    }

    /// Until six in the morning of the next day on the wall.
    #[must_use]
    pub fn ms_until_tomorrow(&self, now: Timestamp) -> u64 {
        let six = || {
            let tomorrow = self.wall(now)?.date().tomorrow().ok()?;
            Some(
                tomorrow
                    .at(6, 0, 0, 0)
                    .to_zoned_datetime(self.zone.clone())
                    .ok()?
                    .timestamp()
                    .as_millisecond(),
            )
        };
        six().and_then(|six| u64::try_from(six - now.0).ok()).unwrap_or(0)
    }

    /// As short as it can be said at `now` without another moment being meant: `18:00` today or within half a day,
    /// `Sat 18:00` within a week, `2026-12-24 18:00` else.
    #[must_use]
    pub fn moment(&self, at: Timestamp, now: Timestamp, texts: &Texts) -> String {
        let (Some(at), Some(now)) = (self.wall(at), self.wall(now)) else { return String::from("–") };
        let clock = at.strftime("%H:%M");
        if at.date() == now.date() || at.duration_since(&now).abs() < NEAR {
            return clock.to_string();
        }
        let days = (at.date() - now.date()).get_days().abs();
        if days <= A_WEEK_DAYS {
            let day = texts.plain(DAYS[usize::from(at.weekday().to_monday_zero_offset().unsigned_abs())]);
            return format!("{day} {clock}");
        }
        at.strftime("%Y-%m-%d %H:%M").to_string()
    }
}

#[cfg(test)]
mod tests {
    use nightjar_core::settings::Language;

    use super::*;

    fn berlin() -> LocalTime {
        LocalTime { zone: TimeZone::get("Europe/Berlin").unwrap() }
    }

    fn at(text: &str) -> Timestamp {
        let at: ZonedDateTime = format!("{text}[Europe/Berlin]").parse().unwrap();
        Timestamp(at.timestamp().as_millisecond())
    }

    fn told(moment: &str, now: &str, language: Language) -> String {
        berlin().moment(at(moment), at(now), Texts::of(language))
    }

    #[test]
    fn a_moment_says_its_day_where_the_hour_alone_would_mean_another() {
        // A Thursday.
        let now = "2026-03-26T08:00";
        for (moment, english, chinese) in [
            ("2026-03-26T23:30", "23:30", "23:30"),
            ("2026-03-26T07:00", "07:00", "07:00"),
            ("2026-03-27T08:00", "Fri 08:00", "周五 08:00"),
            ("2026-03-25T18:00", "Wed 18:00", "周三 18:00"),
            ("2026-04-01T08:00", "Wed 08:00", "周三 08:00"),
            ("2026-04-02T08:00", "2026-04-02 08:00", "2026-04-02 08:00"),
        ] {
            assert_eq!(told(moment, now, Language::English), english, "{moment}");
            assert_eq!(told(moment, now, Language::SimplifiedChinese), chinese, "{moment}");
        }
        assert_eq!(told("2026-03-27T02:00", "2026-03-26T22:00", Language::English), "02:00");
    }

    #[test]
    fn hours_beyond_a_change_of_the_clock_are_as_the_wall_will_show_them() {
        // The clock goes forward on Sunday.
        assert_eq!(told("2026-03-29T18:00", "2026-03-27T08:00", Language::English), "Sun 18:00");
        let until = berlin().ms_until_tomorrow(at("2026-03-28T06:00"));
        assert_eq!(until, 23 * 3_600_000);
        assert_eq!(berlin().ms_until_tomorrow(at("2026-03-26T23:30")), 390 * 60_000);
    }

    #[test]
    fn a_moment_that_no_calendar_has_is_no_panic() {
        let texts = Texts::of(Language::English);
        assert_eq!(berlin().moment(Timestamp(i64::MAX), Timestamp(0), texts), "–");
        assert_eq!(berlin().ms_until_tomorrow(Timestamp(i64::MAX)), 0);
    }
}
