//! A refusal in HTTP: a status, a sentence and a stable code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use utoipa::ToSchema;

use crate::desk::options::Field;
use crate::desk::refusal::{Kind, Refusal, Remedy, Words};
use crate::store::StoreError;
use crate::workspace::PathError;

/// The words of HTTP's own clients.
pub const WORDS: Words = Words { field: Field::camel, remedy };

const fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::CreateWorkspace => "set createWorkspace to have it made",
        Remedy::WaitOrReplace => "set busy to queue or replace",
        Remedy::Wait => "set busy to queue to wait all the same",
    }
}

/// An error of a request: `{"detail": "...", "code": "..."}`.
///
/// `detail` is a sentence for a person, naming what is wrong and what is allowed; `code` is for programs and never
/// changes. A door with another shape makes it from the refusal, which is an extension of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    refusal: Refusal,
}

/// A problem as the API's description has it.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "only described, never made: a problem may have further fields")]
pub(in crate::doors) struct ProblemBody {
    /// A sentence for a person.
    detail: String,
    /// For programs; never changes.
    code: String,
}

impl Problem {
    /// A problem of the protocol, of this status and with this code.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, refusal: Refusal::new(Kind::Protocol, code, detail) }
    }

    /// Adds a field for programs: the run that holds a workspace, the values that are allowed.
    #[must_use]
    pub fn with(self, field: &'static str, value: impl Into<Value>) -> Self {
        Self { refusal: self.refusal.with(field, value), ..self }
    }

    /// Adds the header that says when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { refusal: self.refusal.retry_after(seconds), ..self }
    }

    /// A fault of claudebox or of the system under it. What exactly is for the log, not for the client.
    pub fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        Refusal::internal(what, error).into()
    }

    /// Its status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says.
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Its code.
    pub fn code(&self) -> &'static str {
        self.refusal.code()
    }

    /// What a person is told.
    pub fn detail(&self) -> String {
        self.refusal.detail(&WORDS)
    }

    /// All that a client is told, as one object.
    pub fn json(&self) -> Value {
        self.refusal.json(&WORDS)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind() {
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Missing => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Precondition => StatusCode::PRECONDITION_FAILED,
            Kind::TooMuch => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Protocol => StatusCode::BAD_REQUEST,
        };
        Self { status, refusal }
    }
}

impl From<PathError> for Problem {
    fn from(error: PathError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        if let Some(seconds) = self.refusal.seconds() {
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
