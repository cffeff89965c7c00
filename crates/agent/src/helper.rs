//! The line to the privileged helper: one connection, opened again and again. What was asked of it by a connection ends
//! with that connection, so the helper learns of this program's end without a word.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nightjar_core::power::HelperStanding;
use nightjar_protocol::helper::{
    ContainerId, HELPER_VERSION, HelperAnswer, HelperErrorCode, HelperRefusal, HelperRequest, MAX_FRAME_BYTES,
};
use nightjar_worker::{Done, RoadError, SecondRoad};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Longer than anything that the helper does.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
const UNANSWERED: &str = "the line to the helper broke before it answered";
/// Between two looks for a helper that is not there; an order looks at once.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_MOST: Duration = Duration::from_secs(60);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
type Wire = Framed<Box<dyn Io>, LengthDelimitedCodec>;

struct Order {
    request: HelperRequest,
    answer: Option<oneshot::Sender<Result<HelperAnswer, HelperRefusal>>>,
}

/// One connection's worth of orders. Cheap to clone; the connection ends with the last clone.
#[derive(Clone)]
pub(crate) struct Helper {
    orders: mpsc::UnboundedSender<Order>,
    standing: watch::Receiver<HelperStanding>,
}

impl Helper {
    /// Begins to look for it. Must be called inside a Tokio runtime.
    pub(crate) fn start(socket: PathBuf) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (standing, standing_inbox) = watch::channel(HelperStanding::Unknown);
        tokio::spawn(Line { socket, standing, guarded: BTreeSet::new() }.run(inbox));
        Self { orders, standing: standing_inbox }
    }

    /// Now and after each change.
    pub(crate) fn standing(&self) -> watch::Receiver<HelperStanding> {
        self.standing.clone()
    }

    fn tell(&self, request: HelperRequest) {
        let _ = self.orders.send(Order { request, answer: None });
    }

    pub(crate) async fn ask(&self, request: HelperRequest) -> Result<HelperAnswer, HelperRefusal> {
        let unanswered = || HelperRefusal::new(HelperErrorCode::Busy, UNANSWERED);
        self.answer(request).await.unwrap_or_else(|| Err(unanswered()))
    }

    /// `None` where the connection broke before it answered, or this program ends: it may have been done.
    async fn answer(&self, request: HelperRequest) -> Option<Result<HelperAnswer, HelperRefusal>> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { request, answer: Some(answer) }).ok()?;
        answered.await.ok()
    }

    fn do_to(&self, container: &str, verb: fn(ContainerId) -> HelperRequest) -> Done {
        let (helper, id) = (self.clone(), ContainerId::try_from(container.to_owned()));
        Box::pin(async move {
            let id = id.map_err(|error| RoadError::Refused(error.to_string()))?;
            match helper.answer(verb(id)).await {
                Some(answer) => answer.map(drop).map_err(|refusal| RoadError::Refused(refusal.detail)),
                None => Err(RoadError::Unanswered(UNANSWERED.to_owned())),
            }
        })
    }
}

impl SecondRoad for Helper {
    fn guard(&self, container: &str) {
        if let Ok(container_id) = ContainerId::try_from(container.to_owned()) {
            self.tell(HelperRequest::Guard { container_id });
        }
    }

    fn release(&self, container: &str) {
        if let Ok(container_id) = ContainerId::try_from(container.to_owned()) {
            self.tell(HelperRequest::Release { container_id });
        }
    }

    fn freeze(&self, container: &str) -> Done {
        self.do_to(container, |container_id| HelperRequest::FreezeContainer { container_id })
    }

    fn thaw(&self, container: &str) -> Done {
        self.do_to(container, |container_id| HelperRequest::ThawContainer { container_id })
    }

    fn end(&self, container: &str) -> Done {
        self.do_to(container, |container_id| HelperRequest::EndContainer { container_id })
    }
}

/// What keeps the connection.
struct Line {
    socket: PathBuf,
    standing: watch::Sender<HelperStanding>,
    /// Named anew on each connection.
    guarded: BTreeSet<ContainerId>,
}

impl Line {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut again = AGAIN_FIRST;
        let mut waiting: Option<Order> = None;
        loop {
            match self.connect().await {
                Ok(wire) => {
                    again = AGAIN_FIRST;
                    if self.serve(wire, waiting.take(), &mut orders).await.is_none() {
                        return;
                    }
                    self.show(HelperStanding::NotAnswering { detail: "its connection broke".to_owned() });
                }
                Err(standing) => {
                    let refusal = away(&standing);
                    self.show(standing);
                    if let Some(answer) = waiting.take().and_then(|order| order.answer) {
                        let _ = answer.send(Err(refusal));
                    }
                }
            }
            tokio::select! {
                order = orders.recv() => {
                    let Some(order) = order else { return };
                    self.note(&order.request);
                    waiting = Some(order);
                }
                () = sleep(again) => again = (again * 2).min(AGAIN_MOST),
            }
        }
    }

    fn show(&self, standing: HelperStanding) {
        self.standing.send_if_modified(|shown| {
            let is_new = *shown != standing;
            if is_new {
                tracing::info!(?standing, "the helper");
                *shown = standing;
            }
            is_new
        });
    }

    fn note(&mut self, request: &HelperRequest) {
        match request {
            HelperRequest::Guard { container_id } => drop(self.guarded.insert(container_id.clone())),
            HelperRequest::Release { container_id } => drop(self.guarded.remove(container_id)),
            _ => {}
        }
    }

    async fn connect(&mut self) -> Result<Wire, HelperStanding> {
        let stream = open(&self.socket).await?;
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_codec();
        let mut wire = Framed::new(stream, codec);
        let app_version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = HelperRequest::Hello { protocol_version: HELPER_VERSION, app_version };
        match converse(&mut wire, &hello).await {
            Ok(HelperAnswer::Welcome { helper_version, .. }) => {
                self.show(HelperStanding::Available { version: helper_version });
            }
            Ok(HelperAnswer::Refused(refusal)) if refusal.code == HelperErrorCode::NotAllowed => {
                return Err(HelperStanding::NotAllowed);
            }
            Ok(HelperAnswer::Refused(refusal)) => {
                return Err(HelperStanding::NotAnswering { detail: refusal.detail });
            }
            Ok(_) => return Err(HelperStanding::NotAnswering { detail: "it did not greet".to_owned() }),
            Err(detail) => return Err(HelperStanding::NotAnswering { detail }),
        }
        for container_id in self.guarded.clone() {
            match converse(&mut wire, &HelperRequest::Guard { container_id: container_id.clone() }).await {
                Ok(HelperAnswer::Refused(refusal)) => {
                    tracing::debug!("not guarded any more: {refusal}");
                    self.guarded.remove(&container_id);
                }
                Ok(_) => {}
                Err(detail) => return Err(HelperStanding::NotAnswering { detail }),
            }
        }
        Ok(wire)
    }

    /// One connection to its end; `None` when this program ends.
    async fn serve(
        &mut self,
        mut wire: Wire,
        first: Option<Order>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<()> {
        let mut next = first;
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => tokio::select! {
                    order = orders.recv() => order?,
                    // It says nothing by itself: this is its end, or a fault.
                    _ = wire.next() => return Some(()),
                },
            };
            self.note(&order.request);
            let answer = match converse(&mut wire, &order.request).await {
                Ok(HelperAnswer::Refused(refusal)) => {
                    tracing::warn!(request = ?order.request, "the helper refused: {refusal}");
                    Err(refusal)
                }
                Ok(answer) => Ok(answer),
                Err(detail) => {
                    // Who waits is told by the silence that it may have been done.
                    tracing::warn!(request = ?order.request, "the helper did not answer: {detail}");
                    return Some(());
                }
            };
            if let Some(waiting) = order.answer {
                let _ = waiting.send(answer);
            }
        }
    }
}

async fn converse(wire: &mut Wire, request: &HelperRequest) -> Result<HelperAnswer, String> {
    let text = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    let exchange = async {
        wire.send(Bytes::from(text)).await.map_err(|error| error.to_string())?;
        let frame =
            wire.next().await.ok_or("it closed the connection")?.map_err(|error| error.to_string())?;
        serde_json::from_slice(&frame).map_err(|error| error.to_string())
    };
    timeout(ANSWER_WITHIN, exchange).await.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
}

fn away(standing: &HelperStanding) -> HelperRefusal {
    let text = match standing {
        HelperStanding::NotAnswering { detail } => format!("the helper does not answer ({detail})"),
        HelperStanding::NotAllowed => "the helper does not serve this account".to_owned(),
        HelperStanding::Unsupported => "there is no helper on this system".to_owned(),
        _ => "the helper is not installed".to_owned(),
    };
    HelperRefusal::new(HelperErrorCode::Busy, text)
}

#[cfg(unix)]
async fn open(socket: &std::path::Path) -> Result<Box<dyn Io>, HelperStanding> {
    use std::io::ErrorKind;
    match tokio::net::UnixStream::connect(socket).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => HelperStanding::NotInstalled,
            ErrorKind::PermissionDenied => HelperStanding::NotAllowed,
            _ => HelperStanding::NotAnswering { detail: error.to_string() },
        }),
    }
}

/// What the service's access list gives to who sits at this PC: reading and writing, and no further end of the pipe.
#[cfg(windows)]
const PIPE_RIGHTS: u32 = 0x0012_019b;

/// Opened by hand, because the ordinary ways ask for more than the list gives. The service may learn who asks, and may
/// not act in their name.
#[cfg(windows)]
#[expect(unsafe_code, reason = "a pipe that the standard library has opened becomes one of Tokio's")]
async fn open(socket: &std::path::Path) -> Result<Box<dyn Io>, HelperStanding> {
    use std::io::ErrorKind;
    use std::os::windows::fs::OpenOptionsExt;
    use std::os::windows::io::IntoRawHandle;
    use tokio::net::windows::named_pipe::NamedPipeClient;

    const FILE_FLAG_OVERLAPPED: u32 = 0x4000_0000;
    const SECURITY_IDENTIFICATION: u32 = 0x0001_0000;
    let opened = std::fs::OpenOptions::new()
        .access_mode(PIPE_RIGHTS)
        .custom_flags(FILE_FLAG_OVERLAPPED)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(socket);
    let pipe = opened.and_then(|file| {
        // SAFETY: the handle is of a pipe that was opened for overlapped use, and nobody else owns it.
        unsafe { NamedPipeClient::from_raw_handle(file.into_raw_handle()) }
    });
    match pipe {
        Ok(pipe) => Ok(Box::new(pipe)),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => HelperStanding::NotInstalled,
            ErrorKind::PermissionDenied => HelperStanding::NotAllowed,
            _ => HelperStanding::NotAnswering { detail: error.to_string() },
        }),
    }
}

#[cfg(not(any(unix, windows)))]
async fn open(_: &std::path::Path) -> Result<Box<dyn Io>, HelperStanding> {
    Err(HelperStanding::Unsupported)
}
