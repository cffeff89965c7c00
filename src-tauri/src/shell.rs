//! Tauri's side of the app: built once, run until the agent has ended.

use std::process::ExitCode;

use anyhow::Context;
use tauri::{AppHandle, Manager, RunEvent};

use crate::engine::{self, Engine};
use crate::options::{Asked, Options};
use crate::{commands, window};

/// Runs until the owner quits, or the host could not be started and its window was closed.
///
/// # Errors
/// When there is no desktop to show anything on.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    require_display()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The agent waits far more than it computes; two threads keep its freeze path clear of a slow neighbour.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no thread can be started")?;
    tauri::async_runtime::set(runtime.handle().clone());
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_single_instance::init(|app, words, _folder| second_start(app, words)))
        .manage(Engine::default())
        .invoke_handler(tauri::generate_handler![commands::view, commands::command, commands::enrol])
        .setup(move |app| {
            tauri::async_runtime::spawn(engine::run(app.handle().clone(), options));
            Ok(())
        })
        .build(tauri::generate_context!())
        .context("the desktop shell cannot be built")?;
    let code = app.run_return(|app, event| {
        // Without a code it is the last window that closed: the tray stays. With one, somebody asked for the end.
        if let RunEvent::ExitRequested { code: None, api, .. } = event {
            api.prevent_exit();
            if app.state::<Engine>().failure().is_some() {
                // There is nothing behind a tray icon then, and the owner has read why.
                app.exit(1);
            }
        }
    });
    // What still runs has nothing left to do; a blocked notification must not hold the end up.
    runtime.shutdown_background();
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The app was started again: its owner looks for the window, unless the login did it.
fn second_start(app: &AppHandle, words: Vec<String>) {
    let options = Options::read(words.into_iter().skip(1).map(Into::into));
    if let Asked::Run(Options { hidden: false }) = options {
        window::open(app);
    }
}

/// GTK ends the whole program without a word of help where there is no display.
#[cfg(target_os = "linux")]
fn require_display() -> anyhow::Result<()> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    anyhow::ensure!(
        set("DISPLAY") || set("WAYLAND_DISPLAY"),
        "this session has no display (DISPLAY and WAYLAND_DISPLAY are empty); on a PC without a desktop use `nightjar host`"
    );
    Ok(())
}
