//! `nightjar-coordinator ledger`.

use std::fmt::Write;
use std::process::ExitCode;

use nightjar_coordinator::operator::{AccountBalance, Ledger, LedgerEntry, Operator};
use nightjar_core::lease::LeaseId;
use nightjar_core::ledger::Account;
use nightjar_core::money::{Currency, Money};

use super::{print, print_json};
use crate::arguments;

pub(crate) async fn run(
    operator: &Operator,
    which: arguments::Ledger,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let lease = which.lease.map(LeaseId);
    let ledger = operator.ledger(lease.as_ref(), which.last).await?;
    if json {
        print_json(&ledger)?;
    } else {
        print(&table(&ledger)?)?;
    }
    for fault in &ledger.faults {
        eprintln!("nightjar-coordinator: {fault}");
    }
    Ok(if ledger.balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(ledger: &Ledger) -> Result<String, std::fmt::Error> {
    let mut text = String::from("ACCOUNTS\n");
    for account in &ledger.accounts {
        writeln!(text, "  {:<52} {:>20}", owner(account), account.balance.to_string())?;
    }
    text.push_str("\nBOOKINGS\n");
    for entry in &ledger.entries {
        writeln!(text, "  {:>6}  {}", entry.number, cause(entry))?;
        for leg in &entry.legs {
            let amount = signed(leg.micros, ledger.currency);
            writeln!(text, "          {:<44} {amount:>20}", name(&leg.account))?;
        }
    }
    if ledger.entries.is_empty() {
        text.push_str("  none\n");
    }
    let verdict = if ledger.balanced { "The books balance" } else { "THE BOOKS DO NOT BALANCE" };
    writeln!(text, "\n{verdict}: all accounts add up to {}.", ledger.sum)?;
    Ok(text)
}

fn signed(micros: i64, currency: Currency) -> String {
    let plus = if micros > 0 { "+" } else { "" };
    format!("{plus}{}", Money::new(micros, currency))
}

fn name(account: &Account) -> String {
    match account {
        Account::World => "world".to_owned(),
        Account::Renter { id } => id.clone(),
        Account::Host { id } => format!("host {id}"),
        Account::Fees => "fees".to_owned(),
    }
}

fn owner(account: &AccountBalance) -> String {
    match &account.name {
        Some(renter) => format!("{} ({renter})", name(&account.account)),
        None => name(&account.account),
    }
}

fn cause(entry: &LedgerEntry) -> String {
    match (&entry.lease, entry.sequence) {
        (Some(lease), Some(sequence)) => {
            let (whole, part) = (entry.running_ms / 1_000, entry.running_ms % 1_000);
            format!("lease {lease}, record {sequence}, {whole}.{part:03} s")
        }
        _ => match &entry.payout {
            Some(reference) => format!("paid out, {reference}"),
            None => "paid in".to_owned(),
        },
    }
}
