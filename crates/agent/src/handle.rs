//! A front end's grip on the running host: look, command, end. It holds no rules.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use iroh_base::SecretKey;
use nightjar_core::history::CardHistory;
use nightjar_core::host::{CommandError, Notice, UserCommand};
use nightjar_core::policy::Presence;
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_protocol::control::{ControlAnswer, Refusal};
use nightjar_protocol::night::Night;
use nightjar_protocol::view::ViewModel;
use nightjar_worker::Workers;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::enrolment::{self, EnrolError};
use crate::history::Past;
use crate::journal::Journal;
use crate::owner::Message;
use crate::papers::LastReport;
use crate::pulls::PullOrder;
use crate::repairs::Repairs;
use crate::volumes::Volumes;

#[derive(Clone)]
pub struct AgentHandle {
    pub(crate) messages: mpsc::UnboundedSender<Message>,
    pub(crate) view: watch::Receiver<Arc<ViewModel>>,
    pub(crate) presence: watch::Receiver<Presence>,
    pub(crate) notices: broadcast::Sender<Notice>,
    pub(crate) data_dir: PathBuf,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) key: SecretKey,
    pub(crate) pulls: mpsc::UnboundedSender<PullOrder>,
    pub(crate) workers: Workers,
    pub(crate) past: mpsc::UnboundedSender<Past>,
    pub(crate) last_report: LastReport,
    pub(crate) volumes: Volumes,
    pub(crate) repairs: Repairs,
    pub(crate) ending: Arc<Ending>,
}

/// Who ends the host, once, and what comes then.
pub(crate) struct Ending {
    asked: Mutex<Option<oneshot::Sender<()>>>,
    over: watch::Receiver<bool>,
    /// It ends to begin anew.
    begins_anew: AtomicBool,
    /// Somebody wants it to end, whatever else it ends for.
    is_final: AtomicBool,
}

impl Ending {
    pub(crate) fn new(asked: oneshot::Sender<()>, over: watch::Receiver<bool>) -> Self {
        let (begins_anew, is_final) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { asked: Mutex::new(Some(asked)), over, begins_anew, is_final }
    }

    async fn end(&self, to: &AtomicBool) {
        to.store(true, Ordering::Relaxed);
        if let Some(asked) = self.asked.lock().await.take() {
            let _ = asked.send(());
        }
        let mut over = self.over.clone();
        let _ = over.wait_for(|over| *over).await;
    }

    fn begins_anew(&self) -> bool {
        self.begins_anew.load(Ordering::Relaxed) && !self.is_final.load(Ordering::Relaxed)
    }
}

impl AgentHandle {
    /// The view model, now and after each change.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<ViewModel>> {
        self.view.clone()
    }

    pub(crate) fn current(&self) -> ControlAnswer {
        ControlAnswer::View(Box::new((**self.view.borrow()).clone()))
    }

    /// # Errors
    /// Why the command was not carried out; nothing has changed then.
    pub async fn command(&self, command: UserCommand) -> Result<(), Refusal> {
        let ending = || Refusal::Unreadable { detail: String::from("the host is ending") };
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Command(command, answer)).map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// The settings in force.
    ///
    /// # Errors
    /// When the settings file cannot be read, so that nothing may be written in its place.
    pub async fn settings(&self) -> Result<Box<Settings>, Refusal> {
        let ending = || Refusal::Unreadable { detail: String::from("the host is ending") };
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Settings(answer)).map_err(|_| ending())?;
        let settings = answered.await.map_err(|_| ending())?;
        settings.ok_or(Refusal::Command(CommandError::SettingsUnreadable))
    }

    /// Where the time of a span went, and what was given back in it; what lies ahead is left out.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn why(&self, since: Timestamp, until: Option<Timestamp>) -> Result<Night, Refusal> {
        let language = self.view.borrow().language;
        let until = until.map_or(self.clock.now(), |until| until.min(self.clock.now()));
        let night = self.journal.night(since, until, language).await;
        night.map_err(|error| Refusal::Journal { detail: format!("{error:#}") })
    }

    /// What the cards did in the last `since_ms`, at most so many points of each.
    ///
    /// # Errors
    /// Why the history cannot be read.
    pub async fn history(&self, since_ms: u64, points: u32) -> Result<Vec<CardHistory>, String> {
        let ending = || String::from("the host is ending");
        let (answer, answered) = oneshot::channel();
        self.past.send(Past::Ask { since_ms, points, answer }).map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// Whether somebody is there, as the sensors say.
    #[must_use]
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.clone()
    }

    /// What the owner should be notified of, from now on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// A window was opened or closed: while one is open, cards are read each second and no new start is due.
    pub fn window_open(&self, open: bool) {
        let _ = self.messages.send(Message::WindowOpen(open));
    }

    /// The owner was shown last week's sum, which would have been old at `old_at`: no later run shows it again.
    pub fn week_told(&self, old_at: Timestamp) {
        let _ = self.messages.send(Message::WeekTold(old_at));
    }

    /// Returns once a new start is wanted (a newer version waits, or the clock was set), nothing runs here that it would
    /// disturb, and no window is open.
    pub async fn restart_due(&self) {
        let mut view = self.view.clone();
        if view.wait_for(|view| view.restart_due).await.is_err() {
            // It ends by itself.
            std::future::pending().await
        }
    }

    /// Joins the market at `url`.
    ///
    /// # Errors
    /// See [`EnrolError`]; the host then belongs to whatever market it belonged to.
    pub async fn enrol(&self, url: &str, pairing_code: &str) -> Result<(), EnrolError> {
        let enrolment = enrolment::enrol(&self.data_dir, &self.key, url, pairing_code).await?;
        let (shown, seen) = oneshot::channel();
        self.messages
            .send(Message::Enrolled { coordinator: enrolment.coordinator, shown })
            .map_err(|_| EnrolError::Ending)?;
        seen.await.map_err(|_| EnrolError::Ending)
    }

    /// Ends all jobs, then the host; returns when it is over. No new start follows, also where one was under way.
    pub async fn shutdown(&self) {
        self.ending.end(&self.ending.is_final).await;
    }

    /// As [`Self::shutdown`], for a program that begins anew then, unless somebody wants its end in the meantime: see
    /// [`Self::begins_anew`].
    pub async fn restart(&self) {
        self.ending.end(&self.ending.begins_anew).await;
    }

    /// Of a host that is over: whether its program is to begin anew.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.ending.begins_anew()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_wants_the_end_during_a_new_start_gets_it() {
        for (is_anew, is_asked_for, follows) in
            [(true, false, true), (true, true, false), (false, true, false)]
        {
            let (asked, mut ask) = oneshot::channel();
            let (over, over_inbox) = watch::channel(false);
            let ending = Arc::new(Ending::new(asked, over_inbox));
            let mut asking = tokio::task::JoinSet::new();
            if is_anew {
                let ending = ending.clone();
                asking.spawn(async move { ending.end(&ending.begins_anew).await });
                tokio::task::yield_now().await;
            }
            if is_asked_for {
                let ending = ending.clone();
                asking.spawn(async move { ending.end(&ending.is_final).await });
                tokio::task::yield_now().await;
            }
            assert_eq!(ask.try_recv(), Ok(()), "the jobs end whoever asks");
            over.send_replace(true);
            asking.join_all().await;
            assert_eq!(ending.begins_anew(), follows, "anew: {is_anew}, asked for: {is_asked_for}");
        }
    }
}
