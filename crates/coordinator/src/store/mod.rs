//! The embedded database. Every change is one short transaction that takes the write lock at its beginning, so that what
//! it read is still true when it writes; readers are never in its way (WAL).

pub(crate) mod books;
pub(crate) mod continuations;
pub(crate) mod demand;
pub(crate) mod hosts;
pub(crate) mod leases;
pub(crate) mod lines;
pub(crate) mod payouts;
pub(crate) mod renters;
pub(crate) mod requests;
pub(crate) mod standings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nightjar_core::money::Currency;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Name of the database in the data folder.
const FILE: &str = "market.sqlite";
/// How long a transaction waits for another process (`nightjar-coordinator pair`, say).
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(10);

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("{what} in the database cannot be read: {detail}")]
    Corrupt { what: &'static str, detail: String },
    #[error("a number is too large to be kept")]
    Range(#[from] std::num::TryFromIntError),
}

impl StoreError {
    fn corrupt(what: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, detail: detail.to_string() }
    }

    /// Another row holds what had to be unique.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} cannot be made or protected: {cause}; choose another data folder with --data-dir",
        path.display()
    )]
    Folder { path: PathBuf, cause: std::io::Error },
    #[error("the database {} cannot be opened: {cause}; it was left as it is", path.display())]
    Database { path: PathBuf, cause: sqlx::Error },
    #[error(
        "the database {} is not one that this version can bring up to date: {cause}; it was left as it is",
        path.display()
    )]
    Migration { path: PathBuf, cause: sqlx::migrate::MigrateError },
    #[error(
        "this market's books are kept in {kept}; they cannot go on in {asked}: leave --currency out, or begin another market with another --data-dir"
    )]
    Currency { kept: Currency, asked: Currency },
    #[error("the database {} does not answer: {cause}", path.display())]
    Broken { path: PathBuf, cause: String },
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: SqlitePool,
    /// Writers of this process queue here instead of polling the database's own lock.
    writer: Arc<Mutex<()>>,
}

/// A transaction that holds the write lock; dropped without [`WriteTx::commit`], nothing of it happened.
pub(crate) struct WriteTx {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    _turn: OwnedMutexGuard<()>,
}

impl WriteTx {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

impl Store {
    /// Opens or makes the database in `data_dir` and brings it up to date.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        make_private_folder(data_dir)
            .map_err(|cause| OpenError::Folder { path: data_dir.to_owned(), cause })?;
        let path = data_dir.join(FILE);
        make_private_file(&path).map_err(|cause| OpenError::Folder { path: path.clone(), cause })?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(WAIT_FOR_OTHERS)
            .journal_mode(SqliteJournalMode::Wal)
            // What is acknowledged to a host is money: it is on the disk first.
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await
            .map_err(|cause| OpenError::Database { path: path.clone(), cause })?;
        sqlx::migrate!().run(&pool).await.map_err(|cause| OpenError::Migration { path, cause })?;
        Ok(Self { pool, writer: Arc::new(Mutex::new(())) })
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.pool
    }

    pub(crate) async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        Ok(WriteTx { tx, _turn: turn })
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// The currency of the books: `asked` as long as nothing is booked, else what was kept; CNY where nobody said.
    pub(crate) async fn currency(
        &self,
        data_dir: &Path,
        asked: Option<Currency>,
    ) -> Result<Currency, OpenError> {
        let kept = self
            .keep_currency(asked)
            .await
            .map_err(|error| OpenError::Broken { path: data_dir.join(FILE), cause: error.to_string() })?;
        match asked {
            Some(asked) if asked != kept => Err(OpenError::Currency { kept, asked }),
            _ => Ok(kept),
        }
    }

    /// Where this market is reached, for whoever invites a host while it is served or not.
    pub(crate) async fn keep_address(&self, url: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('address', ?)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(url)
        .execute(tx.connection())
        .await?;
        tx.commit().await
    }

    pub(crate) async fn address(&self) -> Result<Option<String>, StoreError> {
        let kept = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'address'");
        Ok(kept.fetch_optional(&self.pool).await?)
    }

    async fn keep_currency(&self, asked: Option<Currency>) -> Result<Currency, StoreError> {
        let mut tx = self.write().await?;
        let kept: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'currency'")
            .fetch_optional(tx.connection())
            .await?;
        let kept = kept
            .map(|code| Currency::new(&code).map_err(|error| StoreError::corrupt("the currency", error)))
            .transpose()?;
        // A price that a lease agreed on is in it too.
        let is_used: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM transfers) OR EXISTS (SELECT 1 FROM leases)")
                .fetch_one(tx.connection())
                .await?;
        let currency = match (kept, asked) {
            (Some(kept), _) if is_used => kept,
            (kept, asked) => asked.or(kept).unwrap_or(Currency::CNY),
        };
        if kept != Some(currency) {
            sqlx::query(
                "INSERT INTO meta (name, value) VALUES ('currency', ?)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(currency.code())
            .execute(tx.connection())
            .await?;
        }
        tx.commit().await?;
        Ok(currency)
    }
}

/// The folder holds tokens' hashes, the relay's key and everybody's balance: nobody else may look in.
fn make_private_folder(path: &Path) -> std::io::Result<()> {
    let existed = path.is_dir();
    std::fs::create_dir_all(path)?;
    if existed {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// In a folder that was there before, others may look in; SQLite gives the files beside the database the same mode.
fn make_private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

fn number(value: u64) -> Result<i64, StoreError> {
    Ok(i64::try_from(value)?)
}

fn count(value: i64) -> Result<u64, StoreError> {
    Ok(u64::try_from(value)?)
}
