//! Counts what is paid for. A meter runs only while its lease is `Running`; each [`UsageRecord`] covers one stretch of
//! running time, the stretches of a lease never overlap, and their numbers have no gap.
//!
//! Running time is what is paid for. A tenant that shares the card with its owner pays for the share that it keeps: of
//! such a stretch so many percent are running time, and its record ends that much earlier.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::energy::{self, EnergySample};
use crate::lease::{Epoch, LeaseId, LeaseTerms};
use crate::money::{Money, charge_for};
use crate::time::Timestamp;

/// The longest stretch that a crash can lose.
pub const METERING_INTERVAL_MS: u64 = 10_000;

/// Percent of the tenant who has the card to itself.
const WHOLE: u32 = 100;

/// One stretch of running time, as it is stored on the host before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct UsageRecord {
    pub lease: LeaseId,
    pub epoch: Epoch,
    /// 1 for the first of a lease, then one more each.
    #[ts(type = "number")]
    pub sequence: u64,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Running time of the lease up to and with this record. What is owed follows from this alone.
    #[ts(type = "number")]
    pub running_ms_total: u64,
    /// Energy of the card during this record, by its counter, or by its power where it has none: how far that may be off
    /// stands in the lease's account. 0 where the card tells neither.
    #[ts(type = "number")]
    pub millijoules: u64,
}

impl UsageRecord {
    #[must_use]
    pub fn running_ms(&self) -> u64 {
        self.to.since_ms(self.from)
    }

    /// What the host signs: one line of fixed order, so that it does not hang on a JSON writer's taste.
    #[must_use]
    pub fn signing_bytes(&self) -> Vec<u8> {
        format!(
            "nightjar-usage/1\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
            self.lease,
            self.epoch.0,
            self.sequence,
            self.from.0,
            self.to.0,
            self.running_ms_total,
            self.millijoules
        )
        .into_bytes()
    }
}

/// Why a market will never book a record, as far as its host can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum UsageRefusal {
    /// This market has no such lease with this host: it is another's, or its books were lost.
    UnknownLease,
    /// For the market the lease was over before the time that the record counts.
    LeaseOver,
    /// It does not fit what was booked before, or the market names a reason of a later version.
    #[serde(other)]
    Other,
}

/// How an amount splits between the host and the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Split {
    pub gross: Money,
    pub fee: Money,
    pub host: Money,
}

/// What a lease owes after `running_ms_total`. Both sides compute it from totals, so that rounding never drifts.
#[must_use]
pub fn owed(price_per_hour: Money, fee_basis_points: u32, running_ms_total: u64) -> Split {
    let gross = charge_for(price_per_hour, running_ms_total);
    let fee_micros = i128::from(gross.micros) * i128::from(fee_basis_points.min(10_000)) / 10_000;
    let fee = Money::new(i64::try_from(fee_micros).unwrap_or(i64::MAX), gross.currency);
    Split { gross, fee, host: Money::new(gross.micros - fee.micros, gross.currency) }
}

/// Counter of one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    lease: LeaseId,
    epoch: Epoch,
    last_sequence: u64,
    running_ms_total: u64,
    /// In percent, of the stretches that begin from now on.
    share: u32,
    open: Option<Stretch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: Timestamp,
    energy_millijoules: Option<u64>,
    share: u32,
}

impl Stretch {
    fn running_ms(self, now: Timestamp) -> u64 {
        now.since_ms(self.from).saturating_mul(u64::from(self.share)) / 100
    }
}

impl Meter {
    #[must_use]
    pub fn new(terms: &LeaseTerms) -> Self {
        Self::resume(terms, 0, 0)
    }

    /// A meter that goes on after the last record that was stored.
    #[must_use]
    pub fn resume(terms: &LeaseTerms, last_sequence: u64, running_ms_total: u64) -> Self {
        let (lease, epoch) = (terms.lease.clone(), terms.epoch);
        Self { lease, epoch, last_sequence, running_ms_total, share: WHOLE, open: None }
    }

    /// Begins to count; nothing happens when it counts already.
    pub fn start(&mut self, now: Timestamp, energy_millijoules: Option<u64>) {
        self.open.get_or_insert(Stretch { from: now, energy_millijoules, share: self.share });
    }

    #[must_use]
    pub fn share_percent(&self) -> u32 {
        self.share
    }

    /// From now on the tenant has so many percent of what it rented, and pays for so many.
    pub fn set_share(
        &mut self,
        percent: u32,
        now: Timestamp,
        energy_millijoules: Option<u64>,
    ) -> Option<UsageRecord> {
        let counts = self.is_counting();
        let record = self.stop(now, energy_millijoules);
        self.share = percent.min(WHOLE);
        if counts {
            self.start(now, energy_millijoules);
        }
        record
    }

    /// Ends the open stretch.
    pub fn stop(&mut self, now: Timestamp, energy_millijoules: Option<u64>) -> Option<UsageRecord> {
        let stretch = self.open.take()?;
        let running_ms = stretch.running_ms(now);
        if running_ms == 0 {
            return None;
        }
        self.last_sequence += 1;
        self.running_ms_total += running_ms;
        let sample = |at, counter_millijoules| EnergySample { at, counter_millijoules, watts: None };
        let (before, after) =
            (sample(stretch.from, stretch.energy_millijoules), sample(now, energy_millijoules));
        let millijoules = energy::between(&before, &after).millijoules;
        Some(UsageRecord {
            lease: self.lease.clone(),
            epoch: self.epoch,
            sequence: self.last_sequence,
            from: stretch.from,
            to: stretch.from.plus_ms(running_ms),
            running_ms_total: self.running_ms_total,
            millijoules,
        })
    }

    /// A record where a whole interval has passed, and the next stretch right behind it.
    pub fn tick(&mut self, now: Timestamp, energy_millijoules: Option<u64>) -> Option<UsageRecord> {
        if self.deadline()? > now {
            return None;
        }
        let record = self.stop(now, energy_millijoules);
        self.start(now, energy_millijoules);
        record
    }

    /// When [`Meter::tick`] has something to say.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.open.map(|stretch| stretch.from.plus_ms(METERING_INTERVAL_MS))
    }

    /// Running time up to `now`, the open stretch with it.
    #[must_use]
    pub fn running_ms(&self, now: Timestamp) -> u64 {
        self.running_ms_total + self.open.map_or(0, |stretch| stretch.running_ms(now))
    }

    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use proptest::prelude::*;

    proptest! {
        /// No second is metered twice: records follow one another without overlap, and add up to their own total.
        #[test]
        fn records_never_overlap(steps in proptest::collection::vec((0_u64..30_000, 0_u8..9), 1..200)) {
            let mut meter = Meter {
                lease: LeaseId("l".into()), epoch: Epoch(1), last_sequence: 0, running_ms_total: 0, share: WHOLE, open: None,
            };
            let mut now = Timestamp(1_000);
            let mut records: Vec<UsageRecord> = Vec::new();
            for (step_ms, action) in steps {
                now = now.plus_ms(step_ms);
                match action {
                    0 => meter.start(now, None),
                    1 => records.extend(meter.stop(now, None)),
                    2..5 => records.extend(meter.set_share(u32::from(action) * 25, now, None)),
                    _ => records.extend(meter.tick(now, None)),
                }
            }
            for pair in records.windows(2) {
                prop_assert!(pair[1].from >= pair[0].to);
                prop_assert_eq!(pair[1].sequence, pair[0].sequence + 1);
            }
            let sum: u64 = records.iter().map(UsageRecord::running_ms).sum();
            prop_assert_eq!(sum, records.last().map_or(0, |r| r.running_ms_total));
        }

        /// Who has a quarter pays for a quarter, however the time is cut.
        #[test]
        fn a_share_is_paid_by_the_share(percent in 0_u32..=100, cuts in proptest::collection::vec(1_u64..60_000, 1..50)) {
            let mut meter = Meter {
                lease: LeaseId("l".into()), epoch: Epoch(1), last_sequence: 0, running_ms_total: 0, share: WHOLE, open: None,
            };
            let mut now = Timestamp(1_000);
            meter.set_share(percent, now, None);
            meter.start(now, None);
            for cut_ms in &cuts {
                now = now.plus_ms(*cut_ms);
                meter.tick(now, None);
            }
            let whole_ms: u64 = cuts.iter().sum();
            let paid_ms = meter.running_ms(now);
            prop_assert!(paid_ms <= whole_ms * u64::from(percent) / 100, "the renter pays for more than it had");
            // Each record rounds down by less than a millisecond.
            prop_assert!(paid_ms + cuts.len() as u64 + 1 >= whole_ms * u64::from(percent) / 100);
        }

        #[test]
        fn a_split_loses_nothing(price in 0_i64..50_000_000, fee in 0_u32..=10_000, ms in 0_u64..10_000_000_000) {
            let split = owed(Money::new(price, Currency::CNY), fee, ms);
            prop_assert_eq!(split.gross.micros, split.fee.micros + split.host.micros);
            prop_assert!(split.fee.micros >= 0 && split.host.micros >= 0);
        }
    }
}
