//! `nightjar-coordinator pair`, `renter …` and `host …`.

use std::process::ExitCode;

use anyhow::Context;
use nightjar_coordinator::operator::{CardSummary, Operator, PAIRING_CODE_VALID_MS};
use nightjar_core::line_check::LineFigures;
use nightjar_core::standing::CheckKind;
use nightjar_protocol::invitation::check_market;
use nightjar_protocol::network::spell_kbit;
use serde_json::json;

use super::{print, print_json};
use crate::arguments::{Host, Pair, Renter};

pub(crate) async fn pair(operator: &Operator, how: Pair, json: bool) -> anyhow::Result<ExitCode> {
    let is_asked = how.public_url.is_some();
    let address = match how.public_url {
        Some(address) => Some(address),
        None => operator.address().await?,
    };
    // Before the code is made: one that nobody sees would let somebody in for a while.
    let (address, why_none) = match address.as_deref().map(check_market).transpose() {
        Ok(_) => (address, None),
        Err(error) if is_asked => return Err(error).context("no code was made for this --public-url"),
        Err(error) => (None, Some(error)),
    };
    let code = operator.pairing_code().await?;
    let link = address.map(|market| code.link(&market)).transpose()?;
    if json {
        print_json(&json!({ "pairing_code": code.code, "link": link, "expires_at": code.expires_at }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{}\n", code.code))?;
    match (link, why_none) {
        (Some(link), _) => print(&format!("{link}\n"))?,
        (None, Some(why)) => eprintln!("No link: {why}. Give --public-url for one."),
        (None, None) => eprintln!("No link, since the market was not served yet: give --public-url for one."),
    }
    eprintln!("For one host, once, within {} minutes.", PAIRING_CODE_VALID_MS / 60_000);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn renter(operator: &Operator, what: Renter, json: bool) -> anyhow::Result<ExitCode> {
    match what {
        Renter::Add { name, balance } => {
            let added = operator.add_renter(&name, &balance).await?;
            if json {
                print_json(&added)?;
            } else {
                print(&format!("{}\n", added.token))?;
                eprintln!(
                    "The token of {} ({}), with {}. It is not shown again.",
                    added.name, added.renter, added.balance
                );
            }
        }
        Renter::Credit { name, amount } => {
            let balance = operator.credit(&name, &amount).await?;
            if json {
                print_json(&json!({ "name": name, "balance": balance }))?;
            } else {
                print(&format!("{name} has {balance}\n"))?;
            }
        }
        Renter::List => list(operator, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn host(operator: &Operator, what: Host, json: bool) -> anyhow::Result<ExitCode> {
    match what {
        Host::Pay { host, amount, reference } => {
            let account = operator.pay(&host, &amount, &reference).await?;
            if json {
                print_json(&json!({ "host": host, "account": account }))?;
            } else {
                print(&format!("{host} was paid, and has {} left\n", account.balance))?;
            }
        }
        Host::List => {
            let hosts = operator.hosts().await?;
            if json {
                print_json(&json!({ "hosts": hosts }))?;
                return Ok(ExitCode::SUCCESS);
            }
            if hosts.is_empty() {
                eprintln!("No hosts yet: `nightjar-coordinator pair` makes a code with which one can join.");
            }
            let lines: String = hosts
                .iter()
                .map(|host| {
                    let (balance, paid) = (host.balance.to_string(), host.paid_out.to_string());
                    let cards: String = host.cards.iter().map(card).collect();
                    let line = host.line.as_ref().map(line).unwrap_or_default();
                    format!("{:<38} {balance:>20} and {paid:>20} paid out\n{line}{cards}", host.host)
                })
                .collect();
            print(&lines)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(figures: &LineFigures) -> String {
    let why = if figures.is_at_limit() { ", the owner's limit" } else { "" };
    let (down, up) = (spell_kbit(figures.down_kbit), spell_kbit(figures.up_kbit));
    format!("  {:<42} {down} down, {up} up{why}, measured at {}\n", "its line", figures.at.utc())
}

fn card(card: &CardSummary) -> String {
    let checked = card.last_check.map_or_else(
        || "asked, and not checked yet".to_owned(),
        |last| {
            let outcome = if last.passed { "passed" } else { "failed" };
            let kind = match last.kind {
                CheckKind::Lease => "before a lease",
                CheckKind::Waiting => "while it waited",
            };
            format!("{outcome} its last check, {kind}, at {}", last.at.utc())
        },
    );
    let out = card.left_out_for.zip(card.left_out_until);
    let out = out.map(|(why, until)| format!("; left out until {}: {why}", until.utc()));
    format!("  {:<42} {checked}{}\n", card.gpu.0, out.unwrap_or_default())
}

async fn list(operator: &Operator, json: bool) -> anyhow::Result<()> {
    let renters = operator.renters().await?;
    if json {
        return print_json(&json!({ "renters": renters }));
    }
    if renters.is_empty() {
        eprintln!("No renters yet: `nightjar-coordinator renter add NAME --balance 20.00` enters one.");
    }
    let lines: String = renters
        .iter()
        .map(|renter| {
            format!("{:<24} {:<18} {:>20}\n", renter.name, renter.renter, renter.balance.to_string())
        })
        .collect();
    print(&lines)
}
