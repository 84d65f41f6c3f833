//! Messages of JSON-RPC: what is none, and what the SDK says in other words, is told so in its own form.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorCode};
use serde_json::{Value, json};

/// The header with the version of the protocol that was agreed on. Clients of the first versions do not send it.
pub(super) const VERSION: &str = "mcp-protocol-version";
/// Longest error of the SDK that is put into other words.
const LONGEST_ERROR: usize = 64 << 10;

/// The version of the protocol that a message asks for, if it is one and asks.
pub(super) fn asked_version(body: &[u8]) -> Result<Option<String>, Box<Response>> {
    match serde_json::from_slice::<ClientJsonRpcMessage>(body) {
        Ok(ClientJsonRpcMessage::Request(request)) => match request.request {
            ClientRequest::InitializeRequest(asked) => Ok(Some(asked.params.protocol_version.to_string())),
            // What is not as the protocol has it is one of these to the SDK.
            ClientRequest::CustomRequest(asked) if asked.method == "initialize" => Err(Box::new(no_initialize(body))),
            _ => Ok(None),
        },
        Ok(_) => Ok(None),
        Err(_) => Err(Box::new(no_message(body))),
    }
}

/// What is wrong with an `initialize` that the SDK cannot read.
fn no_initialize(body: &[u8]) -> Response {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let params = &message["params"];
    let wrong = [
        ("protocolVersion", params["protocolVersion"].is_string(), "a text such as \"2025-11-25\""),
        ("capabilities", params["capabilities"].is_object(), "an object, {} if there are none"),
        ("clientInfo", params["clientInfo"].is_object(), "an object with name and version"),
    ];
    let wrong: Vec<String> = wrong
        .iter()
        .filter(|(_, is_right, _)| !is_right)
        .map(|(name, _, needed)| format!("params.{name} has to be {needed}"))
        .collect();
    let said = match wrong.as_slice() {
        [] => "params are not those of the protocol: clientInfo needs name and version".to_owned(),
        wrong => wrong.join("; "),
    };
    refusal(StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, &message["id"], &format!("initialize: {said}"))
}

/// What is wrong with a body that is no message.
fn no_message(body: &[u8]) -> Response {
    let (code, id, said) = match serde_json::from_slice::<Value>(body) {
        Err(error) => (ErrorCode::PARSE_ERROR, Value::Null, format!("the body is not JSON: {error}")),
        Ok(value) => {
            let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or_default();
            let said = "the body is no JSON-RPC 2.0 message: an object with jsonrpc, method and, for a request, id";
            (ErrorCode::INVALID_REQUEST, id, said.to_owned())
        }
    };
    refusal(StatusCode::BAD_REQUEST, code, &id, &said)
}

/// An error of JSON-RPC about the message with this id.
pub(super) fn refusal(status: StatusCode, code: ErrorCode, id: &Value, said: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code.0, "message": said}});
    (status, axum::Json(body)).into_response()
}

/// An error that the SDK wrote as text, as JSON-RPC.
pub(super) async fn in_json(response: Response) -> Response {
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
