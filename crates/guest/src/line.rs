//! The line to the agent: standard input. Its silence ends the container.

use std::io::{BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nightjar_protocol::guest::{GuestCommand, GuestEvent, LINE_LIMIT_BYTES, SILENCE_SECS, Service};
use serde::de::DeserializeOwned;

use crate::report;

/// How often the dead are collected when the agent says nothing.
const TICK_MS: u64 = 1_000;
/// A silence is counted in steps of this.
const LISTEN_MS: u64 = 1_000;
/// No byte came for [`SILENCE_SECS`].
const CUT: u8 = 4;
/// While the tenant is being ended, so that the container ends right after it.
const HURRIED_TICK_MS: u64 = 50;

/// Why a container ends.
pub enum End {
    /// As the agent asked.
    Asked,
    Failed {
        what: &'static str,
        why: String,
    },
}

/// Says why it ends, and gives the exit code for it.
pub fn exit_code(end: End) -> ExitCode {
    match end {
        End::Asked => ExitCode::SUCCESS,
        End::Failed { what, why } => {
            report::event(&GuestEvent::Failed { what: what.to_owned(), why });
            ExitCode::FAILURE
        }
    }
}

/// What process 1 reacts to.
pub enum Input {
    /// A line of the agent's, without its end.
    Line(String),
    /// A line that is too long or no UTF-8.
    Garbled(&'static str),
    /// A service answers for the first time.
    Listening { service: Service, took_ms: u64 },
    /// It does not, after a time in which it should.
    NotListening { service: Service },
}

/// What [`Line::next`] found.
pub enum Heard {
    Command(GuestCommand),
    Listening {
        service: Service,
        took_ms: u64,
    },
    NotListening {
        service: Service,
    },
    /// Nothing to do but to collect the dead.
    Nothing,
}

pub struct Line {
    inputs: Receiver<Input>,
    sender: Sender<Input>,
    tick_ms: u64,
    /// So many hold off the end by silence: a tool that is writing must not be ended in the middle.
    at_work: Arc<AtomicU64>,
}

/// While this is there, silence does not end the container.
pub struct AtWork(Arc<AtomicU64>);

impl Line {
    /// Begins to listen and waits for the configuration.
    pub fn open<Boot: DeserializeOwned>() -> Result<(Self, Boot), End> {
        let (sender, inputs) = channel();
        let (heard, hearing) = channel();
        let (reader, at_work) = (sender.clone(), Arc::<AtomicU64>::default());
        let held_off = at_work.clone();
        std::thread::spawn(move || read(std::io::stdin().lock(), &reader, heard));
        // By itself: whatever holds up process 1's loop, the tenant ends with its line.
        std::thread::spawn(move || {
            await_silence(|| hears(&hearing, Duration::from_millis(LISTEN_MS)), &held_off);
            std::process::exit(CUT.into());
        });
        let mut line = Self { inputs, sender, tick_ms: TICK_MS, at_work };
        loop {
            match line.input() {
                Some(Input::Line(text)) if text.is_empty() => {}
                Some(Input::Line(text)) => {
                    let boot = serde_json::from_str(&text).map_err(|error| End::Failed {
                        what: "configuration",
                        // Where it is wrong, and nothing of its text: it holds secrets.
                        why: format!(
                            "line {} column {}: {:?} error",
                            error.line(),
                            error.column(),
                            error.classify()
                        ),
                    })?;
                    return Ok((line, boot));
                }
                Some(Input::Garbled(why)) => {
                    return Err(End::Failed { what: "configuration", why: why.to_owned() });
                }
                Some(Input::Listening { .. } | Input::NotListening { .. }) | None => {}
            }
        }
    }

    /// For threads that watch something for process 1.
    pub fn sender(&self) -> Sender<Input> {
        self.sender.clone()
    }

    /// For a tool that must not be ended in the middle.
    pub fn at_work(&self) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self.at_work.clone())
    }

    /// From now on the dead are collected at once.
    pub fn hurry(&mut self) {
        self.tick_ms = HURRIED_TICK_MS;
    }

    /// Waits for the next thing, at most a tick.
    pub fn next(&mut self) -> Result<Heard, End> {
        match self.input() {
            Some(Input::Line(text)) if text.is_empty() => Ok(Heard::Nothing),
            // A newer agent may say what this program does not know: that is no reason to end a tenant.
            Some(Input::Line(text)) => Ok(serde_json::from_str(&text).map_or(Heard::Nothing, Heard::Command)),
            Some(Input::Listening { service, took_ms }) => Ok(Heard::Listening { service, took_ms }),
            Some(Input::NotListening { service }) => Ok(Heard::NotListening { service }),
            Some(Input::Garbled(why)) => Err(End::Failed { what: "line", why: why.to_owned() }),
            None => Ok(Heard::Nothing),
        }
    }

    fn input(&mut self) -> Option<Input> {
        // It cannot be disconnected: a sender is kept.
        self.inputs.recv_timeout(Duration::from_millis(self.tick_ms)).ok()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Until no line came for [`SILENCE_SECS`] steps after the last one (a look at fixed moments would be late by up to a step).
///
/// Counts steps without a line in them and not the time: after a freeze of any length the agent's heartbeats lie in the pipe,
/// while a clock would say that it was silent all along.
fn await_silence(mut was_heard: impl FnMut() -> bool, held_off: &AtomicU64) {
    let mut silent_steps = 0;
    while silent_steps < SILENCE_SECS {
        let goes_on = was_heard() || held_off.load(Ordering::Relaxed) > 0;
        silent_steps = if goes_on { 0 } else { silent_steps + 1 };
    }
}

/// Waits for a line, at most a step.
fn hears(hearing: &Receiver<()>, step: Duration) -> bool {
    match hearing.recv_timeout(step) {
        Ok(()) => true,
        Err(RecvTimeoutError::Timeout) => false,
        // Nothing is read any more.
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(step);
            false
        }
    }
}

/// Reads lines to the end of the input, which is not the end of the line: it counts as silence.
fn read(mut input: impl BufRead, inputs: &Sender<Input>, heard: Sender<()>) {
    loop {
        let mut bytes = Vec::new();
        let limit = LINE_LIMIT_BYTES as u64 + 1;
        match input.by_ref().take(limit).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let ended = bytes.pop_if(|last| *last == b'\n').is_some();
        if !ended && bytes.len() > LINE_LIMIT_BYTES {
            let _ = inputs.send(Input::Garbled("a line is longer than 64 KiB"));
            return;
        }
        let said = String::from_utf8(bytes).map_or(Input::Garbled("a line is no UTF-8"), |text| {
            Input::Line(text.trim_end_matches('\r').to_owned())
        });
        if heard.send(()).is_err() || inputs.send(said).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Input> {
        let (sender, inputs) = channel();
        let (heard, _hearing) = channel();
        read(input, &sender, heard);
        drop(sender);
        inputs.into_iter().collect()
    }

    fn line() -> Line {
        let (sender, inputs) = channel();
        Line { inputs, sender, tick_ms: 1, at_work: Arc::default() }
    }

    #[test]
    fn lines_are_read_whole() {
        let read = lines(b"{}\n\nlast");
        assert!(matches!(&read[..], [Input::Line(a), Input::Line(b), Input::Line(c)]
            if a == "{}" && b.is_empty() && c == "last"));
    }

    #[test]
    fn an_endless_line_is_not_stored() {
        let read = lines(&vec![b'x'; LINE_LIMIT_BYTES * 3]);
        assert!(matches!(&read[..], [Input::Garbled(_)]));
        let mut just = vec![b'x'; LINE_LIMIT_BYTES];
        just.push(b'\n');
        assert!(matches!(&lines(&just)[..], [Input::Line(_)]));
    }

    #[test]
    fn only_the_agent_breaks_the_silence() {
        let ((heard, hearing), (sender, inputs)) = (channel(), channel());
        read(&b"{}\n\nlast"[..], &sender, heard);
        sender.send(Input::Listening { service: Service::Ssh, took_ms: 1 }).unwrap();
        assert_eq!((hearing.iter().count(), inputs.try_iter().count()), (3, 4));
    }

    /// How many of these looks it takes until the agent is given up; `true` heard a line.
    fn looks_taken(looks: &[bool], held_off: u64) -> Option<usize> {
        let mut left = looks.iter();
        let over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            await_silence(|| *left.next().expect("it is not given up"), &AtomicU64::new(held_off));
        }));
        over.ok().map(|()| looks.len() - left.len())
    }

    #[test]
    fn a_silence_begins_with_the_last_line() {
        assert_eq!(looks_taken(&[false; 9], 0), Some(SILENCE_SECS as usize));
        let late = [false, false, false, false, true, false, false, false, false, false, false];
        assert_eq!(looks_taken(&late, 0), Some(5 + SILENCE_SECS as usize));
        assert_eq!(looks_taken(&[true; 20], 0), None);
        assert_eq!(looks_taken(&[false; 20], 1), None, "a tool is at work");
    }

    #[test]
    fn an_input_that_is_over_is_silent_and_a_line_that_lies_there_is_heard() {
        let (heard, hearing) = channel();
        heard.send(()).unwrap();
        drop(heard);
        let step = Duration::from_millis(1);
        assert!(hears(&hearing, step));
        assert!(!hears(&hearing, step));
        let (_open, quiet) = channel();
        assert!(!hears(&quiet, step));
    }

    #[test]
    fn a_tool_that_writes_is_not_ended_in_the_middle() {
        let line = line();
        let at_work = || line.at_work.load(Ordering::Relaxed);
        let (one, other) = (line.at_work(), line.at_work());
        assert_eq!(at_work(), 2);
        drop(one);
        assert_eq!(at_work(), 1);
        drop(other);
        assert_eq!(at_work(), 0);
    }

    #[test]
    fn commands_are_understood_and_unknown_ones_passed_over() {
        let mut line = line();
        for text in [r#"{"command":"terminate"}"#, r#"{"command":"dance"}"#, "nonsense"] {
            line.sender.send(Input::Line(text.to_owned())).unwrap();
        }
        assert!(matches!(line.next(), Ok(Heard::Command(GuestCommand::Terminate))));
        assert!(matches!(line.next(), Ok(Heard::Nothing)));
        assert!(matches!(line.next(), Ok(Heard::Nothing)));
    }
}
