//! Nightjar on the desktop: a tray icon and a window around the agent. The shell holds no rules; it draws the view model
//! and sends the owner's commands.
//!
//! ```text
//! agent ── view model ──> tray menu and icon
//!   ^                └──> window (event `view`, while there is one)
//!   │ ────── notices ───> desktop notifications
//!   └──── commands ────── tray, window
//! ```
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod commands;
mod engine;
mod notifications;
mod options;
mod shell;
mod tray;
mod window;

use std::process::ExitCode;

use options::{Asked, Options};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os().skip(1)) {
        Asked::Run(options) => options,
        Asked::Print(text) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NIGHTJAR_LOG").unwrap_or_else(|_| "info".into()),
        )
        .init();
    match shell::run(options) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("Nightjar could not start: {error:#}");
            ExitCode::FAILURE
        }
    }
}
