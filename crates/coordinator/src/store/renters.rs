//! Renters. A token is never kept, only its hash.

use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::StoreError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renter {
    /// The pseudonym.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Renter, StoreError> {
    Ok(Renter {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        created_at: Timestamp(row.try_get("created_at")?),
    })
}

pub(crate) async fn add(
    db: &mut SqliteConnection,
    renter: &Renter,
    token_hash: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO renters (id, name, token_hash, created_at) VALUES (?, ?, ?, ?)")
        .bind(&renter.id)
        .bind(&renter.name)
        .bind(token_hash)
        .bind(renter.created_at.0)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn by_token_hash(db: &SqlitePool, token_hash: &str) -> Result<Option<Renter>, StoreError> {
    let row = sqlx::query("SELECT id, name, created_at FROM renters WHERE token_hash = ?")
        .bind(token_hash)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn by_name(db: &mut SqliteConnection, name: &str) -> Result<Option<Renter>, StoreError> {
    let row = sqlx::query("SELECT id, name, created_at FROM renters WHERE name = ?")
        .bind(name)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn all(db: &SqlitePool) -> Result<Vec<Renter>, StoreError> {
    let rows = sqlx::query("SELECT id, name, created_at FROM renters ORDER BY name").fetch_all(db).await?;
    rows.iter().map(read).collect()
}
