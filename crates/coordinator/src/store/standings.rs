//! What is thought of each card.

use std::collections::HashMap;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::standing::CardStanding;
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::StoreError;

/// A card of a host.
pub(crate) type CardKey = (String, GpuUuid);

fn parsed(row: &SqliteRow) -> Result<CardStanding, StoreError> {
    serde_json::from_str(row.try_get("standing")?)
        .map_err(|error| StoreError::corrupt("a card's standing", error))
}

/// Of a card that was never checked: the standing that it begins with.
pub(crate) async fn of_card(
    db: &mut SqliteConnection,
    host_id: &str,
    gpu: &GpuUuid,
) -> Result<CardStanding, StoreError> {
    let query = sqlx::query("SELECT standing FROM card_standings WHERE host_id = ? AND gpu = ?");
    let row = query.bind(host_id).bind(&gpu.0).fetch_optional(db).await?;
    row.as_ref().map_or_else(|| Ok(CardStanding::default()), parsed)
}

pub(crate) async fn save(
    db: &mut SqliteConnection,
    host_id: &str,
    gpu: &GpuUuid,
    standing: &CardStanding,
) -> Result<(), StoreError> {
    let text =
        serde_json::to_string(standing).map_err(|error| StoreError::corrupt("a card's standing", error))?;
    sqlx::query(
        "INSERT INTO card_standings (host_id, gpu, standing, out_until) VALUES (?, ?, ?, ?)
         ON CONFLICT (host_id, gpu) DO UPDATE SET standing = excluded.standing, out_until = excluded.out_until",
    )
    .bind(host_id)
    .bind(&gpu.0)
    .bind(text)
    .bind(standing.out_until().0)
    .execute(db)
    .await?;
    Ok(())
}

/// Of each card of a host that was ever asked.
pub(crate) async fn of_host(
    db: &mut SqliteConnection,
    host_id: &str,
) -> Result<Vec<(GpuUuid, CardStanding)>, StoreError> {
    let query = sqlx::query("SELECT gpu, standing FROM card_standings WHERE host_id = ? ORDER BY gpu");
    let rows = query.bind(host_id).fetch_all(db).await?;
    rows.iter().map(|row| Ok((GpuUuid(row.try_get("gpu")?), parsed(row)?))).collect()
}

/// Cards that are left out at `now`.
pub(crate) async fn out(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<HashMap<CardKey, CardStanding>, StoreError> {
    let query = sqlx::query("SELECT host_id, gpu, standing FROM card_standings WHERE out_until > ?");
    let rows = query.bind(now.0).fetch_all(db).await?;
    let entry = |row: &SqliteRow| Ok(((row.try_get("host_id")?, GpuUuid(row.try_get("gpu")?)), parsed(row)?));
    rows.iter().map(entry).collect()
}
