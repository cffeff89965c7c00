//! Has the line to the market measured when the owner of all state says so: see [`nightjar_protocol::line_session`]. It
//! keeps to the owner's limits, counts in the month, and ends in the moment in which it is told to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use nightjar_core::host::Input;
use nightjar_core::line_check::{CHECK_WITHIN_MS, CHUNK_BYTES, MOST_ALL_BYTES, MOST_BYTES, Stream, Sum};
use nightjar_core::network::{LEAST_KBIT, Rates};
use nightjar_protocol::line_session::{FromMeasured, MAX_LINE_FRAME_BYTES, ToMeasured};
use nightjar_worker::pull::Pace;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::owner::Message;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What a piece of a block may be and still come evenly at a low limit.
const PIECE_MS: u64 = 50;

/// What the owner of all state says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LineOrder {
    Check { ticket: String },
    Stop,
}

/// How fast it may be, and what it took: as for pulls, one each way.
#[derive(Debug, Default)]
pub(crate) struct LinePaces {
    pub down: Pace,
    pub up: Pace,
}

impl LinePaces {
    fn limits(&self) -> Option<Rates> {
        Some(Rates { up_kbit: self.up.limit()?, down_kbit: self.down.limit()? })
    }
}

/// While it lives the line is measured; at its end what that took is counted.
struct Active<'a>(&'a LinePaces);

impl<'a> Active<'a> {
    fn begin(paces: &'a LinePaces) -> Self {
        paces.down.set_active(true);
        Self(paces)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.down.set_active(false);
    }
}

pub(crate) struct LineChecks {
    pub coordinator: watch::Receiver<Option<String>>,
    pub paces: Arc<LinePaces>,
    /// Images are being fetched: the line is theirs.
    pub pulling: watch::Receiver<bool>,
    pub owner: mpsc::UnboundedSender<Message>,
}

impl LineChecks {
    /// Runs until nobody can order any more.
    pub(crate) async fn run(self, mut orders: mpsc::UnboundedReceiver<LineOrder>) {
        let mut next = orders.recv().await;
        while let Some(order) = next {
            let LineOrder::Check { ticket } = order else {
                next = orders.recv().await;
                continue;
            };
            // Whatever is said next ends it: dropped, the connection is closed.
            next = tokio::select! {
                biased;
                order = orders.recv() => order,
                done = self.check(&ticket) => {
                    if let Err(error) = done {
                        tracing::info!("the line to the market was not measured: {error:#}");
                    }
                    let _ = self.owner.send(Message::Input(Input::LineChecked));
                    orders.recv().await
                }
            };
        }
    }

    async fn check(&self, ticket: &str) -> anyhow::Result<()> {
        let mut pulling = self.pulling.clone();
        let limits = self.paces.limits().context("the owner's limits are not known yet")?;
        let url = self.coordinator.borrow().clone().context("this host is in no market")?;
        let _active = Active::begin(&self.paces);
        let all = Duration::from_millis(CHECK_WITHIN_MS);
        tokio::select! {
            biased;
            _ = pulling.wait_for(|is_pulling| *is_pulling) => bail!("images are being fetched"),
            done = timeout(all, self.be_measured(&url, ticket, limits)) => done.context("it took too long")?,
        }
    }

    async fn be_measured(&self, url: &str, ticket: &str, limits: Rates) -> anyhow::Result<()> {
        let mut socket = open(url).await?;
        say(&mut socket, &FromMeasured::Here { ticket: ticket.to_owned(), limits }).await?;
        let (mut down, mut up) = (0_u64, 0_u64);
        let within = |all: &mut u64, bytes: u32| {
            *all += u64::from(bytes);
            let fits = bytes <= MOST_BYTES && *all <= MOST_ALL_BYTES;
            ensure!(fits, "the market wants more than is measured: {bytes} bytes");
            Ok(bytes as usize)
        };
        loop {
            match hear(&mut socket).await? {
                ToMeasured::Echo { token } => say(&mut socket, &FromMeasured::Echo { token }).await?,
                ToMeasured::Take { bytes } => self.take(&mut socket, within(&mut down, bytes)?).await?,
                ToMeasured::Give { bytes, seed } => {
                    let seed = u64::from_str_radix(&seed, 16).context("the seed is no number")?;
                    self.give(&mut socket, within(&mut up, bytes)?, Stream::of(seed), limits).await?;
                }
                ToMeasured::Done => return Ok(()),
            }
        }
    }

    async fn take(&self, socket: &mut Socket, bytes: usize) -> anyhow::Result<()> {
        self.paces.down.forget_rest().await;
        let (mut left, mut sum) = (bytes, Sum::default());
        while left > 0 {
            let Frame::Binary(chunk) = next(socket).await? else { bail!("a block was broken off") };
            ensure!(!chunk.is_empty() && chunk.len() <= left, "a block is longer than was said");
            self.paces.down.note(chunk.len());
            self.paces.down.fit(chunk.len()).await;
            sum.take(&chunk);
            left -= chunk.len();
        }
        say(socket, &FromMeasured::Took { sum: sum.word() }).await
    }

    async fn give(
        &self,
        socket: &mut Socket,
        bytes: usize,
        mut stream: Stream,
        limits: Rates,
    ) -> anyhow::Result<()> {
        self.paces.up.forget_rest().await;
        let (mut left, piece) = (bytes, piece_bytes(limits.up_kbit));
        while left > 0 {
            let mut chunk = vec![0; left.min(piece)];
            stream.fill(&mut chunk);
            left -= chunk.len();
            self.paces.up.note(chunk.len());
            self.paces.up.fit(chunk.len()).await;
            socket.send(Frame::binary(chunk)).await?;
        }
        Ok(())
    }
}

/// A multiple of 8 bytes.
fn piece_bytes(kbit: u32) -> usize {
    let bytes = usize::try_from(u64::from(kbit.max(LEAST_KBIT)) * PIECE_MS / 8).unwrap_or(CHUNK_BYTES);
    (bytes / 8 * 8).clamp(8, CHUNK_BYTES)
}

async fn open(url: &str) -> anyhow::Result<Socket> {
    let address = crate::session::address(url, "/v1/hosts/line")?;
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(MAX_LINE_FRAME_BYTES))
        .max_frame_size(Some(MAX_LINE_FRAME_BYTES));
    let connecting = tokio_tungstenite::connect_async_with_config(address, Some(bounds), true);
    Ok(timeout(CONNECT_WITHIN, connecting).await.context("the market does not answer")??.0)
}

async fn say(socket: &mut Socket, word: &FromMeasured) -> anyhow::Result<()> {
    Ok(socket.send(Frame::text(serde_json::to_string(word)?)).await?)
}

/// The next frame that carries something.
async fn next(socket: &mut Socket) -> anyhow::Result<Frame> {
    loop {
        match socket.next().await.context("the market closed the connection")?? {
            Frame::Close(_) => bail!("the market closed the connection"),
            Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            frame => return Ok(frame),
        }
    }
}

async fn hear(socket: &mut Socket) -> anyhow::Result<ToMeasured> {
    match next(socket).await? {
        Frame::Text(text) => Ok(serde_json::from_str(&text)?),
        _ => bail!("a block came that was not announced"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    struct Rig {
        listener: TcpListener,
        orders: mpsc::UnboundedSender<LineOrder>,
        told: mpsc::UnboundedReceiver<Message>,
        paces: Arc<LinePaces>,
        pulling: watch::Sender<bool>,
        running: JoinHandle<()>,
    }

    async fn rig(kbit: u32, is_pulling: bool) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (_, coordinator) = watch::channel(Some(url));
        let (pulling, is_pulling) = watch::channel(is_pulling);
        let (owner, told) = mpsc::unbounded_channel();
        let (orders, inbox) = mpsc::unbounded_channel();
        let paces = Arc::new(LinePaces::default());
        paces.down.set_limit(Some(kbit));
        paces.up.set_limit(Some(kbit));
        let checks = LineChecks { coordinator, paces: paces.clone(), pulling: is_pulling, owner };
        let running = tokio::spawn(checks.run(inbox));
        Rig { listener, orders, told, paces, pulling, running }
    }

    impl Rig {
        fn ask(&self) {
            self.orders.send(LineOrder::Check { ticket: "7a".into() }).unwrap();
        }

        async fn accept(&self) -> WebSocketStream<TcpStream> {
            let (stream, _) = self.listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let Some(Ok(Frame::Text(text))) = socket.next().await else { panic!("no greeting") };
            let Ok(FromMeasured::Here { ticket, .. }) = serde_json::from_str(&text) else { panic!("{text}") };
            assert_eq!(ticket, "7a");
            socket
        }
    }

    async fn tell(socket: &mut WebSocketStream<TcpStream>, word: &ToMeasured) {
        socket.send(Frame::text(serde_json::to_string(word).unwrap())).await.unwrap();
    }

    #[tokio::test]
    async fn it_keeps_to_the_limits_counts_what_it_took_and_ends_when_it_is_told_to() {
        let rig = rig(8_000, false).await;
        rig.ask();
        let mut market = rig.accept().await;
        let block = vec![7; 256 * 1024];
        let began = tokio::time::Instant::now();
        tell(&mut market, &ToMeasured::Take { bytes: 256 * 1024 }).await;
        for chunk in block.chunks(CHUNK_BYTES) {
            market.send(Frame::binary(chunk.to_vec())).await.unwrap();
        }
        let Some(Ok(Frame::Text(said))) = market.next().await else { panic!("nothing was said") };
        let mut sum = Sum::default();
        sum.take(&block);
        assert_eq!(
            serde_json::from_str::<FromMeasured>(&said).unwrap(),
            FromMeasured::Took { sum: sum.word() }
        );
        // A megabyte a second.
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        assert_eq!(rig.paces.down.taken_bytes(), 256 * 1024);

        tell(&mut market, &ToMeasured::Give { bytes: MOST_BYTES, seed: "7".into() }).await;
        let mut stream = Stream::of(7);
        let Some(Ok(Frame::Binary(first))) = market.next().await else { panic!("no block") };
        let mut wanted = vec![0; first.len()];
        stream.fill(&mut wanted);
        assert_eq!(wanted, first.to_vec());
        rig.orders.send(LineOrder::Stop).unwrap();
        let ended = async { while let Some(Ok(_)) = market.next().await {} };
        timeout(Duration::from_secs(2), ended).await.expect("four seconds' worth went on");
        assert!(rig.paces.up.taken_bytes() < u64::from(MOST_BYTES));
        drop(rig.orders);
        rig.running.await.unwrap();
    }

    #[tokio::test]
    async fn a_market_that_wants_too_much_gets_nothing_and_who_fetches_images_is_not_disturbed() {
        let mut first = rig(1_000_000, false).await;
        first.ask();
        let mut market = first.accept().await;
        tell(&mut market, &ToMeasured::Give { bytes: MOST_BYTES + 8, seed: "7".into() }).await;
        assert!(!matches!(market.next().await, Some(Ok(Frame::Binary(_)))));
        let is_over = |told: Option<Message>| matches!(told, Some(Message::Input(Input::LineChecked)));
        assert!(is_over(first.told.recv().await));
        assert_eq!(first.paces.up.taken_bytes(), 0);
        let mut pulling = rig(1_000_000, true).await;
        pulling.ask();
        assert!(is_over(pulling.told.recv().await), "it did not even connect");
        // One that begins in the middle has the line from then on.
        pulling.pulling.send_replace(false);
        pulling.ask();
        let mut market = pulling.accept().await;
        pulling.pulling.send_replace(true);
        assert!(is_over(pulling.told.recv().await));
        assert!(!matches!(market.next().await, Some(Ok(_))), "it stayed");
    }

    #[test]
    fn pieces_are_whole_words_and_even_at_any_limit() {
        assert_eq!((piece_bytes(0), piece_bytes(LEAST_KBIT)), (400, 400));
        assert_eq!(piece_bytes(u32::MAX), CHUNK_BYTES);
        assert!((0..20_000).all(|kbit| piece_bytes(kbit).is_multiple_of(8)));
    }
}
