//! Nightjar on the desktop: a tray icon and a window around the agent. The shell holds no rules; it draws the view model
//! and sends the owner's commands.
//!
//! ```text
//! agent ── view model ──> tray menu and icon
//!   ^                └──> window ──(its standard input and output)──> page, a process of its own while it is open
//!   │ ────── notices ───> desktop notifications
//!   └──── commands ────── tray, window
//! ```
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod answers;
mod autostart;
mod commands;
mod engine;
mod log;
mod notifications;
mod options;
mod page;
mod shell;
mod tray;
mod window;
mod wire;

use std::process::ExitCode;

use options::{Asked, Options};

fn main() -> ExitCode {
    let asked = Options::read(std::env::args_os().skip(1));
    if let Asked::Print(text) = &asked {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    log::start();
    let ended = match asked {
        Asked::Run(options) => shell::run(options),
        Asked::Window => page::run(),
        Asked::Print(_) => Ok(ExitCode::SUCCESS),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("Nightjar could not start: {error:#}");
            ExitCode::FAILURE
        }
    }
}
