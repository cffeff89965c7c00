//! The journal as `core::books` wants it: what each lease did in a span.

use nightjar_core::books::{CheckCost, NightTakings, Slice, Takings};
use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::LeaseTerms;
use nightjar_core::money::{Currency, Money};
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Journal;

/// One statement, grouped as asked. Nights begin on a quarter of an hour (900 000 ms) in every time zone.
macro_rules! slices_by {
    ($group:literal) => {
        concat!(
            "SELECT l.terms AS terms, min(u.from_ms) AS first_ms, max(u.to_ms) AS last_ms,
                min(u.running_ms_total - (u.to_ms - u.from_ms)) AS before_ms, max(u.running_ms_total) AS with_ms,
                (SELECT max(w.running_ms_total) FROM usage w WHERE w.lease = u.lease AND w.epoch = u.epoch) AS life_ms,
                (SELECT w.running_ms_total - (w.to_ms - w.from_ms) FROM usage w
                    WHERE w.lease = u.lease AND w.epoch = u.epoch AND w.refused IS NOT NULL
                    ORDER BY w.sequence LIMIT 1) AS paid_ms,
                (SELECT w.refused FROM usage w
                    WHERE w.lease = u.lease AND w.epoch = u.epoch AND w.refused IS NOT NULL
                    ORDER BY w.sequence LIMIT 1) AS refused,
                coalesce((SELECT a.electricity_micros FROM accounts a WHERE a.lease = u.lease AND a.epoch = u.epoch), 0)
                    AS electricity
             FROM usage u JOIN leases l ON l.lease = u.lease AND l.epoch = u.epoch
             WHERE u.to_ms > ?1 AND u.to_ms <= ?2 GROUP BY ",
            $group
        )
    };
}

impl Journal {
    /// Each lease that ran in `(since, until]`, once.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn slices(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Slice>> {
        let rows = sqlx::query(slices_by!("u.lease, u.epoch"))
            .bind(since.0)
            .bind(until.0)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(slice).collect()
    }

    /// What checks without a lease cost in `(since, until]`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn check_costs(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> anyhow::Result<Vec<CheckCost>> {
        let text = "SELECT gpu, at, electricity_micros, currency FROM check_costs WHERE at > ? AND at <= ?";
        let rows: Vec<(String, i64, i64, String)> =
            sqlx::query_as(text).bind(since.0).bind(until.0).fetch_all(&self.pool).await?;
        let cost = |(gpu, at, micros, currency): (String, i64, i64, String)| {
            let electricity = Money::new(micros, Currency::new(&currency)?);
            anyhow::Ok(CheckCost { gpu: GpuUuid(gpu), at: Timestamp(at), electricity })
        };
        rows.into_iter().map(cost).collect()
    }

    /// What each of these adjoining spans brought, in one reading. `edges` are in order.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn nights(
        &self,
        edges: &[Timestamp],
        currency: Currency,
    ) -> anyhow::Result<Vec<NightTakings>> {
        let (Some(first), Some(last)) = (edges.first(), edges.last()) else { return Ok(Vec::new()) };
        let rows = sqlx::query(slices_by!("u.lease, u.epoch, (u.to_ms - 1) / 900000"))
            .bind(first.0)
            .bind(last.0)
            .fetch_all(&self.pool)
            .await?;
        let mut nights: Vec<NightTakings> = edges
            .windows(2)
            .map(|pair| NightTakings { since: pair[0], until: pair[1], takings: Takings::none(currency) })
            .collect();
        for row in &rows {
            let part = slice(row)?;
            if part.terms.price_per_hour.currency != currency {
                continue;
            }
            let night = nights.iter_mut().find(|night| night.since < part.to && part.to <= night.until);
            if let Some(night) = night {
                night.takings = night.takings.plus(part.takings());
            }
        }
        for check in self.check_costs(*first, *last).await? {
            let night = nights.iter_mut().find(|night| night.since < check.at && check.at <= night.until);
            if let Some(night) = night.filter(|_| check.electricity.currency == currency) {
                night.takings = night.takings.plus(check.takings());
            }
        }
        Ok(nights)
    }
}

fn slice(row: &SqliteRow) -> anyhow::Result<Slice> {
    let whole = |name: &str| -> anyhow::Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(name)?)?) };
    let terms: LeaseTerms = serde_json::from_str(row.try_get("terms")?)?;
    let refused: Option<&str> = row.try_get("refused")?;
    let paid_ms = row.try_get::<Option<i64>, _>("paid_ms")?.map_or(Ok(u64::MAX), u64::try_from)?;
    Ok(Slice {
        terms,
        from: Timestamp(row.try_get("first_ms")?),
        to: Timestamp(row.try_get("last_ms")?),
        before_ms: whole("before_ms")?,
        with_ms: whole("with_ms")?,
        life_ms: whole("life_ms")?,
        paid_ms,
        refusal: refused.map(serde_json::from_str).transpose()?,
        life_electricity_micros: row.try_get("electricity")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::books::Books;
    use nightjar_core::economics::{Consumption, account};
    use nightjar_core::host::{Bill, JournalEntry};
    use nightjar_core::lease::{Epoch, LeaseId, LeaseState};
    use nightjar_core::meter::{UsageRecord, UsageRefusal, owed};

    const HOUR: i64 = 3_600_000;

    /// Ten hours from 20:00 to 06:00, a record each ten minutes, 3.60 an hour of which a tenth is the market's.
    async fn a_night() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        let (lease, epoch) = (LeaseId("l".into()), Epoch(1));
        let terms = LeaseTerms {
            lease: lease.clone(),
            epoch,
            gpu: GpuUuid("GPU-0".into()),
            image: "pytorch-cuda:lite".into(),
            renter: "r".into(),
            renter_key: "00".repeat(32),
            ssh_public_key: "ssh-ed25519 AAAA".into(),
            root_inside: false,
            no_sandbox: false,
            serve_model: None,
            volume: Default::default(),
            volume_key: None,
            price_per_hour: Money::new(3_600_000, Currency::CNY),
            fee_basis_points: 1_000,
            offered_at: Timestamp(0),
            nonce: Default::default(),
        };
        let at = Timestamp(20 * HOUR);
        journal.write(&JournalEntry::Lease { terms, state: LeaseState::Running, at }).await.unwrap();
        for sequence in 1..=60_u64 {
            let end = 20 * HOUR + i64::try_from(sequence).unwrap() * 600_000;
            let record = UsageRecord {
                lease: lease.clone(),
                epoch,
                sequence,
                from: Timestamp(end - 600_000),
                to: Timestamp(end),
                running_ms_total: sequence * 600_000,
                millijoules: 1,
            };
            journal.write(&JournalEntry::Usage { record }).await.unwrap();
        }
        let mut account =
            account(owed(Money::new(3_600_000, Currency::CNY), 1_000, 36_000_000), &Consumption::default());
        account.electricity = Money::new(1_000_001, Currency::CNY);
        let entry = JournalEntry::Account { lease, epoch, at, account, bill: Bill::default() };
        journal.write(&entry).await.unwrap();
        (folder, journal)
    }

    #[tokio::test]
    async fn a_night_is_whole_between_two_noons_and_cut_at_midnight_without_loss() {
        let (_folder, journal) = a_night().await;
        let edges = [12, 36, 60].map(|hour| Timestamp(hour * HOUR));
        let nights = journal.nights(&edges, Currency::CNY).await.unwrap();
        assert_eq!(nights[0].takings.gross.micros, 36_000_000);
        assert_eq!(
            (nights[0].takings.fee.micros, nights[0].takings.electricity.micros),
            (3_600_000, 1_000_001)
        );
        assert_eq!(nights[0].takings.running_ms, 36_000_000);
        assert_eq!(nights[1].takings, Takings::none(Currency::CNY));

        let days =
            journal.nights(&[0, 24, 48].map(|hour| Timestamp(hour * HOUR)), Currency::CNY).await.unwrap();
        assert_eq!(days[0].takings.running_ms, 4 * 3_600_000);
        assert_eq!(days[0].takings.plus(days[1].takings), nights[0].takings);
        let none = journal.nights(&edges, Currency::new("USD").unwrap()).await.unwrap();
        assert_eq!(none[0].takings.gross.micros, 0, "another currency is in no sum");
    }

    #[tokio::test]
    async fn a_lease_is_one_line_of_the_books() {
        let (_folder, journal) = a_night().await;
        let (since, until) = (Timestamp(24 * HOUR), Timestamp(48 * HOUR));
        let slices = journal.slices(since, until).await.unwrap();
        let books = Books::of(&slices, &[], since, until, Currency::CNY, 10);
        assert_eq!((books.jobs.len(), books.total.running_ms), (1, 6 * 3_600_000));
        assert_eq!(books.total.gross.micros, 21_600_000);
        assert_eq!(books.jobs[0].from, since);
    }

    /// A market books records in order, so from the first refusal on none is booked.
    #[tokio::test]
    async fn what_the_market_refused_is_paid_on_neither_side() {
        let (_folder, journal) = a_night().await;
        for sequence in [58, 59, 60] {
            let why = if sequence == 58 { UsageRefusal::LeaseOver } else { UsageRefusal::Other };
            let record = (&LeaseId("l".into()), Epoch(1), sequence);
            journal.refuse(record, "https://market", why).await.unwrap();
        }
        let edges = [12, 36].map(|hour| Timestamp(hour * HOUR));
        let slices = journal.slices(edges[0], edges[1]).await.unwrap();
        let books = Books::of(&slices, &[], edges[0], edges[1], Currency::CNY, 10);
        // Nine hours and a half are paid; the electricity of all ten was used.
        let total = books.total;
        assert_eq!((total.gross.micros, total.fee.micros), (34_200_000, 3_420_000));
        assert_eq!((total.electricity.micros, total.running_ms), (1_000_001, 36_000_000));
        let [refused] = books.refused[..] else { panic!("{:?}", books.refused) };
        assert_eq!((refused.why, refused.running_ms), (UsageRefusal::LeaseOver, 1_800_000));
        assert_eq!(refused.host.micros, 1_620_000);
        let earned = journal.earned_since(Timestamp(0), Currency::CNY).await.unwrap();
        assert_eq!(earned.micros, total.gross.micros - total.fee.micros);
        let nights = journal.nights(&edges, Currency::CNY).await.unwrap();
        assert_eq!(nights[0].takings, total, "the calendar and the books say the same");
    }

    #[tokio::test]
    async fn what_a_check_took_is_its_nights_and_the_books_cost() {
        let (_folder, journal) = a_night().await;
        let cost = |hour: i64, micros| JournalEntry::CheckCost {
            gpu: GpuUuid("GPU-0".into()),
            at: Timestamp(hour * HOUR),
            energy: Default::default(),
            overhead_millijoules: 0,
            electricity: Money::new(micros, Currency::CNY),
        };
        for entry in [cost(13, 70), cost(36, 7), cost(37, 500)] {
            journal.write(&entry).await.unwrap();
        }
        let edges = [12, 36, 60].map(|hour| Timestamp(hour * HOUR));
        let nights = journal.nights(&edges, Currency::CNY).await.unwrap();
        let [first, second] = [&nights[0].takings, &nights[1].takings];
        assert_eq!(
            (first.electricity.micros, first.net.micros),
            (1_000_078, 36_000_000 - 3_600_000 - 1_000_078)
        );
        assert_eq!((second.electricity.micros, second.net.micros), (500, -500));
        let (since, until) = (edges[0], edges[2]);
        let slices = journal.slices(since, until).await.unwrap();
        let checks = journal.check_costs(since, until).await.unwrap();
        let books = Books::of(&slices, &checks, since, until, Currency::CNY, 10);
        assert_eq!((books.checks.checks, books.checks.electricity.micros), (3, 577));
        assert_eq!(books.total, first.plus(*second), "the calendar and the books say the same");
        let other = journal.nights(&edges, Currency::new("USD").unwrap()).await.unwrap();
        assert_eq!(other[0].takings, Takings::none(Currency::new("USD").unwrap()));
    }
}
