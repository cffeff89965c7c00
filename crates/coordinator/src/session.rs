//! One host's WebSocket: the greeting, then reports and usage in, orders out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use iroh_base::PublicKey;
use nightjar_core::market::{HostAccount, MarketTerms};
use nightjar_core::proof::Proof;
use nightjar_core::time::Timestamp;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::{
    HEARTBEAT_MS, HOST_SESSION_VERSION, SignedReport, ToCoordinator, ToHost, hello_signing_bytes,
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::bounds;
use crate::market::{Failure, Market, Teller};
use crate::registry::Seat;
use crate::store::{StoreError, hosts};

const GREETING_WITHIN: Duration = Duration::from_secs(10);
const SEND_WITHIN: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_millis(HEARTBEAT_MS);
/// A host that says nothing for this long is gone.
const SILENT_AT_MOST: Duration = Duration::from_millis(3 * HEARTBEAT_MS);
/// How often a host's account is looked at: the operator books payments by another program.
const ACCOUNT_EVERY_MS: u64 = 15_000;
/// How often it is written down that a host was heard, in milliseconds.
const NOTE_EVERY_MS: u64 = 60_000;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the host closed it")]
    Closed,
    #[error("a newer session took its place, or the coordinator ends")]
    Replaced,
    #[error("the host was silent for {} s", SILENT_AT_MOST.as_secs())]
    Silent,
    #[error("the host does not take what is sent to it")]
    Stuck,
    #[error("the host sent what is no message: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("the host sent a binary frame where JSON text was expected")]
    Binary,
    #[error("the connection broke: {0}")]
    Broken(#[from] axum::Error),
    #[error("refused: {detail} ({})", code.as_str())]
    Refused { code: ErrorCode, detail: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A host that has proven who it is.
struct Host {
    id: String,
    key: PublicKey,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(mut socket: WebSocket, market: Arc<Market>, seen_from: IpAddr) {
    let host = match greet(&mut socket, &market, seen_from).await {
        Ok(host) => host,
        Err(ended) => {
            tracing::info!("a host's greeting failed: {ended}");
            if let Ended::Refused { code, detail } = ended {
                let _ = say(&mut socket, &ToHost::Refused { code, detail }).await;
            }
            let _ = timeout(SEND_WITHIN, socket.send(Message::Close(None))).await;
            return;
        }
    };
    let opened_at = market.clock.now();
    let seat = market.registry.enter(&host.id, &market.closing);
    let session = seat.id;
    tracing::info!(host_id = host.id, session, "host connected");
    if let Err(error) = market.tell_line(&host.id).await {
        tracing::warn!(host_id = host.id, "what is known of its line could not be read: {error}");
    }
    let ended = converse(&mut socket, &market, &host, seat, opened_at).await;
    market.registry.leave(&host.id, session);
    if let Err(error) = note_heard(&market, &host.id).await {
        tracing::warn!(host_id = host.id, "when it was last heard could not be written down: {error}");
    }
    tracing::info!(host_id = host.id, session, "session ended: {ended}");
    let _ = timeout(SEND_WITHIN, socket.send(Message::Close(None))).await;
}

async fn say(socket: &mut WebSocket, message: &ToHost) -> Result<(), Ended> {
    let text = serde_json::to_string(message)?;
    timeout(SEND_WITHIN, socket.send(Message::Text(text.into()))).await.map_err(|_| Ended::Stuck)??;
    Ok(())
}

/// The next message; frames that carry none (pings) are passed over.
async fn hear(socket: &mut WebSocket) -> Result<ToCoordinator, Ended> {
    loop {
        match socket.recv().await.ok_or(Ended::Closed)?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Binary(_) => {
                return Err(Ended::Binary);
            }
            Message::Close(_) => return Err(Ended::Closed),
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

/// The host signs a number that was never used before, so a greeting that was overheard is worth nothing.
async fn greet(socket: &mut WebSocket, market: &Market, seen_from: IpAddr) -> Result<Host, Ended> {
    let nonce = hex::encode(rand::random::<[u8; 32]>());
    say(socket, &ToHost::Challenge { nonce: nonce.clone() }).await?;
    let hello = timeout(GREETING_WITHIN, hear(socket)).await.map_err(|_| Ended::Silent)??;
    let refused = |code, detail: String| Ended::Refused { code, detail };
    let ToCoordinator::Hello { session_version, app_version, host_key, signature } = hello else {
        return Err(refused(ErrorCode::BadRequest, "the first message must be a greeting".to_owned()));
    };
    if session_version != HOST_SESSION_VERSION {
        let older = if session_version < HOST_SESSION_VERSION { "host" } else { "coordinator" };
        return Err(refused(
            ErrorCode::Version,
            format!(
                "the host speaks session version {session_version}, this coordinator {HOST_SESSION_VERSION}; update the {older}"
            ),
        ));
    }
    let key =
        bounds::public_key("host_key", &host_key).map_err(|wrong| refused(ErrorCode::BadRequest, wrong))?;
    if !bounds::is_signed(&key, &hello_signing_bytes(&nonce, &host_key), &signature) {
        let detail = "the greeting's signature does not fit the host's key";
        return Err(refused(ErrorCode::Signature, detail.to_owned()));
    }
    let canonical = hex::encode(key.as_bytes());
    let Some(id) = hosts::by_key(market.store.reader(), &canonical).await? else {
        let detail = "this host is not enrolled here; enrol it with a pairing code from the operator";
        return Err(refused(ErrorCode::Unauthorized, detail.to_owned()));
    };
    let shown_version: String = app_version.chars().filter(|c| !c.is_control()).take(64).collect();
    let mut tx = market.store.write().await?;
    hosts::greeted(tx.connection(), &id, &shown_version, market.clock.now()).await?;
    tx.commit().await?;
    let terms = Some(MarketTerms { currency: market.currency, fee_basis_points: market.fee_basis_points });
    let (host_id, relay) = (id.clone(), market.relay.clone());
    say(socket, &ToHost::Welcome { host_id, relay, terms, seen_from: Some(seen_from) }).await?;
    Ok(Host { id, key })
}

async fn note_heard(market: &Market, host_id: &str) -> Result<(), StoreError> {
    let mut tx = market.store.write().await?;
    hosts::heard(tx.connection(), host_id, market.clock.now()).await?;
    tx.commit().await
}

async fn converse(
    socket: &mut WebSocket,
    market: &Market,
    host: &Host,
    mut seat: Seat,
    opened_at: Timestamp,
) -> Ended {
    let teller = Teller { host_id: &host.id, session: seat.id, opened_at };
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent_at = Instant::now() + SILENT_AT_MOST;
    let mut beats = Beats { noted_at: opened_at, account: None };
    loop {
        let done = tokio::select! {
            // What waits to be sent goes first, or the answers to a host that sends much would pile up.
            biased;
            () = seat.end.cancelled() => return Ended::Replaced,
            () = tokio::time::sleep_until(silent_at) => return Ended::Silent,
            Some(order) = seat.orders.recv() => say(socket, &order).await,
            _ = beat.tick() => beat_once(socket, market, host, &mut beats).await,
            message = hear(socket) => {
                silent_at = Instant::now() + SILENT_AT_MOST;
                match message {
                    Ok(message) => take(market, host, teller, message).await,
                    Err(ended) => Err(ended),
                }
            }
        };
        if let Err(ended) = done {
            return ended;
        }
    }
}

/// What was done on earlier heartbeats.
struct Beats {
    noted_at: Timestamp,
    /// As it was told, and when it was last looked at.
    account: Option<(HostAccount, Timestamp)>,
}

async fn beat_once(
    socket: &mut WebSocket,
    market: &Market,
    host: &Host,
    beats: &mut Beats,
) -> Result<(), Ended> {
    say(socket, &ToHost::Heartbeat).await?;
    let now = market.clock.now();
    if now.since_ms(beats.noted_at) >= NOTE_EVERY_MS {
        note_heard(market, &host.id).await?;
        beats.noted_at = now;
    }
    if beats.account.as_ref().is_none_or(|(_, looked_at)| now.since_ms(*looked_at) >= ACCOUNT_EVERY_MS) {
        let account = market.account_of_host(&host.id).await?;
        if beats.account.as_ref().is_none_or(|(told, _)| *told != account) {
            say(socket, &ToHost::Account(account.clone())).await?;
        }
        beats.account = Some((account, now));
    }
    Ok(())
}

/// What the database could not take ends the session: the host connects again and sends what was not acknowledged.
async fn take(market: &Market, host: &Host, teller: Teller<'_>, message: ToCoordinator) -> Result<(), Ended> {
    let taken = match message {
        ToCoordinator::Heartbeat => Ok(()),
        ToCoordinator::Report(report) => market.take_report(teller, report, false).await,
        ToCoordinator::Proven(SignedReport { report, signature }) => {
            let is_signed = |proof: &Proof| bounds::is_signed(&host.key, &proof.signing_bytes(), &signature);
            let signed = report.proof().is_some_and(is_signed);
            market.take_report(teller, report, signed).await
        }
        ToCoordinator::Usage(usage) => market.take_usage(&host.id, &host.key, usage).await,
        ToCoordinator::Hello { .. } => {
            Err(Failure::refused(ErrorCode::BadRequest, "a session has one greeting only"))
        }
    };
    taken.map_err(|failure| match failure {
        Failure::Store(error) => Ended::Store(error),
        Failure::Refused(body) => Ended::Refused { code: body.code, detail: body.detail },
    })
}
