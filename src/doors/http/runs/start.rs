//! `POST /run`.
#![expect(unused_qualifications, reason = "utoipa's macro names its parameters' types by a path")]

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ask::{RunBody, invalid};
use super::stream::{self, Framing, ServerSentEvent, Source};
use super::view::ResultBody;
use super::{about, ledger_failed, unknown, view, whole};
use crate::claude::outcome::Outcome;
use crate::doors::http::app::App;
use crate::doors::http::auth::Caller;
use crate::doors::http::ephemeral;
use crate::doors::http::parameters::{Body, Query};
use crate::doors::http::problem::{Problem, ProblemBody};
use crate::doors::http::server::Stopping;
use crate::runs::engine::Submitted;
use crate::runs::run::{DoorName, End, NewRun, Run, State as RunState, now};
use crate::runs::submission::SubmitError;

/// The name of this door.
const DOOR: DoorName = DoorName::Http;
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const LONGEST_KEY: usize = 255;
pub(in crate::doors) const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");
/// When to try again where nothing says when.
const RETRY_SECONDS: u64 = 30;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RunQuery {
    /// Answer a run that failed with 502, or with 429 at a rate limit, instead of 200.
    #[serde(default)]
    strict: bool,
}

/// Start a run, and answer with its result.
///
/// Errors of Claude itself are results: status 200, `isError` and `outcome` say what happened.
/// A client that goes away cancels its run, unless it asked for `async`, `fireAndForget`, or sent an Idempotency-Key.
#[utoipa::path(
    post, operation_id = "startRun", path = "/run", tag = "runs", params(
        RunQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key again is the same run, not another"),
    ),
    request_body = RunBody,
    responses(
        (status = 200, description = "The CLI's result with runId, workspace, outcome; with `async`: runId, workspace, status", content(
            (ResultBody = "application/json"), (String = "application/x-ndjson"), (ServerSentEvent = "text/event-stream"),
        )),
        (status = 400, description = "The body is not JSON: `malformed_json`", body = ProblemBody),
        (status = 403, description = "Not this caller's workspace, or outside: `workspace_not_allowed`, `path_outside`, `access_denied`", body = ProblemBody),
        (status = 404, description = "No such workspace: `workspace_not_found`", body = ProblemBody),
        (status = 409, description = "The workspace is busy: `workspace_busy`, with the run that holds it", body = ProblemBody),
        (status = 413, description = "The body or the prompt is too long: `too_large`", body = ProblemBody),
        (status = 415, description = "Not sent as JSON: `unsupported_media_type`", body = ProblemBody),
        (status = 422, description = "A field is not allowed: `invalid_field`, `invalid_parameter`, `path_invalid`, `not_a_folder`, `key_reused`", body = ProblemBody),
        (status = 429, description = "Too much: `queue_full`, `over_budget`; with strict also `run_rate_limited`", body = ProblemBody),
        (status = 502, description = "With strict: the run failed, `run_failed`", body = ProblemBody),
        (status = 507, description = "No space is left in the state folder: `no_space`", body = ProblemBody),
        (status = 503, description = "The server is shutting down: `shutting_down`", body = ProblemBody),
    ),
)]
pub(super) async fn run(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    stopping: Option<Extension<Stopping>>,
    Query(query): Query<RunQuery>,
    headers: HeaderMap,
    Body(body): Body<RunBody>,
) -> Result<Response, Problem> {
    let request = body.request()?;
    let key = idempotency_key(&headers)?;
    if let Some(url) = body.webhook_url() {
        app.fetcher.check(url).map_err(|error| invalid("webhookUrl", &error.to_string()))?;
    }
    if body.ephemeral && body.workspace.as_deref().is_some_and(|name| !name.is_empty()) {
        return Err(invalid("ephemeral", "a workspace of its own has no name: leave workspace out"));
    }
    let ephemeral = body.ephemeral.then(|| ephemeral::name(&caller.name, key.as_deref()));
    let name = ephemeral.clone().or_else(|| body.workspace.clone()).unwrap_or_default();
    let workspace = app.workspace(&caller, name, body.create_workspace || body.ephemeral).await?;
    let stays = body.in_background || body.fire_and_forget || key.is_some();
    let new = NewRun {
        origin: app.origin(DOOR, &caller),
        workspace: workspace.path,
        request,
        busy: body.busy.into(),
        idempotency_key: key,
        webhook_url: body.webhook_url().map(str::to_owned),
        stays,
    };
    let submitted = app.engine.submit(new).await;
    match (ephemeral, &submitted) {
        (Some(name), Ok(run)) => ephemeral::delete_after(&app, run.id, name),
        // One that has a run already is that run's.
        (
            Some(name),
            Err(
                SubmitError::QueueFull { .. }
                | SubmitError::OverShare { .. }
                | SubmitError::OverBudget(_)
                | SubmitError::NotReady(_),
            ),
        ) => {
            ephemeral::delete(app.workspaces.clone(), name).await;
        }
        _ => {}
    }
    let Submitted { id, mut hold, .. } = submitted.map_err(refused)?;
    let mut response = if body.in_background {
        let run = app.engine.get(id).await.map_err(|error| ledger_failed(&error))?;
        let run = run.ok_or_else(|| unknown(&id.to_string()))?;
        // What a client is told that polls for the end of "running": also of a run that has ended by now.
        let brief = view::brief(&Run { state: running_or_queued(run.state), ..run.clone() }, app.engine.ahead(&run));
        about(&id.to_string(), Json(brief))
    } else if body.stream {
        let events = app.engine.events(id, 0).await.map_err(|error| ledger_failed(&error))?;
        let events = events.ok_or_else(|| unknown(&id.to_string()))?;
        let first = serde_json::json!({"type": "run", "runId": id, "workspace": workspace.name}).to_string();
        let stopping = stopping.map(|Extension(stopping)| stopping);
        let source = Source { engine: app.engine.clone(), run: id, events, stopping, hold };
        let framing = Framing::accepted(&headers, Framing::Lines);
        about(&id.to_string(), stream::answer(source, framing, Some(first)))
    } else {
        let ended = app.wait_or_stop(id, stopping).await;
        // Also where there is no result: who is told that the run waits for the next server has not gone away.
        hold.release();
        let ended = ended?;
        about(&id.to_string(), answer(&ended, whole::result(&app, &ended).await?, query.strict))
    };
    let location = HeaderValue::from_str(&format!("/runs/{id}"));
    response.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    response.headers_mut().extend(HeaderValue::from_str(&id.to_string()).ok().map(|id| (RUN_ID, id)));
    Ok(response)
}

const fn running_or_queued(state: RunState) -> RunState {
    match state {
        RunState::Queued => RunState::Queued,
        _ => RunState::Running,
    }
}

fn answer(run: &Run, result: serde_json::Value, strict: bool) -> Response {
    if !strict || run.state == RunState::Succeeded {
        return Json(result).into_response();
    }
    let end = run.end.as_ref();
    let said = end.and_then(|end| end.error.clone()).unwrap_or_else(|| "the run ended without an answer".into());
    let problem = if matches!(end.and_then(|end| end.outcome), Some(Outcome::RateLimited { .. })) {
        rate_limited(end, said)
    } else {
        Problem::new(StatusCode::BAD_GATEWAY, "run_failed", said)
    };
    problem.with("result", result).into_response()
}

/// The problem of a run that has met a rate limit, and when that resets.
pub(in crate::doors) fn rate_limited(end: Option<&End>, said: String) -> Problem {
    let reset = end.and_then(|end| end.outcome?.resets_at()).and_then(|at| i64::try_from(at).ok());
    let wait = reset.map_or(RETRY_SECONDS, |at| u64::try_from(at - now() / 1000).unwrap_or(0).max(1));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "run_rate_limited", said).retry_after(wait)
}

/// The key that a client gives for "this very run".
pub(in crate::doors) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let detail = format!("Idempotency-Key: 1 to {LONGEST_KEY} visible ASCII characters are allowed");
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", detail);
            Err(problem.with("parameter", "Idempotency-Key"))
        }
    }
}

pub(in crate::doors) fn refused(error: SubmitError) -> Problem {
    let said = error.to_string();
    match error {
        SubmitError::Busy { holder } => Problem::new(
            StatusCode::CONFLICT,
            "workspace_busy",
            format!("{said}; wait for its end, cancel it, or set busy to queue or replace"),
        )
        .with("runId", holder.to_string()),
        SubmitError::QueueFull { .. } | SubmitError::OverShare { .. } => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", said).retry_after(RETRY_SECONDS)
        }
        SubmitError::OverBudget(over) => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "over_budget", said).retry_after(over.retry_after)
        }
        SubmitError::KeyReused { before } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", said).with("runId", before.to_string())
        }
        SubmitError::NotReady(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", said).retry_after(RETRY_SECONDS)
        }
        SubmitError::Closed => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", said).retry_after(RETRY_SECONDS)
        }
        SubmitError::Ledger(error) => ledger_failed(&error),
    }
}
