//! The only place of the host that reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nightjar_core::books::Span;
use nightjar_core::time::Timestamp;
use nightjar_core::week::{beginning, wall_date};

/// Moments made from one wall-clock anchor and a clock that never goes back and counts on through suspend, so that a
/// corrected wall clock can neither make nor lose a paid second.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor_ms: i64,
    started: Duration,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX), started: platform::steady() }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = platform::steady().saturating_sub(self.started);
        Timestamp(self.anchor_ms).plus_ms(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// What the wall shows. To be compared with and not reckoned with: it may be set at any moment.
    #[must_use]
    pub(crate) fn wall() -> Timestamp {
        Self::start().now()
    }

    /// How long until `at`; nothing when it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(at.since_ms(self.now()))
    }
}

/// This PC's time zone as it is set now. The library looks again after a while; where there is none, it is UTC.
#[must_use]
pub fn zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}

/// Tells whether the PC slept, by two clocks of which one stands still meanwhile.
#[derive(Debug)]
pub(crate) struct Awake {
    looked: Timestamp,
    awake: Option<Duration>,
}

/// Clocks drift apart by less than this between two looks; a shorter sleep is nobody's concern.
const SLEPT_AT_LEAST_MS: u64 = 5_000;
/// Where no clock stands still in sleep: no load of a PC delays a timer of a minute for so long.
const LATE_BY_SLEEP_MS: u64 = 150_000;

impl Awake {
    pub(crate) fn start(clock: &Clock) -> Self {
        Self { looked: clock.now(), awake: platform::awake() }
    }

    /// Whether the PC slept since the last look.
    pub(crate) fn has_slept(&mut self, clock: &Clock) -> bool {
        let before = std::mem::replace(self, Self::start(clock));
        let passed_ms = self.looked.since_ms(before.looked);
        match (before.awake, self.awake) {
            (Some(then), Some(now)) => {
                let awake_ms = u64::try_from(now.saturating_sub(then).as_millis()).unwrap_or(u64::MAX);
                passed_ms.saturating_sub(awake_ms) >= SLEPT_AT_LEAST_MS
            }
            _ => passed_ms >= LATE_BY_SLEEP_MS,
        }
    }
}

/// Local midnight before `at`, right on the days on which the clock changes too.
#[must_use]
pub fn local_midnight(at: Timestamp) -> Timestamp {
    midnight_in(jiff::tz::TimeZone::system(), at)
}

/// When a span on the wall began that holds `at`.
#[must_use]
pub(crate) fn span_start(span: Span, at: Timestamp) -> Timestamp {
    let zone = jiff::tz::TimeZone::system();
    let Some(today) = wall_date(at, &zone) else { return at };
    let back = match span {
        Span::All => return Timestamp(0),
        Span::Today => 0,
        Span::Week => today.weekday().to_monday_zero_offset(),
        Span::Month => today.day() - 1,
    };
    let first = today.saturating_sub(jiff::Span::new().days(i64::from(back)));
    beginning(first.at(0, 0, 0, 0), &zone).unwrap_or(at)
}

/// The noons between which the nights of a month lie, up to the night that lasts at `at`; in order.
#[must_use]
pub(crate) fn nights_of_month(at: Timestamp, months_ago: u32) -> Vec<Timestamp> {
    nights_in(&jiff::tz::TimeZone::system(), at, months_ago)
}

fn nights_in(zone: &jiff::tz::TimeZone, at: Timestamp, months_ago: u32) -> Vec<Timestamp> {
    let Some(today) = wall_date(at, zone) else { return Vec::new() };
    let month = today.first_of_month().saturating_sub(jiff::Span::new().months(i64::from(months_ago)));
    let noons =
        month.series(jiff::Span::new().days(1)).take(usize::from(month.days_in_month().unsigned_abs()) + 1);
    let noons: Vec<Timestamp> = noons.filter_map(|day| beginning(day.at(12, 0, 0, 0), zone)).collect();
    // A night that has not begun is no night yet.
    let begun = noons.iter().filter(|noon| **noon <= at).count();
    noons.into_iter().take(begun + 1).collect()
}

/// Midnight before `at` in `zone`.
pub(crate) fn midnight_in(zone: jiff::tz::TimeZone, at: Timestamp) -> Timestamp {
    jiff::Timestamp::from_millisecond(at.0)
        .and_then(|moment| moment.to_zoned_datetime(zone).start_of_day())
        .map_or(at, |midnight| Timestamp(midnight.timestamp().as_millisecond()))
}

#[cfg(target_os = "linux")]
mod platform {
    use std::time::Duration;

    pub(super) fn steady() -> Duration {
        since_boot(rustix::time::ClockId::Boottime)
    }

    /// Stands still while the PC sleeps.
    pub(super) fn awake() -> Option<Duration> {
        Some(since_boot(rustix::time::ClockId::Monotonic))
    }

    fn since_boot(clock: rustix::time::ClockId) -> Duration {
        let now = rustix::time::clock_gettime(clock);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    /// Windows' performance counter goes on through sleep.
    pub(super) fn steady() -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    pub(super) fn awake() -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pc_that_is_awake_has_not_slept() {
        let clock = Clock::start();
        let mut awake = Awake::start(&clock);
        std::thread::sleep(Duration::from_millis(5));
        assert!(!awake.has_slept(&clock));
        awake.looked = Timestamp(awake.looked.0 - 3_600_000);
        assert!(awake.has_slept(&clock));
    }

    #[test]
    fn time_goes_on_and_midnight_is_before_now() {
        let clock = Clock::start();
        let first = clock.now();
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.now() > first);
        let midnight = local_midnight(first);
        assert!(midnight <= first && first.since_ms(midnight) < 25 * 3_600_000);
    }

    #[test]
    fn nights_lie_between_noons_and_end_with_the_one_that_lasts() {
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        // The clock went forward on 29 March 2026: that night is an hour shorter.
        let at = Timestamp(1_774_872_000_000);
        let noons = nights_in(&zone, at, 0);
        assert_eq!(noons.len(), 31, "30 March, 14:00: the night of the 30th lasts");
        let hours: Vec<u64> = noons.windows(2).map(|w| w[1].since_ms(w[0]) / 3_600_000).collect();
        assert_eq!(hours.iter().filter(|hours| **hours == 23).count(), 1);
        assert!(noons[noons.len() - 2] <= at && at < noons[noons.len() - 1]);
        assert_eq!(nights_in(&zone, at, 1).len(), 29, "all 28 nights of February");
    }
}
