//! Runs over HTTP: start, follow, read, cancel.
#![expect(unused_qualifications, reason = "utoipa's macro names its parameters' types by a path")]

mod ask;
mod start;
mod stream;
mod view;
mod whole;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

use self::stream::{Framing, ServerSentEvent, Source};
use self::view::RunView;
pub use self::view::webhook_body;
use super::inside::Inside;
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::desk::refusal::{Kind, Refusal};
use crate::desk::runs::RunName;
use crate::doors::web::parameters::{Path, Query};
use crate::doors::web::problem::{Problem, ProblemBody};
use crate::doors::web::server::Stopping;
use crate::doors::web::trace::RunId;
use crate::runs::engine::Hold;
use crate::store::Filter;
use crate::store::record::State as RunState;

const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

/// The routes of runs.
pub(super) fn router() -> Router<Inside> {
    Router::new()
        .route("/run", post(start::run))
        .route("/run/result", get(result))
        .route("/run/cancel", post(cancel_by_query))
        .route("/runs", get(list))
        .route("/runs/{id}", get(one).delete(cancel))
        // The predecessor's address of the same, which is not described twice.
        .route("/run/{id}", delete(cancel))
        .route("/runs/{id}/events", get(events))
        .route("/status", get(status))
}

/// What is served here.
#[derive(OpenApi)]
#[openapi(paths(start::run, result, cancel_by_query, list, one, cancel, events, status))]
struct Described;

/// What is served here, described.
pub(super) fn described() -> OpenApiDocument {
    let mut described = Described::openapi();
    ask::describe(&mut described);
    described
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ResultQuery {
    /// The run.
    #[serde(alias = "run_id")]
    #[param(min_length = 1)]
    run_id: String,
}

/// Read a run's result.
///
/// As often as one likes, also after a restart. Until it is there, `status` is `running`.
#[utoipa::path(
    get, operation_id = "result", path = "/run/result", tag = "runs", params(ResultQuery),
    responses(
        (status = 200, description = "The CLI's result with runId, workspace and status, or where the run stands", body = view::ResultBody),
        (status = 404, description = "No such run: `run_not_found`", body = ProblemBody),
        (status = 422, description = "A parameter is not allowed: `invalid_parameter`", body = ProblemBody),
    ),
)]
async fn result(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ResultQuery>,
) -> Result<Response, Problem> {
    let run = desk.visible_run(&query.run_id, &caller).await?;
    let body = if run.state.is_final() {
        whole::result(&desk, &run).await?
    } else {
        view::brief(&run, desk.engine.ahead(&run))
    };
    Ok(about(&run.id.to_string(), Json(body)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct CancelQuery {
    /// The run.
    #[serde(alias = "run_id")]
    #[param(min_length = 1)]
    run_id: Option<String>,
    /// The workspace whose run is meant, if no run is named.
    workspace: Option<String>,
}

/// What a cancel has done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CancelView {
    /// `ok`: the run is cancelled. `already_ended`: it had ended before, and nothing has changed.
    status: &'static str,
    run_id: String,
    workspace: String,
    /// Where the run stands now.
    #[schema(value_type = view::StateName)]
    state: &'static str,
}

/// Cancel a run, named by itself or by its workspace.
#[utoipa::path(
    post, operation_id = "cancelByQuery", path = "/run/cancel", tag = "runs", params(CancelQuery),
    responses(
        (status = 200, description = "It is cancelled, or had ended before", body = CancelView),
        (status = 403, description = "Not this caller's workspace: `workspace_not_allowed`, or outside: `path_outside`", body = ProblemBody),
        (status = 404, description = "No such run, or nothing runs there: `run_not_found`, `workspace_not_found`", body = ProblemBody),
        (status = 422, description = "Neither is named, or not rightly: `invalid_parameter`, `path_invalid`, `not_a_folder`", body = ProblemBody),
    ),
)]
async fn cancel_by_query(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<CancelQuery>,
) -> Result<Response, Problem> {
    let neither = || Refusal::new(Kind::Invalid, "invalid_parameter", "name a run (runId) or a workspace (workspace)");
    cancelled(&desk, &caller, RunName::either(query.run_id, query.workspace).ok_or_else(neither)?).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ListQuery {
    /// Only runs of this workspace.
    workspace: Option<String>,
    /// Only runs in this state: queued, running, succeeded, failed, cancelled, interrupted.
    #[param(value_type = Option<view::StateName>)]
    state: Option<RunState>,
    /// Runs of one page, 50 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[param(format = "uuid")]
    cursor: Option<String>,
}

/// A page of runs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunList {
    runs: Vec<RunView>,
    /// `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

/// List runs, the newest first.
#[utoipa::path(
    get, operation_id = "listRuns", path = "/runs", tag = "runs", params(ListQuery),
    responses(
        (status = 200, description = "A page of runs, without their results", body = RunList),
        (status = 403, description = "Not this caller's workspace: `workspace_not_allowed`, or outside: `path_outside`", body = ProblemBody),
        (status = 404, description = "No such workspace: `workspace_not_found`", body = ProblemBody),
        (status = 422, description = "A parameter is not allowed: `invalid_parameter`, `path_invalid`, `not_a_folder`", body = ProblemBody),
    ),
)]
async fn list(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery>,
) -> Result<Json<RunList>, Problem> {
    let limit = query.limit.unwrap_or(USUAL_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(invalid_parameter("limit", &format!("a whole number from 1 to {LARGEST_PAGE} is allowed")));
    }
    let before = match query.cursor.as_deref().map(Uuid::try_parse) {
        Some(Err(_)) => return Err(invalid_parameter("cursor", "the nextCursor of an earlier page is allowed")),
        cursor => cursor.and_then(Result::ok),
    };
    let workspace = match query.workspace {
        Some(name) => Some(desk.workspace(&caller, name, false).await?.path),
        None => None,
    };
    let visible = caller.sight(desk.workspaces.root());
    // One more than asked for tells whether there is a next page.
    let filter = Filter { workspace, requester: None, state: query.state, before, limit: limit + 1, visible };
    let mut runs = desk.engine.list(filter).await?;
    let more = runs.len() > limit;
    runs.truncate(limit);
    let next_cursor = runs.last().filter(|_| more).map(|run| run.id.to_string());
    let runs = runs.iter().map(|run| RunView::short(run, desk.engine.ahead(run))).collect();
    Ok(Json(RunList { runs, next_cursor }))
}

/// Read a run: where it stands, what was asked, how it ended.
#[utoipa::path(
    get, operation_id = "readRun", path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = RunView),
        (status = 404, description = "No such run: `run_not_found`", body = ProblemBody),
    ),
)]
async fn one(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let run = desk.visible_run(&id, &caller).await?;
    Ok(about(&id, Json(RunView::whole(&run, desk.engine.ahead(&run)))))
}

/// Cancel a run.
///
/// Answers when its processes are gone. One that has ended stays as it is.
#[utoipa::path(
    delete, operation_id = "cancelRun", path = "/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "It is cancelled, or had ended before", body = CancelView),
        (status = 404, description = "No such run: `run_not_found`", body = ProblemBody),
    ),
)]
async fn cancel(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    cancelled(&desk, &caller, RunName::Run(id)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct EventsQuery {
    /// Where in the log to begin, for clients that cannot send Last-Event-ID: an event's id.
    last_event_id: Option<u64>,
}

/// Follow a run: its events from the first on, and the run itself at its end.
///
/// Server-sent events (`event`, each with an `id`; `end` with the run), or one JSON object per line for
/// `Accept: application/x-ndjson`. `Last-Event-ID` goes on after that event.
#[utoipa::path(
    get, operation_id = "followRun", path = "/runs/{id}/events", tag = "runs",
    params(
        ("id" = String, Path, description = "The run"), EventsQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Id of the last event the client has"),
    ),
    responses(
        (status = 200, description = "The events", content((ServerSentEvent = "text/event-stream"), (String = "application/x-ndjson"))),
        (status = 404, description = "No such run: `run_not_found`", body = ProblemBody),
        (status = 422, description = "A parameter is not allowed: `invalid_parameter`", body = ProblemBody),
    ),
)]
async fn events(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    stopping: Option<Extension<Stopping>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = desk.visible_run(&id, &caller).await?.id;
    let offset = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default().parse()) {
        Some(Ok(offset)) => offset,
        Some(Err(_)) => {
            return Err(invalid_parameter("Last-Event-ID", "the id of one of this run's events is allowed"));
        }
        None => query.last_event_id.unwrap_or_default(),
    };
    let events = desk.events(run, offset).await?;
    let hold = Hold::nothing(desk.engine.clone());
    let stopping = stopping.map(|Extension(stopping)| stopping);
    let source = Source { engine: desk.engine.clone(), run, events, stopping, hold };
    Ok(stream::answer(source, Framing::accepted(&headers, Framing::ServerSentEvents), None))
}

/// What is going on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    /// Absolute paths of the workspaces a run works in.
    busy_workspaces: Vec<String>,
    /// Runs that have not ended, and the last ones that have.
    runs: Vec<StatusRun>,
    /// How many runs wait.
    queued: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StatusRun {
    run_id: String,
    workspace: String,
    /// running, completed, failed, cancelled.
    status: &'static str,
    #[schema(value_type = view::StateName)]
    state: &'static str,
}

/// See which workspaces are busy, and the runs.
#[utoipa::path(get, operation_id = "status", path = "/status", tag = "runs", responses((status = 200, description = "What is going on", body = StatusView)))]
async fn status(State(desk): State<Desk>, Extension(caller): Extension<Caller>) -> Result<Json<StatusView>, Problem> {
    let sees = caller.sight(desk.workspaces.root());
    let now = desk.engine.status();
    let filter = Filter { limit: USUAL_PAGE, visible: caller.sight(desk.workspaces.root()), ..Filter::default() };
    let recent = desk.engine.list(filter).await?;
    let is_visible = |workspace: &std::path::Path| sees.as_ref().is_none_or(|sees| sees(workspace));
    let live = now.live.iter().filter(|(_, workspace, _)| is_visible(workspace));
    let live = live.map(|(id, workspace, state)| (*id, workspace.as_path(), *state));
    let ended = recent.iter().filter(|run| run.state.is_final());
    let ended = ended.map(|run| (run.id, run.workspace.as_path(), run.state));
    let runs = live.chain(ended).map(|(id, workspace, state)| StatusRun {
        run_id: id.to_string(),
        workspace: workspace.to_string_lossy().into_owned(),
        status: view::status(state),
        state: state.name(),
    });
    let busy = now.busy.iter().filter(|workspace| is_visible(workspace));
    Ok(Json(StatusView {
        busy_workspaces: busy.map(|workspace| workspace.to_string_lossy().into_owned()).collect(),
        runs: runs.collect(),
        queued: now.queued,
    }))
}

async fn cancelled(desk: &Desk, caller: &Caller, named: RunName) -> Result<Response, Problem> {
    let cancellation = desk.cancel(caller, named).await?;
    let run = &cancellation.run;
    let body = CancelView {
        status: cancellation.status(),
        run_id: run.id.to_string(),
        workspace: run.workspace.to_string_lossy().into_owned(),
        state: run.state.name(),
    };
    Ok(about(&run.id.to_string(), Json(body)))
}

/// An answer about one run, for the log.
fn about(run: &str, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.extensions_mut().insert(RunId(run.to_owned()));
    response
}

fn invalid_parameter(name: &str, allowed: &str) -> Problem {
    Refusal::of_named("parameter", "invalid_parameter", name, allowed).into()
}
