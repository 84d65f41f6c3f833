//! Several messages in one request, as version 2025-03-26 of the protocol has them.
//!
//! Version 2025-06-18 took batches out again. A client that speaks 2025-03-26 knows no later version, so that version
//! is negotiated and its batches are taken: each message is handled as if it had come alone, and the answers share one
//! event stream.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;

use super::frames::{EVENT_STREAM, readable};
use super::message::{VERSION, asked_version, in_json};
use super::sessions;

/// The one version that has batches. A client of that version does not name it in its requests yet.
const WITH_BATCHES: &str = "2025-03-26";
/// Messages of one batch.
const MOST: usize = 64;

/// Why a batch is not taken.
pub(super) fn refused(headers: &HeaderMap, messages: &[Value]) -> Option<String> {
    let version = headers.get(VERSION).and_then(|version| version.to_str().ok()).unwrap_or(WITH_BATCHES);
    if version != WITH_BATCHES {
        return Some(format!("version {version} of the protocol has no batches: send one message in each request"));
    }
    if messages.is_empty() {
        return Some("the batch is empty: send at least one message".into());
    }
    if messages.len() > MOST {
        return Some(format!("the batch has {} messages: send at most {MOST} in one request", messages.len()));
    }
    if messages.iter().any(|message| message["method"] == "initialize") {
        return Some("initialize must not be in a batch: send it alone".into());
    }
    if !headers.contains_key(sessions::HEADER) {
        return Some(format!(
            "a batch needs a session: send initialize first, and its {} header with the batch",
            sessions::HEADER
        ));
    }
    None
}

/// Answers each message of a batch.
pub(super) async fn answer(request: Request, messages: Vec<Value>, next: Next) -> Response {
    let (mut parts, _) = request.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut answers: Vec<BoxStream<'static, Result<Bytes, axum::Error>>> = Vec::new();
    for message in messages {
        let response = match asked_version(message.to_string().as_bytes()) {
            Ok(_) => {
                let alone = Request::from_parts(parts.clone(), Body::from(message.to_string()));
                in_json(next.clone().run(alone).await).await
            }
            Err(refused) => *refused,
        };
        // A notification has no answer.
        if response.status() != StatusCode::ACCEPTED {
            answers.push(frames(response));
        }
    }
    if answers.is_empty() {
        return StatusCode::ACCEPTED.into_response();
    }
    let kind = [(header::CONTENT_TYPE, EVENT_STREAM), (header::CACHE_CONTROL, "no-cache")];
    (kind, Body::from_stream(stream::select_all(answers))).into_response()
}

/// An answer as frames, whichever form it has.
fn frames(response: Response) -> BoxStream<'static, Result<Bytes, axum::Error>> {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENT_STREAM.as_bytes())) {
        return readable(response, false).into_body().into_data_stream().boxed();
    }
    let whole = async {
        let json = to_bytes(response.into_body(), usize::MAX).await?;
        Ok(Bytes::from(format!("event: message\ndata: {}\n\n", String::from_utf8_lossy(&json))))
    };
    stream::once(whole).boxed()
}
