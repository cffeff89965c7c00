//! The local control socket: whoever may open it (the owner of this account) may ask and command. One JSON object a
//! line, see [`nightjar_protocol::control`].

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nightjar_protocol::control::{ControlAnswer, ControlRequest, MAX_LINE_BYTES, Refusal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::AgentHandle;
#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

pub(crate) use platform::{Listener, listen};

/// Where a host with this runtime folder listens.
#[must_use]
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    platform::socket_path(runtime_dir)
}

/// A front end's end of the socket.
pub struct Client {
    stream: BufReader<platform::Stream>,
}

impl Client {
    /// # Errors
    /// When no host listens there.
    pub async fn connect(runtime_dir: &Path) -> std::io::Result<Self> {
        Ok(Self { stream: BufReader::new(platform::connect(runtime_dir).await?) })
    }

    /// Asks once and waits for the answer.
    ///
    /// # Errors
    /// When the host ends in between or answers with something else than an answer.
    pub async fn request(&mut self, request: &ControlRequest) -> anyhow::Result<ControlAnswer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await?;
        self.next().await
    }

    /// The next answer of a `Watch`.
    ///
    /// # Errors
    /// When the host ends or answers with something else than an answer.
    pub async fn next(&mut self) -> anyhow::Result<ControlAnswer> {
        let line = read_line(&mut self.stream).await?.context("the host has ended")?;
        serde_json::from_str(&line)
            .context("the host answered with something that this version does not know")
    }
}

/// Serves until the listener fails.
pub(crate) async fn serve(mut listener: Listener, handle: AgentHandle) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let handle = handle.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, handle).await {
                        tracing::debug!("a control connection ended: {error:#}");
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "the control socket takes no more connections");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, handle: AgentHandle) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(line) = read_line(&mut stream).await? {
        let answer = match serde_json::from_str::<ControlRequest>(&line) {
            Err(error) => ControlAnswer::Refused(Refusal::Unreadable { detail: error.to_string() }),
            Ok(ControlRequest::Status) => handle.current(),
            Ok(ControlRequest::Settings) => match handle.settings().await {
                Ok(settings) => ControlAnswer::Settings(settings),
                Err(refusal) => ControlAnswer::Refused(refusal),
            },
            Ok(ControlRequest::Do(command)) => match handle.command(command).await {
                Ok(()) => handle.current(),
                Err(refusal) => ControlAnswer::Refused(refusal),
            },
            Ok(ControlRequest::Why { since, until }) => match handle.why(since, until).await {
                Ok(night) => ControlAnswer::Night(Box::new(night)),
                Err(refusal) => ControlAnswer::Refused(refusal),
            },
            Ok(ControlRequest::Watch) => return watch(&mut stream, &handle).await,
            Ok(ControlRequest::WatchClosely) => {
                let _window = OpenWindow::of(&handle);
                return watch(&mut stream, &handle).await;
            }
            Ok(ControlRequest::Ask(question)) => {
                ControlAnswer::Reply(handle.ask(question, Vec::new()).await.map(Box::new))
            }
            Ok(ControlRequest::Enrol { coordinator_url, pairing_code }) => {
                let joined = handle.enrol(coordinator_url.trim(), pairing_code.trim()).await;
                ControlAnswer::Enrolled(joined.map_err(Into::into))
            }
            Ok(ControlRequest::History { since_ms, points }) => {
                ControlAnswer::History(handle.history(since_ms, points).await)
            }
            Ok(ControlRequest::Volumes) => ControlAnswer::Volumes(handle.volumes().await),
            Ok(ControlRequest::WipeVolume { name }) => {
                ControlAnswer::Volumes(match handle.wipe_volume(&name).await {
                    Ok(()) => handle.volumes().await,
                    Err(why) => Err(why),
                })
            }
            Ok(ControlRequest::Quit) => {
                answer(&mut stream, &ControlAnswer::Bye).await?;
                handle.shutdown().await;
                return Ok(());
            }
        };
        self::answer(&mut stream, &answer).await?;
    }
    Ok(())
}

/// A front end looks closely while this lives.
struct OpenWindow(AgentHandle);

impl OpenWindow {
    fn of(handle: &AgentHandle) -> Self {
        handle.window_open(true);
        Self(handle.clone())
    }
}

impl Drop for OpenWindow {
    fn drop(&mut self) {
        self.0.window_open(false);
    }
}

/// Until the host ends or nobody listens any more; what the other side says meanwhile is passed over.
async fn watch<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    handle: &AgentHandle,
) -> anyhow::Result<()> {
    let mut view = handle.view();
    loop {
        let now = ControlAnswer::View(Box::new((**view.borrow_and_update()).clone()));
        answer(stream, &now).await?;
        let mut word = [0; 64];
        loop {
            tokio::select! {
                changed = view.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
                heard = stream.read(&mut word) => if heard? == 0 { return Ok(()) },
            }
        }
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    answer: &ControlAnswer,
) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await?;
    Ok(())
}

/// One line of bounded length; `None` at the end.
async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    let bound = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let length = (&mut *stream).take(bound).read_until(b'\n', &mut line).await?;
    if length == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        bail!("a line of more than {MAX_LINE_BYTES} bytes, or one that was cut off");
    }
    Ok(Some(String::from_utf8(line)?))
}
