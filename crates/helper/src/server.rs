//! Connections on Linux: a socket, the kernel's word on who is at its other end, a thread each.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nightjar_protocol::helper::{
    ContainerId, FrameError, HelperAnswer, HelperErrorCode, HelperRefusal, HelperRequest, read_frame,
    write_frame,
};
use rustix::net::sockopt::socket_peercred;

use crate::conversation::{Containers, Conversation};
use crate::desk::Desk;
use crate::guards::Guards;
use crate::limits::Connection;
use crate::peer::{Facts, GROUP, Peer, standing};

/// A host keeps two connections; a few hosts and a command line are the most there is.
const MOST_CONNECTIONS: usize = 16;
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A peer that does not read its answers is cut off.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    desk: Arc<Desk>,
    guards: Guards,
    /// Where `/etc/group` and its like are read.
    system: PathBuf,
    next: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl Server {
    #[must_use]
    pub fn new(desk: Arc<Desk>, guards: Guards, system: PathBuf) -> Self {
        Self { desk, guards, system, next: Arc::default(), open: Arc::default() }
    }

    /// Takes connections until the listener fails.
    ///
    /// # Errors
    /// The listener's.
    pub fn run(&self, listener: &UnixListener) -> io::Result<()> {
        for stream in listener.incoming() {
            let stream = stream?;
            let server = self.clone();
            std::thread::Builder::new().name("connection".to_owned()).spawn(move || server.serve(stream))?;
        }
        Ok(())
    }

    /// One connection to its end; what it wanted ends with it.
    pub fn serve(&self, mut stream: UnixStream) {
        let by = Connection(self.next.fetch_add(1, Ordering::Relaxed));
        let is_too_many = self.open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS;
        let served = self.admit(&stream, is_too_many);
        match served {
            Ok(peer) => {
                let ended = self.converse(&mut stream, by, peer);
                tracing::info!(uid = peer.uid, pid = peer.pid, connection = by.0, "gone: {ended}");
                self.guards.lose(by);
                self.desk.lose(by);
            }
            Err(refusal) => {
                tracing::warn!("a connection is refused: {refusal}");
                let _ = write_frame(&mut stream, &HelperAnswer::Refused(refusal));
            }
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn admit(&self, stream: &UnixStream, is_too_many: bool) -> Result<Peer, HelperRefusal> {
        let unusable = |error: String| {
            HelperRefusal::new(HelperErrorCode::Kernel, format!("the connection cannot be used: {error}"))
        };
        let timeouts = stream
            .set_write_timeout(Some(ANSWER_WITHIN))
            .and_then(|()| stream.set_read_timeout(Some(HELLO_WITHIN)));
        timeouts.map_err(|error| unusable(error.to_string()))?;
        let found = socket_peercred(stream).map_err(|error| unusable(error.to_string()))?;
        let peer =
            Peer { uid: found.uid.as_raw(), gid: found.gid.as_raw(), pid: found.pid.as_raw_nonzero().get() };
        let Some(standing) = standing(peer, &Facts::read(&self.system)) else {
            return Err(HelperRefusal::new(
                HelperErrorCode::NotAllowed,
                format!(
                    "user {} may not use Nightjar's helper: it is neither at this PC nor in the group `{GROUP}`; run \
                     `sudo usermod -aG {GROUP} USER` and log in anew",
                    peer.uid
                ),
            ));
        };
        tracing::info!(uid = peer.uid, pid = peer.pid, ?standing, "connected");
        if is_too_many {
            let text = "too many programs use the helper; close one of them";
            return Err(HelperRefusal::new(HelperErrorCode::Busy, text));
        }
        Ok(peer)
    }

    /// Why it ended.
    fn converse(&self, stream: &mut UnixStream, by: Connection, peer: Peer) -> String {
        let who = format!("user {}, process {}", peer.uid, peer.pid);
        let mut conversation = Conversation::new(self.desk.clone(), self.guards.clone(), by, who);
        loop {
            let request: HelperRequest = match read_frame(stream) {
                Ok(Some(request)) => request,
                Ok(None) => return "closed".to_owned(),
                Err(error @ FrameError::Io(_)) => return error.to_string(),
                // Where the next frame begins is not known any more.
                Err(error) => {
                    let refusal = HelperRefusal::new(HelperErrorCode::BadRequest, error.to_string());
                    let _ = write_frame(stream, &HelperAnswer::Refused(refusal));
                    return error.to_string();
                }
            };
            let answer = conversation.take(&request);
            // The greeting came in time; requests may be as far apart as they like.
            let ready = stream.set_read_timeout(None).map_err(FrameError::Io);
            if let Err(error) = ready.and_then(|()| write_frame(stream, &answer)) {
                return error.to_string();
            }
            if !conversation.is_greeted() {
                return "no greeting came first".to_owned();
            }
        }
    }
}

impl Containers for Guards {
    fn handle(&self, request: &HelperRequest, by: Connection) -> Result<HelperAnswer, HelperRefusal> {
        match request {
            HelperRequest::Guard { container_id } => self.guard(container_id.clone(), by)?,
            HelperRequest::Release { container_id } => self.release(container_id, by),
            HelperRequest::FreezeContainer { container_id } => {
                let took = self.own(container_id, by)?.freeze(container_id)?;
                return Ok(HelperAnswer::Frozen {
                    took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                });
            }
            HelperRequest::ThawContainer { container_id } => {
                self.own(container_id, by)?.thaw(container_id)?
            }
            HelperRequest::EndContainer { container_id } => self.own(container_id, by)?.end(container_id)?,
            _ => {
                let text = "this request is not about a container";
                return Err(HelperRefusal::new(HelperErrorCode::BadRequest, text));
            }
        }
        Ok(HelperAnswer::Done)
    }

    fn of(&self, by: Connection) -> Vec<ContainerId> {
        Guards::of(self, by)
    }
}
