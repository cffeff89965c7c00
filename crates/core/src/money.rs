//! Money in integer micro-units (a millionth of the currency's unit) with its currency. No floating point: what is
//! added up on the host and at the coordinator must agree to the last micro-unit.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// An ISO 4217 code, three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TS)]
#[ts(type = "string")]
pub struct Currency([u8; 3]);

/// Why a text is no currency or no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("\"{0}\" is not a currency: three capital letters are wanted, such as CNY or EUR")]
    Currency(String),
    #[error("\"{0}\" is not an amount: digits with at most six decimals are wanted, such as 12.50")]
    Amount(String),
    #[error("amounts in {0} and {1} cannot be added: the market keeps one currency a ledger")]
    Mixed(Currency, Currency),
    #[error("the amount is too large to be kept")]
    Overflow,
}

impl Currency {
    pub const CNY: Self = Self(*b"CNY");

    /// # Errors
    /// When `code` is not three capital letters.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        match code.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|l| l.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(MoneyError::Currency(code.chars().take(16).collect())),
        }
    }

    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::fmt::Debug for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::new(&code).map_err(serde::de::Error::custom)
    }
}

/// An amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
pub struct Money {
    #[ts(type = "number")]
    pub micros: i64,
    pub currency: Currency,
}

impl Money {
    #[must_use]
    pub const fn new(micros: i64, currency: Currency) -> Self {
        Self { micros, currency }
    }

    /// Reads `12`, `12.5` or `12.500000`.
    ///
    /// # Errors
    /// When the text is not such a number or does not fit.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let wrong = || MoneyError::Amount(text.chars().take(32).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || part.len() > 6 || !(part.is_empty() || digits(part)) || text.ends_with('.') {
            return Err(wrong());
        }
        let whole: i64 = whole.parse().map_err(|_| wrong())?;
        let fraction: i64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
        let micros =
            whole.checked_mul(1_000_000).and_then(|m| m.checked_add(fraction)).ok_or(MoneyError::Overflow)?;
        Ok(Self { micros, currency })
    }

    /// # Errors
    /// When the currencies differ or the sum does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        let micros = self.micros.checked_add(other.micros).ok_or(MoneyError::Overflow)?;
        Ok(Self { micros, currency: self.currency })
    }
}

impl std::fmt::Display for Money {
    /// Two decimals at least and no more than needed: `1.50 CNY`, `0.0375 CNY`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let absolute = self.micros.unsigned_abs();
        let fraction = format!("{:06}", absolute % 1_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{} {}", absolute / 1_000_000, &fraction[..kept], self.currency)
    }
}

/// What `running_ms` cost at `price_per_hour`, rounded down. Always computed from the whole running time of a lease
/// (never summed from rounded parts), so that host and coordinator agree whatever the cut of the intervals.
#[must_use]
pub fn charge_for(price_per_hour: Money, running_ms: u64) -> Money {
    let micros = i128::from(price_per_hour.micros) * i128::from(running_ms) / 3_600_000;
    Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency: price_per_hour.currency }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_read_and_print() {
        let one = Money::parse("1.5", Currency::CNY).unwrap();
        assert_eq!(one.micros, 1_500_000);
        assert_eq!(one.to_string(), "1.50 CNY");
        assert_eq!(Money::new(-37_500, Currency::CNY).to_string(), "-0.0375 CNY");
        for wrong in ["", ".", "1.", "-1", "1.0000001", "1e3", " 1", "99999999999999999999"] {
            assert!(Money::parse(wrong, Currency::CNY).is_err(), "{wrong}");
        }
        assert!(Currency::new("cny").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(micros in 0_i64..i64::MAX / 2) {
            let money = Money::new(micros, Currency::CNY);
            let text = money.to_string();
            prop_assert_eq!(Money::parse(text.trim_end_matches(" CNY"), Currency::CNY).unwrap(), money);
        }

        #[test]
        fn charge_never_falls(price in 0_i64..1_000_000_000, a in 0_u64..1_000_000_000, b in 0_u64..1_000_000_000) {
            let price = Money::new(price, Currency::CNY);
            let (short, long) = (a.min(b), a.max(b));
            prop_assert!(charge_for(price, short).micros <= charge_for(price, long).micros);
        }
    }
}
