//! Windows: one thread that asks for the time of the last input. Windows tells of it only when asked, so it is asked
//! often while nobody is here, which is when the answer is urgent, and seldom while somebody is.

mod controllers;
mod desktop;
mod every;
mod input;
mod network;
mod scan;
mod suspend;
mod system;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::signals::Start;
use crate::{Diagnosis, OnEvent, Options, PresenceEvent, Unavailable};

/// Every sensor of signs beside input.
pub(crate) const SENSORS: &[Start] = &[suspend::start, desktop::start, controllers::start, scan::start];

/// The most that the first input waits to be seen.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// The owner's side of the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    wakeups: Arc<AtomicU64>,
    /// Closed to end the thread.
    close: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn diagnosis(&self) -> Diagnosis {
        let wakeups = self.wakeups.load(Ordering::Relaxed);
        Diagnosis { source: "GetLastInputInfo".into(), wakeups, reconnections: 0 }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.close = None;
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
    let wakeups = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&wakeups);
    let thread = std::thread::Builder::new()
        .name("presence".into())
        .spawn(move || run(&closed, &counted, options.settled_after, on_event))
        .map_err(no_resources)?;
    Ok(Watch { wakeups, close: Some(close), thread: Some(thread) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Idle,
    Lost,
}

fn run(closed: &Receiver<()>, wakeups: &AtomicU64, settled_after: Duration, mut on_event: OnEvent) {
    let mut state = None;
    loop {
        let pause = match input::since_last() {
            Ok(last_input_ago) if last_input_ago >= settled_after => {
                if state.replace(State::Idle) != Some(State::Idle) {
                    on_event(PresenceEvent::Idle { last_input_ago });
                }
                ASKED_EVERY.min(settled_after)
            }
            Ok(last_input_ago) => {
                if state.replace(State::Active) != Some(State::Active) {
                    on_event(PresenceEvent::Active);
                }
                // Until then it cannot be idle.
                settled_after - last_input_ago
            }
            Err(error) => {
                if state.replace(State::Lost) != Some(State::Lost) {
                    let detail = format!("Windows does not tell when the last input was ({error})");
                    on_event(PresenceEvent::Lost { detail });
                }
                Duration::from_secs(1)
            }
        };
        if closed.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        wakeups.fetch_add(1, Ordering::Relaxed);
    }
}
