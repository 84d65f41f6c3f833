//! `POST /responses` and `GET /responses/{id}`.
#![expect(unused_qualifications, reason = "utoipa's macro names its parameters' types by a path")]

mod echo;
mod items;
mod references;
mod stream;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use self::echo::Echo;
use self::items::{RESPONSE, response_id};
use self::stream::ResponseEvents;
use super::answer::Answer;
use super::error::{self, ErrorBody};
use super::headers::Headers;
use super::memory;
use super::message::{self, Message, Role, invalid};
use super::models::Models;
use super::tools::{self, Tools};
use super::turn::Turn;
use super::wish::{AnswerRequest, effort, schema};
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::doors::web::parameters::{Body, Path, Query, idempotency_key};
use crate::doors::web::problem::Problem;
use crate::doors::web::server::Stopping;
use crate::store::record::Run;

/// What counts of a request. Everything else that the protocol has is ignored: Claude Code decides it.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ResponseRequest)]
pub(super) struct ResponsesBody {
    /// Alias or full name, also with a provider before it.
    #[serde(default)]
    model: Option<String>,
    /// A text, or a list of items.
    #[serde(default)]
    #[schema(value_type = Value, example = json!("hello"))]
    input: Value,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default)]
    stream: Option<bool>,
    /// `format`: `text`, `json_object` or `json_schema`.
    #[serde(default)]
    #[schema(value_type = Value)]
    text: Value,
    #[serde(default)]
    reasoning: Option<Reasoning>,
    #[serde(default)]
    previous_response_id: Option<String>,
    /// Not kept here.
    #[serde(default)]
    #[schema(value_type = Value)]
    conversation: Value,
    #[serde(default)]
    background: Option<bool>,
    #[serde(default)]
    store: Option<bool>,
    /// Not called by Claude Code, except for a call that `tool_choice` forces.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Value,
    #[serde(default)]
    #[schema(value_type = Value)]
    tool_choice: Value,
    #[serde(default)]
    #[schema(value_type = Value)]
    metadata: Value,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
struct Reasoning {
    #[serde(default)]
    effort: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ResponseQuery {
    /// Its events, once it has come to its end.
    #[serde(default)]
    stream: bool,
}

/// Answer an input (Responses).
///
/// OpenAI's protocol; a run of Claude Code in a workspace. `docs/openai.md` says what of a request counts.
#[utoipa::path(
    post, operation_id = "createResponse", path = "/responses", tag = "openai",
    params(
        ("X-Claude-Workspace" = Option<String>, Header, description = "Folder below the workspaces folder"),
        ("X-Claude-Create-Workspace" = Option<String>, Header, description = "1: make it if it is missing"),
        ("X-Claude-Continue" = Option<String>, Header, description = "1: go on with a session"),
        ("X-Claude-Session" = Option<String>, Header, description = "Go on with this session"),
        ("X-Claude-Append-System-Prompt" = Option<String>, Header, description = "Is added to the system prompt"),
        ("X-Claude-Busy" = Option<String>, Header, description = "reject, queue (the default) or replace"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again is the same run, not another"),
        ("X-Claude-Progress" = Option<String>, Header, description = "off, reasoning or comments"),
    ),
    request_body(content = ResponsesBody, example = json!({"model": "haiku", "input": "hello"})),
    responses(
        (status = 200, description = "The answer; with `stream` its events", content((Object = "application/json"), (Object = "text/event-stream"))),
        (status = 400, description = "Not JSON or not allowed: `malformed_json`, `invalid_field`, `invalid_header`, `key_reused`; too long for the model: `context_length_exceeded`; refused: `model_refused`; or the run has no answer: `run_failed`, `run_hung`, ...", body = ErrorBody),
        (status = 402, description = "The run was stopped at its budget: `run_budget`", body = ErrorBody),
        (status = 403, description = "Not this caller's workspace, or outside: `workspace_not_allowed`, `path_outside`; Claude's own credentials: `run_auth`", body = ErrorBody),
        (status = 404, description = "No such model, workspace, session, response or item", body = ErrorBody),
        (status = 409, description = "The workspace is busy: `workspace_busy`", body = ErrorBody),
        (status = 413, description = "Too long: `too_large`", body = ErrorBody),
        (status = 415, description = "Not sent as JSON: `unsupported_media_type`", body = ErrorBody),
        (status = 429, description = "Too much: `run_rate_limited`, `over_budget`, `queue_full`", body = ErrorBody),
        (status = 503, description = "Shutting down, or the API is overloaded: `shutting_down`, `run_overloaded`", body = ErrorBody),
        (status = 507, description = "No space is left in the state folder: `no_space`", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(desk): State<Desk>,
    State(models): State<Arc<Models>>,
    Extension(caller): Extension<Caller>,
    stopping: Option<Extension<Stopping>>,
    headers: HeaderMap,
    Body(body): Body<ResponsesBody>,
) -> Result<Response, Problem> {
    if body.background.unwrap_or_default() {
        return Err(invalid(
            "background",
            "only false is allowed: POST /run with async starts a run in the background",
        ));
    }
    if !body.conversation.is_null() {
        return Err(invalid(
            "conversation",
            "conversations are not kept here; name the previous response, or send X-Claude-Session",
        ));
    }
    let tools = tools::wanted(&body.tools, &body.tool_choice)?;
    let previous = match body.previous_response_id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(found(&desk, &caller, id).await?.0),
        None => None,
    };
    // Instructions alone are asked for an answer too.
    let input = if body.input.is_null() && body.instructions.is_some() { json!([]) } else { body.input };
    let mut messages = message::of_responses(&references::resolved(&desk, &caller, input).await?)?;
    if let Some(instructions) = &body.instructions {
        messages.insert(0, Message::text(Role::System, instructions, "instructions"));
    }
    let word = body.reasoning.and_then(|reasoning| reasoning.effort);
    let (streamed, store) = (body.stream.unwrap_or_default(), body.store.unwrap_or(true));
    let wish = AnswerRequest {
        model: body.model.unwrap_or_default(),
        messages,
        field: "input",
        schema: schema(&body.text["format"], "text.format")?,
        effort: word.as_deref().map(|word| effort(word, "reasoning.effort")).transpose()?,
        stream: streamed,
        previous,
        response: store.then(|| {
            let call = if let Tools::Forced(forced) = &tools { Some(&forced.name) } else { None };
            json!({
                "previous": body.previous_response_id, "instructions": body.instructions, "effort": word,
                "metadata": body.metadata, "call": call,
            })
        }),
        tools,
        stops: Vec::new(),
        key: idempotency_key(&headers)?,
    };
    let turn = Turn::new(desk, &models, &caller, Headers::read(&headers)?, wish, stopping).await?;
    let format = body.text["format"].clone();
    let echo = Echo {
        model: turn.model.clone(),
        instructions: body.instructions,
        previous: body.previous_response_id,
        format: if format.is_null() { json!({"type": "text"}) } else { format },
        effort: word,
        metadata: if body.metadata.is_null() { json!({}) } else { body.metadata },
        store,
    };
    if streamed {
        let following = turn.follow().await?;
        return super::stream::answer(following, |following| ResponseEvents::new(following, echo)).await;
    }
    let answer = turn.answer().await?;
    let response = echo.completed(&answer);
    let mut answered = answer.respond(Json(response));
    let location = HeaderValue::from_str(&format!("/openai/v1/responses/{}", response_id(answer.run.id)));
    answered.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(answered)
}

/// Read a response again, for as long as its run is kept.
#[utoipa::path(
    get, operation_id = "response", path = "/responses/{id}", tag = "openai",
    params(("id" = String, Path, description = "Its id"), ResponseQuery),
    responses(
        (status = 200, description = "The response; with `stream` its events", content((Object = "application/json"), (Object = "text/event-stream"))),
        (status = 400, description = "A parameter is not allowed: `invalid_parameter`", body = ErrorBody),
        (status = 404, description = "No such response: `response_not_found`", body = ErrorBody),
    ),
)]
pub(super) async fn one(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    stopping: Option<Extension<Stopping>>,
    Path(id): Path<String>,
    Query(query): Query<ResponseQuery>,
) -> Result<Response, Problem> {
    let (mut run, asked) = found(&desk, &caller, &id).await?;
    if query.stream && !run.state.is_final() {
        run = desk.wait_or_stop(run.id, stopping.as_ref().map(|Extension(stopping)| stopping.token())).await?;
    }
    let options = &run.request.options;
    let schema = options.json_schema.as_deref().and_then(|schema| serde_json::from_str::<Value>(schema).ok());
    let schema = schema.filter(|_| asked["call"].is_null());
    let text = |key: &str| asked[key].as_str().map(str::to_owned);
    let echo = Echo {
        model: options.model.clone().unwrap_or_else(|| "default".into()),
        instructions: text("instructions"),
        previous: text("previous"),
        format: schema
            .map_or_else(|| json!({"type": "text"}), |schema| json!({"type": "json_schema", "schema": schema})),
        effort: text("effort"),
        metadata: if asked["metadata"].is_null() { json!({}) } else { asked["metadata"].clone() },
        store: true,
    };
    let created_at = run.created_at / 1000;
    if !run.state.is_final() {
        return Ok(Json(echo.response(run.id, created_at, "in_progress", &json!([]), &Value::Null)).into_response());
    }
    if let Some(problem) = error::of_run(&run) {
        if query.stream {
            let events = ResponseEvents::again(&run, echo);
            return Ok(super::stream::replay(Err(&problem), run.id, events));
        }
        return Ok(Json(echo.failed(run.id, created_at, &problem)).into_response());
    }
    let answer = Answer::of(run, asked["call"].as_str());
    if query.stream {
        let events = ResponseEvents::again(&answer.run, echo);
        return Ok(super::stream::replay(Ok(&answer), answer.run.id, events));
    }
    Ok(Json(echo.completed(&answer)).into_response())
}

/// The run of a response, and what it was asked with.
async fn found(desk: &Desk, caller: &Caller, id: &str) -> Result<(Run, Value), Problem> {
    memory::response(desk, caller, id, RESPONSE).await?.ok_or_else(|| {
        let shown: String = id.chars().take(80).collect();
        let problem =
            Problem::new(StatusCode::NOT_FOUND, "response_not_found", format!("there is no response {shown:?}"));
        problem.with("field", "previous_response_id")
    })
}
