//! Windows: the tray icon lives in Tauri's main loop, which also hears of the session's end.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use nightjar_desktop::runtime;
use tauri::RunEvent;

use crate::app::App;
use crate::links;
#[cfg(windows)]
use crate::notifications;
use crate::options::{Asked, Options};
use crate::window;

/// Windows kills about five seconds after it has told that a session ends.
const ENDS_WITHIN: Duration = Duration::from_millis(4_500);

/// Runs until the owner quits, or the host could not be started and its window was closed.
///
/// # Errors
/// When there is no desktop to show anything on.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    links::keep();
    #[cfg(windows)]
    notifications::keep_sender();
    let runtime = runtime()?;
    tauri::async_runtime::set(runtime.handle().clone());
    let made: Arc<OnceLock<Arc<App>>> = Arc::default();
    let (first, for_second) = (made.clone(), made.clone());
    let handle = runtime.handle().clone();
    let desktop = tauri::Builder::default()
        .plugin(tauri_plugin_single_instance::init(move |_, words, _folder| {
            if let Some(app) = for_second.get() {
                second_start(app, words);
            }
        }))
        .setup(move |desktop| {
            let main_loop = desktop.handle().clone();
            let app = App::new(handle.clone(), main_loop.clone());
            let _ = first.set(app.clone());
            handle.spawn(async move { main_loop.exit(app.live(options).await.into()) });
            Ok(())
        })
        .build(tauri::generate_context!())
        .context("the desktop shell cannot be built")?;
    let code = desktop.run_return(move |_, event| match event {
        // Without a code nobody has asked for the end: the tray stays.
        RunEvent::ExitRequested { code: None, api, .. } => api.prevent_exit(),
        // The end of a Windows session comes here without having been asked for: the program is over when this returns.
        RunEvent::Exit => {
            if let Some(app) = made.get() {
                end_host(app);
            }
        }
        _ => {}
    });
    // What still runs has nothing left to do; a blocked notification must not hold the end up.
    runtime.shutdown_background();
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Ends jobs and host where that has not happened yet.
fn end_host(app: &App) {
    if let Some(host) = app.engine.host_now() {
        let ended = app.runtime.block_on(async { tokio::time::timeout(ENDS_WITHIN, host.shutdown()).await });
        if ended.is_err() {
            tracing::warn!("the session ends before the last job has; what is left of it ends by itself");
        }
    }
}

/// The app was started again: its owner looks for the window, unless the login did it.
fn second_start(app: &Arc<App>, words: Vec<String>) {
    let options = Options::read(words.into_iter().skip(1).map(Into::into));
    if let Asked::Run(Options { hidden: false, link, .. }) = options {
        if let Some(link) = link {
            app.invite(&link);
        }
        window::open(app);
    }
}
