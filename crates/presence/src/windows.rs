//! Windows: one thread that hears the first input by a raw-input sink while nobody is here, and asks for the time of the
//! last one while somebody is. Where there is no sink it asks often; touch and pen, which a sink does not hear, are found
//! by asking too.

mod controllers;
mod desktop;
mod every;
mod input;
mod network;
mod raw_input;
mod scan;
mod suspend;
mod system;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use raw_input::{RawInput, Waker};

use crate::signals::Start;
use crate::{Diagnosis, OnEvent, Options, PresenceEvent, Unavailable};

/// Every sensor of signs beside input.
pub(crate) const SENSORS: &[Start] = &[suspend::start, desktop::start, controllers::start, scan::start];

/// The most that the first input waits to be seen where it is asked for.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// Beside a sink it is asked for what the sink does not hear.
const ASKED_BESIDE_A_SINK_EVERY: Duration = Duration::from_secs(1);

/// The owner's side of the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    wakeups: Arc<AtomicU64>,
    has_sink: Arc<AtomicBool>,
    /// Closed to end the thread.
    close: Option<Sender<()>>,
    waker: Option<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        let wakeups = self.wakeups.load(Ordering::Relaxed);
        let source = if self.has_sink.load(Ordering::Relaxed) { "raw input" } else { "GetLastInputInfo" };
        Diagnosis { source: source.into(), wakeups, reconnections: 0 }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close = None;
        if let Some(waker) = self.waker {
            waker.wake();
        }
        // The callback itself may hold the last of it.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the presence sensor panicked");
        }
    }
}

pub(crate) fn watch(options: Options, on_event: OnEvent) -> Result<Watch, Unavailable> {
    let no_resources = |error: std::io::Error| Unavailable::NoResources { cause: error.to_string() };
    input::since_last().map_err(no_resources)?;
    let (close, closed) = channel();
    let (ready, made) = channel();
    let wakeups = Arc::new(AtomicU64::new(0));
    let has_sink = Arc::new(AtomicBool::new(false));
    let (counted, with_sink) = (Arc::clone(&wakeups), Arc::clone(&has_sink));
    let thread = std::thread::Builder::new()
        .name("presence".into())
        .spawn(move || {
            // A window is its thread's alone.
            let sink = RawInput::new()
                .inspect_err(|error| tracing::warn!("no raw-input sink, input is asked for: {error}"))
                .ok();
            let _ = ready.send(sink.as_ref().map(RawInput::waker));
            Sensor { sink, closed, wakeups: counted, has_sink: with_sink, state: None }
                .run(options.settled_after, on_event);
        })
        .map_err(no_resources)?;
    let waker = made.recv().ok().flatten();
    Ok(Watch { wakeups, has_sink, close: Some(close), waker, thread: Some(thread) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Idle,
    Lost,
}

struct Sensor {
    sink: Option<RawInput>,
    closed: Receiver<()>,
    wakeups: Arc<AtomicU64>,
    has_sink: Arc<AtomicBool>,
    state: Option<State>,
}

impl Sensor {
    fn run(mut self, settled_after: Duration, mut on_event: OnEvent) {
        let mut heard = false;
        loop {
            // What has just been heard may not be in the answer yet.
            let last_input_ago =
                if std::mem::take(&mut heard) { Ok(Duration::ZERO) } else { input::since_last() };
            let pause = match last_input_ago {
                Ok(last_input_ago) if last_input_ago >= settled_after => {
                    let beside_a_sink = self.open_sink();
                    if self.is_new(State::Idle) {
                        on_event(PresenceEvent::Idle { last_input_ago });
                    }
                    if beside_a_sink { ASKED_BESIDE_A_SINK_EVERY } else { ASKED_EVERY.min(settled_after) }
                }
                Ok(last_input_ago) => {
                    if self.is_new(State::Active) {
                        on_event(PresenceEvent::Active);
                    }
                    self.close_sink();
                    // Until then it cannot be idle.
                    settled_after - last_input_ago
                }
                Err(error) => {
                    if self.is_new(State::Lost) {
                        let detail = format!("Windows does not tell when the last input was ({error})");
                        on_event(PresenceEvent::Lost { detail });
                    }
                    Duration::from_secs(1)
                }
            };
            match self.wait(pause) {
                Some(input) => heard = input,
                None => return,
            }
            self.wakeups.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_new(&mut self, state: State) -> bool {
        self.state.replace(state) != Some(state)
    }

    fn open_sink(&mut self) -> bool {
        let opened = self.sink.as_mut().map(RawInput::open);
        if let Some(Err(error)) = &opened {
            tracing::warn!("the raw-input sink cannot be opened, input is asked for: {error}");
            self.sink = None;
        }
        let open = matches!(opened, Some(Ok(())));
        self.has_sink.store(open, Ordering::Relaxed);
        open
    }

    fn close_sink(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.close();
        }
    }

    /// Whether input was heard; `None` when the sensor shall end.
    fn wait(&self, pause: Duration) -> Option<bool> {
        let Some(sink) = &self.sink else {
            return (self.closed.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)).then_some(false);
        };
        let heard = sink.wait(pause).unwrap_or_else(|error| {
            tracing::warn!("the wait for input failed: {error}");
            std::thread::sleep(ASKED_EVERY);
            false
        });
        (self.closed.try_recv() == Err(TryRecvError::Empty)).then_some(heard)
    }
}
