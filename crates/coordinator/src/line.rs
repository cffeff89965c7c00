//! Measures a host's line over a WebSocket of its own: see [`nightjar_protocol::line_session`]. Every figure is what this
//! program sent or got, on this program's clock.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use nightjar_core::line_check::{CHECK_WITHIN_MS, CHUNK_BYTES, Course, ECHOES, LineFigures, Stream, Sum};
use nightjar_core::network::{LEAST_KBIT, MOST_KBIT, Rates};
use nightjar_protocol::line_session::{FromMeasured, ToMeasured};
use tokio::time::{Instant, timeout};

use crate::market::Market;

const GREETING_WITHIN: Duration = Duration::from_secs(5);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the host left")]
    Left,
    #[error("it took too long")]
    Slow,
    #[error("its ticket is none, or was used")]
    Ticket,
    #[error("the host said something else than it was asked for")]
    Other,
    #[error("what the host says it got, or sent, is not what it was to get or send")]
    Wrong,
    #[error("the connection broke: {0}")]
    Broken(#[from] axum::Error),
    #[error("the host sent what is no message: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Serves one connection to its end.
pub(crate) async fn serve(mut socket: WebSocket, market: Arc<Market>) {
    match greet(&mut socket, &market).await {
        Ok((host_id, ticket, limits)) => {
            let all = Duration::from_millis(CHECK_WITHIN_MS);
            let measured = timeout(all, measure(&mut socket, limits)).await.unwrap_or(Err(Fault::Slow));
            market.registry.end_line(&ticket);
            match measured {
                Ok(measured) => {
                    let figures = LineFigures { at: market.clock.now(), ..measured };
                    tracing::info!(host_id, ?figures, "the host's line was measured");
                    if let Err(error) = market.keep_line(&host_id, figures).await {
                        tracing::warn!(host_id, "what was measured could not be kept: {error}");
                    }
                    let _ = timeout(CLOSE_WITHIN, say(&mut socket, &ToMeasured::Done)).await;
                }
                Err(why) => tracing::info!(host_id, "the host's line was not measured: {why}"),
            }
        }
        Err(why) => tracing::info!("a line was not measured: {why}"),
    }
    let _ = timeout(CLOSE_WITHIN, socket.send(Message::Close(None))).await;
}

async fn greet(socket: &mut WebSocket, market: &Market) -> Result<(String, String, Rates), Fault> {
    let first = timeout(GREETING_WITHIN, hear(socket)).await.map_err(|_| Fault::Slow)??;
    let FromMeasured::Here { ticket, limits } = first else { return Err(Fault::Other) };
    let host_id = market.registry.take_line_ticket(&ticket, market.clock.now()).ok_or(Fault::Ticket)?;
    let bounded = |kbit: u32| kbit.clamp(LEAST_KBIT, MOST_KBIT);
    let limits = Rates { up_kbit: bounded(limits.up_kbit), down_kbit: bounded(limits.down_kbit) };
    Ok((host_id, ticket, limits))
}

async fn measure(socket: &mut WebSocket, limits: Rates) -> Result<LineFigures, Fault> {
    let mut rtt_us = u64::MAX;
    for _ in 0..ECHOES {
        rtt_us = rtt_us.min(echo(socket).await?);
    }
    let mut down = Course::default();
    while let Some(bytes) = down.next_bytes() {
        down.took(send(socket, bytes).await?);
    }
    let mut up = Course::default();
    while let Some(bytes) = up.next_bytes() {
        up.took(receive(socket, bytes).await?);
    }
    let (down_kbit, up_kbit) = (down.kbit(), up.kbit());
    let rtt_us = u32::try_from(rtt_us).unwrap_or(u32::MAX);
    Ok(LineFigures { at: Default::default(), down_kbit, up_kbit, rtt_us, limits })
}

async fn say(socket: &mut WebSocket, word: &ToMeasured) -> Result<(), Fault> {
    Ok(socket.send(Message::Text(serde_json::to_string(word)?.into())).await?)
}

/// The next frame that carries something.
async fn next(socket: &mut WebSocket) -> Result<Message, Fault> {
    loop {
        match socket.recv().await.ok_or(Fault::Left)?? {
            Message::Close(_) => return Err(Fault::Left),
            Message::Ping(_) | Message::Pong(_) => {}
            message => return Ok(message),
        }
    }
}

async fn hear(socket: &mut WebSocket) -> Result<FromMeasured, Fault> {
    match next(socket).await? {
        Message::Text(text) => Ok(serde_json::from_str(&text)?),
        _ => Err(Fault::Other),
    }
}

fn passed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A word that nobody knows before it is said, there and back.
async fn echo(socket: &mut WebSocket) -> Result<u64, Fault> {
    let token = hex::encode(rand::random::<[u8; 8]>());
    let began = Instant::now();
    say(socket, &ToMeasured::Echo { token: token.clone() }).await?;
    let back = hear(socket).await?;
    let took = passed_us(began);
    if back == (FromMeasured::Echo { token }) { Ok(took) } else { Err(Fault::Wrong) }
}

/// Until the host has said a word that only who has every byte can say.
async fn send(socket: &mut WebSocket, bytes: u32) -> Result<u64, Fault> {
    let mut sum = Sum::default();
    let mut left = bytes as usize;
    let began = Instant::now();
    say(socket, &ToMeasured::Take { bytes }).await?;
    while left > 0 {
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        rand::fill(&mut chunk[..]);
        sum.take(&chunk);
        left -= chunk.len();
        socket.send(Message::Binary(chunk.into())).await?;
    }
    let back = hear(socket).await?;
    let took = passed_us(began);
    if back == (FromMeasured::Took { sum: sum.word() }) { Ok(took) } else { Err(Fault::Wrong) }
}

/// From the moment at which the host can know which bytes are wanted until the last of them is here.
async fn receive(socket: &mut WebSocket, bytes: u32) -> Result<u64, Fault> {
    let seed = rand::random::<u64>();
    let mut stream = Stream::of(seed);
    let mut left = bytes as usize;
    let began = Instant::now();
    say(socket, &ToMeasured::Give { bytes, seed: format!("{seed:016x}") }).await?;
    while left > 0 {
        let Message::Binary(chunk) = next(socket).await? else { return Err(Fault::Other) };
        if chunk.is_empty() || chunk.len() > left || !chunk.len().is_multiple_of(8) {
            return Err(Fault::Wrong);
        }
        let mut wanted = vec![0; chunk.len()];
        stream.fill(&mut wanted);
        if wanted != chunk[..] {
            return Err(Fault::Wrong);
        }
        left -= chunk.len();
    }
    Ok(passed_us(began))
}
