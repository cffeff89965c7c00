//! What the figures of demand are made from.

use nightjar_core::demand::{PastLease, WEEK_MS};
use nightjar_core::money::{Currency, Money};
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::StoreError;

/// Most leases that are looked at, the latest: enough for a median, whatever a market's size.
pub(crate) const MOST_LEASES: usize = 2_000;

/// Leases of the week on cards of this model in this region, of the latest `at_most` of the model, and the moment from
/// which on they are all of them.
pub(crate) async fn past_leases(
    db: &mut SqliteConnection,
    (model, region): (&str, &str),
    currency: Currency,
    at_most: usize,
    now: Timestamp,
) -> Result<(Vec<PastLease>, Timestamp), StoreError> {
    let since = Timestamp(now.0.saturating_sub(i64::try_from(WEEK_MS)?));
    let rows = sqlx::query(
        "SELECT host_id, region, created_at, json_extract(card, '$.price_per_hour.micros') AS price FROM leases
         WHERE json_extract(card, '$.model') = ? AND created_at > ? AND started_at IS NOT NULL
         ORDER BY created_at DESC LIMIT ?",
    )
    .bind(model)
    .bind(since.0)
    .bind(i64::try_from(at_most)?)
    .fetch_all(db)
    .await?;
    let oldest = rows.last().map(|row| row.try_get("created_at")).transpose()?.map(Timestamp);
    let whole_since = if rows.len() < at_most { Some(since) } else { oldest };
    let mut leases = Vec::new();
    for row in &rows {
        if row.try_get::<&str, _>("region")?.eq_ignore_ascii_case(region) {
            leases.push(PastLease {
                host_id: row.try_get("host_id")?,
                at: Timestamp(row.try_get("created_at")?),
                price_per_hour: Money::new(row.try_get("price")?, currency),
            });
        }
    }
    Ok((leases, whole_since.unwrap_or(since)))
}
