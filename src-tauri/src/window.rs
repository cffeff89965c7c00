//! The one window, as a process of its own (`nightjar-window`): a browser engine is never even loaded in the program that
//! stays, so that nothing of it is left when the window is closed. It is started when it is asked for and ends when it is
//! closed. While the tray's menu is open it is made ready unseen, since the click that follows asks for it most often.

mod program;

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nightjar_agent::{AgentHandle, system_language};
use nightjar_desktop::wire::{Answer, Ask, FromWindow, ToWindow, line};
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::EnrolRefusal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::{answers, notifications};
use program::Program;

/// How long a window may take to go: once its line is cut, or its owner has closed it.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// And where the app ends and waits for it.
const CLOSE_WITHIN: Duration = Duration::from_secs(6);
/// How long one that was made ready waits to be asked for: as long as somebody looks at a menu.
const READY_FOR: Duration = Duration::from_secs(20);

/// The window: its program, and the one that is open, if one is.
pub struct Window {
    program: anyhow::Result<Program>,
    open: Mutex<Option<Open>>,
    /// Held by whoever closes it, so that the next one waits as long.
    closing: tokio::sync::Mutex<()>,
}

impl Default for Window {
    fn default() -> Self {
        Self { program: Program::find(), open: Mutex::new(None), closing: tokio::sync::Mutex::default() }
    }
}

struct Open {
    orders: mpsc::UnboundedSender<Order>,
    ended: JoinHandle<()>,
}

enum Order {
    Say(ToWindow),
    End,
}

/// Whether somebody sees the window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Made ready; it ends by itself where nobody asks for it.
    NotYet,
    Shown,
}

/// Makes the window ready, unseen, if there is none. What fails is told when somebody asks for it.
pub fn prepare(app: &Arc<App>) {
    let prepared = app.clone();
    app.runtime.spawn(async move {
        // Without a host there is a failure to show, which somebody has to ask for.
        if prepared.engine.host_now().is_none() {
            return;
        }
        if let Err(error) = prepared.window.prepare(&prepared) {
            tracing::debug!("the window is not made ready: {error:#}");
        }
    });
}

/// Shows the window, or brings the one that is there to the front.
pub fn open(app: &Arc<App>) {
    let shown = app.clone();
    app.runtime.spawn(async move {
        if let Err(error) = shown.window.show(&shown) {
            tracing::error!("the window cannot be shown: {error:#}");
            let language = shown.engine.host_now().map(|host| host.view().borrow().language);
            notifications::window_failed(&error, language.unwrap_or_else(system_language)).await;
            give_up_without_host(&shown);
        }
    });
}

/// There is nothing behind a tray icon then, and the owner has read why.
fn give_up_without_host(app: &App) {
    if app.engine.failure().is_some() {
        app.exit(1);
    }
}

impl Window {
    fn show(&self, app: &Arc<App>) -> anyhow::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open
            && open.orders.send(Order::Say(ToWindow::Show)).is_ok()
        {
            return Ok(());
        }
        *open = Some(self.start(app, Seen::Shown)?);
        Ok(())
    }

    fn prepare(&self, app: &Arc<App>) -> anyhow::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|open| open.orders.is_closed()) {
            *open = Some(self.start(app, Seen::NotYet)?);
        }
        Ok(())
    }

    fn start(&self, app: &Arc<App>, seen: Seen) -> anyhow::Result<Open> {
        let program = self.program.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let talk = Talk::start(app, program, seen)?;
        let orders = talk.orders.clone();
        Ok(Open { orders, ended: tokio::spawn(talk.run()) })
    }

    /// Whoever asks from now on gets another; whether somebody has asked this one, which cannot come any more.
    fn hears_no_more(&self, inbox: &mut mpsc::UnboundedReceiver<Order>) -> bool {
        let _open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.close();
        let mut is_asked_for = false;
        while let Ok(order) = inbox.try_recv() {
            is_asked_for |= matches!(order, Order::Say(ToWindow::Show));
        }
        is_asked_for
    }

    pub fn is_open(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|open| !open.orders.is_closed())
    }

    /// Closes it, if it is open, and waits until it is gone.
    pub async fn close(&self) {
        let _closing = self.closing.lock().await;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        let _ = open.orders.send(Order::End);
        let abort = open.ended.abort_handle();
        if tokio::time::timeout(CLOSE_WITHIN, open.ended).await.is_err() {
            abort.abort();
        }
    }
}

/// The conversation with one window, from its start to its end.
struct Talk {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    orders: mpsc::UnboundedSender<Order>,
    inbox: mpsc::UnboundedReceiver<Order>,
    host: Option<AgentHandle>,
    app: Arc<App>,
    seen: Seen,
}

impl Talk {
    fn start(app: &Arc<App>, program: &Program, seen: Seen) -> anyhow::Result<Self> {
        let mut command = program.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("its process does not start")?;
        let to = child.stdin.take().context("it has no standard input")?;
        let from = child.stdout.take().context("it has no standard output")?;
        let (orders, inbox) = mpsc::unbounded_channel();
        Ok(Self {
            child,
            to,
            from: BufReader::new(from).lines(),
            orders,
            inbox,
            host: None,
            app: app.clone(),
            seen,
        })
    }

    async fn run(mut self) {
        let app = self.app.clone();
        match app.engine.host().await {
            Ok(host) => {
                if self.seen == Seen::Shown {
                    host.window_open(true);
                }
                self.host = Some(host);
            }
            Err(failure) => drop(self.orders.send(Order::Say(ToWindow::Failed(failure)))),
        }
        if let Err(error) = self.converse().await {
            tracing::warn!("the window is lost: {error:#}");
        }
        if let Some(host) = self.host.as_ref().filter(|_| self.seen == Seen::Shown) {
            host.window_open(false);
        }
        let Self { mut child, to, mut inbox, host, .. } = self;
        let is_asked_for = app.window.hears_no_more(&mut inbox);
        let host_lives = host.is_some_and(|host| host.view().has_changed().is_ok());
        if is_asked_for && host_lives {
            open(&app);
        }
        drop(to);
        match tokio::time::timeout(GONE_WITHIN, child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => tracing::warn!("the window ended with {status}"),
            Ok(Err(error)) => tracing::warn!("the window's end was not seen: {error}"),
            Err(_) => {
                tracing::warn!("the window does not end by itself and is killed");
                let _ = child.kill().await;
            }
        }
        give_up_without_host(&app);
    }

    /// Until either side has had enough.
    async fn converse(&mut self) -> anyhow::Result<()> {
        let mut views = self.host.as_ref().map(AgentHandle::view);
        if let Some(views) = &mut views {
            views.mark_changed();
        }
        if self.seen == Seen::NotYet {
            self.say(&ToWindow::Prepare).await?;
        }
        let unwanted = tokio::time::sleep(READY_FOR);
        tokio::pin!(unwanted);
        loop {
            tokio::select! {
                // What the window says comes first: whatever reaches one that has closed is lost.
                biased;
                said = self.from.next_line() => match said?.map(|said| serde_json::from_str(&said).ok()) {
                    Some(Some(FromWindow::Asked { number, ask })) => self.take(number, ask),
                    // A library of the desktop's may print there, too.
                    Some(None) => {}
                    Some(Some(FromWindow::Closed)) | None => return Ok(()),
                },
                order = self.inbox.recv() => match order {
                    Some(Order::Say(words)) => {
                        self.notice(&words);
                        self.say(&words).await?;
                    }
                    Some(Order::End) | None => return Ok(()),
                },
                () = &mut unwanted, if self.seen == Seen::NotYet && !unwanted.is_elapsed() => {
                    if self.is_given_up() {
                        return Ok(());
                    }
                }
                view = next(&mut views) => match view {
                    Some(view) => self.say(&ToWindow::View(view)).await?,
                    None => return Ok(()),
                },
                // A process of its own may hold the window's output open for longer.
                _ = self.child.wait() => return Ok(()),
            }
        }
    }

    /// Nobody wanted it. Whoever asks from now on gets another; who has asked just now gets this one.
    fn is_given_up(&self) -> bool {
        let mut open = self.app.window.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked_for = !self.inbox.is_empty();
        if !is_asked_for {
            *open = None;
        }
        !is_asked_for
    }

    /// From its first showing on somebody looks at it.
    fn notice(&mut self, words: &ToWindow) {
        if *words == ToWindow::Show && self.seen == Seen::NotYet {
            self.seen = Seen::Shown;
            if let Some(host) = &self.host {
                host.window_open(true);
            }
        }
    }

    async fn say(&mut self, words: &ToWindow) -> anyhow::Result<()> {
        Ok(self.to.write_all(&line(words)?).await?)
    }

    fn take(&self, number: u64, ask: Ask) {
        let Some(host) = self.host.clone() else { return };
        let (orders, app) = (self.orders.clone(), self.app.clone());
        // A market may take its time, and the view goes on in between.
        tokio::spawn(async move {
            let answer = answer(&app, &host, ask).await;
            let _ = orders.send(Order::Say(ToWindow::Answer { number, answer }));
        });
    }
}

/// The newest view, once there is one that was not shown; never, where there is no host; `None` when the host has ended.
async fn next(views: &mut Option<watch::Receiver<std::sync::Arc<ViewModel>>>) -> Option<Box<ViewModel>> {
    let Some(views) = views else { return std::future::pending().await };
    views.changed().await.ok()?;
    Some(Box::new((**views.borrow_and_update()).clone()))
}

async fn answer(app: &App, host: &AgentHandle, ask: Ask) -> Answer {
    match ask {
        Ask::Command(command) => Answer::Command(host.command(command).await),
        Ask::Enrol { coordinator_url, pairing_code } => {
            Answer::Enrol(host.enrol(&coordinator_url, &pairing_code).await.map_err(EnrolRefusal::from))
        }
        Ask::Question(question) => Answer::Question(answers::answer(app, host, question).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_closes_a_window_that_is_closing_waits_until_it_is_gone() {
        let (orders, mut inbox) = mpsc::unbounded_channel();
        let goes = Duration::from_secs(3);
        let ended = tokio::spawn(async move {
            assert!(matches!(inbox.recv().await, Some(Order::End)));
            tokio::time::sleep(goes).await;
        });
        let window = Window { open: Mutex::new(Some(Open { orders, ended })), ..Window::default() };
        let begun = tokio::time::Instant::now();
        let closed = async {
            window.close().await;
            begun.elapsed()
        };
        let (first, second) = tokio::join!(closed, async {
            tokio::task::yield_now().await;
            window.close().await;
            begun.elapsed()
        });
        assert_eq!((first, second), (goes, goes));
        window.close().await;
        assert_eq!(begun.elapsed(), goes, "there is none to wait for");
    }

    #[test]
    fn a_window_that_was_asked_for_while_it_went_is_known_to_be_wanted() {
        let window = Window::default();
        let left = |orders: &[fn() -> Order]| {
            let (sender, mut inbox) = mpsc::unbounded_channel();
            for order in orders {
                sender.send(order()).unwrap_or_else(|_| panic!("nobody hears it"));
            }
            let is_asked_for = window.hears_no_more(&mut inbox);
            assert!(sender.send(Order::End).is_err(), "who asks now is to get another");
            is_asked_for
        };
        let show: fn() -> Order = || Order::Say(ToWindow::Show);
        let other: fn() -> Order = || Order::Say(ToWindow::Prepare);
        assert!(!left(&[]) && !left(&[other, || Order::End]));
        assert!(left(&[show]) && left(&[other, show, other]));
    }
}
