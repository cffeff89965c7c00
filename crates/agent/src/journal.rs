//! What must outlive a crash, in SQLite. Only the journal's task writes; the host's loop never waits for it.

pub(crate) mod books;
pub(crate) mod night;
mod steps;
mod week;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use nightjar_core::economics::Account;
use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{Bill, JournalEntry, StoredLease};
use nightjar_core::lease::{Epoch, LeaseId, LeaseState, LeaseTerms};
use nightjar_core::meter::{UsageRecord, UsageRefusal, owed};
use nightjar_core::money::{Currency, Money};
use nightjar_core::policy::Verdict;
use nightjar_core::sweep::{Curve, Curves, WorkKind};
use nightjar_core::time::Timestamp;
use nightjar_core::volume::{Footing, Use};
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

/// Most records that are sent in one go.
pub(crate) const SEND_AT_MOST: usize = 200;

/// More than a host has in the longest time that a volume is kept.
const LOOK_BACK_LEASES: i64 = 20_000;

const FILE: &str = "journal.sqlite";

#[derive(Clone)]
pub struct Journal {
    pool: SqlitePool,
    /// The row of this run of the program, once it has begun.
    run: Option<i64>,
}

impl Journal {
    /// Opens or makes the journal in `data_dir`.
    ///
    /// # Errors
    /// When the folder cannot be written or the file is not a journal of this version.
    pub async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("the data folder {} cannot be made", data_dir.display()))?;
        let path = data_dir.join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A usage record is money: it is on the disk before it is sent.
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .with_context(|| format!("the journal {} cannot be opened", path.display()))?;
        sqlx::migrate!().run(&pool).await.with_context(|| {
            format!("the journal {} is not one of this version; it was left as it is", path.display())
        })?;
        Ok(Self { pool, run: None })
    }

    /// Leases that were not over when this program last ended.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn open_leases(&self) -> anyhow::Result<Vec<StoredLease>> {
        let rows = sqlx::query(
            "SELECT terms, state,
                    (SELECT coalesce(max(sequence), 0) FROM usage u WHERE u.lease = l.lease AND u.epoch = l.epoch)
                        AS last_sequence,
                    (SELECT coalesce(max(running_ms_total), 0) FROM usage u
                        WHERE u.lease = l.lease AND u.epoch = l.epoch) AS running_ms_total,
                    (SELECT bill FROM accounts a WHERE a.lease = l.lease AND a.epoch = l.epoch) AS bill
             FROM leases l WHERE is_over = 0 ORDER BY updated_at",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredLease {
                    terms: serde_json::from_str(row.try_get("terms")?)?,
                    state: serde_json::from_str(row.try_get("state")?)?,
                    last_sequence: u64::try_from(row.try_get::<i64, _>("last_sequence")?)?,
                    running_ms_total: u64::try_from(row.try_get::<i64, _>("running_ms_total")?)?,
                    bill: match row.try_get::<Option<String>, _>("bill")? {
                        Some(bill) => serde_json::from_str(&bill)?,
                        None => Bill::default(),
                    },
                })
            })
            .collect()
    }

    /// What the latest leases say of renters' volumes.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn volume_uses(&self) -> anyhow::Result<Vec<Use>> {
        let rows: Vec<(String, String, bool, i64, Option<String>)> = sqlx::query_as(
            "SELECT terms, state, is_over, updated_at, footing FROM leases ORDER BY updated_at DESC LIMIT ?",
        )
        .bind(LOOK_BACK_LEASES)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(terms, state, is_over, at, footing)| {
                let footing = footing.map(|text| serde_json::from_str(&text)).transpose()?;
                let is_void = Use::is_void_in(&serde_json::from_str(&state)?);
                Ok(Use { terms: serde_json::from_str(&terms)?, is_over, at: Timestamp(at), footing, is_void })
            })
            .collect()
    }

    /// # Errors
    /// When the entry cannot be written (the disk is full, say); nothing of it is then there.
    pub async fn write(&self, entry: &JournalEntry) -> anyhow::Result<()> {
        match entry {
            JournalEntry::Lease { terms, state, at } => self.write_lease(terms, state, *at).await?,
            JournalEntry::Volume { lease, epoch, footing } => {
                self.write_footing(lease, *epoch, footing).await?;
            }
            JournalEntry::Usage { record } => self.write_usage(record).await?,
            JournalEntry::Account { lease, epoch, at, account, bill } => {
                self.write_account(lease, *epoch, *at, account, bill).await?;
            }
            JournalEntry::Verdict { gpu, at, verdict } => self.write_verdict(gpu, *at, verdict).await?,
            JournalEntry::GiveBack { lease, at, took_us, input_ms } => {
                sqlx::query("INSERT INTO give_backs (lease, at, took_us, input_ms) VALUES (?, ?, ?, ?)")
                    .bind(&lease.0)
                    .bind(at.0)
                    .bind(i64::try_from(*took_us)?)
                    .bind(input_ms.map(i64::try_from).transpose()?)
                    .execute(&self.pool)
                    .await?;
            }
            JournalEntry::VramFree { lease, at, took_ms, mode } => {
                sqlx::query("INSERT INTO vram_frees (lease, at, took_ms, mode) VALUES (?, ?, ?, ?)")
                    .bind(&lease.0)
                    .bind(at.0)
                    .bind(i64::try_from(*took_ms)?)
                    .bind(serde_json::to_string(mode)?)
                    .execute(&self.pool)
                    .await?;
            }
            JournalEntry::Waiting { gpu, at, why } => {
                sqlx::query("INSERT INTO market_words (gpu, at, why) VALUES (?, ?, ?)")
                    .bind(&gpu.0)
                    .bind(at.0)
                    .bind(why.map(|why| serde_json::to_string(&why)).transpose()?)
                    .execute(&self.pool)
                    .await?;
            }
            JournalEntry::Proving { gpu, at, on } => {
                sqlx::query("INSERT INTO checks (gpu, at, is_on) VALUES (?, ?, ?)")
                    .bind(&gpu.0)
                    .bind(at.0)
                    .bind(on)
                    .execute(&self.pool)
                    .await?;
            }
            JournalEntry::CheckCost { gpu, at, energy, overhead_millijoules, electricity } => {
                sqlx::query(
                    "INSERT INTO check_costs (gpu, at, millijoules, uncertain_millijoules, overhead_millijoules,
                        electricity_micros, currency) VALUES (?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(&gpu.0)
                .bind(at.0)
                .bind(i64::try_from(energy.millijoules)?)
                .bind(i64::try_from(energy.uncertain_millijoules)?)
                .bind(i64::try_from(*overhead_millijoules)?)
                .bind(electricity.micros)
                .bind(electricity.currency.code())
                .execute(&self.pool)
                .await?;
            }
            JournalEntry::Curve { gpu, kind, curve } => self.write_curve(gpu, *kind, curve).await?,
        }
        Ok(())
    }

    async fn write_verdict(&self, gpu: &GpuUuid, at: Timestamp, verdict: &Verdict) -> anyhow::Result<()> {
        sqlx::query("INSERT INTO verdicts (gpu, at, verdict) VALUES (?, ?, ?)")
            .bind(&gpu.0)
            .bind(at.0)
            .bind(serde_json::to_string(verdict)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn write_footing(&self, lease: &LeaseId, epoch: Epoch, footing: &Footing) -> anyhow::Result<()> {
        sqlx::query("UPDATE leases SET footing = ? WHERE lease = ? AND epoch = ?")
            .bind(serde_json::to_string(footing)?)
            .bind(&lease.0)
            .bind(i64::try_from(epoch.0)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn write_curve(&self, gpu: &GpuUuid, kind: WorkKind, curve: &Curve) -> anyhow::Result<()> {
        sqlx::query(
            "INSERT INTO curves (gpu, work, measured_at, points) VALUES (?, ?, ?, ?)
             ON CONFLICT (gpu, work) DO UPDATE
                 SET measured_at = excluded.measured_at, points = excluded.points",
        )
        .bind(&gpu.0)
        .bind(serde_json::to_string(&kind)?)
        .bind(curve.measured_at.0)
        .bind(serde_json::to_string(&curve.points)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What sweeps have measured of each card.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn curves(&self) -> anyhow::Result<Vec<(GpuUuid, Curves)>> {
        let rows: Vec<(String, String, i64, String)> =
            sqlx::query_as("SELECT gpu, work, measured_at, points FROM curves").fetch_all(&self.pool).await?;
        let mut curves: BTreeMap<GpuUuid, Curves> = BTreeMap::new();
        for (gpu, work, measured_at, points) in rows {
            let curve = Curve { measured_at: Timestamp(measured_at), points: serde_json::from_str(&points)? };
            curves.entry(GpuUuid(gpu)).or_default().0.insert(serde_json::from_str(&work)?, curve);
        }
        Ok(curves.into_iter().collect())
    }

    async fn write_account(
        &self,
        lease: &LeaseId,
        epoch: Epoch,
        at: Timestamp,
        account: &Account,
        bill: &Bill,
    ) -> anyhow::Result<()> {
        sqlx::query(
            "INSERT OR REPLACE INTO accounts
                (lease, epoch, at, gross_micros, fee_micros, electricity_micros, net_micros, currency, millijoules,
                 uncertain_millijoules, overhead_millijoules, bill)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&lease.0)
        .bind(i64::try_from(epoch.0)?)
        .bind(at.0)
        .bind(account.gross.micros)
        .bind(account.fee.micros)
        .bind(account.electricity.micros)
        .bind(account.net.micros)
        .bind(account.gross.currency.code())
        .bind(i64::try_from(account.energy.millijoules)?)
        .bind(i64::try_from(account.energy.uncertain_millijoules)?)
        .bind(i64::try_from(account.overhead_millijoules)?)
        .bind(serde_json::to_string(bill)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The step, and the lease as it is after it: both or neither.
    async fn write_lease(&self, terms: &LeaseTerms, state: &LeaseState, at: Timestamp) -> anyhow::Result<()> {
        let (epoch, state_text) = (i64::try_from(terms.epoch.0)?, serde_json::to_string(state)?);
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO leases (lease, epoch, terms, state, is_over, updated_at) VALUES (?, ?, ?, ?, ?, ?)
                     ON CONFLICT (lease, epoch) DO UPDATE SET
                        state = excluded.state, is_over = excluded.is_over, updated_at = excluded.updated_at",
        )
        .bind(&terms.lease.0)
        .bind(epoch)
        .bind(serde_json::to_string(terms)?)
        .bind(&state_text)
        .bind(state.is_over())
        .bind(at.0)
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO lease_steps (lease, epoch, gpu, at, state) VALUES (?, ?, ?, ?, ?)")
            .bind(&terms.lease.0)
            .bind(epoch)
            .bind(&terms.gpu.0)
            .bind(at.0)
            .bind(&state_text)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn write_usage(&self, record: &UsageRecord) -> anyhow::Result<()> {
        let epoch = i64::try_from(record.epoch.0)?;
        let terms: String = sqlx::query_scalar("SELECT terms FROM leases WHERE lease = ? AND epoch = ?")
            .bind(&record.lease.0)
            .bind(epoch)
            .fetch_one(&self.pool)
            .await?;
        let terms: LeaseTerms = serde_json::from_str(&terms)?;
        let part = |running_ms| owed(terms.price_per_hour, terms.fee_basis_points, running_ms).host.micros;
        let worth = part(record.running_ms_total) - part(record.running_ms_total - record.running_ms());
        sqlx::query(
            "INSERT INTO usage (lease, epoch, sequence, from_ms, to_ms, running_ms_total, millijoules, host_micros, currency)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&record.lease.0)
        .bind(epoch)
        .bind(i64::try_from(record.sequence)?)
        .bind(record.from.0)
        .bind(record.to.0)
        .bind(i64::try_from(record.running_ms_total)?)
        .bind(i64::try_from(record.millijoules)?)
        .bind(worth)
        .bind(terms.price_per_hour.currency.code())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The next records that `market` has neither acknowledged nor refused, in the order in which they were written, each
    /// with its place in that order. Only those behind the place `after`: records that get no answer must not stand before
    /// the others for ever.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn unacknowledged(&self, market: &str, after: i64) -> anyhow::Result<Vec<(i64, UsageRecord)>> {
        let rows = sqlx::query(
            "SELECT rowid, lease, epoch, sequence, from_ms, to_ms, running_ms_total, millijoules FROM usage
             WHERE is_acknowledged = 0 AND rowid > ? AND (refused_by IS NULL OR refused_by <> ?)
             ORDER BY rowid LIMIT ?",
        )
        .bind(after)
        .bind(market)
        .bind(i64::try_from(SEND_AT_MOST)?)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let whole =
                    |name: &str| -> anyhow::Result<u64> { Ok(u64::try_from(row.try_get::<i64, _>(name)?)?) };
                let record = UsageRecord {
                    lease: LeaseId(row.try_get("lease")?),
                    epoch: Epoch(whole("epoch")?),
                    sequence: whole("sequence")?,
                    from: Timestamp(row.try_get("from_ms")?),
                    to: Timestamp(row.try_get("to_ms")?),
                    running_ms_total: whole("running_ms_total")?,
                    millijoules: whole("millijoules")?,
                };
                Ok((row.try_get("rowid")?, record))
            })
            .collect()
    }

    /// Whether there are records that no market has answered.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) async fn has_unanswered(&self) -> anyhow::Result<bool> {
        let text = "SELECT EXISTS (SELECT 1 FROM usage WHERE is_acknowledged = 0 AND refused IS NULL)";
        Ok(sqlx::query_scalar(text).fetch_one(&self.pool).await?)
    }

    /// # Errors
    /// When the journal cannot be written.
    pub async fn acknowledge(&self, lease: &LeaseId, epoch: Epoch, sequence: u64) -> anyhow::Result<()> {
        sqlx::query(
            "UPDATE usage SET is_acknowledged = 1, refused = NULL, refused_by = NULL
             WHERE lease = ? AND epoch = ? AND sequence = ?",
        )
        .bind(&lease.0)
        .bind(i64::try_from(epoch.0)?)
        .bind(i64::try_from(sequence)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// `market` will never book it. What one has booked, none can refuse.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) async fn refuse(
        &self,
        (lease, epoch, sequence): (&LeaseId, Epoch, u64),
        market: &str,
        why: UsageRefusal,
    ) -> anyhow::Result<()> {
        sqlx::query(
            "UPDATE usage SET refused = ?, refused_by = ?
             WHERE lease = ? AND epoch = ? AND sequence = ? AND is_acknowledged = 0",
        )
        .bind(serde_json::to_string(&why)?)
        .bind(market)
        .bind(&lease.0)
        .bind(i64::try_from(epoch.0)?)
        .bind(i64::try_from(sequence)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The host's part of everything metered since `from`, in `currency`, less what its market refused.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn earned_since(&self, from: Timestamp, currency: Currency) -> anyhow::Result<Money> {
        let micros: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(host_micros), 0) FROM usage
             WHERE to_ms >= ? AND currency = ? AND refused IS NULL",
        )
        .bind(from.0)
        .bind(currency.code())
        .fetch_one(&self.pool)
        .await?;
        Ok(Money::new(micros, currency))
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nightjar_core::economics::account;
    use nightjar_core::gpu::GpuUuid;
    use nightjar_core::lease::EndReason;

    fn terms() -> LeaseTerms {
        LeaseTerms {
            lease: LeaseId("l".into()),
            epoch: Epoch(1),
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
        }
    }

    /// More than one page, of two leases.
    pub(crate) const EACH: u64 = 125;

    /// Two leases of [`EACH`] records each, the later of which sorts before the other; 10 s a record.
    pub(crate) async fn two_long_leases() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        for lease in ["later in the alphabet", "earlier"].map(|name| LeaseId(name.into())) {
            let terms = LeaseTerms { lease: lease.clone(), ..terms() };
            let entry = JournalEntry::Lease { terms, state: LeaseState::Running, at: Timestamp(5) };
            journal.write(&entry).await.unwrap();
            for sequence in 1..=EACH {
                let record = UsageRecord {
                    lease: lease.clone(),
                    epoch: Epoch(1),
                    sequence,
                    from: Timestamp(i64::try_from(sequence).unwrap() * 10_000),
                    to: Timestamp((i64::try_from(sequence).unwrap() + 1) * 10_000),
                    running_ms_total: sequence * 10_000,
                    millijoules: 7,
                };
                journal.write(&JournalEntry::Usage { record }).await.unwrap();
            }
        }
        (folder, journal)
    }

    #[tokio::test]
    async fn a_market_that_answers_nothing_is_sent_all_there_is_once() {
        let (_folder, journal) = two_long_leases().await;
        let (mut after, mut pages, mut sent) = (0, Vec::new(), Vec::new());
        loop {
            let page = journal.unacknowledged("https://market", after).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = *last;
            pages.push(page.len());
            sent.extend(page.into_iter().map(|(_, record)| (record.lease.0, record.sequence)));
        }
        assert_eq!(pages, [200, 50]);
        let wanted = ["later in the alphabet", "earlier"]
            .into_iter()
            .flat_map(|lease| (1..=EACH).map(move |sequence| (lease.to_owned(), sequence)));
        assert_eq!(sent, wanted.collect::<Vec<_>>(), "in the order in which they were measured");
    }

    #[tokio::test]
    async fn what_a_market_refuses_is_no_income_and_only_another_market_is_asked_again() {
        let (_folder, journal) = two_long_leases().await;
        let lease = LeaseId("earlier".into());
        let (here, there) = ("https://here", "https://there");
        let earned = async || journal.earned_since(Timestamp(0), Currency::CNY).await.unwrap().micros;
        let waiting = async |market| journal.unacknowledged(market, 0).await.unwrap();
        let (last, before) = (EACH, earned().await);
        journal.refuse((&lease, Epoch(1), last), here, UsageRefusal::LeaseOver).await.unwrap();
        assert_eq!(before - earned().await, 9_000);
        for sequence in 1..=last {
            journal.acknowledge(&LeaseId("later in the alphabet".into()), Epoch(1), sequence).await.unwrap();
            if sequence < last {
                journal.acknowledge(&lease, Epoch(1), sequence).await.unwrap();
            }
        }
        assert_eq!(waiting(here).await, []);
        assert!(!journal.has_unanswered().await.unwrap());
        assert_eq!(waiting(there).await.len(), 1);
        // What was booked stays so, and what is booked after all counts.
        journal.refuse((&lease, Epoch(1), 1), here, UsageRefusal::LeaseOver).await.unwrap();
        assert_eq!(before - earned().await, 9_000);
        journal.acknowledge(&lease, Epoch(1), last).await.unwrap();
        assert_eq!(earned().await, before);
        assert_eq!(waiting(there).await, []);
    }

    #[tokio::test]
    async fn a_lease_and_its_usage_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        let lease = |state| JournalEntry::Lease { terms: terms(), state, at: Timestamp(5) };
        journal.write(&lease(LeaseState::Running)).await.unwrap();
        assert_eq!(journal.volume_uses().await.unwrap()[0].footing, None);
        let footing = Footing { has_quota: true, ..Footing::FOLDER };
        let stands = JournalEntry::Volume { lease: LeaseId("l".into()), epoch: Epoch(1), footing };
        journal.write(&stands).await.unwrap();
        for sequence in 1..=3_u64 {
            let record = UsageRecord {
                lease: LeaseId("l".into()),
                epoch: Epoch(1),
                sequence,
                from: Timestamp(i64::try_from(sequence).unwrap() * 10_000),
                to: Timestamp((i64::try_from(sequence).unwrap() + 1) * 10_000),
                running_ms_total: sequence * 10_000,
                millijoules: 7,
            };
            journal.write(&JournalEntry::Usage { record: record.clone() }).await.unwrap();
            let twice = journal.write(&JournalEntry::Usage { record }).await;
            assert!(twice.is_err(), "a record was stored twice");
        }
        journal.close().await;

        let journal = Journal::open(folder.path()).await.unwrap();
        assert_eq!(journal.volume_uses().await.unwrap()[0].footing, Some(footing));
        let open = journal.open_leases().await.unwrap();
        assert_eq!((open.len(), open[0].last_sequence, open[0].running_ms_total), (1, 3, 30_000));
        assert_eq!(open[0].bill, Bill::default());
        let mut bill = Bill::default();
        bill.consumption.overhead_millijoules = 40;
        let account = account(owed(terms().price_per_hour, 1_000, 30_000), &bill.consumption);
        for _ in 0..2 {
            let (lease, epoch) = (LeaseId("l".into()), Epoch(1));
            let entry = JournalEntry::Account { lease, epoch, at: Timestamp(9), account, bill };
            journal.write(&entry).await.unwrap();
        }
        assert_eq!(journal.open_leases().await.unwrap()[0].bill, bill);
        // 30 s at 3.60 an hour are 0.03; a tenth of it is the market's.
        let earned = journal.earned_since(Timestamp(0), Currency::CNY).await.unwrap();
        assert_eq!(earned.micros, 27_000);
        journal.acknowledge(&LeaseId("l".into()), Epoch(1), 2).await.unwrap();
        let left = journal.unacknowledged("https://market", 0).await.unwrap();
        assert_eq!(left.iter().map(|(_, record)| record.sequence).collect::<Vec<_>>(), [1, 3]);
        journal.write(&lease(LeaseState::Ended { reason: EndReason::RenterStopped })).await.unwrap();
        assert!(journal.open_leases().await.unwrap().is_empty());
    }
}
