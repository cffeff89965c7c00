//! What was measured of hosts' lines.

use std::collections::HashMap;

use nightjar_core::line_check::LineStanding;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::StoreError;

fn parsed(row: &SqliteRow) -> Result<LineStanding, StoreError> {
    serde_json::from_str(row.try_get("standing")?)
        .map_err(|error| StoreError::corrupt("what was measured of a host's line", error))
}

/// Of a host that was never measured: the standing that it begins with.
pub(crate) async fn of_host(db: &mut SqliteConnection, host_id: &str) -> Result<LineStanding, StoreError> {
    let query = sqlx::query("SELECT standing FROM host_lines WHERE host_id = ?");
    let row = query.bind(host_id).fetch_optional(db).await?;
    row.as_ref().map_or_else(|| Ok(LineStanding::default()), parsed)
}

/// Of every host that was ever asked.
pub(crate) async fn all(db: &mut SqliteConnection) -> Result<HashMap<String, LineStanding>, StoreError> {
    let rows = sqlx::query("SELECT host_id, standing FROM host_lines").fetch_all(db).await?;
    rows.iter().map(|row| Ok((row.try_get("host_id")?, parsed(row)?))).collect()
}

pub(crate) async fn save(
    db: &mut SqliteConnection,
    host_id: &str,
    standing: &LineStanding,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(standing)
        .map_err(|error| StoreError::corrupt("what was measured of a host's line", error))?;
    sqlx::query(
        "INSERT INTO host_lines (host_id, standing) VALUES (?, ?)
         ON CONFLICT (host_id) DO UPDATE SET standing = excluded.standing",
    )
    .bind(host_id)
    .bind(text)
    .execute(db)
    .await?;
    Ok(())
}
