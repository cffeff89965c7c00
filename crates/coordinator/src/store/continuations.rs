//! Interrupted leases that are to go on.

use nightjar_core::lease::LeaseId;
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{StoreError, count, number};

/// One look places so many at most; the next look is half a second later.
const MOST_AT_ONCE: i64 = 100;

/// A lease that waits to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) lease: LeaseId,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
}

pub(crate) async fn begin(db: &mut SqliteConnection, waiting: &Waiting) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO continuations (lease, since, until, not_before) VALUES (?, ?, ?, ?)
         ON CONFLICT (lease) DO NOTHING",
    )
    .bind(&waiting.lease.0)
    .bind(waiting.since.0)
    .bind(waiting.until.0)
    .bind(waiting.since.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Those that may be placed now, the longest waiting first.
pub(crate) async fn due(db: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Waiting>, StoreError> {
    let rows = sqlx::query(
        "SELECT lease, since, until FROM continuations
         WHERE successor IS NULL AND not_before <= ? ORDER BY since, lease LIMIT ?",
    );
    let rows = rows.bind(now.0).bind(MOST_AT_ONCE).fetch_all(db).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Waiting {
            lease: LeaseId(row.try_get("lease")?),
            since: Timestamp(row.try_get("since")?),
            until: Timestamp(row.try_get("until")?),
        })
    };
    rows.iter().map(read).collect()
}

/// `lease` goes on as `successor`.
pub(crate) async fn placed(
    db: &mut SqliteConnection,
    lease: &LeaseId,
    successor: &LeaseId,
) -> Result<(), StoreError> {
    let query =
        sqlx::query("UPDATE continuations SET successor = ?, attempts = attempts + 1 WHERE lease = ?");
    query.bind(&successor.0).bind(&lease.0).execute(db).await?;
    Ok(())
}

/// The successor came to nothing. Gives the number of tries so far.
pub(crate) async fn attempts(db: &mut SqliteConnection, lease: &LeaseId) -> Result<u64, StoreError> {
    let query = sqlx::query_scalar("SELECT attempts FROM continuations WHERE lease = ?").bind(&lease.0);
    count(query.fetch_optional(db).await?.unwrap_or(0))
}

/// It waits again, and is not tried before `not_before`.
pub(crate) async fn wait_again(
    db: &mut SqliteConnection,
    lease: &LeaseId,
    not_before: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE continuations SET successor = NULL, not_before = ? WHERE lease = ?");
    query.bind(not_before.0).bind(&lease.0).execute(db).await?;
    Ok(())
}

/// It waits no more. `true` when it did.
pub(crate) async fn give_up(db: &mut SqliteConnection, lease: &LeaseId) -> Result<bool, StoreError> {
    let query = sqlx::query("DELETE FROM continuations WHERE lease = ? AND successor IS NULL").bind(&lease.0);
    Ok(number(query.execute(db).await?.rows_affected())? > 0)
}
