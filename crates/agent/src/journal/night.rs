//! The journal as `core::night` wants it: when the program ran, and what held at any time.

use std::path::Path;

use anyhow::Context;
use nightjar_core::gpu::GpuUuid;
use nightjar_core::lease::{Epoch, LeaseId};
use nightjar_core::night::{Account, Fact, Happening, account};
use nightjar_core::settings::Language;
use nightjar_core::time::Timestamp;
use nightjar_protocol::night::{GivenBack, Night};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow};

use super::{FILE, Journal};

/// How often it is written down that the program runs.
pub(crate) const BEAT_MS: u64 = 60_000;
/// What is older than this many days is dropped.
const KEPT_MS: u64 = 400 * 86_400_000;
/// Most give-backs in one answer, the latest.
const MOST_GIVE_BACKS: i64 = 200;

/// Rank of what happened at one moment: a run begins before anything is said in it and ends after.
#[derive(Clone, Copy)]
enum Rank {
    Start,
    Sleep,
    Word,
    End,
}

fn fact(rank: Rank, id: i64, at: i64, what: Happening) -> Fact {
    let order = (rank as u64) << 48 | u64::try_from(id).unwrap_or(0);
    Fact { at: Timestamp(at), order, what }
}

impl Journal {
    /// Opens the journal of a host that does not run, to read only; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn look_into(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = data_dir.join(FILE);
        if !path.try_exists().with_context(|| format!("{} cannot be read", path.display()))? {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(&path).read_only(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .with_context(|| format!("the journal {} cannot be opened", path.display()))?;
        Ok(Some(Self { pool, run: None }))
    }

    /// The program has begun; what is far in the past is dropped.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) async fn begin(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let begun = sqlx::query("INSERT INTO runs (started_at, seen_at) VALUES (?1, ?1)").bind(now.0);
        self.run = Some(begun.execute(&self.pool).await?.last_insert_rowid());
        self.drop_old(now).await
    }

    /// The program still runs. `has_slept`: the PC slept since the last beat.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) async fn beat(&self, now: Timestamp, has_slept: bool) -> anyhow::Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let mut db = self.pool.acquire().await?;
        // Not worth waking a disk for: only a power cut at this very moment could lose it.
        sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *db).await?;
        let beaten = async {
            if has_slept {
                let slept = "INSERT INTO sleeps (from_ms, to_ms) SELECT seen_at, ? FROM runs WHERE id = ?";
                sqlx::query(slept).bind(now.0).bind(run).execute(&mut *db).await?;
            }
            let beat = sqlx::query("UPDATE runs SET seen_at = ? WHERE id = ?").bind(now.0).bind(run);
            beat.execute(&mut *db).await.map(drop)
        };
        let beaten: Result<(), sqlx::Error> = beaten.await;
        // The connection goes back to the pool, where money is written through it.
        sqlx::query("PRAGMA synchronous = FULL").execute(&mut *db).await?;
        Ok(beaten?)
    }

    /// The program ends as it should.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(crate) async fn end(&self, now: Timestamp) -> anyhow::Result<()> {
        let Some(run) = self.run else { return Ok(()) };
        let ended = sqlx::query("UPDATE runs SET seen_at = ?1, ended_at = ?1 WHERE id = ?2");
        ended.bind(now.0).bind(run).execute(&self.pool).await?;
        Ok(())
    }

    /// # Errors
    /// When the journal cannot be written.
    pub(crate) async fn drop_old(&self, now: Timestamp) -> anyhow::Result<()> {
        let before = now.0.saturating_sub(i64::try_from(KEPT_MS)?);
        for old in [
            "DELETE FROM verdicts WHERE at < ?",
            "DELETE FROM lease_steps WHERE at < ?",
            "DELETE FROM market_words WHERE at < ?",
            "DELETE FROM checks WHERE at < ?",
            "DELETE FROM runs WHERE seen_at < ?",
            "DELETE FROM sleeps WHERE to_ms < ?",
            "DELETE FROM give_backs WHERE at < ?",
            "DELETE FROM vram_frees WHERE at < ?",
        ] {
            sqlx::query(old).bind(before).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Where the time of `[since, until)` went.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn account(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Account> {
        let mut facts = self.runs(since, until).await?;
        facts.extend(self.verdicts(since, until).await?);
        facts.extend(self.steps(since, until).await?);
        facts.extend(self.words(since, until).await?);
        facts.extend(self.checks(since, until).await?);
        Ok(account(&facts, since, until))
    }

    /// The whole answer to "why?".
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn night(
        &self,
        since: Timestamp,
        until: Timestamp,
        language: Language,
    ) -> anyhow::Result<Night> {
        let account = self.account(since, until).await?;
        Ok(Night::of(&account, self.give_backs(since, until).await?, language))
    }

    /// Runs and sleeps that reach into the span, and the run before them, whose end says why nothing ran after it.
    async fn runs(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Fact>> {
        let rows = sqlx::query(
            "SELECT id, started_at, seen_at, ended_at FROM runs
             WHERE started_at < ?2 AND (seen_at >= ?1 OR id = ?3
                OR id = (SELECT id FROM runs WHERE seen_at < ?1 ORDER BY seen_at DESC LIMIT 1))",
        )
        .bind(since.0)
        .bind(until.0)
        .bind(self.run)
        .fetch_all(&self.pool)
        .await?;
        let mut facts = Vec::new();
        for row in &rows {
            let id: i64 = row.try_get("id")?;
            facts.push(fact(Rank::Start, id, row.try_get("started_at")?, Happening::Started));
            let ended: Option<i64> = row.try_get("ended_at")?;
            // This very run goes on.
            if ended.is_some() || self.run != Some(id) {
                let crashed = ended.is_none();
                facts.push(fact(Rank::End, id, row.try_get("seen_at")?, Happening::Ended { crashed }));
            }
        }
        let sleeps = sqlx::query("SELECT id, from_ms, to_ms FROM sleeps WHERE to_ms > ? AND from_ms < ?");
        for row in sleeps.bind(since.0).bind(until.0).fetch_all(&self.pool).await? {
            let id: i64 = row.try_get("id")?;
            facts.push(fact(Rank::Sleep, id, row.try_get("from_ms")?, Happening::Slept));
            facts.push(fact(Rank::Sleep, id, row.try_get("to_ms")?, Happening::Woke));
        }
        Ok(facts)
    }

    /// Of a table with a row for each change of a card: those of the span, and each card's last before it.
    async fn changes(
        &self,
        table: &'static str,
        column: &'static str,
        since: Timestamp,
        until: Timestamp,
    ) -> anyhow::Result<Vec<SqliteRow>> {
        let query = format!(
            "SELECT id, gpu, at, {column} FROM {table} WHERE at >= ?1 AND at < ?2
             UNION ALL
             SELECT id, gpu, at, {column} FROM (SELECT DISTINCT gpu AS card FROM {table}) JOIN {table} ON id =
                (SELECT t.id FROM {table} t WHERE t.gpu = card AND t.at < ?1 ORDER BY t.at DESC, t.id DESC LIMIT 1)"
        );
        // Made of this file's own names.
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(since.0).bind(until.0);
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn verdicts(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Fact>> {
        let rows = self.changes("verdicts", "verdict", since, until).await?;
        rows.iter()
            .map(|row| {
                let verdict = serde_json::from_str(row.try_get("verdict")?)?;
                word(row, |gpu| Happening::Verdict { gpu, verdict })
            })
            .collect()
    }

    async fn words(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Fact>> {
        let rows = self.changes("market_words", "why", since, until).await?;
        rows.iter()
            .map(|row| {
                let why: Option<String> = row.try_get("why")?;
                let why = why.map(|text| serde_json::from_str(&text)).transpose()?;
                word(row, |gpu| Happening::Market { gpu, why })
            })
            .collect()
    }

    async fn checks(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Fact>> {
        let rows = self.changes("checks", "is_on", since, until).await?;
        rows.iter()
            .map(|row| {
                let on = row.try_get("is_on")?;
                word(row, |gpu| Happening::Proving { gpu, on })
            })
            .collect()
    }

    /// Steps in the span, and of each lease that may have been open at its beginning the last one before.
    async fn steps(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Fact>> {
        let rows = sqlx::query(
            "SELECT id, lease, epoch, gpu, at, state FROM lease_steps WHERE at >= ?1 AND at < ?2
             UNION ALL
             SELECT s.id, s.lease, s.epoch, s.gpu, s.at, s.state FROM leases l JOIN lease_steps s ON s.id =
                (SELECT b.id FROM lease_steps b WHERE b.lease = l.lease AND b.epoch = l.epoch AND b.at < ?1
                    ORDER BY b.at DESC, b.id DESC LIMIT 1)
             WHERE l.is_over = 0 OR l.updated_at >= ?1",
        )
        .bind(since.0)
        .bind(until.0)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let state = serde_json::from_str(row.try_get("state")?)?;
                let lease = LeaseId(row.try_get("lease")?);
                let epoch = Epoch(u64::try_from(row.try_get::<i64, _>("epoch")?)?);
                word(row, |gpu| Happening::Lease { lease, epoch, gpu, state })
            })
            .collect()
    }

    /// The latest give-backs of the span, oldest first, with their measured times.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn give_backs(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<GivenBack>> {
        let rows = sqlx::query(
            "SELECT lease, at, took_us AS frozen_us, input_ms, NULL AS vram_free_ms, NULL AS mode
                FROM give_backs WHERE at >= ?1 AND at < ?2
             UNION ALL
             SELECT lease, at, NULL, NULL, took_ms, mode FROM vram_frees WHERE at >= ?1 AND at < ?2
             ORDER BY at DESC LIMIT ?3",
        )
        .bind(since.0)
        .bind(until.0)
        .bind(MOST_GIVE_BACKS)
        .fetch_all(&self.pool)
        .await?;
        let whole = |row: &SqliteRow, name: &str| -> anyhow::Result<Option<u64>> {
            Ok(row.try_get::<Option<i64>, _>(name)?.map(u64::try_from).transpose()?)
        };
        let read = |row: &SqliteRow| -> anyhow::Result<GivenBack> {
            let mode: Option<String> = row.try_get("mode")?;
            Ok(GivenBack {
                lease: LeaseId(row.try_get("lease")?),
                at: Timestamp(row.try_get("at")?),
                frozen_us: whole(row, "frozen_us")?,
                input_ms: whole(row, "input_ms")?,
                vram_free_ms: whole(row, "vram_free_ms")?,
                mode: mode.map(|text| serde_json::from_str(&text)).transpose()?,
            })
        };
        rows.iter().rev().map(read).collect()
    }
}

fn word(row: &SqliteRow, what: impl FnOnce(GpuUuid) -> Happening) -> anyhow::Result<Fact> {
    let gpu = GpuUuid(row.try_get("gpu")?);
    Ok(fact(Rank::Word, row.try_get("id")?, row.try_get("at")?, what(gpu)))
}

#[cfg(test)]
mod tests;
