//! The HTTP interface, `/v1`: see `nightjar_protocol::market_api`.

mod answer;
mod caller;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::host_session::{MAX_FRAME_BYTES, enrol_signing_bytes};
use nightjar_protocol::line_session::MAX_LINE_FRAME_BYTES;
use nightjar_protocol::market_api::{
    About, Account, Enrol, Enrolled, Lease, Leases, MAX_BODY_BYTES, MAX_WAIT_MS, OfferQuery, Offers,
    RentRequest, RenterVolumes, Statement,
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::market::{Failure, Market, Wait, lease_id};
use crate::store::hosts::{self, CodeUse};
use crate::{bounds, line, secret, session};
use answer::{Answer, Body, Fields};
use caller::{Caller, Callers};

/// Requests that are served at a time, those that wait for a lease with them.
const MOST_REQUESTS: usize = 1_024;
/// Hosts that are connected to this process at a time.
const MOST_SESSIONS: usize = 8_192;
/// Connections over which a line is measured, or that say so: one at a time has a ticket.
const MOST_LINES: usize = 16;
/// Longest pairing code that is looked at, in bytes.
const MAX_CODE_BYTES: usize = 128;

/// What requests share.
#[derive(Clone)]
pub(crate) struct Shared {
    market: Arc<Market>,
    callers: Arc<Callers>,
    requests: Arc<Semaphore>,
    session_slots: Arc<Semaphore>,
    line_slots: Arc<Semaphore>,
    /// Sessions outlive the request that opened them.
    sessions: TaskTracker,
}

impl Shared {
    pub(crate) fn new(market: Arc<Market>, sessions: TaskTracker) -> Self {
        Self {
            market,
            callers: Arc::default(),
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            session_slots: Arc::new(Semaphore::new(MOST_SESSIONS)),
            line_slots: Arc::new(Semaphore::new(MOST_LINES)),
            sessions,
        }
    }
}

pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/about", get(about))
        .route("/v1/hosts/enrol", post(enrol))
        .route("/v1/hosts/session", get(open_session))
        .route("/v1/hosts/line", get(open_line))
        .route("/v1/account", get(account))
        .route("/v1/offers", get(offers))
        .route("/v1/volumes", get(volumes))
        .route("/v1/leases", get(list).post(rent))
        .route("/v1/leases/{id}", get(lease))
        .route("/v1/leases/{id}/stop", post(stop))
        .route("/v1/leases/{id}/statement", get(statement))
        .fallback(|| async {
            Failure::refused(ErrorCode::NotFound, "there is nothing here; the interface is below /v1")
        })
        .method_not_allowed_fallback(|| async {
            Failure::refused(ErrorCode::BadRequest, "this address does not take this method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(shared.clone(), not_too_many))
        .with_state(shared)
}

async fn not_too_many(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match shared.requests.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => {
            Failure::refused(ErrorCode::TooMany, "the market serves too many requests now; try again soon")
                .into_response()
        }
    }
}

async fn about(State(shared): State<Shared>) -> Json<About> {
    Json(shared.market.about())
}

async fn account(State(shared): State<Shared>, caller: Caller) -> Answer<Account> {
    Ok(Json(shared.market.account(caller.renter()).await?))
}

async fn offers(
    State(shared): State<Shared>,
    _caller: Caller,
    Fields(query): Fields<OfferQuery>,
) -> Answer<Offers> {
    Ok(Json(shared.market.offers(&query).await?))
}

async fn rent(
    State(shared): State<Shared>,
    caller: Caller,
    Body(request): Body<RentRequest>,
) -> Answer<Lease> {
    Ok(Json(shared.market.rent(caller.renter(), request).await?))
}

async fn volumes(State(shared): State<Shared>, caller: Caller) -> Answer<RenterVolumes> {
    Ok(Json(shared.market.volumes(caller.renter()).await?))
}

async fn list(State(shared): State<Shared>, caller: Caller) -> Answer<Leases> {
    Ok(Json(shared.market.leases(caller.renter()).await?))
}

#[derive(Debug, Deserialize)]
struct LeaseQuery {
    wait_ms: Option<u64>,
    state: Option<String>,
}

async fn lease(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Fields(query): Fields<LeaseQuery>,
) -> Answer<Lease> {
    let id = lease_id(&id)?;
    let wait = match (query.wait_ms, query.state) {
        (Some(ms), _) if ms > MAX_WAIT_MS => {
            let detail = format!("wait_ms must be at most {MAX_WAIT_MS}");
            return Err(Failure::refused(ErrorCode::BadRequest, detail));
        }
        (Some(ms), Some(known_state)) => Some(Wait { known_state, at_most: Duration::from_millis(ms) }),
        _ => None,
    };
    Ok(Json(shared.market.lease(caller.renter(), &id, wait).await?))
}

async fn stop(State(shared): State<Shared>, caller: Caller, Path(id): Path<String>) -> Answer<Lease> {
    Ok(Json(shared.market.stop(caller.renter(), &lease_id(&id)?).await?))
}

async fn statement(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Statement> {
    Ok(Json(shared.market.statement(caller.renter(), &lease_id(&id)?).await?))
}

/// The signature is checked before the code is looked at: only who holds the key can use a code up.
async fn enrol(State(shared): State<Shared>, Body(request): Body<Enrol>) -> Answer<Enrolled> {
    let market = &shared.market;
    let bad = |wrong: String| Failure::refused(ErrorCode::BadRequest, format!("not enrolled: {wrong}"));
    if request.pairing_code.len() > MAX_CODE_BYTES {
        return Err(bad("the pairing code is too long".to_owned()));
    }
    let key = bounds::public_key("host_key", &request.host_key).map_err(bad)?;
    let signed = enrol_signing_bytes(&request.pairing_code, &request.host_key);
    if !bounds::is_signed(&key, &signed, &request.signature) {
        let detail = "not enrolled: the signature does not fit the host's key and the code";
        return Err(Failure::refused(ErrorCode::Signature, detail));
    }
    let now = market.clock.now();
    let mut tx = market.store.write().await?;
    let new_id = uuid::Uuid::new_v4().to_string();
    let host_id = hosts::enter(tx.connection(), &new_id, &hex::encode(key.as_bytes()), now).await?;
    let code_hash = secret::pairing_code_hash(&request.pairing_code);
    let why_not = match hosts::use_pairing_code(tx.connection(), &code_hash, now, &host_id).await? {
        CodeUse::Taken => None,
        CodeUse::Unknown => Some("it is not one of this market's"),
        CodeUse::UsedBefore => Some("it was used before"),
        CodeUse::RanOut => Some("it has run out"),
    };
    if let Some(why) = why_not {
        let detail = format!(
            "not enrolled: the pairing code was not taken: {why}; the operator makes another with `nightjar-coordinator pair`"
        );
        return Err(Failure::refused(ErrorCode::PairingCode, detail));
    }
    tx.commit().await?;
    tracing::info!(host_id, "host enrolled");
    Ok(Json(Enrolled { host_id }))
}

/// A WebSocket that was asked for, and its place among those of its kind.
fn admit(
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    slots: &Arc<Semaphore>,
    [not_upgraded, full]: [&'static str; 2],
) -> Result<(WebSocketUpgrade, OwnedSemaphorePermit), Failure> {
    let upgrade = upgrade.map_err(|_| Failure::refused(ErrorCode::BadRequest, not_upgraded))?;
    let slot = Arc::clone(slots).try_acquire_owned();
    Ok((upgrade, slot.map_err(|_| Failure::refused(ErrorCode::TooMany, full))?))
}

async fn open_session(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let refusals = [
        "a host's session is a WebSocket; ask to upgrade the connection",
        "too many hosts are connected here; try again later",
    ];
    let (upgrade, slot) = admit(upgrade, &shared.session_slots, refusals)?;
    let Shared { market, sessions, .. } = shared;
    let bounded = upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES);
    Ok(bounded.on_upgrade(move |socket| async move {
        let _slot = slot;
        let seen_from = seen_from(peer.ip(), &headers);
        sessions.track_future(session::serve(socket, market, seen_from)).await;
    }))
}

/// Where who asks comes from: a proxy on this machine or in its network says it, the last of those that pass it on.
fn seen_from(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let is_near = match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
    };
    let said = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let last = said.and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
    last.filter(|_| is_near).unwrap_or(peer)
}

async fn open_line(
    State(shared): State<Shared>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let refusals = [
        "a line is measured over a WebSocket; ask to upgrade the connection",
        "another line is being measured; wait to be asked again",
    ];
    let (upgrade, slot) = admit(upgrade, &shared.line_slots, refusals)?;
    let Shared { market, sessions, .. } = shared;
    let bounded = upgrade.max_message_size(MAX_LINE_FRAME_BYTES).max_frame_size(MAX_LINE_FRAME_BYTES);
    Ok(bounded.on_upgrade(move |socket| async move {
        let _slot = slot;
        let closing = market.closing.clone();
        let measuring = closing.run_until_cancelled_owned(line::serve(socket, market));
        sessions.track_future(measuring).await;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_nearby_says_where_somebody_else_comes_from() {
        let by = |peer: &str, said: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for list in said {
                headers.append("x-forwarded-for", list.parse().unwrap());
            }
            seen_from(peer.parse().unwrap(), &headers).to_string()
        };
        assert_eq!(by("9.9.9.9", &[]), "9.9.9.9");
        assert_eq!(by("9.9.9.9", &["8.8.8.8"]), "9.9.9.9");
        assert_eq!(by("127.0.0.1", &["1.1.1.1", "2.2.2.2, 8.8.8.8"]), "8.8.8.8");
        assert_eq!(by("10.0.0.7", &["nonsense"]), "10.0.0.7");
        assert_eq!(by("::1", &["2606:4700::1"]), "2606:4700::1");
    }
}
