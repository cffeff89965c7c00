//! `nightjar-coordinator pair`, `renter …` and `host …`.

use std::process::ExitCode;

use nightjar_coordinator::operator::{Operator, PAIRING_CODE_VALID_MS};
use serde_json::json;

use super::{print, print_json};
use crate::arguments::{Host, Renter};

pub(crate) async fn pair(operator: &Operator, json: bool) -> anyhow::Result<ExitCode> {
    let code = operator.pairing_code().await?;
    if json {
        print_json(&code)?;
    } else {
        print(&format!("{}\n", code.code))?;
        eprintln!("For one host, once, within {} minutes.", PAIRING_CODE_VALID_MS / 60_000);
    }
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
                    format!("{:<38} {balance:>20} and {paid:>20} paid out\n", host.host)
                })
                .collect();
            print(&lines)?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
