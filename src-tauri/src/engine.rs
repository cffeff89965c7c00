//! The agent behind the shell: started beside it, ended with it.

use std::sync::Arc;
use std::time::Duration;

use nightjar_agent::{Agent, AgentConfig, AgentHandle, Signals, StartError, system_language};
use nightjar_desktop::log;
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::StartFailure;
use tokio::sync::watch;

use crate::app::App;
use crate::options::Options;
use crate::shell::Session;
use crate::tray::{self, Tray};
use crate::{notifications, window};

/// At login the panel may come after the app.
const PANEL_WITHIN: Duration = Duration::from_secs(20);

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

/// Starts the agent, shows it, and gives the app's exit code once it has ended.
pub async fn run(app: Arc<App>, options: Options) -> u8 {
    let ending = Ending { signals: Signals::listen(), session: Session::watch().await };
    let agent = match start().await {
        Ok(agent) => agent,
        Err(failure) => {
            failed(&app, failure).await;
            ending.asked_for().await;
            app.window.close().await;
            return 1;
        }
    };
    let host = agent.handle();
    app.engine.settle(Ok(host.clone()));
    let first = host.view().borrow().clone();
    match Tray::build(&app, &first).await {
        Ok(tray) => drop(app.tray.set(tray)),
        // Some desktops have no tray; the window and a second start do without.
        Err(error) => tracing::error!("there is no tray icon: {error:#}"),
    }
    tokio::spawn(first_window(app.clone(), options));
    tokio::spawn(show(host.view(), app.clone()));
    tokio::spawn(notifications::run(app.clone(), host.clone()));
    tokio::spawn(follow_log_level(host.view()));
    let (newer, ended) = (app.clone(), host.clone());
    tokio::spawn(async move { newer.begin_anew(&ended).await });
    let watched = app.clone();
    tokio::spawn(async move {
        ending.asked_for().await;
        // Nobody looks any more, and a system that ends gives little time: the window goes while the jobs end.
        tokio::join!(host.shutdown(), watched.window.close());
    });
    let code = match agent.join().await {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("the host failed: {error:#}");
            1
        }
    };
    app.window.close().await;
    code
}

/// What may ask the app to end; heard from the start.
struct Ending {
    signals: Signals,
    session: Session,
}

impl Ending {
    /// By the system, or by the session's end.
    async fn asked_for(mut self) {
        tokio::select! {
            () = self.signals.wait() => tracing::info!("asked to end by a signal"),
            () = self.session.over() => tracing::info!("the desktop session is over"),
        }
    }
}

/// The window, unless the tray icon alone was wanted and somebody can see it.
async fn first_window(app: Arc<App>, options: Options) {
    if !options.hidden {
        window::open(&app);
    }
    if !tray::is_shown_within(&app, PANEL_WITHIN).await {
        tracing::warn!("no panel shows the tray icon");
        if options.stands_in() {
            window::open(&app);
        }
    }
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

async fn start() -> Result<Agent, StartFailure> {
    let other = |error: anyhow::Error| StartFailure::Other { detail: format!("{error:#}") };
    let config = AgentConfig::from_environment().map_err(other)?;
    Agent::start(config).await.map_err(|error| match error {
        StartError::AlreadyRunning(_) => StartFailure::AlreadyRunning,
        StartError::Other(error) => other(error),
    })
}

/// The owner is told, whatever of the desktop works: in the log, by a notification, in a window. The app ends with 1 when
/// that window closes.
async fn failed(app: &Arc<App>, failure: StartFailure) {
    tracing::error!(?failure, "the host could not start");
    app.engine.settle(Err(failure.clone()));
    window::open(app);
    notifications::start_failed(&failure, system_language()).await;
}

/// Draws each change. Only the newest counts, so a slow desktop skips what lies between.
async fn show(mut views: watch::Receiver<Arc<ViewModel>>, app: Arc<App>) {
    let Some(tray) = app.tray.get() else { return };
    while views.changed().await.is_ok() {
        let view = views.borrow_and_update().clone();
        tray.show(&view).await;
    }
}
