//! What the cards did in the past: a second's step for an hour, a minute's for a month, an hour's for ever. It lies in a
//! database of its own, so that the journal, where money is, is never slowed by it.
//!
//! Time is an argument. Readings are gathered in memory and written together; a crash costs the last half minute.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nightjar_core::gpu::{GpuReading, GpuUuid};
use nightjar_core::history::{
    CardHistory, HistoryPoint, LEVELS, Sample, Spread, Tally, plan, weight_seconds,
};
use nightjar_core::time::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

/// How long readings are gathered before they are written.
pub const WRITE_EACH_MS: u64 = 30_000;
/// A disk that stays full costs history, not memory.
const MOST_GATHERED: usize = 50_000;
const FOLD: &str = include_str!("fold.sql");
const POINTS: &str = include_str!("points.sql");
const FORGET: &str = "DELETE FROM history WHERE level = ? AND card = ? AND at < ?";

/// The file in a host's data folder.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("history.db")
}

type Tallies = [Option<Tally>; 5];
/// The span's number; then least, mean and most of each quantity, in hundredths.
type PointRow = [Option<i64>; 16];

/// The store, with what has not been written yet.
#[derive(Debug)]
pub struct History {
    pool: SqlitePool,
    /// By card, level and step.
    gathered: BTreeMap<(GpuUuid, u8, Timestamp), Tallies>,
    names: BTreeMap<GpuUuid, String>,
    read_at: BTreeMap<GpuUuid, Timestamp>,
    written_at: Option<Timestamp>,
}

impl History {
    /// Opens or makes the store in `data_dir`.
    ///
    /// # Errors
    /// When the folder cannot be written or the file is none of this version.
    pub async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let path = path(data_dir);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A power cut may cost the last entries, never the file.
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .with_context(|| format!("the history {} cannot be opened", path.display()))?;
        sqlx::migrate!().run(&pool).await.with_context(|| {
            format!("the history {} is not one of this version; it was left as it is", path.display())
        })?;
        Ok(Self {
            pool,
            gathered: BTreeMap::new(),
            names: BTreeMap::new(),
            read_at: BTreeMap::new(),
            written_at: None,
        })
    }

    /// Takes one reading. It is there for the next question, and on the disk within half a minute.
    pub fn take(&mut self, reading: &GpuReading, now: Timestamp) {
        let Some(sample) = Sample::of(reading) else { return };
        let weight = weight_seconds(self.read_at.insert(reading.uuid.clone(), now), now);
        if self.names.get(&reading.uuid) != Some(&reading.name) {
            self.names.insert(reading.uuid.clone(), reading.name.clone());
        }
        for level in LEVELS {
            let step = (reading.uuid.clone(), level.number, level.start_of(now));
            let tallies = self.gathered.entry(step).or_default();
            for (known, value) in tallies.iter_mut().zip(sample.values()) {
                let Some(value) = value.filter(|value| value.is_finite()) else { continue };
                let new = Tally::of(value, weight);
                *known = Some(known.map_or(new, |known| known.with(new)));
            }
        }
    }

    /// Writes when it is time to.
    ///
    /// # Errors
    /// As [`History::write`].
    pub async fn write_if_due(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let since = *self.written_at.get_or_insert(now);
        if now.since_ms(since) < WRITE_EACH_MS {
            return Ok(());
        }
        self.write(now).await
    }

    /// Writes what was gathered, and forgets what is too old.
    ///
    /// # Errors
    /// When the disk is full, say. What was gathered is kept for the next time.
    pub async fn write(&mut self, now: Timestamp) -> anyhow::Result<()> {
        self.written_at = Some(now);
        if self.gathered.is_empty() {
            return Ok(());
        }
        let written = self.try_write(now).await;
        if written.is_ok() || self.gathered.len() > MOST_GATHERED {
            self.gathered.clear();
        }
        written
    }

    async fn try_write(&self, now: Timestamp) -> anyhow::Result<()> {
        let mut change = self.pool.begin().await?;
        let mut cards: BTreeMap<&GpuUuid, i64> = BTreeMap::new();
        for ((uuid, level, at), tallies) in &self.gathered {
            let card = match cards.get(uuid) {
                Some(card) => *card,
                None => {
                    let card = self.card(&mut change, uuid).await?;
                    forget(&mut change, card, now).await?;
                    cards.insert(uuid, card);
                    card
                }
            };
            let mut fold = sqlx::query(FOLD).bind(i64::from(*level)).bind(card).bind(at.0);
            for tally in tallies {
                let part = |pick: fn(&Tally) -> f64| tally.as_ref().map(pick);
                fold = fold
                    .bind(part(|tally| tally.weight))
                    .bind(part(|tally| tally.sum))
                    .bind(part(|tally| tally.min))
                    .bind(part(|tally| tally.max));
            }
            fold.execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// The card's number in the store.
    async fn card(&self, change: &mut Transaction<'_, Sqlite>, uuid: &GpuUuid) -> anyhow::Result<i64> {
        let name = self.names.get(uuid).map_or("", String::as_str);
        let card = sqlx::query_scalar(
            "INSERT INTO cards (uuid, name) VALUES (?, ?)
             ON CONFLICT (uuid) DO UPDATE SET name = excluded.name RETURNING card",
        )
        .bind(&uuid.0)
        .bind(name)
        .fetch_one(&mut **change)
        .await?;
        Ok(card)
    }

    /// Every card's past from `from` to `to`, at most `most_points` points of each. What was gathered is written first.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn query(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        most_points: u32,
        now: Timestamp,
    ) -> anyhow::Result<Vec<CardHistory>> {
        self.write(now).await?;
        let plan = plan(from, to, most_points, now);
        let span = i64::try_from(plan.span_ms)?;
        let cards: Vec<(i64, String, String)> =
            sqlx::query_as("SELECT card, uuid, name FROM cards ORDER BY card").fetch_all(&self.pool).await?;
        let mut answer = Vec::new();
        for (card, uuid, name) in cards {
            let points: String = sqlx::query_scalar(POINTS)
                .bind(i64::from(plan.level.number))
                .bind(card)
                .bind(plan.from.0)
                .bind(span)
                .bind(to.0)
                .fetch_one(&self.pool)
                .await?;
            let points: Vec<PointRow> = serde_json::from_str(&points).context("the history's points")?;
            let points = points.iter().map(|row| point(row, plan.from, span)).collect();
            answer.push(CardHistory { uuid: GpuUuid(uuid), name, span_ms: plan.span_ms, points });
        }
        Ok(answer)
    }

    /// Writes what was gathered and closes the store.
    pub async fn close(mut self, now: Timestamp) {
        if let Err(error) = self.write(now).await {
            tracing::warn!("the last of the history is lost: {error:#}");
        }
        self.pool.close().await;
    }
}

async fn forget(change: &mut Transaction<'_, Sqlite>, card: i64, now: Timestamp) -> anyhow::Result<()> {
    for level in LEVELS {
        let Some(kept) = level.kept_ms else { continue };
        let first = Timestamp(now.0.saturating_sub(i64::try_from(kept)?));
        sqlx::query(FORGET)
            .bind(i64::from(level.number))
            .bind(card)
            .bind(level.start_of(first).0)
            .execute(&mut **change)
            .await?;
    }
    Ok(())
}

fn point(row: &PointRow, from: Timestamp, span: i64) -> HistoryPoint {
    let [number, quantities @ ..] = row;
    #[expect(clippy::cast_precision_loss, reason = "no quantity of a card has 2^53 hundredths")]
    let value = |hundredths: Option<i64>| hundredths.map(|hundredths| hundredths as f64 / 100.0);
    let spread = |first: usize| {
        let [min, mean, max] = [first, first + 1, first + 2].map(|place| value(quantities[place]));
        Some(Spread { min: min?, mean: mean?, max: max? })
    };
    HistoryPoint {
        at: Timestamp(from.0 + number.unwrap_or(0) * span),
        temperature_celsius: spread(0),
        power_watts: spread(3),
        utilisation_percent: spread(6),
        vram_used_mib: spread(9),
        power_limit_watts: spread(12),
    }
}

#[cfg(test)]
mod tests;
