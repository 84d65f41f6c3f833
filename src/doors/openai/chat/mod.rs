//! `POST /chat/completions`.

mod completion;
mod stream;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use self::completion::completion;
use self::stream::Chunks;
use super::error::ErrorBody;
use super::headers::Headers;
use super::message::{self, invalid};
use super::models::Models;
use super::tools::{self, Tools};
use super::turn::Turn;
use super::wish::{AnswerRequest, effort, schema};
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::doors::web::parameters::{Body, idempotency_key};
use crate::doors::web::problem::Problem;
use crate::doors::web::server::Stopping;

/// Most texts that may end an answer.
const MOST_STOPS: usize = 16;

/// What counts of a request. Everything else that the protocol has is ignored: Claude Code decides it.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ChatCompletionRequest)]
pub(super) struct ChatBody {
    /// Alias or full name, also with a provider before it.
    #[serde(default)]
    #[schema(example = "haiku")]
    model: Option<String>,
    /// The conversation, its newest message last.
    #[schema(value_type = Vec<Object>, min_items = 1, example = json!([{"role": "user", "content": "hello"}]))]
    messages: Vec<Value>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    /// `text`, `json_object` or `json_schema`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    response_format: Value,
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
    #[serde(default)]
    reasoning_effort: Option<String>,
    /// Only 1.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1)]
    n: Option<u64>,
    /// Texts that end the answer, which they are no part of.
    #[serde(default)]
    #[schema(value_type = Value)]
    stop: Value,
    /// Not called by Claude Code, except for a call that `tool_choice` forces.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Value,
    /// `auto`, `none`, `required` with one tool, or one by its name.
    #[serde(default)]
    #[schema(value_type = Value)]
    tool_choice: Value,
    /// What `tools` was before.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    functions: Value,
    /// What `tool_choice` was before.
    #[serde(default)]
    #[schema(value_type = Value)]
    function_call: Value,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
struct StreamOptions {
    /// A last chunk with the usage.
    #[serde(default)]
    include_usage: Option<bool>,
}

/// Answer a conversation (Chat Completions).
///
/// OpenAI's protocol; a run of Claude Code in a workspace. `docs/openai.md` says what of a request counts.
#[utoipa::path(
    post, operation_id = "createChatCompletion", path = "/chat/completions", tag = "openai",
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
    request_body(content = ChatBody, example = json!({"model": "haiku", "messages": [{"role": "user", "content": "hello"}]})),
    responses(
        (status = 200, description = "The answer; with `stream` its events", content((Object = "application/json"), (Object = "text/event-stream"))),
        (status = 400, description = "Not JSON or not allowed: `malformed_json`, `invalid_field`, `invalid_header`, `key_reused`; too long for the model: `context_length_exceeded`; refused: `model_refused`; or the run has no answer: `run_failed`, `run_hung`, ...", body = ErrorBody),
        (status = 402, description = "The run was stopped at its budget: `run_budget`", body = ErrorBody),
        (status = 403, description = "Not this caller's workspace, or outside: `workspace_not_allowed`, `path_outside`; Claude's own credentials: `run_auth`", body = ErrorBody),
        (status = 404, description = "No such model, workspace, session", body = ErrorBody),
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
    Body(body): Body<ChatBody>,
) -> Result<Response, Problem> {
    if body.n.is_some_and(|n| n != 1) {
        return Err(invalid("n", "only 1 is allowed: an answer is work in a workspace, and is done once"));
    }
    let mut tools = tools::wanted(&body.tools, &body.tool_choice)?;
    let older = tools == Tools::None;
    if older {
        tools = tools::wanted_function(&body.functions, &body.function_call)?;
    }
    let streamed = body.stream.unwrap_or_default();
    let with_usage = body.stream_options.and_then(|options| options.include_usage).unwrap_or_default();
    let wish = AnswerRequest {
        model: body.model.unwrap_or_default(),
        messages: message::of_chat(&body.messages)?,
        field: "messages",
        schema: schema(&body.response_format, "response_format")?,
        tools,
        stops: stops(&body.stop)?,
        effort: body.reasoning_effort.as_deref().map(|word| effort(word, "reasoning_effort")).transpose()?,
        stream: streamed,
        previous: None,
        response: None,
        key: idempotency_key(&headers)?,
    };
    let turn = Turn::new(desk, &models, &caller, Headers::read(&headers)?, wish, stopping).await?;
    if streamed {
        let following = turn.follow().await?;
        return super::stream::answer(following, |following| Chunks::new(following, with_usage, older)).await;
    }
    let model = turn.model.clone();
    let answer = turn.answer().await?;
    Ok(answer.respond(Json(completion(&answer, &model, older))))
}

/// The texts that end an answer: one, or a list.
fn stops(stop: &Value) -> Result<Vec<String>, Problem> {
    let why = format!("a text or a list of at most {MOST_STOPS} texts is allowed");
    let wrong = || invalid("stop", &why);
    let texts = match stop {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(texts) if texts.len() <= MOST_STOPS => {
            let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!(null), &[])]
    #[case(json!("END"), &["END"])]
    #[case(json!(["a", "", "b"]), &["a", "b"])]
    fn what_ends_an_answer_is_a_text_or_some(#[case] stop: Value, #[case] expected: &[&str]) {
        assert_eq!(stops(&stop).unwrap(), expected);
    }

    #[test]
    fn nothing_else_ends_an_answer() {
        for stop in [json!(5), json!(["a", 1]), json!(vec!["x"; MOST_STOPS + 1])] {
            assert!(stops(&stop).unwrap_err().detail().starts_with("stop: "));
        }
    }
}
