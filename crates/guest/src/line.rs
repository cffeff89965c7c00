//! The line to the agent: standard input. Its silence ends the container.

use std::io::{BufRead, Read};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nightjar_protocol::guest::{GuestCommand, GuestEvent, LINE_LIMIT_BYTES, SILENCE_SECS, Service};
use serde::de::DeserializeOwned;

use crate::report;

/// How often the dead are collected when the agent says nothing.
const TICK_MS: u64 = 1_000;
/// While the tenant is being ended, so that the container ends right after it.
const HURRIED_TICK_MS: u64 = 50;

/// Why a container ends.
pub enum End {
    /// As the agent asked.
    Asked,
    /// No byte came for [`SILENCE_SECS`].
    Cut,
    Failed {
        what: &'static str,
        why: String,
    },
}

/// Says why it ends, and gives the exit code for it.
pub fn exit_code(end: End) -> ExitCode {
    match end {
        End::Asked => ExitCode::SUCCESS,
        End::Cut => ExitCode::from(4),
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
    /// Nothing to do but to collect the dead.
    Nothing,
}

pub struct Line {
    inputs: Receiver<Input>,
    sender: Sender<Input>,
    tick_ms: u64,
    silent_ms: u64,
}

impl Line {
    /// Begins to listen and waits for the configuration.
    pub fn open<Boot: DeserializeOwned>() -> Result<(Self, Boot), End> {
        let (sender, inputs) = channel();
        let reader = sender.clone();
        std::thread::spawn(move || read(std::io::stdin().lock(), &reader));
        let mut line = Self { inputs, sender, tick_ms: TICK_MS, silent_ms: 0 };
        loop {
            match line.input()? {
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

    /// From now on the dead are collected at once.
    pub fn hurry(&mut self) {
        self.tick_ms = HURRIED_TICK_MS;
    }

    /// Waits for the next thing, at most a tick.
    pub fn next(&mut self) -> Result<Heard, End> {
        match self.input()? {
            Some(Input::Line(text)) if text.is_empty() => Ok(Heard::Nothing),
            // A newer agent may say what this program does not know: that is no reason to end a tenant.
            Some(Input::Line(text)) => Ok(serde_json::from_str(&text).map_or(Heard::Nothing, Heard::Command)),
            Some(Input::Listening { service, took_ms }) => Ok(Heard::Listening { service, took_ms }),
            Some(Input::NotListening { service }) => Err(End::Failed {
                what: service.name(),
                why: format!("it does not answer; its log is in {}", crate::services::LOG_FOLDER),
            }),
            Some(Input::Garbled(why)) => Err(End::Failed { what: "line", why: why.to_owned() }),
            None => Ok(Heard::Nothing),
        }
    }

    /// Counts ticks without a line and not the time: after a freeze of any length the agent's heartbeats lie in the
    /// pipe, while a clock would say that it was silent all along.
    fn input(&mut self) -> Result<Option<Input>, End> {
        match self.inputs.recv_timeout(Duration::from_millis(self.tick_ms)) {
            Ok(input) => {
                if matches!(input, Input::Line(_)) {
                    self.silent_ms = 0;
                }
                Ok(Some(input))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.silent_ms += self.tick_ms;
                if self.silent_ms >= u64::from(SILENCE_SECS) * 1_000 {
                    return Err(End::Cut);
                }
                Ok(None)
            }
        }
    }
}

/// Reads lines to the end of the input, which is not the end of the line: it counts as silence.
fn read(mut input: impl BufRead, inputs: &Sender<Input>) {
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
        read(input, &sender);
        drop(sender);
        inputs.into_iter().collect()
    }

    fn line() -> Line {
        let (sender, inputs) = channel();
        Line { inputs, sender, tick_ms: 1, silent_ms: 0 }
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
        let mut line = line();
        let limit_ms = u64::from(SILENCE_SECS) * 1_000;
        line.silent_ms = limit_ms - 2;
        line.sender.send(Input::Listening { service: Service::Ssh, took_ms: 1 }).unwrap();
        assert!(matches!(line.next(), Ok(Heard::Listening { .. })));
        assert!(matches!(line.next(), Ok(Heard::Nothing)));
        line.sender.send(Input::Line(String::new())).unwrap();
        assert!(matches!(line.next(), Ok(Heard::Nothing)));
        assert_eq!(line.silent_ms, 0);
        line.silent_ms = limit_ms - 1;
        assert!(matches!(line.next(), Err(End::Cut)));
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
