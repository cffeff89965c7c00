//! Nightjar's window, a process of its own: started by `nightjar-desktop` when it is asked for, ended with the window or
//! with that app. What it shows and asks for goes over its standard input and output.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod commands;
mod page;

use std::io::IsTerminal;
use std::process::ExitCode;

use nightjar_desktop::log;

fn main() -> ExitCode {
    if std::io::stdin().is_terminal() {
        eprintln!("This is Nightjar's window, which nightjar-desktop opens: start that one.");
        return ExitCode::FAILURE;
    }
    log::start();
    page::run().unwrap_or_else(|error| {
        tracing::error!("the window cannot be shown: {error:#}");
        ExitCode::FAILURE
    })
}
