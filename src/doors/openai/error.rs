//! Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.
//!
//! Everything that refuses a request here speaks in [`Problem`]s, like the rest of the HTTP door; they are put into
//! this shape at one place, around all of it, so that a bad token or a foreign Host comes in it too.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::claude::outcome::Outcome;
use crate::desk::options::Field;
use crate::desk::refusal::{RETRY_SECONDS, Remedy, Words, rate_limited};
use crate::doors::web::problem::Problem;
use crate::store::record::{Run, State};

/// Where everything of this door is.
const PREFIX: &str = "/openai/";
/// OpenAI's libraries ask again by themselves at 408, 409, 429 and 5xx, unless this says no. Others know only the
/// status, and some ask again at whatever is not 400 to 409.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The words of this door's clients: what the protocol has no place for is said in headers.
pub(super) const WORDS: Words = Words { field: Field::snake, remedy };

const fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::CreateWorkspace => "send X-Claude-Create-Workspace: 1 to have it made",
        Remedy::WaitOrReplace => "send X-Claude-Busy: queue or replace",
        Remedy::Wait => "send X-Claude-Busy: queue to wait all the same",
    }
}

/// Why the CLI ends a run whose conversation does not fit into the model's window.
const TOO_LONG: [&str; 3] = ["blocking_limit", "prompt_too_long", "context_limit"];

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

/// The answer to a request for `path`: a problem of this door in its shape.
pub fn shape(path: &str, response: Response) -> Response {
    match response.extensions().get::<Problem>().cloned() {
        Some(problem) if path.starts_with(PREFIX) => shaped(&problem, response),
        _ => response,
    }
}

fn shaped(problem: &Problem, response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    // OpenAI has one status for bad input, and libraries have their exceptions by it.
    if parts.status == StatusCode::UNPROCESSABLE_ENTITY {
        parts.status = StatusCode::BAD_REQUEST;
    }
    let mut shaped = (parts.status, Json(json(problem))).into_response();
    for (name, value) in &parts.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            shaped.headers_mut().append(name, value.clone());
        }
    }
    if parts.status == StatusCode::SERVICE_UNAVAILABLE {
        let wait = HeaderValue::from(RETRY_SECONDS);
        shaped.headers_mut().entry(header::RETRY_AFTER).or_insert(wait);
    }
    if is_of_a_run(problem) {
        shaped.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    *shaped.extensions_mut() = parts.extensions;
    shaped
}

/// Whether a run has begun and failed: what it did in its workspace is done, so nobody should do it again unasked. Not
/// one at a limit of the API: it says itself when to ask again.
fn is_of_a_run(problem: &Problem) -> bool {
    problem.code().starts_with("run_") && !["run_rate_limited", "run_overloaded"].contains(&problem.code())
}

/// A problem in OpenAI's shape; what else it says for programs stands beside.
pub(super) fn json(problem: &Problem) -> Value {
    let of_problem = problem.refusal().json(&WORDS);
    let param = [&of_problem["field"], &of_problem["parameter"]].into_iter().find(|param| param.is_string());
    let mut error = json!({
        "message": of_problem["detail"], "type": kind(problem), "param": param, "code": problem.code(),
    });
    for (key, value) in of_problem.as_object().into_iter().flatten() {
        if !["detail", "code", "field", "parameter"].contains(&key.as_str()) {
            error[key] = value.clone();
        }
    }
    json!({"error": error})
}

fn kind(problem: &Problem) -> &'static str {
    if is_of_a_run(problem) {
        return "run_error";
    }
    match problem.status().as_u16() {
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
    let outcome = end.and_then(|end| end.outcome);
    let api_status = end.and_then(|end| end.result["apiErrorStatus"].as_u64());
    let reason = end.and_then(|end| end.result["terminalReason"].as_str()).unwrap_or_default();
    // None of 408, 409, 429 and 5xx: a client would ask again by itself, and the work would be done and paid twice.
    let failed = |code| Problem::new(StatusCode::BAD_REQUEST, code, said.clone());
    let problem = match (run.state, outcome.unwrap_or(Outcome::Truncated), api_status) {
        (State::Cancelled, ..) => failed("run_cancelled"),
        (State::Interrupted, ..) => failed("run_interrupted"),
        (_, Outcome::RateLimited { .. }, _) => rate_limited(end, said.clone()).into(),
        (_, Outcome::ModelError, _) if TOO_LONG.contains(&reason) => failed("context_length_exceeded"),
        (_, Outcome::ModelError, Some(404)) => {
            Problem::new(StatusCode::NOT_FOUND, "model_not_found", said.clone()).with("field", "model")
        }
        (_, Outcome::ModelError, Some(400)) => failed("model_refused"),
        (_, Outcome::ModelError, Some(413)) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", said.clone()),
        (_, Outcome::ModelError, Some(503 | 529)) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "run_overloaded", said.clone())
        }
        (_, Outcome::SessionNotFound, _) => Problem::new(StatusCode::NOT_FOUND, "session_not_found", said.clone()),
        (_, Outcome::Hung { .. }, _) => failed("run_hung"),
        (_, Outcome::Oom, _) => failed("run_oom"),
        // Claude's own credentials: 401 would be said of the client's.
        (_, Outcome::Auth, _) => Problem::new(StatusCode::FORBIDDEN, "run_auth", said.clone()),
        (_, Outcome::Truncated | Outcome::Killed { .. }, _) => failed("run_truncated"),
        (_, Outcome::Budget, _) => Problem::new(StatusCode::PAYMENT_REQUIRED, "run_budget", said.clone()),
        (_, Outcome::SchemaMissed, _) => failed("run_schema_missed"),
        _ => failed("run_failed"),
    };
    Some(problem.with("runId", run.id.to_string()).with("outcome", outcome.map_or("", Outcome::name)))
}
