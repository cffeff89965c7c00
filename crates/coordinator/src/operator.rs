//! What the person who runs a market does beside it: let hosts in, enter renters, credit them, read the books. Works on
//! the database, whether a coordinator serves it at the time or not.

mod hosts;

pub use hosts::{CardSummary, HostSummary};

use std::path::{Path, PathBuf};

use nightjar_core::lease::LeaseId;
use nightjar_core::ledger::{Account, Leg, Transfer};
use nightjar_core::market::MOST_REFERENCE;
use nightjar_core::money::{Currency, Money, MoneyError};
use nightjar_core::time::Timestamp;
use nightjar_protocol::invitation::InvitationError;
use nightjar_protocol::window::Invitation;
use serde::Serialize;

use crate::clock::Clock;
use crate::secret;
use crate::store::books::Entry;
use crate::store::renters::Renter;
use crate::store::{self, OpenError, Store, StoreError, WriteTx, books, renters};

/// How long a pairing code can be used, in milliseconds.
pub const PAIRING_CODE_VALID_MS: u64 = 15 * 60_000;
/// Longest name of a renter, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Why something was not done. The books are as they were.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "\"{0}\" cannot be a renter's name: 1 to {MAX_NAME_BYTES} bytes without control characters are wanted"
    )]
    Name(String),
    #[error(
        "there is a renter \"{0}\" already; credit it with `nightjar-coordinator renter credit`, or choose another name"
    )]
    NameTaken(String),
    #[error("there is no renter \"{0}\"; `nightjar-coordinator renter list` shows them")]
    NoSuchRenter(String),
    #[error(transparent)]
    Amount(#[from] MoneyError),
    #[error("an amount above zero is wanted")]
    Nothing,
    #[error("there is no host \"{0}\"; `nightjar-coordinator host list` shows them")]
    NoSuchHost(String),
    #[error("the host has {balance}: {amount} cannot be paid out")]
    NotEnough { balance: Money, amount: Money },
    #[error(
        "a reference of 1 to {MOST_REFERENCE} characters without control characters is wanted: the bank's number of the payment, say"
    )]
    Reference,
    #[error(
        "the host was paid with the reference \"{0}\" before; nothing was booked. Give another payment another reference"
    )]
    PaidBefore(String),
    #[error("{0}")]
    Database(String),
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        Self::Database(error.to_string())
    }
}

/// Shown once; only its hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode {
    pub code: String,
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairingCode").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl PairingCode {
    /// The link that names the market's address and this code.
    ///
    /// # Errors
    /// When no host would take one to this address.
    pub fn link(&self, market: &str) -> Result<String, InvitationError> {
        Invitation { market: market.trim_end_matches('/').to_owned(), code: self.code.clone() }.link()
    }
}

/// A renter that was just entered.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct NewRenter {
    pub name: String,
    /// The pseudonym that hosts see.
    pub renter: String,
    /// Shown once; only its hash is kept.
    pub token: String,
    pub balance: Money,
}

impl std::fmt::Debug for NewRenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewRenter").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RenterSummary {
    pub name: String,
    /// The pseudonym that hosts see.
    pub renter: String,
    pub balance: Money,
    pub created_at: Timestamp,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountBalance {
    pub account: Account,
    /// A renter's name, where it is one.
    pub name: Option<String>,
    pub balance: Money,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    pub number: u64,
    pub at: Timestamp,
    /// The reference of a payment to a host's owner.
    pub payout: Option<String>,
    /// What it pays for; `None` where it is a payment in or out.
    pub lease: Option<LeaseId>,
    pub epoch: Option<u64>,
    pub sequence: Option<u64>,
    pub running_ms: u64,
    pub legs: Vec<Leg>,
}

/// The books, and whether they are right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    pub currency: Currency,
    /// Every transfer adds up to zero, every balance is the sum of its bookings, and all balances add up to zero.
    pub balanced: bool,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
    pub sum: Money,
    pub accounts: Vec<AccountBalance>,
    /// The latest, the oldest of them first.
    pub entries: Vec<LedgerEntry>,
}

/// The operator's hand on one market's database.
#[derive(Debug)]
pub struct Operator {
    store: Store,
    data_dir: PathBuf,
    currency: Currency,
    clock: Clock,
}

impl Operator {
    /// Opens the database in `data_dir`, or begins one whose books are kept in `currency` (else CNY).
    ///
    /// # Errors
    /// [`OperatorError::Open`].
    pub async fn open(data_dir: &Path, currency: Option<Currency>) -> Result<Self, OperatorError> {
        let store = Store::open(data_dir).await?;
        let currency = store.currency(data_dir, currency).await?;
        Ok(Self { store, data_dir: data_dir.to_owned(), currency, clock: Clock::default() })
    }

    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where hosts and renters reach this market, as of the last time that it was served.
    ///
    /// # Errors
    /// [`OperatorError::Database`].
    pub async fn address(&self) -> Result<Option<String>, OperatorError> {
        Ok(self.store.address().await?)
    }

    /// A code with which one host can enrol, once, within [`PAIRING_CODE_VALID_MS`].
    ///
    /// # Errors
    /// [`OperatorError::Database`].
    pub async fn pairing_code(&self) -> Result<PairingCode, OperatorError> {
        let code = secret::new_pairing_code();
        let now = self.clock.now();
        let expires_at = now.plus_ms(PAIRING_CODE_VALID_MS);
        let mut tx = self.store.write().await?;
        store::hosts::add_pairing_code(tx.connection(), &secret::pairing_code_hash(&code), now, expires_at)
            .await?;
        tx.commit().await?;
        Ok(PairingCode { code, expires_at })
    }

    /// Enters a renter with a prepaid balance (`"20.00"`; `"0"` is taken).
    ///
    /// # Errors
    /// When the name is taken or unusable, or the amount is none.
    pub async fn add_renter(&self, name: &str, balance: &str) -> Result<NewRenter, OperatorError> {
        if name.trim() != name
            || name.is_empty()
            || name.len() > MAX_NAME_BYTES
            || name.chars().any(char::is_control)
        {
            return Err(OperatorError::Name(name.chars().filter(|c| !c.is_control()).take(64).collect()));
        }
        let balance = Money::parse(balance, self.currency)?;
        let token = secret::new_renter_token();
        let now = self.clock.now();
        let renter = Renter { id: secret::new_pseudonym(), name: name.to_owned(), created_at: now };
        let mut tx = self.store.write().await?;
        renters::add(tx.connection(), &renter, &secret::hash(&token)).await.map_err(|error| {
            if error.is_taken() { OperatorError::NameTaken(name.to_owned()) } else { error.into() }
        })?;
        if balance.micros > 0 {
            self.deposit(&mut tx, &renter, balance).await?;
        }
        tx.commit().await?;
        Ok(NewRenter { name: renter.name, renter: renter.id, token, balance })
    }

    /// Books a payment in and returns the balance after it.
    ///
    /// # Errors
    /// When there is no such renter, or the amount is none above zero.
    pub async fn credit(&self, name: &str, amount: &str) -> Result<Money, OperatorError> {
        let amount = Money::parse(amount, self.currency)?;
        if amount.micros == 0 {
            return Err(OperatorError::Nothing);
        }
        let mut tx = self.store.write().await?;
        let renter = renters::by_name(tx.connection(), name)
            .await?
            .ok_or_else(|| OperatorError::NoSuchRenter(name.chars().filter(|c| !c.is_control()).collect()))?;
        let after = self.deposit(&mut tx, &renter, amount).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Books a payment in; both sides of it must be able to hold it.
    async fn deposit(
        &self,
        tx: &mut WriteTx,
        renter: &Renter,
        amount: Money,
    ) -> Result<Money, OperatorError> {
        let account = Account::Renter { id: renter.id.clone() };
        let before = books::balance_micros(tx.connection(), &account).await?;
        let after = Money::new(before, self.currency).plus(amount)?;
        let world = books::balance_micros(tx.connection(), &Account::World).await?;
        world.checked_sub(amount.micros).ok_or(MoneyError::Overflow)?;
        let transfer = Transfer::deposit(&renter.id, amount);
        books::book(tx.connection(), &transfer, None, self.clock.now()).await?;
        Ok(after)
    }

    /// All renters by name.
    ///
    /// # Errors
    /// [`OperatorError::Database`].
    pub async fn renters(&self) -> Result<Vec<RenterSummary>, OperatorError> {
        let audit = books::audit(self.store.reader()).await?;
        let known = renters::all(self.store.reader()).await?;
        let balance_of = |id: &str| {
            let found = audit
                .balances
                .iter()
                .find(|(account, _)| matches!(account, Account::Renter { id: other } if other == id));
            Money::new(found.map_or(0, |(_, micros)| *micros), self.currency)
        };
        let summary = |renter: Renter| RenterSummary {
            balance: balance_of(&renter.id),
            name: renter.name,
            renter: renter.id,
            created_at: renter.created_at,
        };
        Ok(known.into_iter().map(summary).collect())
    }

    /// All accounts, the latest `at_most` bookings (of one lease or of all), and a check of everything.
    ///
    /// # Errors
    /// [`OperatorError::Database`]. Books that are wrong are no error here: see [`Ledger::balanced`].
    pub async fn ledger(&self, lease: Option<&LeaseId>, at_most: u32) -> Result<Ledger, OperatorError> {
        let audit = books::audit(self.store.reader()).await?;
        let known = renters::all(self.store.reader()).await?;
        let entries = books::entries(self.store.reader(), lease, at_most).await?;
        let mut faults: Vec<String> = Vec::new();
        if audit.sum_micros != 0 {
            let sum = Money::new(audit.sum_micros, self.currency);
            faults.push(format!("all balances add up to {sum} instead of zero"));
        }
        let uneven = audit.uneven_transfers.iter();
        faults.extend(uneven.map(|number| format!("booking {number} does not add up to zero")));
        let wrong = audit.wrong_balances.iter();
        faults.extend(
            wrong.map(|account| format!("the balance of {account:?} is not the sum of its bookings")),
        );
        let name_of = |account: &Account| match account {
            Account::Renter { id } => known.iter().find(|renter| renter.id == *id).map(|r| r.name.clone()),
            _ => None,
        };
        let accounts = audit.balances.into_iter().map(|(account, micros)| AccountBalance {
            name: name_of(&account),
            balance: Money::new(micros, self.currency),
            account,
        });
        Ok(Ledger {
            currency: self.currency,
            balanced: faults.is_empty(),
            faults,
            sum: Money::new(audit.sum_micros, self.currency),
            accounts: accounts.collect(),
            entries: entries.into_iter().map(entry).collect(),
        })
    }

    /// Closes the database.
    pub async fn close(self) {
        self.store.close().await;
    }
}

fn entry(kept: Entry) -> LedgerEntry {
    LedgerEntry {
        number: kept.number,
        at: kept.at,
        payout: kept.payout,
        epoch: kept.usage.as_ref().map(|usage| usage.epoch.0),
        sequence: kept.usage.as_ref().map(|usage| usage.sequence),
        lease: kept.usage.map(|usage| usage.lease),
        running_ms: kept.running_ms,
        legs: kept.legs,
    }
}
