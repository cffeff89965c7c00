//! The real coordinator as a process, on a port of the loopback and a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::place::program;
use crate::process::{Process, line, output};

pub struct Market {
    process: Process,
    folder: PathBuf,
    data: PathBuf,
    url: String,
    relay_port: u16,
}

impl Market {
    /// # Errors
    /// When it does not start; its log is in the error.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let data = folder.join("market");
        std::fs::create_dir_all(&data)?;
        Self::launch(folder, data, "127.0.0.1:0", 0)
    }

    fn launch(folder: &Path, data: PathBuf, listen: &str, relay_port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(program("nightjar-coordinator")?);
        command.args(["serve", "--json", "--listen", listen]);
        command.args(["--relay-listen", &format!("127.0.0.1:{relay_port}"), "--data-dir"]).arg(&data);
        let (process, mut said) = Process::start_piped(folder, "coordinator", &mut command)?;
        let ready =
            line(&mut said).with_context(|| format!("the coordinator does not start:\n{}", process.log()))?;
        let ready: Value = serde_json::from_str(&ready)?;
        let url = ready["url"].as_str().with_context(|| format!("no address in {ready}"))?.to_owned();
        let relay_port = ready["relay"]["url"]
            .as_str()
            .and_then(|url| url.trim_end_matches(['/', '.']).rsplit(':').next())
            .and_then(|port| port.parse().ok())
            .unwrap_or(0);
        Ok(Self { process, folder: folder.to_owned(), data, url, relay_port })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A code for one host.
    ///
    /// # Errors
    /// When the coordinator makes none.
    pub fn pairing_code(&self) -> anyhow::Result<String> {
        let made = self.operator(&["pair", "--json"])?;
        let made: Value = serde_json::from_str(&made)?;
        Ok(made["pairing_code"].as_str().with_context(|| format!("no code in {made}"))?.to_owned())
    }

    /// A renter with a prepaid balance; gives the token.
    ///
    /// # Errors
    /// When the coordinator makes none.
    pub fn add_renter(&self, name: &str, balance: &str) -> anyhow::Result<String> {
        let made = self.operator(&["renter", "add", name, "--balance", balance, "--json"])?;
        let made: Value = serde_json::from_str(&made)?;
        Ok(made["token"].as_str().with_context(|| format!("no token in {made}"))?.to_owned())
    }

    /// All books, as `nightjar-coordinator ledger --json` prints them. It fails when they do not balance.
    ///
    /// # Errors
    /// When they do not balance.
    pub fn ledger(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.operator(&["ledger", "--json"])?)?)
    }

    /// Any of the operator's commands on this market's data.
    ///
    /// # Errors
    /// When it fails.
    pub fn operator(&self, args: &[&str]) -> anyhow::Result<String> {
        output(Command::new(program("nightjar-coordinator")?).args(args).arg("--data-dir").arg(&self.data))
    }

    /// Kills it without a word, as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Market::kill`], at the same address and on the same data.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let listen = self.url.trim_start_matches("http://").to_owned();
        *self = Self::launch(&self.folder.clone(), self.data.clone(), &listen, self.relay_port)?;
        Ok(())
    }

    /// # Errors
    /// When it does not end by itself.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.terminate(Duration::from_secs(15))
    }
}
