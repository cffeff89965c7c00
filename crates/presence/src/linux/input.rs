//! Mouse and keyboard: one thread that listens on the best road to them that this desktop has.

mod idle_hint;
mod mutter;
mod on_bus;
mod wayland;
mod x11;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use super::poll::{Close, Woken};
use crate::{Diagnosis, OnEvent, Options, PresenceEvent, Unavailable};

const FIRST_RETRY: Duration = Duration::from_millis(250);
/// A session that is gone comes back at the next login: there is no hurry.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// So long an owner waits for the thread to end; a server that hangs may hold it longer.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The owner's side of the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: ThreadId,
    /// Closed by the thread's end.
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    close: Close,
    source: Mutex<String>,
    wakeups: AtomicU64,
    reconnections: AtomicU64,
}

impl Shared {
    fn wait(&self, stream: Option<std::os::fd::BorrowedFd<'_>>, limit: Option<Duration>) -> Woken {
        let woken = self.close.wait(stream, limit);
        self.woken();
        woken
    }

    fn woken(&self) {
        self.wakeups.fetch_add(1, Ordering::Relaxed);
    }

    fn set_source(&self, source: String) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }
}

impl Watch {
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        Diagnosis {
            source: self.shared.source.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            wakeups: self.shared.wakeups.load(Ordering::Relaxed),
            reconnections: self.shared.reconnections.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Err(error) = self.shared.close.tell() {
            tracing::warn!(%error, "the presence sensor cannot be told to end");
            return;
        }
        // The callback itself may be the one that drops this.
        if self.thread == std::thread::current().id() {
            return;
        }
        if self.ended.recv_timeout(ENDS_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the presence sensor waits for a server that does not answer");
        }
    }
}

/// A road by which input is heard of. Lives on the sensor's thread.
trait Session {
    /// For the diagnosis, e.g. `X11 :0`.
    fn source(&self) -> String;

    /// Tells the present state, then each change, until the owner ends it (`Ok`) or the road breaks.
    fn serve(&mut self, shared: &Shared, on_event: &mut OnEvent) -> Result<(), Broken>;
}

/// A road that broke, as a sentence.
struct Broken(String);

pub(crate) fn watch(options: Options, on_event: OnEvent) -> Result<Watch, Unavailable> {
    let no_resources = |error: std::io::Error| Unavailable::NoResources { cause: error.to_string() };
    let shared = Arc::new(Shared {
        close: Close::new().map_err(no_resources)?,
        source: Mutex::default(),
        wakeups: AtomicU64::new(0),
        reconnections: AtomicU64::new(0),
    });
    let (alive, ended) = channel();
    let (first, opened) = channel();
    let sensor = Sensor { options, shared: Arc::clone(&shared), on_event, _alive: alive };
    // Opened on the thread that will listen: what is on D-Bus brings a runtime along, which a caller may have already.
    let thread = std::thread::Builder::new().name("presence".into());
    let thread = thread.spawn(move || sensor.begin(&first)).map_err(no_resources)?.thread().id();
    match opened.recv() {
        Ok(Ok(())) => Ok(Watch { shared, thread, ended }),
        Ok(Err(unavailable)) => Err(unavailable),
        Err(_) => Err(Unavailable::NoResources { cause: "the sensor's thread ended".into() }),
    }
}

/// The best road that there is: an X server that hears all input, else what a Wayland desktop offers.
fn open(options: &Options) -> Result<Box<dyn Session>, Unavailable> {
    let x11 = match &options.display {
        Some(display) => match x11::Session::open(display, options.settled_after) {
            Ok(session) => return Ok(Box::new(session)),
            Err(unavailable) => unavailable,
        },
        None => Unavailable::NoDisplay,
    };
    // Xwayland hears only part; and without Wayland's own socket there is no reason to believe in a Wayland session.
    let is_wayland = matches!(x11, Unavailable::WaylandSession { .. }) || options.wayland.is_some();
    if !is_wayland {
        return Err(x11);
    }
    let mut tried = Vec::new();
    let roads: [(&str, Road); 3] = [
        ("ext-idle-notify-v1", wayland::open),
        ("GNOME's idle monitor", mutter::open),
        ("logind's IdleHint", idle_hint::open),
    ];
    for (name, road) in roads {
        match road(options) {
            Ok(session) => return Ok(session),
            Err(cause) => tried.push(format!("{name}: {cause}")),
        }
    }
    Err(Unavailable::WaylandSession { tried: tried.join("; ") })
}

type Road = fn(&Options) -> Result<Box<dyn Session>, String>;

/// The thread's side.
struct Sensor {
    options: Options,
    shared: Arc<Shared>,
    on_event: OnEvent,
    _alive: Sender<()>,
}

impl Sensor {
    fn begin(self, opened: &Sender<Result<(), Unavailable>>) {
        match open(&self.options) {
            Ok(session) => {
                self.shared.set_source(session.source());
                if opened.send(Ok(())).is_ok() {
                    self.run(session);
                }
            }
            Err(unavailable) => {
                // Ended before its owner hears of it: the callback is not held any more.
                drop(self);
                let _ = opened.send(Err(unavailable));
            }
        }
    }

    fn run(mut self, mut session: Box<dyn Session>) {
        loop {
            let Err(broken) = session.serve(&self.shared, &mut self.on_event) else { return };
            tracing::warn!(source = session.source(), "{}", broken.0);
            drop(session);
            match self.reconnect(broken.0) {
                Some(found) => session = found,
                None => return,
            }
            self.shared.set_source(session.source());
            self.shared.reconnections.fetch_add(1, Ordering::Relaxed);
            tracing::info!(source = session.source(), "presence is seen again");
        }
    }

    /// `None` when the owner ended it before there was a road again.
    fn reconnect(&mut self, mut told: String) -> Option<Box<dyn Session>> {
        (self.on_event)(PresenceEvent::Lost { detail: told.clone() });
        let mut pause = FIRST_RETRY;
        loop {
            if self.shared.wait(None, Some(pause)) == Woken::Close {
                return None;
            }
            match open(&self.options) {
                Ok(session) => {
                    // Opening may have taken long, and nothing is told to an owner that has left.
                    return (!self.shared.close.is_told()).then_some(session);
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
}
