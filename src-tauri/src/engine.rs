//! The agent behind the shell: started beside it, ended with it.

use std::sync::Arc;

use nightjar_agent::{Agent, AgentConfig, AgentHandle, Signals, StartError, system_language};
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::StartFailure;
use tauri::{AppHandle, Manager};
use tokio::sync::watch;

use crate::options::Options;
use crate::tray::{self, Tray};
use crate::window::Window;
use crate::{log, notifications, window};

type Outcome = Option<Result<AgentHandle, StartFailure>>;

/// How the start of the agent went, for whoever asks, also while it is under way.
pub struct Engine {
    outcome: watch::Sender<Outcome>,
}

impl Default for Engine {
    fn default() -> Self {
        Self { outcome: watch::Sender::new(None) }
    }
}

impl Engine {
    /// The running host; waits for its start.
    ///
    /// # Errors
    /// When it did not start. It will not until the app is started again.
    pub async fn host(&self) -> Result<AgentHandle, StartFailure> {
        let mut inbox = self.outcome.subscribe();
        let ended = || StartFailure::Other { detail: String::from("the app is ending") };
        let outcome = inbox.wait_for(Option::is_some).await.map_err(|_| ended())?;
        outcome.clone().unwrap_or_else(|| Err(ended()))
    }

    /// The running host, if it has started.
    pub fn host_now(&self) -> Option<AgentHandle> {
        self.outcome.borrow().as_ref()?.as_ref().ok().cloned()
    }

    pub fn failure(&self) -> Option<StartFailure> {
        self.outcome.borrow().as_ref()?.as_ref().err().cloned()
    }

    fn settle(&self, outcome: Result<AgentHandle, StartFailure>) {
        self.outcome.send_replace(Some(outcome));
    }
}

/// Starts the agent, shows it, and ends the app when it has ended.
pub async fn run(app: AppHandle, options: Options) {
    let mut ending = Signals::listen();
    let (agent, tray_folder) = match start().await {
        Ok(started) => started,
        Err(failure) => {
            failed(&app, failure).await;
            ending.wait().await;
            app.state::<Window>().close().await;
            return app.exit(1);
        }
    };
    let host = agent.handle();
    app.state::<Engine>().settle(Ok(host.clone()));
    let first = host.view().borrow().clone();
    let tray = match Tray::build(&app, &first, &tray_folder).await {
        Ok(tray) => Some(tray),
        Err(error) => {
            // Some desktops have no tray; the window and a second start do without.
            tracing::error!("there is no tray icon: {error:#}");
            None
        }
    };
    let is_shown = tray.is_some() && tray::has_panel().await;
    if !is_shown {
        tracing::warn!("no panel shows the tray icon; the window stands in for it");
    }
    if !options.hidden || !is_shown {
        window::open(&app);
    }
    if let Some(tray) = tray {
        tokio::spawn(show(host.view(), tray));
    }
    tokio::spawn(notifications::run(app.clone(), host.clone()));
    tokio::spawn(follow_log_level(host.view()));
    tokio::spawn(async move {
        ending.wait().await;
        tracing::info!("asked to end by a signal");
        host.shutdown().await;
    });
    let code = match agent.join().await {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("the host failed: {error:#}");
            1
        }
    };
    app.state::<Window>().close().await;
    if let Some(tray) = app.try_state::<Tray>() {
        tray.remove_pictures();
    }
    app.exit(code);
}

/// The owner may choose it while the app runs.
async fn follow_log_level(mut views: watch::Receiver<Arc<ViewModel>>) {
    let mut known = None;
    loop {
        let level = views.borrow_and_update().settings.as_ref().map(|settings| settings.log_level);
        if let Some(level) = level.filter(|level| known != Some(*level)) {
            log::set_level(level);
            known = Some(level);
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

async fn start() -> Result<(Agent, std::path::PathBuf), StartFailure> {
    let other = |error: anyhow::Error| StartFailure::Other { detail: format!("{error:#}") };
    let config = AgentConfig::from_environment().map_err(other)?;
    let tray_folder = config.runtime_dir.join("tray");
    let agent = Agent::start(config).await.map_err(|error| match error {
        StartError::AlreadyRunning(_) => StartFailure::AlreadyRunning,
        StartError::Other(error) => other(error),
    })?;
    Ok((agent, tray_folder))
}

/// The owner is told, whatever of the desktop works: in the log, by a notification, in a window. The app ends with 1 when
/// that window closes.
async fn failed(app: &AppHandle, failure: StartFailure) {
    tracing::error!(?failure, "the host could not start");
    app.state::<Engine>().settle(Err(failure.clone()));
    window::open(app);
    notifications::start_failed(&failure, system_language()).await;
}

/// Draws each change. Only the newest counts, so a slow desktop skips what lies between.
async fn show(mut views: watch::Receiver<Arc<ViewModel>>, tray: Tray) {
    while views.changed().await.is_ok() {
        let view = views.borrow_and_update().clone();
        tray.show(&view);
    }
}
