//! A renter at a shell: the real `nightjar`, with a folder of its own for token and keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nightjar_protocol::market_api::{Account, Statement};
use serde_json::Value;

use crate::market::Market;
use crate::place::program;
use crate::process::{Process, line, output, output_with_input};

pub struct Renter {
    folder: PathBuf,
    home: PathBuf,
}

/// A JupyterLab that was brought to a port of this machine.
pub struct Jupyter {
    _process: Process,
    pub port: u16,
    pub token: String,
}

impl Renter {
    /// Logs in with a token that the market's operator has just made.
    ///
    /// # Errors
    /// When the login fails.
    pub fn log_in(folder: &Path, market: &Market, balance: &str) -> anyhow::Result<Self> {
        Self::log_in_as("renter", folder, market, balance)
    }

    /// The same by a name of its own: another renter.
    ///
    /// # Errors
    /// When the login fails.
    pub fn log_in_as(name: &str, folder: &Path, market: &Market, balance: &str) -> anyhow::Result<Self> {
        let renter = Self { folder: folder.to_owned(), home: folder.join(name) };
        std::fs::create_dir_all(&renter.home)?;
        let token = market.add_renter(name, balance)?;
        output_with_input(
            &mut renter.command(&["login", market.url(), "--token", "-"])?,
            &format!("{token}\n"),
        )?;
        Ok(renter)
    }

    /// `nightjar ARGS` as this renter.
    ///
    /// # Errors
    /// When the program was not built.
    pub fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(program("nightjar")?);
        command.args(args).env("NIGHTJAR_RENTER_DIR", &self.home).env("HOME", &self.home);
        Ok(command)
    }

    /// Runs it and gives what it prints.
    ///
    /// # Errors
    /// When it fails; what it said is in the error.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        output(&mut self.command(args)?)
    }

    /// Runs it with `--json`.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub fn ask(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["--json"];
        all.extend(args);
        let said = self.run(&all)?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// Rents and gives the lease's name. Returns when the worker is ready.
    ///
    /// # Errors
    /// When nothing fits, or the lease ends before it is ready.
    pub fn rent(&self, image: &str) -> anyhow::Result<String> {
        let lease = self.ask(&["rent", "--image", image])?;
        Ok(lease["lease"].as_str().with_context(|| format!("no lease in {lease}"))?.to_owned())
    }

    /// A command in the worker, through the real OpenSSH client.
    ///
    /// # Errors
    /// When it fails.
    pub fn ssh(&self, lease: &str, command: &[&str]) -> anyhow::Result<String> {
        let mut args = vec!["ssh", lease, "--"];
        args.extend(command);
        self.run(&args)
    }

    /// A program in the worker, fed by standard input.
    ///
    /// # Errors
    /// When it fails.
    pub fn ssh_with_input(&self, lease: &str, command: &[&str], input: &str) -> anyhow::Result<String> {
        let mut args = vec!["ssh", lease, "--"];
        args.extend(command);
        output_with_input(&mut self.command(&args)?, input)
    }

    /// # Errors
    /// When the port is not opened.
    pub fn jupyter(&self, lease: &str) -> anyhow::Result<Jupyter> {
        let mut command = self.command(&["--json", "jupyter", lease])?;
        let (process, mut said) = Process::start_piped(&self.folder, "jupyter", &mut command)?;
        let opened: Value = serde_json::from_str(&line(&mut said).with_context(|| process.log())?)?;
        let port = opened["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let token = opened["token"].as_str().context("no token was told")?.to_owned();
        Ok(Jupyter { _process: process, port: port.context("no port was told")?, token })
    }

    /// # Errors
    /// When the market does not answer.
    pub fn account(&self) -> anyhow::Result<Account> {
        Ok(serde_json::from_value(self.ask(&["account"])?)?)
    }

    /// # Errors
    /// When the market does not answer.
    pub fn statement(&self, lease: &str) -> anyhow::Result<Statement> {
        Ok(serde_json::from_value(self.ask(&["statement", lease])?)?)
    }

    /// The lease's state, as the market spells it.
    ///
    /// # Errors
    /// When the market does not answer.
    pub fn state(&self, lease: &str) -> anyhow::Result<String> {
        let found = self.ask(&["show", lease])?;
        Ok(found["state"]["state"].as_str().with_context(|| format!("no state in {found}"))?.to_owned())
    }
}
