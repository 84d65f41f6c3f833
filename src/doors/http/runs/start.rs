//! `POST /run`.
#![expect(unused_qualifications, reason = "utoipa's macro names its parameters' types by a path")]

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ask::RunBody;
use super::stream::{self, Framing, ServerSentEvent, Source};
use super::view::ResultBody;
use super::{view, whole};
use crate::claude::outcome::Outcome;
use crate::desk::Desk;
use crate::desk::ask::Ask;
use crate::desk::caller::Caller;
use crate::desk::options::Field;
use crate::desk::refusal::{Refusal, rate_limited};
use crate::doors::http::ephemeral;
use crate::doors::web::RUN_ID;
use crate::doors::web::parameters::{Body, Query, idempotency_key};
use crate::doors::web::problem::{Problem, ProblemBody};
use crate::doors::web::server::Stopping;
use crate::doors::web::trace::RunId;
use crate::runs::engine::Submitted;
use crate::store::record::{DoorName, Run, State as RunState};

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
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    stopping: Option<Extension<Stopping>>,
    Query(query): Query<RunQuery>,
    headers: HeaderMap,
    Body(body): Body<RunBody>,
) -> Result<Response, Problem> {
    let request = body.request()?;
    let key = idempotency_key(&headers)?;
    if let Some(url) = body.webhook_url() {
        desk.fetcher.check(url).map_err(|error| Refusal::of_field(Field::WebhookUrl, error.to_string()))?;
    }
    let ephemeral = body.ephemeral.then(|| ephemeral::name(&caller.name, key.as_deref()));
    let name = ephemeral.clone().or_else(|| body.workspace.clone()).unwrap_or_default();
    let workspace = desk.workspace(&caller, name, body.create_workspace || body.ephemeral).await?;
    let stays = body.in_background || body.fire_and_forget || key.is_some();
    let ask = Ask::new(caller.origin(DoorName::Http, desk.workspaces.root()), workspace.path, request);
    let ask = ask.busy(body.busy).key(key).webhook(body.webhook_url().map(str::to_owned)).stays(stays);
    let submitted = ask.submit(&desk.engine).await;
    if let Some(name) = ephemeral {
        ephemeral::settle(&desk, &submitted, name).await;
    }
    let Submitted { id, mut hold, .. } = submitted.map_err(Refusal::from)?;
    let mut response = if body.in_background {
        let run = desk.run(id).await?;
        // What a client is told that polls for the end of "running": also of a run that has ended by now.
        let brief = view::brief(&Run { state: running_or_queued(run.state), ..run.clone() }, desk.engine.ahead(&run));
        Json(brief).into_response()
    } else if body.stream {
        let events = desk.events(id, 0).await?;
        let first = serde_json::json!({"type": "run", "runId": id, "workspace": workspace.name}).to_string();
        let stopping = stopping.map(|Extension(stopping)| stopping);
        let source = Source { engine: desk.engine.clone(), run: id, events, stopping, hold };
        stream::answer(source, Framing::accepted(&headers, Framing::Lines), Some(first))
    } else {
        let ended = desk.wait_or_stop(id, stopping.as_ref().map(|Extension(stopping)| stopping.token())).await;
        hold.release();
        let ended = ended?;
        answer(&ended, whole::result(&desk, &ended).await?, query.strict)
    };
    response.extensions_mut().insert(RunId(id.to_string()));
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
    let problem = match end.and_then(|end| end.outcome) {
        Some(Outcome::RateLimited { .. }) => rate_limited(end, said).into(),
        _ => Problem::new(StatusCode::BAD_GATEWAY, "run_failed", said),
    };
    problem.with("result", result).into_response()
}
