//! `nightjar-coordinator`: the market in one program with an embedded database.

mod arguments;
mod commands;

use std::io::IsTerminal;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = if matches!(arguments.command, Command::Serve(_)) { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env("NIGHTJAR_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    // Standard output belongs to the answer.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    match commands::run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nightjar-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
