//! The routes of the offline model's Messages API.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use futures_core::Stream;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Sleep;
use uuid::Uuid;

use super::reply::{Message, Reply, reply};
use super::request::MessagesRequest;
use super::scenario::{ApiFailure, Scenario};
use super::text::LABEL;
use super::wire::{Envelope, Piece, stream, whole};

/// The CLI takes prompts of up to 10 MB; a conversation holds several, and images.
const LARGEST_BODY: usize = 64 * 1024 * 1024;
/// How the names of models begin; others are not found, as at the real API.
const MODELS: &str = "claude-";
/// Turns remembered for `offline:cut-once`; forgotten all at once above this.
const TURNS_REMEMBERED: usize = 10_000;

/// Serves on `listener` until `shutdown` is done, or accepting connections fails for good.
///
/// Open streams are not waited for: the caller drops the runtime, and their connections with it.
pub(super) async fn run(listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    // A word sent alone must not wait for the next one.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused; a slow answer may come in lumps");
        }
    });
    tokio::select! {
        served = async { axum::serve(listener, router()).await } => served,
        () = shutdown => Ok(()),
    }
}

/// The (session, message) pairs that `offline:cut-once` has cut.
type Cut = Arc<Mutex<HashSet<(String, usize)>>>;

fn router() -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/api/hello", get(|| async { Json(json!({"message": "hello"})) }))
        .route("/health", get(|| async { "ok\n" }))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(log))
        .with_state(Cut::default())
}

async fn log(request: HttpRequest, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    tracing::debug!(%method, %uri, status = response.status().as_u16(), "request");
    response
}

async fn not_found(request: HttpRequest) -> Response {
    let what = format!("{} {} is not served here", request.method(), request.uri().path());
    error(StatusCode::NOT_FOUND, "not_found_error", &what)
}

async fn count_tokens(body: Result<Bytes, BytesRejection>) -> Response {
    match read(body) {
        Ok(request) => Json(json!({"input_tokens": request.tokens.total()})).into_response(),
        Err(refused) => *refused,
    }
}

async fn messages(State(cut): State<Cut>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let request = match read(body) {
        Ok(request) => request,
        Err(refused) => return *refused,
    };
    if !request.model.starts_with(MODELS) {
        return error(StatusCode::NOT_FOUND, "not_found_error", &format!("model: {}", request.model));
    }
    let scenario = Scenario::of_prompt(&request.prompt);
    tracing::debug!(scenario = scenario.name(), stream = request.stream, tool_results = request.outcomes.len(), "turn");
    let first = scenario == Scenario::CutOnce && is_first(&cut, &headers, request.prompt_at);
    match reply(&request, &scenario, first) {
        Reply::Error(failure) => api_error(failure),
        Reply::Message(message) => answer(&message, request),
    }
}

/// The error is boxed because a `Response` is large and the good case is not.
fn read(body: Result<Bytes, BytesRejection>) -> Result<MessagesRequest, Box<Response>> {
    let body = body.map_err(|rejection| {
        let kind = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            _ => "invalid_request_error",
        };
        Box::new(error(rejection.status(), kind, &rejection.body_text()))
    })?;
    MessagesRequest::from_json(&body)
        .map_err(|malformed| Box::new(error(StatusCode::BAD_REQUEST, "invalid_request_error", &malformed.to_string())))
}

/// Whether this turn of this conversation comes for the first time.
fn is_first(cut: &Cut, headers: &HeaderMap, prompt_at: usize) -> bool {
    let session = headers.get("x-claude-code-session-id").map_or(&b""[..], HeaderValue::as_bytes);
    let session = String::from_utf8_lossy(session).into_owned();
    let mut seen = cut.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() >= TURNS_REMEMBERED {
        seen.clear();
    }
    seen.insert((session, prompt_at))
}

fn answer(message: &Message, request: MessagesRequest) -> Response {
    let envelope =
        Envelope { model: request.model, id: format!("offline_{}", Uuid::now_v7().simple()), tokens: request.tokens };
    let (kind, pieces) = if request.stream {
        ("text/event-stream", stream(message, &envelope))
    } else {
        ("application/json", whole(message, &envelope))
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let mut response = (headers, Body::from_stream(Paced::new(pieces))).into_response();
    with_request_id(&mut response);
    response
}

/// The error a scenario asked for.
fn api_error(failure: ApiFailure) -> Response {
    let (status, kind, words) = match failure {
        ApiFailure::InvalidRequest => (400, "invalid_request_error", "The request was invalid, as asked."),
        ApiFailure::Authentication => (401, "authentication_error", "The key was not accepted, as asked."),
        ApiFailure::Permission => (403, "permission_error", "The key may not do this, as asked."),
        ApiFailure::RateLimit { .. } => (429, "rate_limit_error", "The usage limit was reached, as asked."),
        ApiFailure::Internal => (500, "api_error", "The API failed, as asked."),
        ApiFailure::Overloaded => (529, "overloaded_error", "The API was overloaded, as asked."),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(status, kind, words);
    if let ApiFailure::RateLimit { resets_in } = failure {
        limit_headers(response.headers_mut(), resets_in);
    }
    response
}

/// What the API says of a used-up five-hour limit. `retry-after` stays at a second: a client that waits for it
/// should not hold up a test.
fn limit_headers(headers: &mut HeaderMap, resets_in: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let reset = HeaderValue::from((now + resets_in).as_secs());
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert("anthropic-ratelimit-unified-reset", reset.clone());
    headers.insert("anthropic-ratelimit-unified-5h-reset", reset);
    for (name, value) in [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-utilization", "1.0"),
        ("anthropic-ratelimit-unified-overage-status", "rejected"),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// An error in the API's shape.
fn error(status: StatusCode, kind: &str, words: &str) -> Response {
    let body = json!({"type": "error", "error": {"type": kind, "message": format!("{LABEL} {words}")}});
    let mut response = (status, Json(body)).into_response();
    with_request_id(&mut response);
    response
}

fn with_request_id(response: &mut Response) {
    let id = format!("req_offline_{}", Uuid::now_v7().simple());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", id);
    }
}

/// A response body that comes piece by piece.
struct Paced {
    pieces: VecDeque<Piece>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(pieces: Vec<Piece>) -> Self {
        Self { pieces: pieces.into(), waiting: None }
    }
}

impl Stream for Paced {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(wait) = &mut self.waiting {
                if wait.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.waiting = None;
            }
            match self.pieces.pop_front() {
                Some(Piece::Wait(time)) => self.waiting = Some(Box::pin(tokio::time::sleep(time))),
                Some(Piece::Send(text)) => return Poll::Ready(Some(Ok(text.into()))),
                Some(Piece::Cut) => {
                    self.pieces.clear();
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}
