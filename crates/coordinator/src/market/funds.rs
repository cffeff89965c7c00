//! How far a prepaid balance reaches.

use nightjar_core::money::{Money, charge_for};

/// A lease is begun only where the balance covers this much of it, in milliseconds.
pub(super) const TO_BEGIN_MS: u64 = 60_000;
/// A lease ends when less than this is covered. Two metering intervals: one that is not booked yet, and one until the
/// host has stopped.
pub(super) const TO_GO_ON_MS: u64 = 20_000;

/// Whether `balance_micros` pays `ms` of everything that runs at `prices` together. What is free needs no
/// balance, only that there is no debt.
pub(super) fn covers(balance_micros: i64, prices: impl IntoIterator<Item = Money>, ms: u64) -> bool {
    let charges = prices.into_iter().map(|price| charge_for(price, ms).micros);
    balance_micros >= charges.fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::money::Currency;

    #[test]
    fn every_lease_that_runs_counts() {
        let price = Money::new(3_600_000, Currency::CNY);
        assert!(covers(20_000, [price], TO_GO_ON_MS));
        assert!(!covers(19_999, [price], TO_GO_ON_MS));
        assert!(!covers(20_000, [price, price], TO_GO_ON_MS));
        assert!(covers(0, [Money::new(0, Currency::CNY)], TO_BEGIN_MS));
        assert!(!covers(-1, [], TO_BEGIN_MS));
        assert!(!covers(i64::MAX - 1, [Money::new(i64::MAX, Currency::CNY); 3], u64::MAX));
    }
}
