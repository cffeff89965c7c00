//! Tauri with one window in it, and a line to the app that has started it.

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nightjar_core::settings::Language;
use nightjar_desktop::runtime;
use nightjar_desktop::wire::{Answer, Ask, FromWindow, ToWindow, line};
use nightjar_protocol::text::Texts;
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::StartFailure;
use tauri::webview::PageLoadEvent;
use tauri::{
    AppHandle, Emitter, Manager, RunEvent, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{oneshot, watch};

use crate::commands;

const LABEL: &str = "main";
/// A page that takes longer is waited for in the open.
const LOADED_WITHIN: Duration = Duration::from_secs(2);

/// The host, as far as the window knows it.
pub struct HostLine {
    shown: watch::Sender<Option<Result<Box<ViewModel>, StartFailure>>>,
    next_number: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// Somebody wants to see the window. Who sets this or the other reads the other after that, each on a thread of its own,
    /// and at least one of them must see both.
    wanted: AtomicBool,
    /// There is something to see.
    drawn: AtomicBool,
}

impl Default for HostLine {
    fn default() -> Self {
        Self {
            shown: watch::Sender::new(None),
            next_number: AtomicU64::new(1),
            waiting: Mutex::new(HashMap::new()),
            wanted: AtomicBool::new(true),
            drawn: AtomicBool::new(false),
        }
    }
}

impl HostLine {
    /// The newest view; waits for the first.
    ///
    /// # Errors
    /// When the host did not start.
    pub async fn view(&self) -> Result<ViewModel, StartFailure> {
        let ended = || StartFailure::Other { detail: String::from("the app is ending") };
        let mut shown = self.shown.subscribe();
        let shown = shown.wait_for(Option::is_some).await.map_err(|_| ended())?;
        shown.clone().unwrap_or_else(|| Err(ended())).map(|view| *view)
    }

    /// Asks the app and waits for its answer.
    ///
    /// # Errors
    /// When the app is gone or does not start a host.
    pub async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        if let Err(failure) = self.view().await {
            anyhow::bail!("the host did not start: {failure:?}");
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
        say(&FromWindow::Asked { number, ask })?;
        answered.await.context("the app is ending")
    }

    fn answered(&self, number: u64, answer: Answer) {
        if let Some(waits) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
            let _ = waits.send(answer);
        }
    }
}

/// Runs until the window is closed.
///
/// # Errors
/// When the window cannot be made.
pub fn run() -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    tauri::async_runtime::set(runtime.handle().clone());
    let app = tauri::Builder::default()
        .manage(HostLine::default())
        .invoke_handler(tauri::generate_handler![
            commands::view,
            commands::command,
            commands::enrol,
            commands::ask
        ])
        .setup(|app| {
            let app = app.handle().clone();
            tauri::async_runtime::spawn(async move {
                if let Err(error) = listen(&app).await {
                    tracing::error!("the window ends: {error:#}");
                    return app.exit(1);
                }
                app.exit(0);
            });
            Ok(())
        })
        .build(tauri::generate_context!())
        .context("the window cannot be made")?;
    let code = app.run_return(|_, event| {
        // To take the browser down takes a while, in which somebody may ask for the window again.
        if let RunEvent::WindowEvent { event: WindowEvent::CloseRequested { .. }, .. } = event
            && let Err(error) = say(&FromWindow::Closed)
        {
            tracing::debug!("the app is gone: {error:#}");
        }
    });
    // The reader of standard input blocks a thread.
    runtime.shutdown_background();
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn say(words: &FromWindow) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(&line(words)?)?)
}

/// Hears the app until it has said its last.
async fn listen(app: &AppHandle) -> anyhow::Result<()> {
    let host = app.state::<HostLine>();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("the app says what this window does not know")? {
            ToWindow::View(view) => {
                let first = host.shown.borrow().is_none();
                host.shown.send_replace(Some(Ok(view.clone())));
                if first {
                    build(app, Some(&view))?;
                } else if let Err(error) = app.emit_to(LABEL, "view", &*view) {
                    tracing::warn!("the page was not told of a change: {error}");
                }
            }
            ToWindow::Failed(failure) => {
                host.shown.send_replace(Some(Err(failure)));
                host.wanted.store(true, Ordering::SeqCst);
                build(app, None)?;
            }
            ToWindow::Prepare => host.wanted.store(false, Ordering::SeqCst),
            ToWindow::Show => {
                host.wanted.store(true, Ordering::SeqCst);
                if let Some(window) =
                    app.get_webview_window(LABEL).filter(|_| host.drawn.load(Ordering::SeqCst))
                {
                    window.unminimize()?;
                    window.show()?;
                    window.set_focus()?;
                    window.emit("shown", ())?;
                }
            }
            ToWindow::Answer { number, answer } => host.answered(number, answer),
        }
    }
    Ok(())
}

/// The page gets its first view with its scripts, since to ask for it is a way there and back before anything is drawn.
fn build(app: &AppHandle, first: Option<&ViewModel>) -> anyhow::Result<()> {
    let language = first.map_or(Language::English, |view| view.language);
    let title = Texts::of(language).plain("ui-title");
    let script = format!("window.nightjarFirstView = {};", serde_json::to_string(&first)?);
    WebviewWindowBuilder::new(app, LABEL, WebviewUrl::default())
        .initialization_script(script)
        .title(title)
        // Until there is something to see: a window that is shown before has WebKit wait for a drawing that does not come.
        .visible(false)
        .inner_size(900.0, 660.0)
        .min_inner_size(720.0, 480.0)
        // Ctrl with plus, minus and nought.
        .zoom_hotkeys_enabled(true)
        // The page is the app's own; nothing in it leads elsewhere.
        .on_navigation(|url| url.scheme() == "tauri" || url.host_str() == Some("tauri.localhost"))
        .on_page_load(|window, load| {
            if load.event() == PageLoadEvent::Finished {
                tracing::debug!("the window's page is loaded");
                drawn(&window);
            }
        })
        .build()?;
    let slow = app.clone();
    tauri::async_runtime::spawn(async move {
        tokio::time::sleep(LOADED_WITHIN).await;
        if let Some(window) = slow.get_webview_window(LABEL) {
            drawn(&window);
        }
    });
    Ok(())
}

/// There is a page, or none will come: from here on the window is shown to who asks for it.
fn drawn(window: &WebviewWindow) {
    let host = window.state::<HostLine>();
    let first = !host.drawn.swap(true, Ordering::SeqCst);
    if first
        && host.wanted.load(Ordering::SeqCst)
        && let Err(error) = window.show().and_then(|()| window.set_focus())
    {
        tracing::warn!("the window cannot be shown: {error}");
    }
}
