//! Double-entry books: a transfer's legs add up to zero, and an account's balance is the sum of its legs.

use nightjar_core::lease::{Epoch, LeaseId};
use nightjar_core::ledger::{Account, Leg, Transfer};
use nightjar_core::time::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::{StoreError, count, number};

/// Which usage record a transfer pays for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageKey {
    pub(crate) lease: LeaseId,
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
}

/// A transfer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) usage: Option<UsageKey>,
    /// The reference of a payment to a host's owner.
    pub(crate) payout: Option<String>,
    /// Running time that it pays for; 0 where it is no usage.
    pub(crate) running_ms: u64,
    pub(crate) legs: Vec<Leg>,
}

/// What a whole look at the books found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Every account with what is kept as its balance.
    pub(crate) balances: Vec<(Account, i64)>,
    /// Numbers of transfers whose legs do not add up to zero, or that have none.
    pub(crate) uneven_transfers: Vec<u64>,
    /// Accounts whose balance is not the sum of their legs.
    pub(crate) wrong_balances: Vec<Account>,
    /// Over all accounts.
    pub(crate) sum_micros: i64,
}

fn spelled(account: &Account) -> (&'static str, &str) {
    match account {
        Account::World => ("world", ""),
        Account::Renter { id } => ("renter", id),
        Account::Host { id } => ("host", id),
        Account::Fees => ("fees", ""),
    }
}

fn account(row: &SqliteRow) -> Result<Account, StoreError> {
    let id: String = row.try_get("account_id")?;
    match row.try_get::<&str, _>("account_kind")? {
        "world" => Ok(Account::World),
        "renter" => Ok(Account::Renter { id }),
        "host" => Ok(Account::Host { id }),
        "fees" => Ok(Account::Fees),
        other => Err(StoreError::corrupt("an account", other)),
    }
}

/// Writes a transfer and moves the balances, in the caller's transaction. Returns its number.
pub(crate) async fn book(
    db: &mut SqliteConnection,
    transfer: &Transfer,
    usage: Option<&UsageKey>,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO transfers (at, lease, epoch, sequence) VALUES (?, ?, ?, ?) RETURNING id",
    )
    .bind(at.0)
    .bind(usage.map(|usage| usage.lease.0.as_str()))
    .bind(usage.map(|usage| number(usage.epoch.0)).transpose()?)
    .bind(usage.map(|usage| number(usage.sequence)).transpose()?)
    .fetch_one(&mut *db)
    .await?;
    for (position, leg) in (0_i64..).zip(transfer.legs()) {
        let (kind, account_id) = spelled(&leg.account);
        sqlx::query(
            "INSERT INTO legs (transfer, position, account_kind, account_id, micros) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(id)
        .bind(position)
        .bind(kind)
        .bind(account_id)
        .bind(leg.micros)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO balances (account_kind, account_id, micros) VALUES (?, ?, ?)
             ON CONFLICT (account_kind, account_id) DO UPDATE SET micros = micros + excluded.micros",
        )
        .bind(kind)
        .bind(account_id)
        .bind(leg.micros)
        .execute(&mut *db)
        .await?;
    }
    Ok(id)
}

/// An account's balance in micro-units; 0 for one that nothing was booked on.
pub(crate) async fn balance_micros(db: &mut SqliteConnection, of: &Account) -> Result<i64, StoreError> {
    let (kind, id) = spelled(of);
    let micros = sqlx::query_scalar("SELECT micros FROM balances WHERE account_kind = ? AND account_id = ?")
        .bind(kind)
        .bind(id)
        .fetch_optional(db)
        .await?;
    Ok(micros.unwrap_or(0))
}

/// The latest transfers, of one lease or of all, the oldest of them first.
pub(crate) async fn entries(
    db: &SqlitePool,
    lease: Option<&LeaseId>,
    at_most: u32,
) -> Result<Vec<Entry>, StoreError> {
    let rows = sqlx::query(
        "SELECT t.id, t.at, t.lease, t.epoch, t.sequence, coalesce(u.to_at - u.from_at, 0) AS running_ms,
                p.reference, l.account_kind, l.account_id, l.micros
         FROM (SELECT * FROM transfers WHERE ?1 IS NULL OR lease = ?1 ORDER BY id DESC LIMIT ?2) t
         JOIN legs l ON l.transfer = t.id
         LEFT JOIN payouts p ON p.transfer = t.id
         LEFT JOIN usage_records u ON u.lease = t.lease AND u.epoch = t.epoch AND u.sequence = t.sequence
         ORDER BY t.id, l.position",
    )
    .bind(lease.map(|lease| lease.0.as_str()))
    .bind(i64::from(at_most))
    .fetch_all(db)
    .await?;
    let mut entries: Vec<Entry> = Vec::new();
    for row in &rows {
        let number = count(row.try_get("id")?)?;
        let leg = Leg { account: account(row)?, micros: row.try_get("micros")? };
        match entries.last_mut() {
            Some(entry) if entry.number == number => entry.legs.push(leg),
            _ => entries.push(Entry {
                number,
                at: Timestamp(row.try_get("at")?),
                usage: usage_key(row)?,
                payout: row.try_get("reference")?,
                running_ms: count(row.try_get("running_ms")?)?,
                legs: vec![leg],
            }),
        }
    }
    Ok(entries)
}

fn usage_key(row: &SqliteRow) -> Result<Option<UsageKey>, StoreError> {
    let Some(lease) = row.try_get::<Option<String>, _>("lease")? else { return Ok(None) };
    Ok(Some(UsageKey {
        lease: LeaseId(lease),
        epoch: Epoch(count(row.try_get("epoch")?)?),
        sequence: count(row.try_get("sequence")?)?,
    }))
}

/// Checks the books as a whole, in one snapshot.
pub(crate) async fn audit(db: &SqlitePool) -> Result<Audit, StoreError> {
    let mut snapshot = db.begin().await?;
    let rows = sqlx::query("SELECT account_kind, account_id, micros FROM balances ORDER BY 1, 2")
        .fetch_all(&mut *snapshot)
        .await?;
    let balances = rows
        .iter()
        .map(|row| Ok((account(row)?, row.try_get("micros")?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let uneven: Vec<i64> = sqlx::query_scalar(
        "SELECT t.id FROM transfers t LEFT JOIN legs l ON l.transfer = t.id
         GROUP BY t.id HAVING count(l.transfer) = 0 OR sum(l.micros) <> 0 ORDER BY t.id",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let wrong = sqlx::query(
        "SELECT account_kind, account_id FROM (
            SELECT account_kind, account_id, micros AS kept, 0 AS summed FROM balances
            UNION ALL SELECT account_kind, account_id, 0, micros FROM legs)
         GROUP BY account_kind, account_id HAVING sum(kept) <> sum(summed) ORDER BY 1, 2",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    snapshot.commit().await?;
    Ok(Audit {
        sum_micros: balances.iter().map(|(_, micros)| micros).sum(),
        balances,
        uneven_transfers: uneven.into_iter().map(count).collect::<Result<_, _>>()?,
        wrong_balances: wrong.iter().map(account).collect::<Result<_, _>>()?,
    })
}
