//! What gets to the SDK at all.
//!
//! The SDK answers what is no message with half a sentence and a status of its own choosing, and takes a session's id
//! for proof of who calls. Here a body is read under the limits of all doors, what is no JSON-RPC is told so in
//! JSON-RPC, and a session is open to its owner alone. What comes back is put into frames that every client reads.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use rmcp::model::ErrorCode;
use serde_json::Value;

use super::message::{VERSION, asked_version, in_json, refusal};
use super::sessions::{self, McpSessions};
use super::{batch, frames};
use crate::desk::caller::Caller;
use crate::doors::web::parameters::json_bytes;
use crate::doors::web::server::Stopping;

/// What the protocol wants every client to accept.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
/// Lets through what the SDK can answer.
pub(super) async fn pass(
    State(sessions): State<Arc<McpSessions>>,
    Extension(caller): Extension<Caller>,
    stopping: Option<Extension<Stopping>>,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let session = session(request.headers());
    if let Some(id) = &session
        && !sessions.is_of(id, &caller.name)
    {
        // Whose it is, or whether it ever was, is nobody else's business. Clients open a new one at this status.
        let said = "this session is not there (any more): send initialize to open one";
        return refusal(StatusCode::NOT_FOUND, ErrorCode::INVALID_REQUEST, &Value::Null, said);
    }
    let mut version = version(request.headers());
    if method == Method::POST {
        accept_both(request.headers_mut());
        match checked(request).await {
            Ok(Checked::Message(message, asked)) => {
                request = message;
                version = asked.unwrap_or(version);
            }
            Ok(Checked::Batch(request, messages)) => return batch::answer(request, messages, next).await,
            Err(refused) => return *refused,
        }
    }
    let stream = session.as_deref().filter(|_| method == Method::GET).map(|id| sessions.in_use(id));
    let response = in_json(next.run(request).await).await;
    let mut response = frames::readable(response, frames::knows_empty_frames(&version));
    match (&session, response.headers().get(sessions::HEADER).and_then(|id| id.to_str().ok())) {
        (None, Some(new)) => sessions.opened(new, &caller.name),
        (Some(id), _) if method == Method::DELETE && response.status().is_success() => sessions.closed(id),
        _ => {}
    }
    if method == Method::DELETE && response.status() == StatusCode::ACCEPTED {
        // It is done, and some clients complain about a promise.
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    if let Some(stream) = stream {
        // It has no end of its own: the server's stop is one, and as long as it is open its session is in use.
        let stopped = async move {
            match stopping {
                Some(Extension(stopping)) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        response = response.map(|body| {
            let pieces = body.into_data_stream().map(move |piece| {
                let _ = &stream;
                piece
            });
            Body::from_stream(pieces.take_until(stopped))
        });
    }
    response
}

fn session(headers: &HeaderMap) -> Option<String> {
    headers.get(sessions::HEADER).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
}

fn version(headers: &HeaderMap) -> String {
    headers.get(VERSION).map(|version| String::from_utf8_lossy(version.as_bytes()).into_owned()).unwrap_or_default()
}

/// A client that takes anything, or says nothing, takes both.
fn accept_both(headers: &mut HeaderMap) {
    let accepts = headers.get_all(header::ACCEPT);
    let mut texts = accepts.iter().map(|value| value.to_str().unwrap_or_default());
    let anything = texts.any(|text| text.split(',').any(|kind| kind.split(';').next().unwrap_or("").trim() == "*/*"));
    if anything || !headers.contains_key(header::ACCEPT) {
        headers.insert(header::ACCEPT, BOTH);
    }
}

/// What a request holds.
#[derive(Debug)]
enum Checked {
    /// A message, and the version of the protocol that it asks for: `initialize` does.
    Message(Request, Option<String>),
    /// Several messages, each still to be checked.
    Batch(Request, Vec<Value>),
}

/// The request with its body read, if that is a message or a batch of them.
async fn checked(mut request: Request) -> Result<Checked, Box<Response>> {
    request.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let body = json_bytes(whole).await.map_err(|problem| Box::new(problem.into_response()))?;
    if body.trim_ascii_start().first() == Some(&b'[')
        && let Ok(messages) = serde_json::from_slice::<Vec<Value>>(&body)
    {
        if let Some(said) = batch::refused(&parts.headers, &messages) {
            return Err(Box::new(refusal(StatusCode::BAD_REQUEST, ErrorCode::INVALID_REQUEST, &Value::Null, &said)));
        }
        return Ok(Checked::Batch(Request::from_parts(parts, Body::from(body)), messages));
    }
    let asked = asked_version(&body)?;
    Ok(Checked::Message(Request::from_parts(parts, Body::from(body)), asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("{", -32700, json!(null))]
    #[case("", -32700, json!(null))]
    #[case("[]", -32600, json!(null))]
    #[case(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, json!(null))]
    #[case(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#, -32602, json!(1))]
    #[case("7", -32600, json!(null))]
    #[case(r#"{"id":7,"method":"ping"}"#, -32600, json!(7))]
    #[case(r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#, -32600, json!("a"))]
    #[case(r#"{"jsonrpc":"2.0","id":[],"method":7}"#, -32600, json!(null))]
    #[tokio::test]
    async fn what_is_no_message_is_told_so(#[case] body: &'static str, #[case] code: i64, #[case] id: Value) {
        let refused = checked(Request::post("/mcp").body(Body::from(body)).unwrap()).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        let body = to_bytes(refused.into_body(), 9999).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((body["error"]["code"].as_i64(), &body["id"]), (Some(code), &id), "{body}");
    }

    #[rstest]
    #[case(json!({"protocolVersion": "2025-06-18", "clientInfo": {"name": "a", "version": "1"}}), "params.capabilities has to be an object")]
    #[case(json!({"capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}), "params.protocolVersion has to be a text")]
    #[case(json!({"protocolVersion": "2025-06-18", "capabilities": {}}), "params.clientInfo has to be an object")]
    #[case(json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}), "clientInfo needs name and version")]
    #[tokio::test]
    async fn what_an_initialize_lacks_is_named(#[case] params: Value, #[case] words: &str) {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
        let refused = checked(Request::post("/mcp").body(Body::from(body)).unwrap()).await.unwrap_err();
        let body = to_bytes(refused.into_body(), 9999).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains(words), "{body:?}");
    }

    #[rstest]
    #[case(None, true)]
    #[case(Some("*/*"), true)]
    #[case(Some("text/html, */*;q=0.8"), true)]
    #[case(Some("application/json"), false)]
    fn who_takes_anything_takes_both(#[case] accept: Option<&'static str>, #[case] both: bool) {
        let mut headers = HeaderMap::new();
        headers.extend(accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))));
        accept_both(&mut headers);
        assert_eq!(headers.get(header::ACCEPT).unwrap() == BOTH, both);
    }
}
