//! Hosts and the pairing codes by which they join.

use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::StoreError;

pub(crate) async fn add_pairing_code(
    db: &mut SqliteConnection,
    code_hash: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    // Codes that ran out are of no use to anybody; a day later nobody asks why one was refused.
    sqlx::query("DELETE FROM pairing_codes WHERE used_at IS NULL AND expires_at < ?")
        .bind(now.0.saturating_sub(86_400_000))
        .execute(&mut *db)
        .await?;
    sqlx::query("INSERT INTO pairing_codes (code_hash, created_at, expires_at) VALUES (?, ?, ?)")
        .bind(code_hash)
        .bind(now.0)
        .bind(expires_at.0)
        .execute(db)
        .await?;
    Ok(())
}

/// What became of a pairing code that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeUse {
    Taken,
    Unknown,
    UsedBefore,
    RanOut,
}

pub(crate) async fn use_pairing_code(
    db: &mut SqliteConnection,
    code_hash: &str,
    now: Timestamp,
    host_id: &str,
) -> Result<CodeUse, StoreError> {
    let row = sqlx::query("SELECT expires_at, used_at FROM pairing_codes WHERE code_hash = ?")
        .bind(code_hash)
        .fetch_optional(&mut *db)
        .await?;
    let Some(row) = row else { return Ok(CodeUse::Unknown) };
    if row.try_get::<Option<i64>, _>("used_at")?.is_some() {
        return Ok(CodeUse::UsedBefore);
    }
    if row.try_get::<i64, _>("expires_at")? < now.0 {
        return Ok(CodeUse::RanOut);
    }
    sqlx::query("UPDATE pairing_codes SET used_at = ?, used_by = ? WHERE code_hash = ?")
        .bind(now.0)
        .bind(host_id)
        .bind(code_hash)
        .execute(db)
        .await?;
    Ok(CodeUse::Taken)
}

/// Enters a host; one that is known already keeps its id.
pub(crate) async fn enter(
    db: &mut SqliteConnection,
    new_id: &str,
    host_key: &str,
    now: Timestamp,
) -> Result<String, StoreError> {
    sqlx::query(
        "INSERT INTO hosts (id, host_key, enrolled_at, last_heard_at) VALUES (?, ?, ?, ?)
         ON CONFLICT (host_key) DO NOTHING",
    )
    .bind(new_id)
    .bind(host_key)
    .bind(now.0)
    .bind(now.0)
    .execute(&mut *db)
    .await?;
    let id =
        sqlx::query_scalar("SELECT id FROM hosts WHERE host_key = ?").bind(host_key).fetch_one(db).await?;
    Ok(id)
}

pub(crate) async fn by_key(db: &SqlitePool, host_key: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT id FROM hosts WHERE host_key = ?")
        .bind(host_key)
        .fetch_optional(db)
        .await?)
}

pub(crate) async fn heard(
    db: &mut SqliteConnection,
    host_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE hosts SET last_heard_at = max(last_heard_at, ?) WHERE id = ?")
        .bind(now.0)
        .bind(host_id)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn greeted(
    db: &mut SqliteConnection,
    host_id: &str,
    app_version: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE hosts SET app_version = ? WHERE id = ?")
        .bind(app_version)
        .bind(host_id)
        .execute(&mut *db)
        .await?;
    heard(db, host_id, now).await
}

/// An enrolled host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostRow {
    pub(crate) id: String,
    pub(crate) enrolled_at: Timestamp,
    pub(crate) last_heard_at: Timestamp,
    pub(crate) app_version: String,
}

pub(crate) async fn all(db: &mut SqliteConnection) -> Result<Vec<HostRow>, StoreError> {
    let rows =
        sqlx::query("SELECT id, enrolled_at, last_heard_at, app_version FROM hosts ORDER BY enrolled_at, id")
            .fetch_all(db)
            .await?;
    let host = |row: &sqlx::sqlite::SqliteRow| {
        Ok(HostRow {
            id: row.try_get("id")?,
            enrolled_at: Timestamp(row.try_get("enrolled_at")?),
            last_heard_at: Timestamp(row.try_get("last_heard_at")?),
            app_version: row.try_get("app_version")?,
        })
    };
    rows.iter().map(host).collect()
}

pub(crate) async fn is_enrolled(db: &mut SqliteConnection, host_id: &str) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM hosts WHERE id = ?)");
    Ok(found.bind(host_id).fetch_one(db).await?)
}

/// Hosts that hold a lease which is not over, and when each was last heard of.
pub(crate) async fn with_open_leases(db: &SqlitePool) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, last_heard_at FROM hosts WHERE id IN (SELECT host_id FROM leases WHERE over = 0)",
    )
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, Timestamp(row.try_get("last_heard_at")?)))).collect()
}
