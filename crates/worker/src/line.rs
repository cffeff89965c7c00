//! The line to process 1 of a container: a heartbeat a second, commands, and its events.
//!
//! Process 1 ends the container when the line has been silent for five seconds, so a line lives no longer than the agent.

use std::pin::Pin;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use futures_util::{Stream, StreamExt};
use nightjar_protocol::guest::{GuestCommand, GuestEvent, LINE_LIMIT_BYTES, SILENCE_SECS};
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

const HEARTBEAT: Duration = Duration::from_secs(1);
/// More events than process 1 writes in a lease's life; beyond them reading waits, heartbeats do not.
const EVENTS_AHEAD: usize = 64;

/// After this much silence process 1 has ended its container; a second for the kernel and the clock.
pub(crate) const SURELY_OVER: Duration = Duration::from_secs(SILENCE_SECS as u64 + 1);

/// Dropping it cuts the line.
pub(crate) struct Line {
    commands: mpsc::UnboundedSender<String>,
    events: mpsc::Receiver<GuestEvent>,
    last_beat: watch::Receiver<Instant>,
    _task: AbortOnDropHandle<()>,
}

impl Line {
    /// For a container that is about to be started: `boot` is the first line.
    pub fn open(ends: AttachContainerResults, boot: &impl Serialize) -> serde_json::Result<Self> {
        let boot = serde_json::to_string(boot)? + "\n";
        Ok(Self::run(ends, boot))
    }

    /// For a container that is running; its first heartbeat goes out at once.
    pub fn take_up(ends: AttachContainerResults) -> Self {
        Self::run(ends, "\n".to_owned())
    }

    fn run(ends: AttachContainerResults, first: String) -> Self {
        let (commands, orders) = mpsc::unbounded_channel();
        let (heard, events) = mpsc::channel(EVENTS_AHEAD);
        let (beat, last_beat) = watch::channel(Instant::now());
        let task = tokio::spawn(async move {
            // Whichever side ends first ends the line; a worker that is frozen blocks writing only.
            tokio::select! {
                result = feed(ends.input, first, orders, beat) => {
                    if let Err(error) = result {
                        tracing::debug!("a worker's line cannot be written to: {error}");
                    }
                }
                () = hear(ends.output, heard) => {}
            }
        });
        Self { commands, events, last_beat, _task: AbortOnDropHandle::new(task) }
    }

    /// The next event; `None` once the line is cut, from either side.
    pub async fn next(&mut self) -> Option<GuestEvent> {
        self.events.recv().await
    }

    pub fn send(&self, command: &GuestCommand) {
        if let Ok(text) = serde_json::to_string(command) {
            // A line that is cut is noticed by who reads from it.
            let _ = self.commands.send(text + "\n");
        }
    }

    /// When process 1 was last written to.
    pub fn last_beat(&self) -> Instant {
        *self.last_beat.borrow()
    }
}

async fn feed(
    mut input: Pin<Box<dyn AsyncWrite + Send>>,
    first: String,
    mut orders: mpsc::UnboundedReceiver<String>,
    beat: watch::Sender<Instant>,
) -> std::io::Result<()> {
    input.write_all(first.as_bytes()).await?;
    input.flush().await?;
    beat.send_replace(Instant::now());
    let mut clock = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let text = tokio::select! {
            Some(order) = orders.recv() => order,
            _ = clock.tick() => "\n".to_owned(),
        };
        input.write_all(text.as_bytes()).await?;
        input.flush().await?;
        beat.send_replace(Instant::now());
    }
}

async fn hear(
    mut output: Pin<Box<dyn Stream<Item = Result<LogOutput, ApiError>> + Send>>,
    heard: mpsc::Sender<GuestEvent>,
) {
    let mut lines = Lines::default();
    while let Some(Ok(part)) = output.next().await {
        if let LogOutput::StdErr { message } = &part {
            tracing::debug!("process 1 complains: {}", shortened(message));
            continue;
        }
        for line in lines.take(&part.into_bytes()) {
            match serde_json::from_slice(&line) {
                Ok(event) => {
                    if heard.send(event).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!("process 1 says something unknown ({error}): {}", shortened(&line))
                }
            }
        }
    }
}

fn shortened(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().chars().take(200).collect()
}

/// Cuts a stream into lines. What grows beyond the limit without an end is dropped up to its end.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            if self.begun.len() + text.len() > LINE_LIMIT_BYTES {
                self.too_long = true;
                self.begun.clear();
            }
            if !self.too_long {
                self.begun.extend_from_slice(text);
            }
            if ends {
                let line = std::mem::take(&mut self.begun);
                if !std::mem::take(&mut self.too_long) && !line.is_empty() {
                    whole.push(line);
                }
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_end_is_dropped_and_the_next_one_is_heard() {
        let mut lines = Lines::default();
        assert!(lines.take(&vec![b'x'; LINE_LIMIT_BYTES]).is_empty());
        assert!(lines.take(b"more").is_empty());
        assert!(lines.begun.is_empty());
        assert_eq!(lines.take(b"end\n{}\n\nhalf"), [b"{}".to_vec()]);
        assert_eq!(lines.take(b" line\n"), [b"half line".to_vec()]);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(text in "[a-c\n]{0,60}", cut in 1_usize..9) {
            let mut whole = Lines::default();
            let mut parts = Lines::default();
            let expected = whole.take(text.as_bytes());
            let found: Vec<_> = text.as_bytes().chunks(cut).flat_map(|part| parts.take(part)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn boot_comes_first_then_commands_and_the_line_ends_with_its_container() {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (_, input) = tokio::io::split(ours);
        let event = br#"{"event":"worker_ready","ssh_host_key":"ssh-ed25519 A"}"#;
        let message = [&event[..], b"\n"].concat().into();
        let output = futures_util::stream::iter([Ok(LogOutput::StdOut { message })]).chain(
            futures_util::stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(ApiError::RequestTimeoutError)
            }),
        );
        let ends = AttachContainerResults { output: Box::pin(output), input: Box::pin(input) };
        let mut line = Line::open(ends, &"boot").unwrap();
        line.send(&GuestCommand::Terminate);
        assert_eq!(
            line.next().await,
            Some(GuestEvent::WorkerReady { ssh_host_key: "ssh-ed25519 A".into(), is_apart: false })
        );
        assert_eq!(line.next().await, None);
        let mut written = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut { theirs }, &mut written).await.unwrap();
        assert_eq!(written, "\"boot\"\n{\"command\":\"terminate\"}\n");
    }
}
