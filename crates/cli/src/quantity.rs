//! Sizes, prices and durations as people type them.

use std::fmt::Write as _;

use nightjar_core::host::PowerWish;
use nightjar_core::money::{Currency, Money};
use nightjar_core::network::{CAP_MIB, LEAST_KBIT, MOST_KBIT};
use nightjar_core::volume::Footing;

/// More than any card has.
const MOST_MIB: u64 = 16 * 1024 * 1024;
/// A year: nobody means more.
const MOST_MS: u64 = 366 * 86_400_000;
/// What is said back of a text that cannot be read.
const QUOTED_CHARS: usize = 32;

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

/// Reads `24G`, `12GiB`, `8192MiB` into MiB, rounded down.
///
/// `G` and `GB` are 10^9 bytes, so that `24G` fits the cards that are sold as 24 GB: what is left of it after the
/// driver and error correction took their part is 22.5 to 24 GiB.
///
/// # Errors
/// A sentence that shows how a size is written.
pub fn vram_mib(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{}\" is not a size: write 24G, 12GiB or 8192MiB", quoted(text));
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes_a_unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        _ => return Err(wrong()),
    };
    let mib = number.checked_mul(bytes_a_unit).ok_or_else(wrong)? >> 20;
    if mib == 0 || mib > MOST_MIB {
        return Err(format!("\"{}\" is out of bounds: between 1 MiB and 16 TiB is wanted", quoted(text)));
    }
    Ok(mib)
}

/// Reads a size as [`vram_mib`] does, or `0`.
///
/// # Errors
/// A sentence that shows how a size is written.
pub fn reserve_mib(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { vram_mib(text) }
}

/// Reads `20M`, `512k`, `1G`, `20Mbit/s` or `1.5G` bits a second into kbit/s.
///
/// # Errors
/// A sentence that shows how a rate is written, or its bounds.
pub fn rate_kbit(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{}\" is not a rate: write 20M, 512k or 1.5G (bits a second)", quoted(text));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let kbit_a_unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kbit" | "kbit/s" => 1,
        "m" | "mbit" | "mbit/s" => 1_000,
        "g" | "gbit" | "gbit/s" => 1_000_000,
        _ => return Err(wrong()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if part.is_empty() || part.len() > 3 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    let kbit = whole.checked_mul(kbit_a_unit).ok_or_else(wrong)? + thousandths * kbit_a_unit / 1_000;
    let fits = u32::try_from(kbit).ok().filter(|kbit| (LEAST_KBIT..=MOST_KBIT).contains(kbit));
    fits.ok_or_else(|| format!("\"{}\" is out of bounds: between 64k and 10G is wanted", quoted(text)))
}

/// Reads `500G` (10^9 bytes, as providers count), `500GiB` or `1T` into MiB.
///
/// # Errors
/// A sentence that shows how a size is written, or its bounds.
pub fn data_mib(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{}\" is not a size: write 500G, 500GiB or 1T", quoted(text));
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let bytes_a_unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "t" | "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let mib = number.checked_mul(bytes_a_unit).ok_or_else(wrong)? >> 20;
    if CAP_MIB.contains(&mib) {
        return Ok(mib);
    }
    Err(format!("\"{}\" is out of bounds: between 100MiB and 1024TiB is wanted", quoted(text)))
}

/// Reads `2` or `2.50` into micro-units of whatever currency the market keeps.
///
/// # Errors
/// A sentence that shows how a price is written.
pub fn price_micros(text: &str) -> Result<i64, String> {
    Money::parse(text, Currency::CNY).map(|money| money.micros).map_err(|error| error.to_string())
}

/// A moment that is named by the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    time: jiff::civil::Time,
    tomorrow: bool,
}

impl Until {
    /// Reads `17:30` (the next one that comes) or `tomorrow` (six in the morning).
    ///
    /// # Errors
    /// A sentence that shows how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "tomorrow" {
            return Ok(Self { time: jiff::civil::time(6, 0, 0, 0), tomorrow: true });
        }
        let wrong = || format!("\"{}\" is not a time: write 17:30 or tomorrow", quoted(text));
        let time = jiff::civil::Time::strptime("%H:%M", text).map_err(|_| wrong())?;
        Ok(Self { time, tomorrow: false })
    }

    /// How long until then, from `now` on.
    ///
    /// # Errors
    /// When the calendar ends before.
    pub fn from(self, now: &jiff::ZonedDateTime) -> Result<u64, String> {
        let day =
            if self.tomorrow || self.time <= now.time() { now.date().tomorrow() } else { Ok(now.date()) };
        let then = day.and_then(|day| day.to_datetime(self.time).to_zoned_datetime(now.time_zone().clone()));
        let then = then.map_err(|error| format!("that time cannot be reckoned: {error}"))?;
        Ok(u64::try_from(then.timestamp().as_millisecond() - now.timestamp().as_millisecond())
            .unwrap_or(1)
            .max(1))
    }
}

/// Reads `90s`, `30m`, `1h`, `1h30m`, `2d` into milliseconds.
///
/// # Errors
/// A sentence that shows how a duration is written.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{}\" is not a duration: write 90s, 30m, 1h, 1h30m or 2d", quoted(text));
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..split].parse().map_err(|_| wrong())?;
        let mut after = rest[split..].chars();
        let unit_ms = match after.next() {
            Some('s') => 1_000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(unit_ms).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        rest = after.as_str();
    }
    if total == 0 || total > MOST_MS {
        return Err(format!("\"{}\" is out of bounds: between 1s and 366d is wanted", quoted(text)));
    }
    Ok(total)
}

/// `1 h 30 min`, `45 s`, `3 d 2 h`: the two largest units, rounded down.
#[must_use]
pub fn spell_ms(ms: u64) -> String {
    let seconds = ms / 1_000;
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let mut text = String::new();
    for (index, (count, unit)) in units.iter().enumerate().skip(first).take(2) {
        if index == first || *count > 0 {
            let gap = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{gap}{count} {unit}");
        }
    }
    text
}

/// `24.0 GiB`.
#[must_use]
pub fn spell_mib(mib: u64) -> String {
    format!("{}.{} GiB", mib / 1_024, mib % 1_024 * 10 / 1_024)
}

/// How much a renter may keep.
#[must_use]
pub fn spell_quota(quota_mib: u64, footing: Option<Footing>) -> String {
    match footing {
        Some(Footing { has_quota: false, .. }) => "no limit".to_owned(),
        _ => spell_mib(quota_mib),
    }
}

/// Whether what is kept is encrypted; `-` where nobody knows.
#[must_use]
pub const fn spell_encrypted(footing: Option<Footing>) -> &'static str {
    match footing {
        None => "-",
        Some(Footing { is_encrypted: true, .. }) => "yes",
        Some(_) => "no",
    }
}

/// Watts, or percent of the card's default: `250`, `250W`, `70%`.
///
/// # Errors
/// What is wanted.
pub fn power(text: &str) -> Result<PowerWish, String> {
    let number =
        |digits: &str| digits.trim().parse::<u32>().ok().filter(|number| (1..=2_000).contains(number));
    let wish = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| PowerWish::Percent { percent }),
        None => number(text.trim_end_matches(['w', 'W'])).map(|watts| PowerWish::Watts { watts }),
    };
    wish.ok_or_else(|| String::from("give watts or percent of the card's default, e.g. 250 or 70%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_limit_is_watts_or_percent() {
        assert_eq!(power("250"), Ok(PowerWish::Watts { watts: 250 }));
        assert_eq!(power("250 W"), Ok(PowerWish::Watts { watts: 250 }));
        assert_eq!(power("70%"), Ok(PowerWish::Percent { percent: 70 }));
        for bad in ["", "-5", "0", "3000", "W", "%", "1e3"] {
            assert!(power(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!((reserve_mib("0"), reserve_mib("1GiB")), (Ok(0), Ok(1_024)));
        assert!(reserve_mib("0GiB").is_err() && reserve_mib("").is_err());
        assert_eq!(vram_mib("24G"), Ok(22_888));
        assert_eq!(vram_mib("24gb"), Ok(22_888));
        assert_eq!(vram_mib("12GiB"), Ok(12_288));
        assert_eq!(vram_mib("8192MiB"), Ok(8_192));
        for wrong in
            ["", "24", "G", "24T", "-1G", "1.5G", "0G", "99999999999999999999G", "24 G", "20000000MiB"]
        {
            assert!(vram_mib(wrong).is_err(), "{wrong}");
        }
    }

    /// Cards with 24 GB as their drivers count them: RTX 4090, and an L4 with error correction on.
    #[test]
    fn what_is_sold_as_24_gb_meets_24g() {
        let needed = vram_mib("24G").unwrap();
        assert!([24_564, 23_034].iter().all(|has| needed <= *has));
        assert!(needed > 20_480);
    }

    #[test]
    fn rates_and_data_are_read() {
        assert_eq!(rate_kbit("20M"), Ok(20_000));
        assert_eq!(rate_kbit("512k"), Ok(512));
        assert_eq!(rate_kbit("1.5 Gbit/s"), Ok(1_500_000));
        assert_eq!(rate_kbit("10G"), Ok(10_000_000));
        for wrong in
            ["", "20", "M", "-1M", "63k", "11G", "1.M", "1.2345M", "20MB", "99999999999999999999M", "1ü"]
        {
            assert!(rate_kbit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(data_mib("500G"), Ok(476_837));
        assert_eq!(data_mib("500GiB"), Ok(512_000));
        assert_eq!(data_mib("1T"), Ok(953_674));
        for wrong in ["", "500", "1M", "0G", "-5G", "1.5T", "99999T", "99999999999999999999G"] {
            assert!(data_mib(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prices_are_read() {
        assert_eq!(price_micros("2.50"), Ok(2_500_000));
        assert_eq!(price_micros("0"), Ok(0));
        for wrong in ["", "-1", "1e3", "2.5 CNY", "1.0000001"] {
            assert!(price_micros(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration_ms("90s"), Ok(90_000));
        assert_eq!(duration_ms("1h30m"), Ok(5_400_000));
        assert_eq!(duration_ms("2d"), Ok(172_800_000));
        for wrong in ["", "1", "h", "1.5h", "0s", "-1h", "1w", "1h30", "999999999999999999d", "400d", "1ü"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_and_sizes_are_spelled() {
        assert_eq!(spell_ms(0), "0 s");
        assert_eq!(spell_ms(999), "0 s");
        assert_eq!(spell_ms(45_000), "45 s");
        assert_eq!(spell_ms(5_400_000), "1 h 30 min");
        assert_eq!(spell_ms(3_600_000), "1 h");
        assert_eq!(spell_ms(266_400_000), "3 d 2 h");
        assert_eq!(spell_mib(24_564), "23.9 GiB");
    }

    #[test]
    fn a_time_on_the_wall_is_the_next_one_that_comes() {
        let now: jiff::ZonedDateTime = "2026-03-28T22:00[Europe/Berlin]".parse().unwrap();
        let hours = |text: &str| Until::parse(text).unwrap().from(&now).unwrap() as f64 / 3_600_000.0;
        assert_eq!(hours("23:30"), 1.5);
        // The night in which the clocks go forward is an hour shorter.
        assert_eq!(hours("06:00"), 7.0);
        assert_eq!(hours("tomorrow"), 7.0);
        assert_eq!(hours("22:00"), 23.0);
        assert!(Until::parse("25:00").is_err() && Until::parse("soon").is_err());
    }
}
