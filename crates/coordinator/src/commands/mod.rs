//! One module for each command.

mod ledger;
mod operate;
mod serve;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use nightjar_coordinator::operator::Operator;
use serde::Serialize;

use crate::arguments::{Arguments, Command};

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(arguments.data_dir)?;
    let json = arguments.json;
    match arguments.command {
        Command::Serve(how) => serve::run(how, data_dir, json).await,
        Command::Pair(how) => operate::pair(&Operator::open(&data_dir, None).await?, how, json).await,
        Command::Renter(what) => operate::renter(&Operator::open(&data_dir, None).await?, what, json).await,
        Command::Host(what) => operate::host(&Operator::open(&data_dir, None).await?, what, json).await,
        Command::Ledger(which) => ledger::run(&Operator::open(&data_dir, None).await?, which, json).await,
    }
}

fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir),
        None => {
            let dirs = directories::ProjectDirs::from("", "", "nightjar")
                .context("this user has no home folder: say where the data goes with --data-dir")?;
            Ok(dirs.data_dir().join("coordinator"))
        }
    }
}

/// Prints an answer. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}
