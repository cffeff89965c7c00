//! Hosts and what their owners are paid.

use nightjar_core::gpu::GpuUuid;
use nightjar_core::ledger::Account;
use nightjar_core::line_check::LineFigures;
use nightjar_core::market::{HostAccount, MOST_REFERENCE};
use nightjar_core::money::{Money, MoneyError};
use nightjar_core::proof::ProofFault;
use nightjar_core::standing::{CardStanding, LastCheck};
use nightjar_core::time::Timestamp;
use serde::Serialize;

use super::{Operator, OperatorError};
use crate::store::{books, hosts, lines, payouts, standings};

/// One enrolled host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostSummary {
    pub host: String,
    /// What its owner has at this market.
    pub balance: Money,
    pub paid_out: Money,
    pub enrolled_at: Timestamp,
    /// To the minute.
    pub last_heard_at: Timestamp,
    pub app_version: String,
    /// What was last measured of its line.
    pub line: Option<LineFigures>,
    /// Those that were ever asked to prove themselves.
    pub cards: Vec<CardSummary>,
}

/// What the market thinks of a host's card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CardSummary {
    pub gpu: GpuUuid,
    /// `None` until it was checked.
    pub last_check: Option<LastCheck>,
    /// Why it is left out at this moment.
    pub left_out_for: Option<ProofFault>,
    pub left_out_until: Option<Timestamp>,
}

impl Operator {
    /// All hosts, those that were enrolled first at the head.
    ///
    /// # Errors
    /// [`OperatorError::Database`].
    pub async fn hosts(&self) -> Result<Vec<HostSummary>, OperatorError> {
        let mut snapshot = self.store.reader().begin().await.map_err(crate::store::StoreError::from)?;
        let now = self.clock.now();
        let mut lines = lines::all(&mut snapshot).await?;
        let mut summaries = Vec::new();
        for host in hosts::all(&mut snapshot).await? {
            let account = payouts::account(&mut snapshot, &host.id, self.currency).await?;
            let cards = standings::of_host(&mut snapshot, &host.id).await?;
            let card = |(gpu, standing): (GpuUuid, CardStanding)| {
                let left_out_for = standing.out_for(now);
                CardSummary {
                    gpu,
                    last_check: standing.last,
                    left_out_for,
                    left_out_until: left_out_for.map(|_| standing.out_until()),
                }
            };
            summaries.push(HostSummary {
                line: lines.remove(&host.id).and_then(|standing| standing.shown(now)),
                host: host.id,
                balance: account.balance,
                paid_out: account.paid_out,
                enrolled_at: host.enrolled_at,
                last_heard_at: host.last_heard_at,
                app_version: host.app_version,
                cards: cards.into_iter().map(card).collect(),
            });
        }
        Ok(summaries)
    }

    /// Books that a host's owner was paid, and returns the account after it. The money itself goes another way, which
    /// `reference` names. The owner sees it within a quarter of a minute.
    ///
    /// # Errors
    /// When there is no such host, it has less, the amount is none, or the reference was used before.
    pub async fn pay(&self, host: &str, amount: &str, reference: &str) -> Result<HostAccount, OperatorError> {
        let amount = Money::parse(amount, self.currency)?;
        if amount.micros == 0 {
            return Err(OperatorError::Nothing);
        }
        let length = reference.chars().count();
        if reference.trim() != reference
            || !(1..=MOST_REFERENCE).contains(&length)
            || reference.chars().any(char::is_control)
        {
            return Err(OperatorError::Reference);
        }
        let mut tx = self.store.write().await?;
        if !hosts::is_enrolled(tx.connection(), host).await? {
            return Err(OperatorError::NoSuchHost(
                host.chars().filter(|c| !c.is_control()).take(64).collect(),
            ));
        }
        let balance = books::balance_micros(tx.connection(), &Account::Host { id: host.to_owned() }).await?;
        if balance < amount.micros {
            return Err(OperatorError::NotEnough { balance: Money::new(balance, self.currency), amount });
        }
        let world = books::balance_micros(tx.connection(), &Account::World).await?;
        world.checked_add(amount.micros).ok_or(MoneyError::Overflow)?;
        payouts::pay(tx.connection(), host, amount, reference, self.clock.now()).await.map_err(|error| {
            if error.is_taken() { OperatorError::PaidBefore(reference.to_owned()) } else { error.into() }
        })?;
        let account = payouts::account(tx.connection(), host, self.currency).await?;
        tx.commit().await?;
        Ok(account)
    }
}
