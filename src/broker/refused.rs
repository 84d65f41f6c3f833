//! Answers of the broker's own, in the shape of the API's errors.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::reply::Reply;

/// What a request is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    kind: &'static str,
    pub(super) why: String,
}

impl Refused {
    /// What the CLI asks for besides, which the API does not have for it.
    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "not_found_error", why: "there is none here".into() }
    }

    pub(super) fn path(method: &hyper::Method, path: &str) -> Self {
        let why = format!("{method} {path} is not passed on: only POST /v1/messages and /v1/messages/count_tokens are");
        Self { status: StatusCode::FORBIDDEN, kind: "permission_error", why }
    }

    pub(super) fn another_key() -> Self {
        let why =
            "this socket takes the stand-in of its run and no other key (an apiKeyHelper, or a key in settings.json?)";
        Self { status: StatusCode::UNAUTHORIZED, kind: "authentication_error", why: why.into() }
    }

    /// A status that the CLI does not retry.
    pub(super) fn over_budget(why: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "invalid_request_error", why }
    }

    pub(super) fn too_large(most: u64) -> Self {
        let why = format!("the request is larger than {} MiB", most >> 20);
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, kind: "request_too_large", why }
    }

    pub(super) fn unreachable(why: &str) -> Self {
        let why = format!("the API cannot be reached: {why}");
        Self { status: StatusCode::BAD_GATEWAY, kind: "api_error", why }
    }

    pub(super) fn response(&self) -> Response<Reply> {
        let message = format!("claudebox: {}", self.why);
        let body = json!({"type": "error", "error": {"type": self.kind, "message": message}});
        let mut response = Response::new(Reply::whole(Bytes::from(body.to_string())));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
