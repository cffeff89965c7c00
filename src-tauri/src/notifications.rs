//! Desktop notifications: what happens to a job, trouble that lasts, and what the owner asked for in vain. Which are shown
//! is `core::notify`'s word. None is urgent, so that a desktop that is told not to disturb holds them back.

mod buttons;
#[cfg(windows)]
mod sender;

use std::sync::Arc;
use std::time::Duration;

use nightjar_agent::AgentHandle;
use nightjar_core::host::{CommandError, Notice, UserCommand};
use nightjar_core::notify::{Gate, KeptWeek, NoticeKind, NoticeRules, TroubleWatch, screen_is_taken};
use nightjar_core::settings::Language;
use nightjar_core::signal::Sign;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::text::Texts;
use nightjar_protocol::view::{ViewModel, notification};
use nightjar_protocol::window::StartFailure;
use notify_rust::{Notification, NotificationResponse};
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
#[cfg(target_os = "linux")]
use crate::markup::literal;
use crate::window;
use buttons::Waiting;
#[cfg(windows)]
pub use sender::keep as keep_sender;

const OPEN: &str = "open";
const SNOOZE: &str = "snooze";
const SNOOZE_MS: u64 = 3_600_000;

/// Shows what is worth it until the host ends.
pub async fn run(app: Arc<App>, host: AgentHandle) {
    let mut notices = host.notices();
    let mut views = host.view();
    let mut presence = host.presence();
    let mut week = KeptWeek::default();
    let mut trouble = TroubleWatch::default();
    let mut speaker = Speaker { app, host, gate: Gate::default(), waiting: Waiting::default() };
    loop {
        let now = speaker.host.now();
        let wait = trouble.due_at(now).map(|due| Duration::from_millis(due.since_ms(now)));
        tokio::select! {
            notice = notices.recv() => match notice {
                Ok(notice @ Notice::WeekOver { .. }) => week.keep(notice),
                Ok(notice) => {
                    let view = views.borrow().clone();
                    if speaker.notice(&notice, &view) {
                        trouble.told_by(&notice, speaker.host.now());
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "notifications came too fast to be shown");
                }
                Err(RecvError::Closed) => return,
            },
            changed = views.changed() => if changed.is_err() { return },
            changed = presence.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        let (view, now) = (views.borrow_and_update().clone(), speaker.host.now());
        let there = presence.borrow_and_update().clone();
        if let Some(notice) = week.due(&there, now)
            && speaker.notice(&notice, &view)
            && let Some(old_at) = week.told()
        {
            speaker.host.week_told(old_at);
        }
        if trouble.take(view.reason.as_ref(), now) && speaker.opens(NoticeKind::Trouble, &view) {
            trouble.told();
            let title = Texts::of(view.language).plain("notice-trouble-title");
            speaker.offer(&view, title, view.sentence.clone());
        }
    }
}

/// Says what the owner may be told at this moment.
struct Speaker {
    app: Arc<App>,
    host: AgentHandle,
    gate: Gate,
    waiting: Waiting,
}

impl Speaker {
    fn opens(&mut self, kind: NoticeKind, view: &ViewModel) -> bool {
        let rules = view.settings.as_ref().map_or_else(NoticeRules::default, |settings| settings.notices);
        let signs: Vec<Sign> = view.sensors.iter().map(|sensor| sensor.sign.clone()).collect();
        self.gate.opens(kind, &rules, screen_is_taken(&signs), self.host.now())
    }

    /// Whether it is shown.
    fn notice(&mut self, notice: &Notice, view: &Arc<ViewModel>) -> bool {
        let opens = self.opens(kind_of(notice), view);
        if opens {
            let (title, body) = notification(notice, view.language);
            self.offer(view, title, body);
        }
        opens
    }

    /// With buttons to open the window and to snooze. On Windows they count as long as the toast stands on the screen.
    fn offer(&mut self, view: &Arc<ViewModel>, title: String, body: String) {
        let texts = Texts::of(view.language);
        let (open, snooze) = (texts.plain("tray-open"), texts.plain("tray-snooze"));
        let place = self.waiting.place();
        let (app, host) = (self.app.clone(), self.host.clone());
        tokio::spawn(async move {
            let mut notice = written(&title, &body);
            // A click beside the buttons; Windows tells it unasked, and would make a third button of this.
            #[cfg(target_os = "linux")]
            notice.action("default", &open);
            if place.is_some() {
                notice.action(OPEN, &open).action(SNOOZE, &snooze);
            }
            match buttons::answer(notice, place).await {
                Ok(Some(response)) => act(response, &app, &host).await,
                Ok(None) => {}
                Err(error) => tracing::warn!("a notification was not shown: {error:#}"),
            }
        });
    }
}

async fn act(response: NotificationResponse, app: &Arc<App>, host: &AgentHandle) {
    match response {
        NotificationResponse::Default => window::open(app),
        NotificationResponse::Action(button) if button == OPEN => window::open(app),
        NotificationResponse::Action(button) if button == SNOOZE => {
            if let Err(refusal) = host.command(UserCommand::Snooze { for_ms: SNOOZE_MS }).await {
                tracing::warn!(?refusal, "the snooze from a notification was refused");
            }
        }
        NotificationResponse::Action(_)
        | NotificationResponse::Reply(_)
        | NotificationResponse::Closed(_) => {}
    }
}

fn kind_of(notice: &Notice) -> NoticeKind {
    match notice {
        Notice::JobArrived { .. } => NoticeKind::Arrived,
        Notice::JobFrozen { .. } => NoticeKind::Frozen,
        Notice::JobResumed { .. } => NoticeKind::Resumed,
        Notice::JobEnded { .. } => NoticeKind::Ended,
        Notice::WeekOver { .. } => NoticeKind::Weekly,
        // Something that ends earning for a while, as trouble does, or that only the owner can mend.
        Notice::DataCapNear { .. }
        | Notice::DataCapReached { .. }
        | Notice::Conduct { .. }
        | Notice::SettingsUnsaved { .. } => NoticeKind::Trouble,
    }
}

fn written(title: &str, body: &str) -> Notification {
    let mut notice = Notification::new();
    notice.appname("Nightjar").icon("nightjar").summary(title).body(&literal(body));
    // Else Windows signs it with the name of a program of its own.
    #[cfg(windows)]
    if sender::is_known() {
        notice.app_id(sender::ID);
    }
    notice
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
        Refusal::Command(CommandError::NoHelper) => texts.plain("refusal-no-helper"),
        Refusal::Command(CommandError::SweepRuns) => texts.plain("refusal-sweep-runs"),
        Refusal::Command(CommandError::Overtaken) => texts.plain("refusal-overtaken"),
        Refusal::Command(CommandError::PowerLimit { least, most }) => {
            let values = [("least", least.to_string()), ("most", most.to_string())];
            texts.with("refusal-power-limit", &values)
        }
        Refusal::Command(CommandError::Settings { detail, .. })
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

/// Somebody looks for the window, and it does not come.
pub async fn window_failed(error: &anyhow::Error, language: Language) {
    let texts = Texts::of(language);
    let body = texts.with("window-failed", &[("detail", format!("{error:#}"))]);
    show(texts.plain("ui-title"), body).await;
}

#[cfg(not(target_os = "linux"))]
fn literal(body: &str) -> &str {
    body
}

async fn show(title: String, body: String) {
    // A desktop without a notification service answers only after a while, which must not hold the runtime up.
    let shown = tokio::task::spawn_blocking(move || written(&title, &body).show().map(drop));
    match shown.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("a notification was not shown: {error}"),
        Err(error) => tracing::warn!("a notification was not shown: {error}"),
    }
}
