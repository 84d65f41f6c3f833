//! Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.
//!
//! Everything that refuses a request here speaks in [`Problem`]s, like the rest of the HTTP door; they are put into
//! this shape at one place, around all of it, so that a bad token or a foreign Host comes in it too.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::PREFIX;
use crate::doors::http::problem::Problem;
use crate::doors::http::runs::rate_limited;
use crate::runs::run::{Run, State};

/// OpenAI's libraries ask again by themselves at 408, 409, 429 and 5xx, unless this says no.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Problems of a run that has begun: what it did in its workspace is done, so nobody should do it again unasked. Not of
/// one at a rate limit: it says itself when to ask again.
const OF_A_RUN: [&str; 8] = [
    "run_failed",
    "run_auth",
    "run_truncated",
    "run_budget",
    "run_hung",
    "run_cancelled",
    "run_interrupted",
    "run_schema_missed",
];

/// An error as the API's description has it.
#[derive(ToSchema)]
#[schema(as = OpenAiError)]
#[expect(dead_code, reason = "only described, never made: an error may have further fields")]
pub(in crate::doors) struct ErrorBody {
    error: ErrorDetails,
}

/// What an error says.
#[derive(ToSchema)]
#[schema(as = OpenAiErrorDetails)]
#[expect(dead_code, reason = "only described, never made")]
pub(in crate::doors) struct ErrorDetails {
    /// A sentence for a person.
    message: String,
    /// The kind of error, as OpenAI names them.
    r#type: String,
    /// The field or header that is wrong.
    param: Option<String>,
    /// For programs; never changes.
    code: String,
}

/// Puts problems of this door into its shape. For `middleware::from_fn`, around all routes.
pub async fn shape(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with(PREFIX);
    let response = next.run(request).await;
    match response.extensions().get::<Problem>().cloned() {
        Some(problem) if ours => shaped(&problem, response),
        _ => response,
    }
}

fn shaped(problem: &Problem, response: Response) -> Response {
    let (parts, _) = response.into_parts();
    let mut shaped = (parts.status, Json(json(problem))).into_response();
    for (name, value) in &parts.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            shaped.headers_mut().append(name, value.clone());
        }
    }
    if OF_A_RUN.contains(&problem.code()) {
        shaped.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    *shaped.extensions_mut() = parts.extensions;
    shaped
}

/// A problem in OpenAI's shape; what else it says for programs stands beside.
pub(super) fn json(problem: &Problem) -> Value {
    let of_problem = problem.json();
    let param = [&of_problem["field"], &of_problem["parameter"]].into_iter().find(|param| param.is_string());
    let mut error = json!({
        "message": problem.detail(), "type": kind(problem.status()), "param": param, "code": problem.code(),
    });
    for (key, value) in of_problem.as_object().into_iter().flatten() {
        if !["detail", "code", "field", "parameter"].contains(&key.as_str()) {
            error[key] = value.clone();
        }
    }
    json!({"error": error})
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 | 421 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// Why a run has no answer; `None` if it has one.
pub(super) fn of_run(run: &Run) -> Option<Problem> {
    if run.state == State::Succeeded {
        return None;
    }
    let end = run.end.as_ref();
    let said = end.and_then(|end| end.error.clone()).unwrap_or_else(|| "the run ended without an answer".into());
    let outcome = end.and_then(|end| end.outcome.as_deref()).unwrap_or_default();
    let api_status = end.and_then(|end| end.result["apiErrorStatus"].as_u64());
    let bad_gateway = |code| Problem::new(StatusCode::BAD_GATEWAY, code, said.clone());
    let problem = match (run.state, outcome, api_status) {
        (State::Cancelled, ..) => bad_gateway("run_cancelled"),
        (State::Interrupted, ..) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "run_interrupted", said.clone()),
        (_, "rate_limited", _) => rate_limited(end, said.clone()),
        (_, "model_error", Some(404)) => {
            Problem::new(StatusCode::NOT_FOUND, "model_not_found", said.clone()).with("field", "model")
        }
        (_, "model_error", Some(400)) => Problem::new(StatusCode::BAD_REQUEST, "model_refused", said.clone()),
        (_, "model_error", Some(413)) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", said.clone()),
        (_, "session_not_found", _) => Problem::new(StatusCode::NOT_FOUND, "session_not_found", said.clone()),
        (_, "hung", _) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "run_hung", said.clone()),
        (_, "auth", _) => bad_gateway("run_auth"),
        (_, "truncated" | "killed", _) => bad_gateway("run_truncated"),
        (_, "budget", _) => bad_gateway("run_budget"),
        (_, "schema_missed", _) => bad_gateway("run_schema_missed"),
        _ => bad_gateway("run_failed"),
    };
    Some(problem.with("runId", run.id.to_string()).with("outcome", outcome))
}
