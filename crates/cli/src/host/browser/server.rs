//! The server behind the page. Every answer but the page's own files wants the key that the link was exchanged for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use nightjar_agent::control::Client;
use nightjar_agent::loopback;
use nightjar_core::host::UserCommand;
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use nightjar_protocol::window::Question;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use super::door::Door;
use super::page;

/// Settings with every list full are smaller.
const LARGEST_BODY_BYTES: usize = 512 * 1024;
/// Tabs, reloaded ones with them.
const MOST_STREAMS: usize = 8;
/// A market has ten seconds to take a pairing code, a driver some for a check.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A little more than the host gives to one.
const REPAIRED_WITHIN: Duration = Duration::from_secs(31 * 60);
/// So often an empty line says that the stream lives, also while nothing changes.
const BEAT: Duration = Duration::from_secs(15);
/// A page that takes nothing for so long is gone, whatever its connection says: through a tunnel that died, nothing ends it,
/// and a host with a page that counts as open reads its cards each second and puts off every new start.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

struct Hall {
    runtime_dir: PathBuf,
    door: Mutex<Door>,
    streams: Arc<Semaphore>,
}

type Shared = State<Arc<Hall>>;

pub(super) fn router(runtime_dir: PathBuf, door: Door) -> Router {
    let streams = Arc::new(Semaphore::new(MOST_STREAMS));
    let hall = Arc::new(Hall { runtime_dir, door: Mutex::new(door), streams });
    let inner = Router::new()
        .route("/view", get(view))
        .route("/views", get(views))
        .route("/command", post(command))
        .route("/enrol", post(enrol))
        .route("/ask", post(ask))
        .route_layer(from_fn_with_state(hall.clone(), with_key))
        .with_state(hall.clone());
    Router::new()
        .route("/session", post(session))
        .with_state(hall)
        .merge(inner)
        .fallback(get(async |uri: Uri| page::file(uri.path())))
        .layer(DefaultBodyLimit::max(LARGEST_BODY_BYTES))
        .layer(from_fn(for_this_pc))
}

/// First of all: who asks for another host than this PC gets nothing, whatever else is right.
async fn for_this_pc(request: Request, next: Next) -> Response {
    let response = if loopback::is_named(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this server answers to 127.0.0.1 and localhost alone").into_response()
    };
    page::guard(response)
}

async fn with_key(State(hall): Shared, request: Request, next: Next) -> Response {
    if !hall.lets_in(request.headers()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

impl Hall {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = given.and_then(|value| value.strip_prefix("Bearer "));
        key.is_some_and(|key| self.door.lock().unwrap_or_else(PoisonError::into_inner).knows(key))
    }

    /// One question to the host.
    async fn put(&self, request: ControlRequest) -> Result<ControlAnswer, Lost> {
        let asking = async { Client::connect(&self.runtime_dir).await?.request(&request).await };
        let within = match &request {
            ControlRequest::Ask(Question::Repair { .. }) => REPAIRED_WITHIN,
            _ => ANSWER_WITHIN,
        };
        match tokio::time::timeout(within, asking).await {
            Ok(answer) => answer.map_err(|error| Lost(format!("{error:#}"))),
            Err(_) => Err(Lost(String::from("the host does not answer"))),
        }
    }
}

/// The host is gone, or stuck; in English.
struct Lost(String);

impl IntoResponse for Lost {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0).into_response()
    }
}

fn something_else() -> Lost {
    Lost(String::from("the host answered with something else"))
}

#[derive(Deserialize)]
struct Word {
    word: String,
}

#[derive(Serialize)]
struct Key {
    key: String,
}

async fn session(State(hall): Shared, Json(Word { word }): Json<Word>) -> Response {
    let entered = hall.door.lock().unwrap_or_else(PoisonError::into_inner).enter(&word, Instant::now());
    match entered {
        Some(key) => Json(Key { key }).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn view(State(hall): Shared) -> Result<Response, Lost> {
    match hall.put(ControlRequest::Status).await? {
        ControlAnswer::View(view) => Ok(Json(view).into_response()),
        _ => Err(something_else()),
    }
}

/// The view, now and after each change, a line each, until either side ends.
async fn views(State(hall): Shared) -> Result<Response, Lost> {
    let Ok(permit) = hall.streams.clone().try_acquire_owned() else {
        return Ok((StatusCode::TOO_MANY_REQUESTS, "too many pages are open").into_response());
    };
    let mut client = Client::connect(&hall.runtime_dir).await.map_err(|error| Lost(error.to_string()))?;
    let first = client.request(&ControlRequest::WatchClosely).await;
    let first = line(&first.map_err(|error| Lost(format!("{error:#}")))?).ok_or_else(something_else)?;
    let (sender, inbox) = mpsc::channel(1);
    tokio::spawn(async move {
        follow(client, first, sender).await;
        drop(permit);
    });
    let lines = stream::unfold(inbox, |mut inbox: mpsc::Receiver<Bytes>| async move {
        let line = match tokio::time::timeout(BEAT, inbox.recv()).await {
            Ok(line) => line?,
            Err(_) => Bytes::from_static(b"\n"),
        };
        Some((Ok::<_, std::convert::Infallible>(line), inbox))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// Hands on each view until the host or the page is gone.
async fn follow(mut client: Client, first: Bytes, page: mpsc::Sender<Bytes>) {
    let mut next = Some(first);
    while let Some(line) = next {
        if !is_taken(&page, line).await {
            return;
        }
        next = tokio::select! {
            answer = client.next() => answer.ok().as_ref().and_then(self::line),
            () = page.closed() => None,
        };
    }
}

async fn is_taken(page: &mpsc::Sender<Bytes>, line: Bytes) -> bool {
    matches!(tokio::time::timeout(TAKEN_WITHIN, page.send(line)).await, Ok(Ok(())))
}

fn line(answer: &ControlAnswer) -> Option<Bytes> {
    let ControlAnswer::View(view) = answer else { return None };
    let mut line = serde_json::to_vec(view).ok()?;
    line.push(b'\n');
    Some(line.into())
}

async fn command(State(hall): Shared, Json(command): Json<UserCommand>) -> Result<Response, Lost> {
    match hall.put(ControlRequest::Do(command)).await? {
        ControlAnswer::View(_) => Ok(Json(Ok::<(), ()>(())).into_response()),
        ControlAnswer::Refused(refusal) => Ok(Json(Err::<(), _>(refusal)).into_response()),
        _ => Err(something_else()),
    }
}

#[derive(Deserialize)]
struct Pairing {
    coordinator_url: String,
    pairing_code: String,
}

async fn enrol(State(hall): Shared, Json(pairing): Json<Pairing>) -> Result<Response, Lost> {
    let Pairing { coordinator_url, pairing_code } = pairing;
    match hall.put(ControlRequest::Enrol { coordinator_url, pairing_code }).await? {
        ControlAnswer::Enrolled(joined) => Ok(Json(joined).into_response()),
        _ => Err(something_else()),
    }
}

async fn ask(State(hall): Shared, Json(question): Json<Question>) -> Result<Response, Lost> {
    match hall.put(ControlRequest::Ask(question)).await? {
        ControlAnswer::Reply(reply) => Ok(Json(reply).into_response()),
        _ => Err(something_else()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_page_that_takes_nothing_for_a_minute_is_gone_and_a_slow_one_is_not() {
        let line = || Bytes::from_static(b"{}\n");
        let (page, mut inbox) = mpsc::channel(1);
        assert!(is_taken(&page, line()).await);
        let slow = async {
            tokio::time::sleep(TAKEN_WITHIN / 2).await;
            inbox.recv().await
        };
        assert_eq!(tokio::join!(is_taken(&page, line()), slow), (true, Some(line())));
        assert!(!is_taken(&page, line()).await, "nobody takes what came before");
        inbox.close();
        assert!(!is_taken(&page, line()).await, "it was closed");
    }
}
