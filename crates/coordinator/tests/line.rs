//! A host's line is as fast as the market saw it, whatever the host says of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use nightjar_core::line_check::{LineFigures, Stream, Sum};
use nightjar_core::network::Rates;
use nightjar_protocol::line_session::{FromMeasured, ToMeasured};
use nightjar_protocol::market_api::Offers;
use rig::{Host, Rig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const LIMITS: Rates = Rates { up_kbit: 900_000, down_kbit: 900_000 };
const SOON: Duration = Duration::from_secs(20);

/// What a host does with what it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Honest,
    /// Takes and gives so much, whatever it says of its limits.
    Paced {
        kbit: u32,
    },
    /// Says that a block came before it did.
    Early,
    /// Leaves the middle of a block out of its sum.
    Skips,
    /// Sends what it had ready instead of what it is asked for.
    OwnBytes,
    /// Says something that is no answer.
    Claims,
}

struct Line(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Line {
    async fn open(rig: &Rig, ticket: &str) -> Self {
        let (socket, _) = connect_async(rig.url("/v1/hosts/line").replace("http://", "ws://")).await.unwrap();
        let mut line = Self(socket);
        line.say(&FromMeasured::Here { ticket: ticket.to_owned(), limits: LIMITS }).await;
        line
    }

    async fn say(&mut self, word: &FromMeasured) {
        // A market that has heard enough hangs up.
        let _ = self.0.send(Message::text(serde_json::to_string(word).unwrap())).await;
    }

    async fn next(&mut self) -> Option<Message> {
        match timeout(SOON, self.0.next()).await.expect("the market says nothing") {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => Some(message),
            _ => None,
        }
    }

    /// To the end. `true` where the market was content.
    async fn be_measured(mut self, way: Way) -> bool {
        loop {
            let Some(Message::Text(text)) = self.next().await else { return false };
            match serde_json::from_str(&text).unwrap() {
                ToMeasured::Echo { token } => self.say(&FromMeasured::Echo { token }).await,
                ToMeasured::Take { bytes } => self.take(bytes, way).await,
                ToMeasured::Give { bytes, seed } => self.give(bytes, &seed, way).await,
                ToMeasured::Done => return true,
            }
        }
    }

    async fn take(&mut self, bytes: u32, way: Way) {
        let (mut sum, mut left, began) = (Sum::default(), bytes as usize, Instant::now());
        match way {
            Way::Early => return self.say(&FromMeasured::Took { sum: sum.word() }).await,
            Way::Claims => return self.say(&FromMeasured::Echo { token: "1000000 kbit/s".into() }).await,
            _ => {}
        }
        while left > 0 {
            let Some(Message::Binary(chunk)) = self.next().await else { return };
            if way != Way::Skips || left == bytes as usize {
                sum.take(&chunk);
            }
            left -= chunk.len();
            pace(way, bytes as usize - left, began).await;
        }
        if way == Way::Skips {
            sum.take(&[0; 8]);
        }
        self.say(&FromMeasured::Took { sum: sum.word() }).await;
    }

    async fn give(&mut self, bytes: u32, seed: &str, way: Way) {
        let mut stream = Stream::of(u64::from_str_radix(seed, 16).unwrap());
        let mut block = vec![0; bytes as usize];
        if way != Way::OwnBytes {
            stream.fill(&mut block);
        }
        let (mut sent, began) = (0, Instant::now());
        for chunk in block.chunks(4_096) {
            sent += chunk.len();
            pace(way, sent, began).await;
            if self.0.send(Message::binary(chunk.to_vec())).await.is_err() {
                return;
            }
        }
    }
}

async fn pace(way: Way, bytes: usize, began: Instant) {
    if let Way::Paced { kbit } = way {
        let due = Duration::from_secs_f64(bytes as f64 * 8.0 / (f64::from(kbit) * 1_000.0));
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
}

/// As the operator sees it.
async fn known(rig: &Rig, host: &Host) -> Option<LineFigures> {
    let hosts = rig.operator.hosts().await.unwrap();
    hosts.into_iter().find(|known| known.host == host.id).unwrap().line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_as_fast_as_the_market_saw_it_and_everybody_is_told() {
    let rig = Rig::start().await;
    let alice = rig.renter("alice", "20.00").await;
    let mut fast = rig.host("fast", 600_000).await;
    let ticket = fast.hears_line_check().await;
    let measured = async { Line::open(&rig, &ticket).await.be_measured(Way::Honest).await };
    assert!(fast.there_while(measured).await);
    let seen = fast.hears_line().await;
    assert_eq!(known(&rig, &fast).await, Some(seen));
    let offers = alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers;
    assert_eq!(offers[0].line, Some(seen));
    // A ticket is for one connection.
    assert!(!Line::open(&rig, &ticket).await.be_measured(Way::Honest).await);

    // It says the same of its limits, and is slower.
    let mut slow = rig.host("slow", 500_000).await;
    let ticket = slow.hears_line_check().await;
    let measured = async { Line::open(&rig, &ticket).await.be_measured(Way::Paced { kbit: 6_000 }).await };
    assert!(slow.there_while(measured).await);
    let found = slow.hears_line().await;
    for kbit in [found.down_kbit, found.up_kbit] {
        assert!((4_500..=6_300).contains(&kbit), "{found:?}");
    }
    assert!(seen.down_kbit > 3 * found.down_kbit && seen.up_kbit > 3 * found.up_kbit, "{seen:?}");
    assert!(!found.is_at_limit() && found.limits == LIMITS);
    let offers = alice.get::<Offers>(&rig, "/v1/offers").await.unwrap().offers;
    assert_eq!(offers[0].line, Some(found), "of the cheaper one's host");
    // The owner reads it again after a reconnect, and the market has kept it.
    let rig = rig.restart().await;
    slow.connect(&rig).await;
    assert_eq!(slow.hears_line().await, found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_claims_what_it_did_not_do_is_believed_in_nothing() {
    let rig = Rig::start().await;
    assert!(!Line::open(&rig, "7a").await.be_measured(Way::Honest).await, "nobody was asked");
    let mut hosts = Vec::new();
    for way in [Way::Early, Way::Skips, Way::OwnBytes, Way::Claims] {
        hosts.push((rig.host(&format!("{way:?}"), 600_000).await, way));
    }
    // Each has its turn.
    let judged = hosts.iter_mut().map(|(host, way)| {
        let (rig, way) = (&rig, *way);
        async move {
            let ticket = host.hears_line_check().await;
            let measured = async { Line::open(rig, &ticket).await.be_measured(way).await };
            assert!(!host.there_while(measured).await, "{way:?}");
            assert_eq!(known(rig, host).await, None, "{way:?}");
        }
    });
    join_all(judged).await;
}
