//! What was asked for lately. Bounded in time and number: a market that is asked very often knows enough from the latest.

use nightjar_core::demand::{REMEMBERED_MS, Request};
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::StoreError;

/// Most requests that are kept, the latest.
const MOST_KEPT: i64 = 500;

/// Keeps a request, and drops what is too old or too much.
pub(crate) async fn add(db: &mut SqliteConnection, request: &Request) -> Result<(), StoreError> {
    let text = serde_json::to_string(request).map_err(|error| StoreError::corrupt("request", error))?;
    sqlx::query("INSERT INTO requests (at, request) VALUES (?, ?)")
        .bind(request.at.0)
        .bind(text)
        .execute(&mut *db)
        .await?;
    let since = request.at.0.saturating_sub(i64::try_from(REMEMBERED_MS)?);
    sqlx::query(
        "DELETE FROM requests WHERE at < ? OR id <= (SELECT id FROM requests ORDER BY id DESC LIMIT 1 OFFSET ?)",
    )
    .bind(since)
    .bind(MOST_KEPT)
    .execute(db)
    .await?;
    Ok(())
}

/// Those of the last hour.
pub(crate) async fn recent(db: &mut SqliteConnection, now: Timestamp) -> Result<Vec<Request>, StoreError> {
    let since = now.0.saturating_sub(i64::try_from(REMEMBERED_MS)?);
    let rows = sqlx::query("SELECT request FROM requests WHERE at > ? ORDER BY id").bind(since);
    rows.fetch_all(db)
        .await?
        .iter()
        .map(|row| {
            serde_json::from_str(row.try_get("request")?)
                .map_err(|error| StoreError::corrupt("request", error))
        })
        .collect()
}

/// The moment from which on these are all that there were.
pub(crate) fn whole_since(recent: &[Request], now: Timestamp) -> Timestamp {
    match recent.first() {
        Some(oldest) if i64::try_from(recent.len()).is_ok_and(|kept| kept >= MOST_KEPT) => oldest.at,
        _ => Timestamp(now.0.saturating_sub(i64::try_from(REMEMBERED_MS).unwrap_or(i64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use nightjar_core::market::Requirements;

    #[tokio::test]
    async fn an_hour_and_a_bounded_number_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let mut tx = store.write().await.unwrap();
        let mut now = Timestamp(10_000_000);
        for _ in 0..MOST_KEPT + 20 {
            let request = Request { at: now, wanted: Requirements::default(), winner: None };
            add(tx.connection(), &request).await.unwrap();
            now = now.plus_ms(1);
        }
        let kept = recent(tx.connection(), now).await.unwrap();
        assert_eq!(kept.len(), usize::try_from(MOST_KEPT).unwrap());
        assert_eq!(kept.last().unwrap().at, Timestamp(now.0 - 1));
        assert_eq!(whole_since(&kept, now), kept[0].at, "older ones had to go");
        assert_eq!(whole_since(&kept[1..], now), Timestamp(now.0 - 3_600_000));
        assert!(recent(tx.connection(), now.plus_ms(REMEMBERED_MS)).await.unwrap().is_empty());
    }
}
