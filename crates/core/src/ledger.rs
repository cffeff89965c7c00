//! Double-entry books. A [`Transfer`] moves an amount out of accounts and into others; its legs always add up to zero,
//! so the sum over all accounts is zero at any time.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::meter::owed;
use crate::money::{Currency, Money};

/// Whose books a leg belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Account {
    /// Money that came from or went to the outside (payments in, payouts).
    World,
    Renter {
        id: String,
    },
    Host {
        id: String,
    },
    /// The market's fees.
    Fees,
}

/// One account's part of a transfer, in micro-units: above zero is received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Leg {
    pub account: Account,
    #[ts(type = "number")]
    pub micros: i64,
}

/// Legs that add up to zero. Made only by the functions here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    currency: Currency,
    legs: Vec<Leg>,
}

impl Transfer {
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    #[must_use]
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// A renter pays in.
    #[must_use]
    pub fn deposit(renter: &str, amount: Money) -> Self {
        let renter = Account::Renter { id: renter.to_owned() };
        Self::of(amount.currency, vec![(Account::World, -amount.micros), (renter, amount.micros)])
    }

    /// A host's owner is paid.
    #[must_use]
    pub fn payout(host: &str, amount: Money) -> Self {
        let host = Account::Host { id: host.to_owned() };
        Self::of(amount.currency, vec![(host, -amount.micros), (Account::World, amount.micros)])
    }

    /// What one usage record costs: the difference of what is owed after it and what was owed before.
    #[must_use]
    pub fn usage(
        renter: &str,
        host: &str,
        price_per_hour: Money,
        fee_basis_points: u32,
        running_ms_before: u64,
        running_ms_after: u64,
    ) -> Self {
        let before = owed(price_per_hour, fee_basis_points, running_ms_before);
        let after = owed(price_per_hour, fee_basis_points, running_ms_after);
        let gross = after.gross.micros - before.gross.micros;
        let fee = after.fee.micros - before.fee.micros;
        Self::of(
            price_per_hour.currency,
            vec![
                (Account::Renter { id: renter.to_owned() }, -gross),
                (Account::Host { id: host.to_owned() }, gross - fee),
                (Account::Fees, fee),
            ],
        )
    }

    fn of(currency: Currency, legs: Vec<(Account, i64)>) -> Self {
        let legs = legs.into_iter().map(|(account, micros)| Leg { account, micros }).collect();
        Self { currency, legs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However a lease's time is cut into records, everybody ends with the same, and nothing is made or lost.
        #[test]
        fn any_cut_gives_the_same_books(
            price in 0_i64..50_000_000,
            fee in 0_u32..=10_000,
            cuts in proptest::collection::vec(1_u64..100_000, 1..50),
        ) {
            let price = Money::new(price, Currency::CNY);
            let mut total = 0;
            let (mut renter, mut host, mut fees) = (0, 0, 0);
            for cut in cuts {
                let transfer = Transfer::usage("r", "h", price, fee, total, total + cut);
                total += cut;
                prop_assert_eq!(transfer.legs().iter().map(|leg| leg.micros).sum::<i64>(), 0);
                renter += transfer.legs()[0].micros;
                host += transfer.legs()[1].micros;
                fees += transfer.legs()[2].micros;
            }
            let whole = owed(price, fee, total);
            prop_assert_eq!((-renter, host, fees), (whole.gross.micros, whole.host.micros, whole.fee.micros));
        }
    }
}
