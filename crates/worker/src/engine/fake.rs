//! What an Engine says, on a socket of its own: for tests of what is asked when, which no Engine could be brought to show.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::config::EngineAddress;

const UPGRADED: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n";
const END_OF_BODY: &[u8] = b"0\r\n\r\n";
/// The call stays open.
pub(crate) const NO_ANSWER: &str = "~";

pub(crate) struct FakeEngine {
    folder: tempfile::TempDir,
    body: watch::Receiver<usize>,
    attached: watch::Receiver<String>,
    _serving: AbortOnDropHandle<()>,
}

impl FakeEngine {
    /// `answer` gives the JSON for a call such as `GET /info`; nothing, where there is no such thing, and after a `!` why it is
    /// refused. Who attaches is served in any case.
    pub fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("d.sock")).unwrap();
        let ((sender, body), (lines, attached)) = (watch::channel(0), watch::channel(String::new()));
        let answer = Arc::new(answer);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, sender, lines) = (answer.clone(), sender.clone(), lines.clone());
                tokio::spawn(async move { serve(stream, &*answer, &sender, &lines).await });
            }
        });
        Self { folder, body, attached, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn address(&self) -> EngineAddress {
        EngineAddress::Unix(self.folder.path().join("d.sock"))
    }

    /// What was written to containers that were attached to.
    pub fn attached(&self) -> watch::Receiver<String> {
        self.attached.clone()
    }

    /// Bytes of bodies in pieces that came so far.
    pub fn body(&self) -> watch::Receiver<usize> {
        self.body.clone()
    }
}

/// One call a connection.
async fn serve(
    mut stream: UnixStream,
    answer: &impl Fn(&str) -> String,
    body: &watch::Sender<usize>,
    attached: &watch::Sender<String>,
) {
    let mut heard = Vec::new();
    let head_end = loop {
        match heard.windows(4).position(|part| part == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if stream.read_buf(&mut heard).await.unwrap_or(0) == 0 => return,
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&heard[..head_end]).to_ascii_lowercase();
    let first = String::from_utf8_lossy(&heard[..head_end]).lines().next().unwrap_or_default().to_owned();
    if head.contains("transfer-encoding: chunked") {
        let mut rest = heard.split_off(head_end);
        body.send_modify(|bytes| *bytes += rest.len());
        while !rest.ends_with(END_OF_BODY) {
            let tail = rest.split_off(rest.len().saturating_sub(END_OF_BODY.len()));
            rest = tail;
            let read = stream.read_buf(&mut rest).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            body.send_modify(|bytes| *bytes += read);
        }
    }
    // "GET /v1.50/info?x=y HTTP/1.1"
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')).map_or(path, |(_, rest)| rest);
    let said = answer(&format!("{method} /{}", path.trim_start_matches('/')));
    if said == NO_ANSWER {
        return std::future::pending().await;
    }
    if path.ends_with("/attach") {
        let _ = stream.write_all(UPGRADED).await;
        let mut bytes = [0; 1_024];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            attached.send_modify(|said| said.push_str(&String::from_utf8_lossy(&bytes[..read])));
        }
        return;
    }
    let (status, said) = match said.as_str() {
        "" => ("404 Not Found", r#"{"message":"no such thing"}"#.to_owned()),
        said => match said.strip_prefix('!') {
            Some(why) => ("500 Internal Server Error", format!(r#"{{"message":"{why}"}}"#)),
            None => ("200 OK", said.to_owned()),
        },
    };
    let length = said.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(format!("{head}{said}").as_bytes()).await;
}
