//! Nightjar on the desktop: a tray icon and a window around the agent. The shell holds no rules; it draws the view model
//! and sends the owner's commands.
//!
//! ```text
//! agent ── view model ──> tray menu and icon
//!   ^                └──> window ──(its standard input and output)──> nightjar-window, while it is open
//!   │ ────── notices ───> desktop notifications
//!   └──── commands ────── tray, window
//! ```
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod answers;
mod app;
mod autostart;
mod command_line;
mod engine;
mod links;
#[cfg(target_os = "linux")]
mod markup;
mod notifications;
mod options;
mod shell;
mod tray;
mod window;

use std::process::ExitCode;

use nightjar_desktop::log;
use options::{Asked, Options};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os().skip(1)) {
        Asked::Print(text) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Asked::Run(options) => options,
    };
    log::start();
    match shell::run(options) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("Nightjar could not start: {error:#}");
            ExitCode::FAILURE
        }
    }
}
