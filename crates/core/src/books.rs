//! What leases brought in a span of time. A lease is cut by its running time, and every cut is made from totals, so that
//! the parts of adjoining spans add up to the whole to the last micro-unit.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::gpu::GpuUuid;
use crate::lease::{LeaseId, LeaseTerms};
use crate::meter::{UsageRefusal, owed};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

/// What was taken, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Takings {
    pub gross: Money,
    pub fee: Money,
    pub electricity: Money,
    pub net: Money,
    #[ts(type = "number")]
    pub running_ms: u64,
}

impl Takings {
    #[must_use]
    pub fn none(currency: Currency) -> Self {
        let nothing = Money::new(0, currency);
        Self { gross: nothing, fee: nothing, electricity: nothing, net: nothing, running_ms: 0 }
    }

    /// Both together; they are of one currency.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Money, b: Money| Money::new(a.micros.saturating_add(b.micros), self.gross.currency);
        Self {
            gross: sum(self.gross, other.gross),
            fee: sum(self.fee, other.fee),
            electricity: sum(self.electricity, other.electricity),
            net: sum(self.net, other.net),
            running_ms: self.running_ms.saturating_add(other.running_ms),
        }
    }
}

/// One lease's part in a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct JobTakings {
    pub lease: LeaseId,
    pub image: String,
    pub renter: String,
    pub gpu: GpuUuid,
    /// Its first and last running moment in the span.
    pub from: Timestamp,
    pub to: Timestamp,
    pub takings: Takings,
}

/// One card's part in a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CardTakings {
    pub gpu: GpuUuid,
    pub takings: Takings,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Since midnight on the wall.
    Today,
    /// Since Monday.
    Week,
    /// Since the first of the month.
    Month,
    All,
}

/// A span's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Books {
    pub since: Timestamp,
    pub until: Timestamp,
    pub total: Takings,
    /// Of the total, what cards took to prove themselves to their market: no job paid for that.
    pub checks: CheckTakings,
    /// The best first.
    pub cards: Vec<CardTakings>,
    /// The latest first, and no more than are asked for.
    pub jobs: Vec<JobTakings>,
    pub jobs_left_out: u32,
    /// Jobs that were paid in another currency; they are in no sum.
    pub jobs_in_other_currencies: u32,
    /// Work that the market will never pay for; only its time and its electricity are in the sums.
    pub refused: Vec<RefusedTakings>,
}

/// What the market refused for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RefusedTakings {
    pub why: UsageRefusal,
    #[ts(type = "number")]
    pub running_ms: u64,
    /// What the host's part of it would have been.
    pub host: Money,
}

/// What the market's checks of waiting cards cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CheckTakings {
    pub checks: u32,
    pub electricity: Money,
}

/// One such check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckCost {
    pub gpu: GpuUuid,
    pub at: Timestamp,
    pub electricity: Money,
}

impl CheckCost {
    #[must_use]
    pub fn takings(&self) -> Takings {
        let electricity = self.electricity;
        let net = Money::new(-electricity.micros, electricity.currency);
        Takings { electricity, net, ..Takings::none(electricity.currency) }
    }
}

/// A night: from noon to noon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct NightTakings {
    pub since: Timestamp,
    pub until: Timestamp,
    pub takings: Takings,
}

/// What a lease did in a span, as usage records tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub terms: LeaseTerms,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Its running time before the span, and with it.
    pub before_ms: u64,
    pub with_ms: u64,
    /// Over its whole life.
    pub life_ms: u64,
    /// Its running time up to the first record that the market refused.
    pub paid_ms: u64,
    /// Why it refused that one.
    pub refusal: Option<UsageRefusal>,
    pub life_electricity_micros: i64,
}

impl Slice {
    /// What the span is worth.
    #[must_use]
    pub fn takings(&self) -> Takings {
        let LeaseTerms { price_per_hour, fee_basis_points, .. } = self.terms;
        let split = |ms| owed(price_per_hour, fee_basis_points, ms);
        let paid = |ms: u64| split(ms.min(self.paid_ms));
        let (before, with) = (paid(self.before_ms), paid(self.with_ms));
        let electricity = self.electricity_until(self.with_ms) - self.electricity_until(self.before_ms);
        let money = |micros| Money::new(micros, price_per_hour.currency);
        let (gross, fee) = (with.gross.micros - before.gross.micros, with.fee.micros - before.fee.micros);
        Takings {
            gross: money(gross),
            fee: money(fee),
            electricity: money(electricity),
            net: money(gross - fee - electricity),
            running_ms: self.with_ms.saturating_sub(self.before_ms),
        }
    }

    /// What of the span the market will never pay for.
    fn refused(&self) -> Option<RefusedTakings> {
        let why = self.refusal?;
        let LeaseTerms { price_per_hour, fee_basis_points, .. } = self.terms;
        let from_ms = self.before_ms.max(self.paid_ms);
        let running_ms = self.with_ms.checked_sub(from_ms).filter(|ms| *ms > 0)?;
        let host = |ms| owed(price_per_hour, fee_basis_points, ms).host.micros;
        let host = Money::new(host(self.with_ms) - host(from_ms), price_per_hour.currency);
        Some(RefusedTakings { why, running_ms, host })
    }

    /// Spread evenly over the running time.
    fn electricity_until(&self, running_ms: u64) -> i64 {
        if self.life_ms == 0 {
            return 0;
        }
        let part = i128::from(self.life_electricity_micros) * i128::from(running_ms.min(self.life_ms))
            / i128::from(self.life_ms);
        i64::try_from(part).unwrap_or(i64::MAX)
    }

    fn job(&self) -> JobTakings {
        JobTakings {
            lease: self.terms.lease.clone(),
            image: self.terms.image.clone(),
            renter: self.terms.renter.clone(),
            gpu: self.terms.gpu.clone(),
            from: self.from,
            to: self.to,
            takings: self.takings(),
        }
    }
}

impl Books {
    /// Sums up. `slices` hold each lease once, `checks` those of the span.
    #[must_use]
    pub fn of(
        slices: &[Slice],
        checks: &[CheckCost],
        since: Timestamp,
        until: Timestamp,
        currency: Currency,
        most_jobs: usize,
    ) -> Self {
        let (ours, others): (Vec<_>, Vec<_>) =
            slices.iter().partition(|slice| slice.terms.price_per_hour.currency == currency);
        let refused = by_reason(ours.iter().filter_map(|slice| slice.refused()));
        let mut jobs: Vec<JobTakings> = ours.into_iter().map(Slice::job).collect();
        jobs.sort_by(|a, b| b.to.cmp(&a.to).then_with(|| a.lease.0.cmp(&b.lease.0)));
        let mut cards: Vec<CardTakings> = Vec::new();
        let checks: Vec<&CheckCost> =
            checks.iter().filter(|check| check.electricity.currency == currency).collect();
        let of_jobs = jobs.iter().map(|job| (&job.gpu, job.takings));
        for (gpu, takings) in of_jobs.chain(checks.iter().map(|check| (&check.gpu, check.takings()))) {
            match cards.iter_mut().find(|card| card.gpu == *gpu) {
                Some(card) => card.takings = card.takings.plus(takings),
                None => cards.push(CardTakings { gpu: gpu.clone(), takings }),
            }
        }
        cards.sort_by_key(|card| std::cmp::Reverse(card.takings.net.micros));
        let total = cards.iter().fold(Takings::none(currency), |sum, card| sum.plus(card.takings));
        let left_out = jobs.len().saturating_sub(most_jobs);
        jobs.truncate(most_jobs);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            since,
            until,
            total,
            checks: CheckTakings {
                checks: count(checks.len()),
                electricity: checks
                    .iter()
                    .fold(Takings::none(currency), |sum, check| sum.plus(check.takings()))
                    .electricity,
            },
            cards,
            jobs,
            jobs_left_out: count(left_out),
            jobs_in_other_currencies: count(others.len()),
            refused,
        }
    }

    /// As a table for a spreadsheet: one line a job and one for the market's checks, amounts as decimal numbers. Where no
    /// job is left out, the lines add up to the total.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text =
            String::from("lease,image,renter,card,from,to,seconds,gross,fee,electricity,net,currency\r\n");
        for job in &self.jobs {
            let taken = &job.takings;
            let texts = [&job.lease.0, &job.image, &job.renter, &job.gpu.0].map(|text| cell(text));
            let moments = [job.from, job.to].map(Timestamp::utc);
            let amounts = [taken.gross, taken.fee, taken.electricity, taken.net].map(|m| decimal(m.micros));
            let seconds = (taken.running_ms / 1_000).to_string();
            let line: Vec<String> = texts
                .into_iter()
                .chain(moments)
                .chain([seconds])
                .chain(amounts)
                .chain([taken.gross.currency.code().to_owned()])
                .collect();
            text.push_str(&line.join(","));
            text.push_str("\r\n");
        }
        if self.checks.checks > 0 {
            let CheckTakings { checks, electricity } = self.checks;
            let [from, to] = [self.since, self.until].map(Timestamp::utc);
            let (cost, left) = (decimal(electricity.micros), decimal(electricity.micros.saturating_neg()));
            let (nothing, currency) = (decimal(0), electricity.currency.code());
            text.push_str(&format!(
                "\"\",\"{checks} checks of the market\",\"\",\"\",{from},{to},0,{nothing},{nothing},{cost},{left},{currency}\r\n"
            ));
        }
        text
    }
}

/// One sum a reason. They are of one currency.
fn by_reason(parts: impl Iterator<Item = RefusedTakings>) -> Vec<RefusedTakings> {
    let mut sums: Vec<RefusedTakings> = Vec::new();
    for part in parts {
        match sums.iter_mut().find(|sum| sum.why == part.why) {
            Some(sum) => {
                sum.running_ms = sum.running_ms.saturating_add(part.running_ms);
                sum.host.micros = sum.host.micros.saturating_add(part.host.micros);
            }
            None => sums.push(part),
        }
    }
    sums.sort_by_key(|sum| sum.why);
    sums
}

/// A renter's name must be no formula where the table is opened.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn decimal(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let whole = micros.unsigned_abs();
    format!("{sign}{}.{:06}", whole / 1_000_000, whole % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Epoch;
    use proptest::prelude::*;

    fn slice(price: i64, fee: u32, before_ms: u64, with_ms: u64, life_ms: u64, electricity: i64) -> Slice {
        let terms = LeaseTerms {
            lease: LeaseId("l".into()),
            epoch: Epoch(1),
            gpu: GpuUuid("GPU-0".into()),
            image: "pytorch-cuda:lite".into(),
            renter: "=cmd()\"".into(),
            renter_key: "00".repeat(32),
            ssh_public_key: "ssh-ed25519 AAAA".into(),
            root_inside: false,
            no_sandbox: false,
            serve_model: None,
            volume: Default::default(),
            volume_key: None,
            price_per_hour: Money::new(price, Currency::CNY),
            fee_basis_points: fee,
            offered_at: Timestamp(0),
            nonce: Default::default(),
        };
        Slice {
            terms,
            from: Timestamp(0),
            to: Timestamp(1_000),
            before_ms,
            with_ms,
            life_ms,
            paid_ms: life_ms,
            refusal: None,
            life_electricity_micros: electricity,
        }
    }

    /// A job of two hours of which the market took one: its electricity was used all the same.
    #[test]
    fn what_the_market_refuses_is_in_no_income_and_named() {
        const HOUR: u64 = 3_600_000;
        let cut = |before_ms, with_ms, why| Slice {
            paid_ms: HOUR,
            refusal: Some(why),
            ..slice(3_600_000, 1_000, before_ms, with_ms, 2 * HOUR, 400_000)
        };
        let books = |slices: &[Slice]| Books::of(slices, &[], Timestamp(0), Timestamp(9), Currency::CNY, 10);
        let over = |before_ms, with_ms| cut(before_ms, with_ms, UsageRefusal::LeaseOver);
        let total = books(&[over(0, 2 * HOUR)]).total;
        assert_eq!((total.gross.micros, total.fee.micros), (3_600_000, 360_000));
        assert_eq!((total.electricity.micros, total.running_ms), (400_000, 2 * HOUR));
        assert_eq!(total.net.micros, 3_600_000 - 360_000 - 400_000);
        let named = |why, running_ms, micros| RefusedTakings {
            why,
            running_ms,
            host: Money::new(micros, Currency::CNY),
        };
        // Only the span's own part is named, and the same reason once.
        assert_eq!(books(&[over(0, HOUR)]).refused, []);
        let half = over(HOUR, HOUR + HOUR / 2);
        assert_eq!(half.takings().gross.micros, 0);
        let unknown = cut(0, 2 * HOUR, UsageRefusal::UnknownLease);
        assert_eq!(
            books(&[half.clone(), unknown, half]).refused,
            [
                named(UsageRefusal::UnknownLease, HOUR, 3_240_000),
                named(UsageRefusal::LeaseOver, HOUR, 3_240_000),
            ]
        );
    }

    #[test]
    fn a_reason_of_a_later_version_is_one_too() {
        let read = |text| serde_json::from_str::<UsageRefusal>(text).unwrap();
        assert_eq!(read("\"lease_over\""), UsageRefusal::LeaseOver);
        assert_eq!(read("\"never_heard_of\""), UsageRefusal::Other);
        assert_eq!(serde_json::to_string(&UsageRefusal::Other).unwrap(), "\"other\"");
    }

    #[test]
    fn a_job_is_one_line_of_a_table_and_no_formula() {
        let books = Books::of(
            &[slice(3_600_000, 1_000, 0, 3_600_000, 3_600_000, 240_000)],
            &[],
            Timestamp(0),
            Timestamp(9),
            Currency::CNY,
            10,
        );
        let csv = books.csv();
        let line = csv.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "\"l\",\"pytorch-cuda:lite\",\"'=cmd()\"\"\",\"GPU-0\",1970-01-01T00:00:00Z,1970-01-01T00:00:01Z,3600,\
             3.600000,0.360000,0.240000,3.000000,CNY"
        );
        assert_eq!(books.total.net.micros, 3_000_000);
    }

    #[test]
    fn another_currency_is_counted_and_in_no_sum() {
        let mut other = slice(3_600_000, 0, 0, 3_600_000, 3_600_000, 0);
        other.terms.price_per_hour.currency = Currency::new("USD").unwrap();
        let jobs = [slice(3_600_000, 0, 0, 3_600_000, 3_600_000, 0), other];
        let check = |currency| CheckCost {
            gpu: GpuUuid("GPU-1".into()),
            at: Timestamp(1),
            electricity: Money::new(40, currency),
        };
        let checks = [check(Currency::CNY), check(Currency::new("USD").unwrap()), check(Currency::CNY)];
        let books = Books::of(&jobs, &checks, Timestamp(0), Timestamp(9), Currency::CNY, 0);
        assert_eq!((books.total.gross.micros, books.jobs_in_other_currencies), (3_600_000, 1));
        assert_eq!((books.jobs.len(), books.jobs_left_out), (0, 1));
        // Checks cost, and are in the sum and in their card's.
        let electricity = Money::new(80, Currency::CNY);
        assert_eq!(books.checks, CheckTakings { checks: 2, electricity });
        assert_eq!((books.total.electricity, books.total.net.micros), (electricity, 3_599_920));
        // They are one line of the table, and no job.
        assert_eq!(
            books.csv().lines().nth(1),
            Some(
                "\"\",\"2 checks of the market\",\"\",\"\",1970-01-01T00:00:00Z,1970-01-01T00:00:00Z,0,0.000000,0.000000,\
                 0.000080,-0.000080,CNY"
            )
        );
        let of_cards: Vec<i64> = books.cards.iter().map(|card| card.takings.net.micros).collect();
        assert_eq!(of_cards, [3_600_000, -80]);
    }

    proptest! {
        /// However a lease's life is cut, its parts add up to what the whole is worth.
        #[test]
        fn parts_add_up_to_the_whole(
            price in 0_i64..100_000_000,
            fee in 0_u32..=10_000,
            electricity in 0_i64..1_000_000_000,
            life in 1_u64..1_000_000_000,
            paid in 0.0_f64..=1.0,
            cuts in prop::collection::vec(0.0_f64..1.0, 0..12),
        ) {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                reason = "any cut will do")]
            let mut at: Vec<u64> = cuts.iter().map(|part| (life as f64 * part) as u64).collect();
            at.extend([0, life]);
            at.sort_unstable();
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                reason = "any part will do")]
            let paid_ms = (life as f64 * paid) as u64;
            let of = |before, with| Slice {
                paid_ms,
                refusal: Some(UsageRefusal::LeaseOver),
                ..slice(price, fee, before, with, life, electricity)
            };
            let parts = at.windows(2).map(|w| of(w[0], w[1]).takings());
            let sum = parts.fold(Takings::none(Currency::CNY), Takings::plus);
            let whole = of(0, life).takings();
            let refused: i64 =
                at.windows(2).filter_map(|w| of(w[0], w[1]).refused()).map(|part| part.host.micros).sum();
            prop_assert_eq!(refused, of(0, life).refused().map_or(0, |part| part.host.micros));
            prop_assert_eq!(sum, whole);
            prop_assert_eq!(whole.electricity.micros, electricity);
            prop_assert_eq!(whole.gross.micros, whole.fee.micros + whole.electricity.micros + whole.net.micros);
        }
    }
}
