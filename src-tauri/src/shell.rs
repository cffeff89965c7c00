//! Tauri's side of the app: built once, run until the agent has ended.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tauri::{AppHandle, Manager, RunEvent};

use crate::answers::LastReport;
use crate::engine::{self, Engine};
use crate::options::{Asked, Options};
use crate::window::{self, Window};

/// Windows kills about five seconds after it has told that a session ends.
const ENDS_WITHIN: Duration = Duration::from_millis(4_500);

/// Runs until the owner quits, or the host could not be started and its window was closed.
///
/// # Errors
/// When there is no desktop to show anything on.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    require_display()?;
    let runtime = runtime()?;
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_single_instance::init(|app, words, _folder| second_start(app, words)))
        .manage(Engine::default())
        .manage(Window::default())
        .manage(LastReport::default())
        .setup(move |app| {
            tauri::async_runtime::spawn(engine::run(app.handle().clone(), options));
            Ok(())
        })
        .build(context())
        .context("the desktop shell cannot be built")?;
    let code = app.run_return(|app, event| match event {
        // Without a code nobody has asked for the end: the tray stays.
        RunEvent::ExitRequested { code: None, api, .. } => api.prevent_exit(),
        // The end of a Windows session comes here without having been asked for: the program is over when this returns.
        RunEvent::Exit => end_host(app),
        _ => {}
    });
    // What still runs has nothing left to do; a blocked notification must not hold the end up.
    runtime.shutdown_background();
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Ends jobs and host where that has not happened yet.
fn end_host(app: &AppHandle) {
    if let Some(host) = app.state::<Engine>().host_now() {
        let ended = tauri::async_runtime::block_on(async {
            tokio::time::timeout(ENDS_WITHIN, host.shutdown()).await
        });
        if ended.is_err() {
            tracing::warn!("the session ends before the last job has; what is left of it ends by itself");
        }
    }
}

/// For the app and for its window.
///
/// # Errors
/// When no thread can be started.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The agent waits far more than it computes; two threads keep its freeze path clear of a slow neighbour.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no thread can be started")?;
    tauri::async_runtime::set(runtime.handle().clone());
    Ok(runtime)
}

/// The page and the settings of Tauri, once in the program.
pub fn context() -> tauri::Context {
    tauri::generate_context!()
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
