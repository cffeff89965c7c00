//! The line to the market: one WebSocket, opened again and again, over which reports and usage go out and orders come
//! in. What is only said once (usage) stays in the journal until it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use iroh_base::SecretKey;
use nightjar_core::host::{Input, MarketInput, Report};
use nightjar_protocol::host_session::{
    HEARTBEAT_MS, HOST_SESSION_VERSION, MAX_FRAME_BYTES, SignedReport, SignedUsage, ToCoordinator, ToHost,
    hello_signing_bytes,
};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::journal::{Journal, SEND_AT_MOST};
use crate::owner::Message;
use crate::scribe::Writing;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MOST: Duration = Duration::from_secs(30);

pub(crate) struct Session {
    pub key: SecretKey,
    pub journal: Journal,
    pub scribe: mpsc::UnboundedSender<Writing>,
    pub owner: mpsc::UnboundedSender<Message>,
    pub usage_waits: Arc<Notify>,
}

/// How far one session has got through what waits to be sent.
#[derive(Default)]
struct UsageSent {
    /// The place of the last one in the journal.
    up_to: i64,
    /// More waited than were sent; they go out with the next heartbeats.
    is_more: bool,
}

impl Session {
    /// Runs until `reports` ends, so that the last word is said; `coordinator` holds the market's address once there is
    /// one. Its sender goes earlier, with the owner of all state: what was said just before still has to go out.
    pub(crate) async fn run(
        self,
        mut coordinator: watch::Receiver<Option<String>>,
        mut reports: mpsc::UnboundedReceiver<Report>,
    ) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let Some(url) = coordinator.borrow_and_update().clone() else {
                self.tell(MarketInput::NotEnrolled);
                if coordinator.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let started = Instant::now();
            tokio::select! {
                ended = self.one(&url, &mut reports) => match ended {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!("the market {url}: {error:#}");
                        self.tell(MarketInput::Unreachable { detail: short(&error) });
                    }
                },
                () = moved(&mut coordinator) => continue,
            }
            if reports.is_closed() {
                return;
            }
            if started.elapsed() > BACKOFF_MOST {
                backoff = BACKOFF_FIRST;
            }
            // Spread, so that a restarted coordinator is not met by all of its hosts in one moment.
            tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            backoff = (backoff * 2).min(BACKOFF_MOST);
        }
    }

    fn tell(&self, input: MarketInput) {
        let _ = self.owner.send(Message::Input(Input::Market(input)));
    }

    /// One connection, until it breaks (an error) or the agent ends.
    async fn one(&self, url: &str, reports: &mut mpsc::UnboundedReceiver<Report>) -> anyhow::Result<()> {
        let mut socket = self.open(url).await?;
        // What was said while nobody listened is told anew by the host on `Connected`.
        while reports.try_recv().is_ok() {}
        self.tell(MarketInput::Connected);
        let mut usage = UsageSent::default();
        self.send_usage(&mut socket, url, &mut usage).await?;
        let mut heartbeat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                frame = socket.next() => {
                    heard = Instant::now();
                    match frame.context("the connection was closed")?? {
                        Frame::Text(text) => self.take(url, serde_json::from_str(&text)?)?,
                        Frame::Close(_) => bail!("the coordinator closed the session"),
                        _ => {}
                    }
                }
                report = reports.recv() => match report {
                    Some(report) => say(&mut socket, &self.signed(report)).await?,
                    None => {
                        let _ = socket.close(None).await;
                        return Ok(());
                    }
                },
                () = self.usage_waits.notified() => self.send_usage(&mut socket, url, &mut usage).await?,
                _ = heartbeat.tick() => {
                    if heard.elapsed() > Duration::from_millis(3 * HEARTBEAT_MS) {
                        bail!("the coordinator has been silent for too long");
                    }
                    say(&mut socket, &ToCoordinator::Heartbeat).await?;
                    if usage.is_more {
                        self.send_usage(&mut socket, url, &mut usage).await?;
                    }
                }
            }
        }
    }

    async fn open(&self, url: &str) -> anyhow::Result<Socket> {
        let address = address(url, "/v1/hosts/session")?;
        let bounds = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let connecting = tokio_tungstenite::connect_async_with_config(address, Some(bounds), true);
        let (mut socket, _) = timeout(ANSWER_WITHIN, connecting).await.context("no answer in 10 s")??;
        let ToHost::Challenge { nonce } = hear(&mut socket).await? else { bail!("no challenge came first") };
        let host_key = hex::encode(self.key.public().as_bytes());
        let signature = self.key.sign(&hello_signing_bytes(&nonce, &host_key));
        let hello = ToCoordinator::Hello {
            session_version: HOST_SESSION_VERSION,
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            host_key,
            signature: hex::encode(signature.to_bytes()),
        };
        say(&mut socket, &hello).await?;
        match hear(&mut socket).await? {
            ToHost::Welcome { host_id, relay, terms, seen_from } => {
                tracing::info!(host_id, "connected to the market");
                if let Some(address) = seen_from {
                    let _ = self.owner.send(Message::SeenFrom(address));
                }
                let _ = self.owner.send(Message::Relay(relay));
                if let Some(terms) = terms {
                    self.tell(MarketInput::Terms(terms));
                }
                Ok(socket)
            }
            ToHost::Refused { code, detail } => bail!("refused: {detail} ({})", code.as_str()),
            _ => bail!("the coordinator did not answer the greeting"),
        }
    }

    fn take(&self, url: &str, order: ToHost) -> anyhow::Result<()> {
        match order {
            ToHost::Offer(terms) => self.tell(MarketInput::Offer(Box::new(terms))),
            ToHost::Start { lease, epoch } => self.tell(MarketInput::Start { lease, epoch }),
            ToHost::End { lease, epoch, reason } => self.tell(MarketInput::End { lease, epoch, reason }),
            ToHost::Account(account) => self.tell(MarketInput::Account(account)),
            ToHost::Waiting { cards } => self.tell(MarketInput::Waiting { cards }),
            ToHost::Demand { cards } => self.tell(MarketInput::Demand { cards }),
            ToHost::CheckLine { ticket } => self.tell(MarketInput::CheckLine { ticket }),
            ToHost::Line(figures) => self.tell(MarketInput::Line(figures)),
            ToHost::Check { gpu, nonce, within_ms } => {
                self.tell(MarketInput::Check { gpu, nonce, within_ms });
            }
            ToHost::UsageStored { lease, epoch, sequence, refused: None } => {
                let _ = self.scribe.send(Writing::Acknowledge { lease, epoch, sequence });
            }
            ToHost::UsageStored { lease, epoch, sequence, refused: Some(why) } => {
                tracing::warn!(%lease, sequence, ?why, "the market will not pay for this stretch");
                let market = url.to_owned();
                let _ = self.scribe.send(Writing::Refuse { lease, epoch, sequence, market, why });
            }
            ToHost::Refused { code, detail } => bail!("refused: {detail} ({})", code.as_str()),
            ToHost::Heartbeat | ToHost::Challenge { .. } | ToHost::Welcome { .. } => {}
        }
        Ok(())
    }

    /// What was measured of a card goes out with this host's word for it.
    fn signed(&self, report: Report) -> ToCoordinator {
        let Some(proof) = report.proof() else { return ToCoordinator::Report(report) };
        let signature = hex::encode(self.key.sign(&proof.signing_bytes()).to_bytes());
        ToCoordinator::Proven(SignedReport { report, signature })
    }

    /// What was not sent in this session yet, up to a page. The answers are read before the next one goes out: neither
    /// side may wait for the other to take what it says.
    async fn send_usage(&self, socket: &mut Socket, url: &str, sent: &mut UsageSent) -> anyhow::Result<()> {
        let page = self.journal.unacknowledged(url, sent.up_to).await?;
        sent.is_more = page.len() == SEND_AT_MOST;
        for (place, record) in page {
            sent.up_to = place;
            let signature = hex::encode(self.key.sign(&record.signing_bytes()).to_bytes());
            say(socket, &ToCoordinator::Usage(SignedUsage { record, signature })).await?;
        }
        Ok(())
    }
}

/// When this PC has joined another market; never, once nobody can make it join one.
async fn moved(coordinator: &mut watch::Receiver<Option<String>>) {
    if coordinator.changed().await.is_err() {
        std::future::pending().await
    }
}

/// `http://host:port` → `ws://host:port/v1/hosts/session`, say.
pub(crate) fn address(url: &str, path: &str) -> anyhow::Result<String> {
    let base = url.trim_end_matches('/');
    if let Some(rest) = base.strip_prefix("http://") {
        Ok(format!("ws://{rest}{path}"))
    } else if let Some(rest) = base.strip_prefix("https://") {
        Ok(format!("wss://{rest}{path}"))
    } else {
        bail!("the market's address must begin with https:// (or http:// on this PC), not \"{url}\"")
    }
}

async fn say(socket: &mut Socket, message: &ToCoordinator) -> anyhow::Result<()> {
    let frame = Frame::text(serde_json::to_string(message)?);
    timeout(ANSWER_WITHIN, socket.send(frame)).await.context("the coordinator takes no more data")??;
    Ok(())
}

async fn hear(socket: &mut Socket) -> anyhow::Result<ToHost> {
    loop {
        let frame = timeout(ANSWER_WITHIN, socket.next()).await.context("no answer in 10 s")?;
        match frame.context("the connection was closed")?? {
            Frame::Text(text) => return Ok(serde_json::from_str(&text)?),
            Frame::Close(_) => bail!("the coordinator closed the session"),
            _ => {}
        }
    }
}

/// The last cause is the one that helps; the chain is in the log.
fn short(error: &anyhow::Error) -> String {
    error.root_cause().to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{EACH, two_long_leases};
    use nightjar_core::meter::{UsageRecord, UsageRefusal};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    /// A market that greets whoever comes.
    async fn greet(listener: TcpListener, greeted: oneshot::Sender<()>) -> WebSocketStream<TcpStream> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let mut tell = async |order: &ToHost| {
            let frame = Frame::text(serde_json::to_string(order).unwrap());
            socket.send(frame).await.unwrap();
        };
        tell(&ToHost::Challenge { nonce: "nonce".into() }).await;
        tell(&ToHost::Welcome { host_id: "host".into(), relay: None, terms: None, seen_from: None }).await;
        let _ = greeted.send(());
        socket
    }

    /// Writes down what a host says until it leaves. A heartbeat says nothing and comes whenever it is due, also between
    /// the last word and the leaving.
    async fn market(listener: TcpListener, greeted: oneshot::Sender<()>) -> Vec<ToCoordinator> {
        let mut socket = greet(listener, greeted).await;
        let mut said = Vec::new();
        while let Some(Ok(Frame::Text(text))) = socket.next().await {
            match serde_json::from_str(&text).unwrap() {
                ToCoordinator::Heartbeat => {}
                word => said.push(word),
            }
        }
        said
    }

    /// The last of each lease is refused for good and no other gets an answer: all are sent, each once, and the refusals are
    /// written down.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_long_backlog_goes_out_whatever_the_market_answers() {
        let (_folder, journal) = two_long_leases().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (greeted, _greeting) = oneshot::channel();
        let (all, enough) = oneshot::channel();
        let all_there_is = usize::try_from(2 * EACH).unwrap();
        let hearing = tokio::spawn(async move {
            let mut socket = greet(listener, greeted).await;
            let mut usage = Vec::new();
            while let Some(Ok(Frame::Text(text))) = socket.next().await {
                let ToCoordinator::Usage(SignedUsage { record, .. }) = serde_json::from_str(&text).unwrap()
                else {
                    continue;
                };
                if record.sequence == EACH {
                    let UsageRecord { lease, epoch, sequence, .. } = record.clone();
                    let refused = Some(UsageRefusal::LeaseOver);
                    let answer = ToHost::UsageStored { lease, epoch, sequence, refused };
                    socket.send(Frame::text(serde_json::to_string(&answer).unwrap())).await.unwrap();
                }
                usage.push((record.lease, record.sequence));
                if usage.len() == all_there_is {
                    break;
                }
            }
            all.send(()).unwrap();
            while let Some(Ok(_)) = socket.next().await {}
            usage
        });
        let (owner, _told) = mpsc::unbounded_channel();
        let (scribe, mut orders) = mpsc::unbounded_channel();
        let (key, usage_waits) = (SecretKey::generate(), Arc::new(Notify::new()));
        let session = Session { key, journal, scribe, owner, usage_waits };
        let (coordinator, coordinator_inbox) = watch::channel(Some(url.clone()));
        let (reports, report_inbox) = mpsc::unbounded_channel();
        let speaking = tokio::spawn(session.run(coordinator_inbox, report_inbox));
        enough.await.unwrap();
        for lease in ["later in the alphabet", "earlier"] {
            let Some(Writing::Refuse { lease: named, sequence, market, why, .. }) = orders.recv().await
            else {
                panic!("something else was written down")
            };
            assert_eq!((named.0.as_str(), sequence), (lease, EACH));
            assert_eq!((market, why), (url.clone(), UsageRefusal::LeaseOver));
        }
        drop(coordinator);
        drop(reports);
        speaking.await.unwrap();
        let mut sent = hearing.await.unwrap();
        sent.sort_by(|a, b| (&a.0.0, a.1).cmp(&(&b.0.0, b.1)));
        sent.dedup();
        assert_eq!(sent.len(), all_there_is, "something was sent twice");
    }

    /// The owner of all state goes in one moment: its last report, and all that it held.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_last_word_is_said_after_its_speaker_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).await.unwrap();
        for _ in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (greeted, greeting) = oneshot::channel();
            let hearing = tokio::spawn(market(listener, greeted));
            let (owner, mut told) = mpsc::unbounded_channel();
            let (scribe, _orders) = mpsc::unbounded_channel();
            let usage_waits = Arc::new(Notify::new());
            let key = SecretKey::generate();
            let session = Session { key, journal: journal.clone(), scribe, owner, usage_waits };
            let (coordinator, coordinator_inbox) = watch::channel(Some(url));
            let (reports, report_inbox) = mpsc::unbounded_channel();
            let speaking = tokio::spawn(session.run(coordinator_inbox, report_inbox));
            greeting.await.unwrap();
            while !matches!(told.recv().await, Some(Message::Input(Input::Market(MarketInput::Connected)))) {}

            let last = Report::Offers { region: "the last word".into(), offers: vec![] };
            drop(coordinator);
            reports.send(last.clone()).unwrap();
            drop(reports);
            speaking.await.unwrap();
            let said = hearing.await.unwrap();
            assert_eq!(said.last(), Some(&ToCoordinator::Report(last)), "{said:?}");
        }
    }
}
