//! What gets to the SDK at all.
//!
//! The SDK answers what is no message with half a sentence and a status of its own choosing, and takes a session's id
//! for proof of who calls. Here a body is read under the limits of all doors, what is no JSON-RPC is told so in
//! JSON-RPC, and a session is open to its owner alone.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode};
use serde_json::{Value, json};

use super::sessions::Sessions;
use crate::doors::http::auth::Caller;
use crate::doors::http::parameters::json_bytes;
use crate::doors::http::server::Stopping;

/// The header with a session's id.
pub(super) const SESSION: &str = "mcp-session-id";
/// What the protocol wants every client to accept.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
/// Longest error of the SDK that is put into other words.
const LONGEST_ERROR: usize = 64 << 10;

/// Lets through what the SDK can answer.
pub(super) async fn pass(
    State(sessions): State<Arc<Sessions>>,
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
    if method == Method::POST {
        accept_both(request.headers_mut());
        request = match checked(request).await {
            Ok(request) => request,
            Err(refused) => return *refused,
        };
    }
    let stream = session.as_deref().filter(|_| method == Method::GET).map(|id| sessions.in_use(id));
    let mut response = in_json(next.run(request).await).await;
    match (&session, response.headers().get(SESSION).and_then(|id| id.to_str().ok())) {
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
    headers.get(SESSION).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
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

/// The request with its body read, if that is a message.
async fn checked(mut request: Request) -> Result<Request, Box<Response>> {
    request.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let (parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let body = json_bytes(whole).await.map_err(|problem| Box::new(problem.into_response()))?;
    match serde_json::from_slice::<ClientJsonRpcMessage>(&body) {
        Ok(_) => Ok(Request::from_parts(parts, Body::from(body))),
        Err(_) => Err(Box::new(no_message(&body))),
    }
}

/// What is wrong with a body that is no message.
fn no_message(body: &[u8]) -> Response {
    let (code, id, said) = match serde_json::from_slice::<Value>(body) {
        Err(error) => (ErrorCode::PARSE_ERROR, Value::Null, format!("the body is not JSON: {error}")),
        Ok(Value::Array(_)) => {
            let said = "batches are not supported: send one message in each request";
            (ErrorCode::INVALID_REQUEST, Value::Null, said.to_owned())
        }
        Ok(value) => {
            let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or_default();
            let said = "the body is no JSON-RPC 2.0 message: an object with jsonrpc, method and, for a request, id";
            (ErrorCode::INVALID_REQUEST, id, said.to_owned())
        }
    };
    refusal(StatusCode::BAD_REQUEST, code, &id, &said)
}

fn refusal(status: StatusCode, code: ErrorCode, id: &Value, said: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code.0, "message": said}});
    (status, axum::Json(body)).into_response()
}

/// An error that the SDK wrote as text, as JSON-RPC.
async fn in_json(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST_ERROR).await.unwrap_or_default();
    let said = match status {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!("MCP: {}", String::from_utf8_lossy(&text));
            "claudebox failed; its log says why".into()
        }
        _ => String::from_utf8_lossy(&text).into_owned(),
    };
    let code = if status.is_server_error() { ErrorCode::INTERNAL_ERROR } else { ErrorCode::INVALID_REQUEST };
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code.0, "message": said}});
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, Body::from(body.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("{", -32700, json!(null))]
    #[case("", -32700, json!(null))]
    #[case("[{}]", -32600, json!(null))]
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
