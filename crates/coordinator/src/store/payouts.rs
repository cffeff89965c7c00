//! Payments to hosts' owners.

use nightjar_core::ledger::{Account, Transfer};
use nightjar_core::market::{HostAccount, MOST_PAYOUTS, Payout};
use nightjar_core::money::{Currency, Money};
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{StoreError, books};

/// Books a payment. A reference that this host was paid with before is refused by the database
/// ([`StoreError::is_taken`]), so that a command given twice pays once.
pub(crate) async fn pay(
    db: &mut SqliteConnection,
    host: &str,
    amount: Money,
    reference: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let transfer = books::book(db, &Transfer::payout(host, amount), None, at).await?;
    sqlx::query("INSERT INTO payouts (transfer, host, reference) VALUES (?, ?, ?)")
        .bind(transfer)
        .bind(host)
        .bind(reference)
        .execute(db)
        .await?;
    Ok(())
}

/// What a host's owner has at this market, in the caller's snapshot.
pub(crate) async fn account(
    db: &mut SqliteConnection,
    host: &str,
    currency: Currency,
) -> Result<HostAccount, StoreError> {
    let of_host = Account::Host { id: host.to_owned() };
    let balance = books::balance_micros(db, &of_host).await?;
    let paid_out: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(-l.micros), 0) FROM payouts p
         JOIN legs l ON l.transfer = p.transfer AND l.account_kind = 'host' WHERE p.host = ?",
    )
    .bind(host)
    .fetch_one(&mut *db)
    .await?;
    let rows = sqlx::query(
        "SELECT t.at, -l.micros AS micros, p.reference FROM payouts p
         JOIN transfers t ON t.id = p.transfer
         JOIN legs l ON l.transfer = t.id AND l.account_kind = 'host'
         WHERE p.host = ? ORDER BY t.id DESC LIMIT ?",
    )
    .bind(host)
    .bind(i64::try_from(MOST_PAYOUTS).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    let payouts = rows.iter().map(|row| {
        Ok(Payout {
            at: Timestamp(row.try_get("at")?),
            amount: Money::new(row.try_get("micros")?, currency),
            reference: row.try_get("reference")?,
        })
    });
    Ok(HostAccount {
        balance: Money::new(balance, currency),
        paid_out: Money::new(paid_out, currency),
        payouts: payouts.collect::<Result<_, StoreError>>()?,
    })
}
