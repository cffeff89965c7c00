//! A market in this process, a scripted host, and the real program as a renter runs it.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use std::process::Stdio;

use nightjar_coordinator::operator::Operator;
use nightjar_coordinator::{Config, Coordinator, Running};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

pub mod host;

/// What one run of the program did.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub struct Stage {
    pub folder: TempDir,
    pub market: Running,
    pub operator: Operator,
}

impl Stage {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("coordinator");
        let market = Coordinator::start(Config::local(&data)).await.unwrap();
        let operator = Operator::open(&data, None).await.unwrap();
        Self { folder, market, operator }
    }

    /// A stage with a renter who is logged in.
    pub async fn with_renter(balance: &str) -> Self {
        let stage = Self::start().await;
        let token = stage.operator.add_renter("Ada", balance).await.unwrap().token;
        let login =
            stage.run_with(&["login", stage.market.url(), "--token", "-"], &format!("{token}\n")).await;
        assert_eq!(login.code, 0, "{login:?}");
        assert!(!login.stdout.contains(&token) && !login.stderr.contains(&token), "the token is shown");
        stage
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        command(self.folder.path(), arguments)
    }

    pub async fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "").await
    }

    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Run {
        finish(self.command(arguments), input).await
    }

    /// Started, with its pipes open; it ends with the test at the latest.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// The program with nothing of this account's but its path to other programs.
pub fn command(folder: &std::path::Path, arguments: &[&str]) -> Command {
    command_of(env!("CARGO_BIN_EXE_nightjar").as_ref(), folder, arguments)
}

/// The same for a copy of it.
pub fn command_of(program: &std::path::Path, folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("NIGHTJAR_RENTER_DIR", folder.join("renter of mine"))
        .env("NIGHTJAR_DATA_DIR", folder.join("host"))
        .env("NIGHTJAR_RUNTIME_DIR", folder.join("run"))
        .env("NIGHTJAR_KEYRING", "file")
        .kill_on_drop(true);
    command
}

pub async fn finish(mut command: Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that reads nothing closes its end, which is no fault of the test.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
