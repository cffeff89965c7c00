//! Linux: one thread that sleeps in `poll` on the X connection and on an eventfd by which it is told to end.

mod bus;
pub(crate) mod containerised;
mod controllers;
mod gamemode;
mod network;
mod proc;
mod scan;
mod service;
mod sessions;
mod supply;
mod upower;
mod x11;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use x11rb::errors::ConnectionError;

use crate::signals::Start;
use crate::{Diagnosis, OnEvent, Options, PresenceEvent, Unavailable};

/// Every sensor of signs beside input.
pub(crate) const SENSORS: &[Start] = &[bus::start, controllers::start, scan::start];

const FIRST_RETRY: Duration = Duration::from_millis(250);
/// A session that is gone comes back at the next login: there is no hurry.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// So long an owner waits for the thread to end; an X server that hangs may hold it longer.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The owner's side of the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    display: String,
    thread: ThreadId,
    /// Closed by the thread's end.
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    /// Readable as soon as the thread shall end.
    close: OwnedFd,
    wakeups: AtomicU64,
    reconnections: AtomicU64,
}

impl Watch {
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        Diagnosis {
            source: format!("X11 {}", self.display),
            wakeups: self.shared.wakeups.load(Ordering::Relaxed),
            reconnections: self.shared.reconnections.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Err(error) = rustix::io::write(&self.shared.close, &1_u64.to_ne_bytes()) {
            tracing::warn!(%error, "the presence sensor cannot be told to end");
            return;
        }
        // The callback itself may be the one that drops this.
        if self.thread == std::thread::current().id() {
            return;
        }
        if self.ended.recv_timeout(ENDS_WITHIN) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the presence sensor waits for an X server that does not answer");
        }
    }
}

pub(crate) fn watch(options: Options, on_event: OnEvent) -> Result<Watch, Unavailable> {
    let Some(display) = options.display.clone() else {
        let wayland = std::env::var_os("WAYLAND_DISPLAY").is_some_and(|name| !name.is_empty());
        return Err(if wayland { Unavailable::WaylandSession } else { Unavailable::NoDisplay });
    };
    let session = x11::Session::open(&display, options.settled_after)?;
    let no_resources = |error: std::io::Error| Unavailable::NoResources { cause: error.to_string() };
    let close = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| no_resources(errno.into()))?;
    let shared = Arc::new(Shared { close, wakeups: AtomicU64::new(0), reconnections: AtomicU64::new(0) });
    let (alive, ended) = channel();
    let sensor = Sensor {
        display: display.clone(),
        settled_after: options.settled_after,
        shared: Arc::clone(&shared),
        on_event,
        _alive: alive,
    };
    let thread = std::thread::Builder::new().name("presence".into());
    let thread = thread.spawn(move || sensor.run(session)).map_err(no_resources)?.thread().id();
    Ok(Watch { shared, display, thread, ended })
}

/// The thread's side.
struct Sensor {
    display: String,
    settled_after: Duration,
    shared: Arc<Shared>,
    on_event: OnEvent,
    _alive: Sender<()>,
}

/// Why the thread left off waiting.
enum Woken {
    Readable,
    TimedOut,
    Close,
}

impl Sensor {
    fn run(mut self, mut session: x11::Session) {
        loop {
            let Err(error) = self.serve(&mut session) else { return };
            tracing::warn!(%error, display = self.display, "the X server is gone");
            drop(session);
            match self.reconnect() {
                Some(found) => session = found,
                None => return,
            }
            self.shared.reconnections.fetch_add(1, Ordering::Relaxed);
            tracing::info!(display = self.display, "the X server is back");
        }
    }

    /// Hands on what the server tells, until the owner ends it.
    fn serve(&mut self, session: &mut x11::Session) -> Result<(), ConnectionError> {
        session.begin(&mut self.on_event)?;
        loop {
            session.hand_on(&mut self.on_event)?;
            match self.wait(Some(session.stream()), None) {
                Woken::Readable | Woken::TimedOut => {}
                Woken::Close => return Ok(()),
            }
        }
    }

    /// `None` when the owner ended it before the server came back.
    fn reconnect(&mut self) -> Option<x11::Session> {
        let mut told = format!("the connection to the X server of display {} broke", self.display);
        (self.on_event)(PresenceEvent::Lost { detail: told.clone() });
        let mut pause = FIRST_RETRY;
        loop {
            if let Woken::Close = self.wait(None, Some(pause)) {
                return None;
            }
            match x11::Session::open(&self.display, self.settled_after) {
                Ok(session) => {
                    // Opening may have taken long, and nothing is told to an owner that has left.
                    let still_wanted = !matches!(self.wait(None, Some(Duration::ZERO)), Woken::Close);
                    return still_wanted.then_some(session);
                }
                // Said once for each new reason: a login to Wayland on the same display, say.
                Err(reason) if reason.to_string() != told => {
                    told = reason.to_string();
                    (self.on_event)(PresenceEvent::Lost { detail: told.clone() });
                }
                Err(_) => {}
            }
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    fn wait(&self, stream: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> Woken {
        let mut sources = vec![PollFd::from_borrowed_fd(self.shared.close.as_fd(), PollFlags::IN)];
        sources.extend(stream.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let woken = loop {
            match poll(&mut sources, limit.as_ref()) {
                Err(Errno::INTR) => {}
                woken => break woken,
            }
        };
        self.shared.wakeups.fetch_add(1, Ordering::Relaxed);
        match woken {
            Ok(0) => Woken::TimedOut,
            Ok(_) if sources[0].revents().is_empty() => Woken::Readable,
            Ok(_) => Woken::Close,
            Err(error) => {
                // Only memory can be lacking here, and without waiting this thread would spin.
                tracing::error!(%error, "the presence sensor cannot wait and ends");
                Woken::Close
            }
        }
    }
}
