//! Desktop notifications: what happens to a job, and what the owner asked for in vain.

use nightjar_agent::AgentHandle;
use nightjar_core::host::CommandError;
use nightjar_core::settings::Language;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::text::Texts;
use nightjar_protocol::view::notification;
use nightjar_protocol::window::StartFailure;
use tokio::sync::broadcast::error::RecvError;

/// Shows every notice of the host until it ends.
pub async fn run(host: AgentHandle) {
    let mut notices = host.notices();
    let views = host.view();
    loop {
        match notices.recv().await {
            Ok(notice) => {
                let language = views.borrow().language;
                let (title, body) = notification(&notice, language);
                show(title, body).await;
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "notifications came too fast to be shown")
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// A command from the tray was not carried out, and there may be no window to say so.
pub async fn refused(refusal: &Refusal, language: Language) {
    let texts = Texts::of(language);
    let detail = match refusal {
        Refusal::Command(CommandError::SettingsUnreadable) => texts.plain("refusal-settings-unreadable"),
        Refusal::Command(CommandError::NoGame) => texts.plain("refusal-no-game"),
        Refusal::Command(CommandError::NoSuchJob { .. }) => texts.plain("refusal-no-such-job"),
        Refusal::Command(CommandError::Duration { most_ms }) => {
            texts.with("refusal-duration", &[("hours", (most_ms / 3_600_000).to_string())])
        }
        Refusal::Command(CommandError::NoSuchCard { .. }) => texts.plain("refusal-no-such-card"),
        Refusal::Command(CommandError::NoPowerLimit) => texts.plain("refusal-no-power-limit"),
        Refusal::Command(CommandError::PowerLimit { least, most }) => {
            let values = [("least", least.to_string()), ("most", most.to_string())];
            texts.with("refusal-power-limit", &values)
        }
        Refusal::Command(CommandError::Settings { detail })
        | Refusal::Unreadable { detail }
        | Refusal::Journal { detail } => detail.clone(),
    };
    show(texts.plain("ui-title"), texts.with("ui-command-failed", &[("detail", detail)])).await;
}

/// There is no host; the window says the same and stays.
pub async fn start_failed(failure: &StartFailure, language: Language) {
    let texts = Texts::of(language);
    let body = match failure {
        StartFailure::AlreadyRunning => texts.plain("start-already-running"),
        StartFailure::Other { detail } => texts.with("start-failed", &[("detail", detail.clone())]),
    };
    show(texts.plain("start-title"), body).await;
}

async fn show(title: String, body: String) {
    // A desktop without a notification service answers only after a while, which must not hold the runtime up.
    let shown = tokio::task::spawn_blocking(move || {
        notify_rust::Notification::new()
            .appname("Nightjar")
            .icon("nightjar")
            .summary(&title)
            .body(&body)
            .show()
            .map(drop)
    });
    match shown.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("a notification was not shown: {error}"),
        Err(error) => tracing::warn!("a notification was not shown: {error}"),
    }
}
