//! What a client is told when its request is not carried out: a status, a sentence and a stable code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An error of a request: `{"detail": "...", "code": "..."}`.
///
/// `detail` is a sentence for a person, naming what is wrong and what is allowed; `code` is for programs and never
/// changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    // A list and no map, to keep an error small: it is the other half of every result here.
    more: Vec<(String, Value)>,
    retry_after: Option<u64>,
}

/// A problem as the API's description has it.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only described, never made: a problem may have further fields")]
pub(super) struct ProblemBody {
    /// A sentence for a person.
    detail: String,
    /// For programs; never changes.
    code: String,
}

impl Problem {
    /// A problem of this status, with this code.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), more: Vec::new(), retry_after: None }
    }

    /// Adds a field for programs: the run that holds a workspace, the values that are allowed.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.more.push((field.to_owned(), value.into()));
        self
    }

    /// Adds the header that says when to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same problem in other words.
    #[must_use]
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// All that a client is told, as one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut body = Map::new();
        body.insert("detail".into(), self.detail.clone().into());
        body.insert("code".into(), self.code.into());
        body.extend(self.more.iter().cloned());
        Value::Object(body)
    }

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// What a person is told.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// A fault of claudebox or of the system under it. What exactly is for the log, not for the client.
    pub fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!("{what}: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("claudebox failed: {what}; its log says why"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For a door that has another shape for it.
        response.extensions_mut().insert(self);
        response
    }
}
