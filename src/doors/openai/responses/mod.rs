//! `POST /responses` and `GET /responses/{id}`.

mod stream;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use self::stream::Events;
use super::chat::{about, effort, no_forced_tool, schema};
use super::error::{self, ErrorBody};
use super::headers::Headers;
use super::message::{self, Message, Role, invalid};
use super::turn::{Answer, DOOR, Turn, Wish};
use super::usage::Usage;
use crate::doors::http::app::App;
use crate::doors::http::auth::Caller;
use crate::doors::http::parameters::{Body, Path};
use crate::doors::http::problem::Problem;
use crate::doors::http::server::Stopping;
use crate::runs::run::Run;

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
    #[serde(default)]
    #[schema(value_type = Value)]
    tool_choice: Value,
    #[serde(default)]
    #[schema(value_type = Value)]
    metadata: Value,
}

#[derive(Debug, Deserialize, ToSchema)]
struct Reasoning {
    #[serde(default)]
    effort: Option<String>,
}

/// What of a request its response says again.
struct Echo {
    model: String,
    instructions: Option<String>,
    previous: Option<String>,
    format: Value,
    effort: Option<String>,
    metadata: Value,
    store: bool,
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
        ("X-Claude-Busy" = Option<String>, Header, description = "reject, queue or replace"),
        ("X-Claude-Progress" = Option<String>, Header, description = "off, reasoning or comments"),
    ),
    request_body(content = ResponsesBody, example = json!({"model": "haiku", "input": "hello"})),
    responses(
        (status = 200, description = "The answer; with `stream` its events", content((Object = "application/json"), (Object = "text/event-stream"))),
        (status = 400, description = "Not JSON: `malformed_json`; or Claude's API refuses it: `model_refused`", body = ErrorBody),
        (status = 403, description = "Not this caller's workspace, or outside: `workspace_not_allowed`, `path_outside`", body = ErrorBody),
        (status = 404, description = "No such model, workspace, session or response", body = ErrorBody),
        (status = 409, description = "The workspace is busy: `workspace_busy`", body = ErrorBody),
        (status = 413, description = "Too long: `too_large`", body = ErrorBody),
        (status = 415, description = "Not sent as JSON: `unsupported_media_type`", body = ErrorBody),
        (status = 422, description = "A field or header is not allowed: `invalid_field`, `invalid_header`", body = ErrorBody),
        (status = 429, description = "Too much: `run_rate_limited`, `over_budget`, `queue_full`", body = ErrorBody),
        (status = 502, description = "The run has no answer: `run_failed`, `run_auth`, ...", body = ErrorBody),
        (status = 503, description = "The server is shutting down: `shutting_down`", body = ErrorBody),
        (status = 504, description = "The run took too long: `run_hung`", body = ErrorBody),
        (status = 507, description = "No space is left in the state folder: `no_space`", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
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
    no_forced_tool(&body.tool_choice)?;
    let previous = match body.previous_response_id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(found(&app, &caller, id).await?),
        None => None,
    };
    let mut messages = message::of_responses(&body.input)?;
    if let Some(instructions) = &body.instructions {
        messages.insert(0, Message::text(Role::System, instructions, "instructions"));
    }
    let word = body.reasoning.and_then(|reasoning| reasoning.effort);
    let (streamed, store) = (body.stream.unwrap_or_default(), body.store.unwrap_or(true));
    let wish = Wish {
        model: body.model.unwrap_or_default(),
        messages,
        field: "input",
        schema: schema(&body.text["format"], "text.format")?,
        effort: word.as_deref().map(|word| effort(word, "reasoning.effort")).transpose()?,
        stream: streamed,
        previous,
        store,
    };
    let turn = Turn::new(app, &caller, Headers::read(&headers)?, wish, stopping).await?;
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
        return super::stream::answer(following, |following| Events::new(following, echo)).await;
    }
    let answer = turn.answer().await?;
    let response = echo.completed(&answer);
    let mut answered = about(&answer, Json(response));
    let location = HeaderValue::from_str(&format!("/openai/v1/responses/{}", response_id(answer.run.id)));
    answered.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    Ok(answered)
}

/// Read a response again, for as long as its run is kept.
#[utoipa::path(
    get, operation_id = "response", path = "/responses/{id}", tag = "openai", params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The response", body = Object),
        (status = 404, description = "No such response: `response_not_found`", body = ErrorBody),
    ),
)]
pub(super) async fn one(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let run = found(&app, &caller, &id).await?;
    let options = &run.request.options;
    let schema = options.json_schema.as_deref().and_then(|schema| serde_json::from_str::<Value>(schema).ok());
    let echo = Echo {
        model: options.model.clone().unwrap_or_else(|| "default".into()),
        instructions: options.system_prompt.clone(),
        previous: None,
        format: schema
            .map_or_else(|| json!({"type": "text"}), |schema| json!({"type": "json_schema", "schema": schema})),
        effort: None,
        metadata: json!({}),
        store: true,
    };
    if !run.state.is_final() {
        return Ok(Json(echo.response(run.id, run.created_at / 1000, "in_progress", &json!([]), &Value::Null)));
    }
    if let Some(problem) = error::of_run(&run) {
        return Ok(Json(echo.failed(run.id, run.created_at / 1000, &problem)));
    }
    Ok(Json(echo.completed(&Answer::of(run))))
}

/// The run of a response.
async fn found(app: &App, caller: &Caller, id: &str) -> Result<Run, Problem> {
    let run = match id.strip_prefix("resp_") {
        Some(run) => app.visible_run(run, caller).await.ok().filter(|run| run.door == DOOR),
        None => None,
    };
    run.ok_or_else(|| {
        let shown: String = id.chars().take(80).collect();
        let problem =
            Problem::new(StatusCode::NOT_FOUND, "response_not_found", format!("there is no response {shown:?}"));
        problem.with("field", "previous_response_id")
    })
}

impl Echo {
    fn response(&self, run: Uuid, created_at: i64, status: &str, output: &Value, usage: &Value) -> Value {
        json!({
            "id": response_id(run),
            "object": "response",
            "created_at": created_at,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": self.instructions,
            "max_output_tokens": null,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": self.previous,
            "reasoning": {"effort": self.effort, "summary": null},
            "store": self.store,
            "temperature": null,
            "text": {"format": self.format},
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": usage,
            "metadata": self.metadata,
        })
    }

    fn completed(&self, answer: &Answer) -> Value {
        let result = answer.result();
        let output = json!([message_item(answer.run.id, "completed", &json!([text_part(&answer.text)]))]);
        let usage = Usage::of_result(result).responses();
        let created_at = answer.run.created_at / 1000;
        let mut response = self.response(answer.run.id, created_at, "completed", &output, &usage);
        let reason = match result["stopReason"].as_str() {
            Some("max_tokens" | "model_context_window_exceeded") => Some("max_output_tokens"),
            Some("refusal") => Some("content_filter"),
            _ => None,
        };
        if let Some(reason) = reason {
            response["status"] = "incomplete".into();
            response["incomplete_details"] = json!({"reason": reason});
        }
        response["claudebox"] = answer.about();
        response
    }

    fn failed(&self, run: Uuid, created_at: i64, problem: &Problem) -> Value {
        let mut response = self.response(run, created_at, "failed", &json!([]), &Value::Null);
        response["error"] = json!({"code": problem.code(), "message": problem.detail()});
        response
    }
}

fn response_id(run: Uuid) -> String {
    format!("resp_{}", run.simple())
}

fn message_id(run: Uuid) -> String {
    format!("msg_{}", run.simple())
}

fn message_item(run: Uuid, status: &str, content: &Value) -> Value {
    json!({"type": "message", "id": message_id(run), "status": status, "role": "assistant", "content": content})
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
