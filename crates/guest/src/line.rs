//! The line to the agent: standard input. Its silence ends the container.

use std::io::{BufRead, Read};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nightjar_protocol::guest::{GuestCommand, GuestEvent, LINE_LIMIT_BYTES, SILENCE_SECS, Service};
use serde::de::DeserializeOwned;

use crate::report;

/// How often the dead are collected when the agent says nothing.
const TICK_MS: u64 = 1_000;
/// How often the silence is looked at.
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
    silence: Arc<Silence>,
}

/// Decides by itself when the agent is gone: whatever holds up process 1's loop, the tenant ends with its line.
#[derive(Default)]
struct Silence {
    /// Lines that came.
    heard: AtomicU64,
    /// So many hold off the decision: a tool that is writing must not be ended in the middle.
    at_work: AtomicU64,
}

/// While this is there, silence does not end the container.
pub struct AtWork(Arc<Silence>);

impl Line {
    /// Begins to listen and waits for the configuration.
    pub fn open<Boot: DeserializeOwned>() -> Result<(Self, Boot), End> {
        let (sender, inputs) = channel();
        let (reader, silence) = (sender.clone(), Arc::<Silence>::default());
        let (heard, listened) = (silence.clone(), silence.clone());
        std::thread::spawn(move || read(std::io::stdin().lock(), &reader, &heard));
        std::thread::spawn(move || listened.await_the_end());
        let mut line = Self { inputs, sender, tick_ms: TICK_MS, silence };
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
        self.silence.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self.silence.clone())
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

impl Silence {
    fn await_the_end(&self) {
        let (mut known, mut silent_ms) = (0, 0);
        loop {
            std::thread::sleep(Duration::from_millis(LISTEN_MS));
            let heard = self.heard.load(Ordering::Relaxed);
            let is_held_off = self.at_work.load(Ordering::Relaxed) > 0;
            silent_ms = silent_after(silent_ms, heard != known || is_held_off);
            known = heard;
            if silent_ms >= u64::from(SILENCE_SECS) * 1_000 {
                std::process::exit(CUT.into());
            }
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts looks without a line between them and not the time: after a freeze of any length the agent's heartbeats lie in
/// the pipe, while a clock would say that it was silent all along.
fn silent_after(silent_ms: u64, was_heard: bool) -> u64 {
    if was_heard { 0 } else { silent_ms + LISTEN_MS }
}

/// Reads lines to the end of the input, which is not the end of the line: it counts as silence.
fn read(mut input: impl BufRead, inputs: &Sender<Input>, silence: &Silence) {
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
        silence.heard.fetch_add(1, Ordering::Relaxed);
        if inputs.send(said).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Input> {
        let (sender, inputs) = channel();
        read(input, &sender, &Silence::default());
        drop(sender);
        inputs.into_iter().collect()
    }

    fn line() -> Line {
        let (sender, inputs) = channel();
        Line { inputs, sender, tick_ms: 1, silence: Arc::default() }
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
        let silence = Silence::default();
        let (sender, _inputs) = channel();
        read(&b"{}\n\nlast"[..], &sender, &silence);
        sender.send(Input::Listening { service: Service::Ssh, took_ms: 1 }).unwrap();
        assert_eq!(silence.heard.load(Ordering::Relaxed), 3);

        let after = |looks: &[bool]| looks.iter().fold(0, |silent, heard| silent_after(silent, *heard));
        assert_eq!(after(&[false; 5]), u64::from(SILENCE_SECS) * 1_000);
        assert_eq!(after(&[false, false, false, false, true, false]), LISTEN_MS);
    }

    #[test]
    fn a_tool_that_writes_is_not_ended_in_the_middle() {
        let line = line();
        let at_work = || line.silence.at_work.load(Ordering::Relaxed);
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
