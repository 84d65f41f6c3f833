//! `POST /chat/completions`.

mod stream;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::stream::Chunks;
use super::error::ErrorBody;
use super::headers::Headers;
use super::message::{self, invalid};
use super::models::Models;
use super::tools::{self, Tools};
use super::turn::{Answer, Turn, Wish};
use super::usage::Usage;
use crate::claude::arguments::Effort;
use crate::claude::schema::Schema;
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::doors::web::RUN_ID;
use crate::doors::web::parameters::{Body, idempotency_key};
use crate::doors::web::problem::Problem;
use crate::doors::web::server::Stopping;
use crate::doors::web::trace::RunId;

/// The session that an answer was given in.
const SESSION: HeaderName = HeaderName::from_static("x-claude-session");
/// What an answer has cost, US dollars, where clients of a proxy that counts look for it.
const COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");
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
    let wish = Wish {
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
    Ok(about(&answer, Json(completion(&answer, &model, older))))
}

/// `older`: a call is told as clients of `functions` know it.
fn completion(answer: &Answer, model: &str, older: bool) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null, "annotations": []});
    if let Some(name) = &answer.call {
        message["content"] = Value::Null;
        let function = json!({"name": name, "arguments": answer.text});
        if older {
            message["function_call"] = function;
        } else {
            message["tool_calls"] = json!([{"id": answer.call_id(), "type": "function", "function": function}]);
        }
    }
    json!({
        "id": id(&answer.run.id),
        "object": "chat.completion",
        "created": answer.run.created_at / 1000,
        "model": model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(answer, older),
        }],
        "usage": Usage::of(answer).chat(),
        "claudebox": answer.about(),
    })
}

fn id(run: &uuid::Uuid) -> String {
    format!("chatcmpl-{}", run.simple())
}

/// Why the answer ends, in OpenAI's words.
fn finish_reason(answer: &Answer, older: bool) -> &'static str {
    match (&answer.call, older) {
        (Some(_), true) => "function_call",
        (Some(_), false) => "tool_calls",
        (None, _) => reason_of(answer.result()),
    }
}

fn reason_of(result: &Value) -> &'static str {
    match result["stopReason"].as_str() {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}

/// An answer with the headers that name its run and session.
pub(super) fn about(answer: &Answer, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let run = answer.run.id.to_string();
    let session = answer.run.end.as_ref().and_then(|end| end.session_id.as_deref());
    let cost = answer.cost().map(|cost| cost.to_string());
    for (name, value) in [(RUN_ID, Some(run.as_str())), (SESSION, session), (COST, cost.as_deref())] {
        response
            .headers_mut()
            .extend(value.and_then(|value| HeaderValue::from_str(value).ok()).map(|value| (name, value)));
    }
    response.extensions_mut().insert(RunId(run));
    response
}

/// The schema that a `response_format` (or `text.format`) asks for.
pub(super) fn schema(format: &Value, field: &str) -> Result<Option<String>, Problem> {
    match format["type"].as_str() {
        None if format.is_null() => Ok(None),
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"type": "object"}).to_string())),
        Some("json_schema") => {
            // Chat Completions has it one level deeper than Responses.
            let (schema, place) = if format["json_schema"].is_object() {
                (&format["json_schema"]["schema"], ".json_schema.schema")
            } else {
                (&format["schema"], ".schema")
            };
            match Schema::new(schema.clone()) {
                Ok(_) => Ok(Some(schema.to_string())),
                Err(fault) => Err(invalid(&format!("{field}{place}"), &fault.to_string())),
            }
        }
        _ => {
            let allowed = ["text", "json_object", "json_schema"];
            let why = format!("only {} are allowed", allowed.join(", "));
            Err(invalid(&format!("{field}.type"), &why).with("allowed", allowed.to_vec()))
        }
    }
}

/// OpenAI's word for an effort, and the CLI's own.
pub(super) fn effort(word: &str, field: &str) -> Result<Effort, Problem> {
    match word {
        "none" | "minimal" | "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::Xhigh),
        "max" => Ok(Effort::Max),
        _ => {
            let allowed = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
            let why = format!("{word:?} is not allowed, only {}", allowed.join(", "));
            Err(invalid(field, &why).with("allowed", allowed.to_vec()))
        }
    }
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

    #[rstest]
    #[case(json!(null), None)]
    #[case(json!({"type": "text"}), None)]
    #[case(json!({"type": "json_object"}), Some(r#"{"type":"object"}"#))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": 1}}}), Some(r#"{"a":1}"#))]
    #[case(json!({"type": "json_schema", "name": "x", "schema": {"a": 1}}), Some(r#"{"a":1}"#))]
    fn a_format_is_a_schema(#[case] format: Value, #[case] expected: Option<&str>) {
        assert_eq!(schema(&format, "response_format").unwrap().as_deref(), expected);
    }

    #[rstest]
    #[case(json!({"type": "xml"}))]
    #[case(json!({"type": "json_schema"}))]
    #[case(json!({"type": "json_schema", "json_schema": {"schema": "x"}}))]
    #[case(json!("text"))]
    fn another_format_is_refused(#[case] format: Value) {
        assert!(schema(&format, "response_format").unwrap_err().detail().starts_with("response_format."));
    }

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

    #[test]
    fn only_openais_reasons_come_out() {
        for (stop, reason) in
            [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter"), ("x", "stop")]
        {
            assert_eq!(reason_of(&json!({"stopReason": stop})), reason);
        }
        assert_eq!(reason_of(&json!({})), "stop");
        assert_eq!(effort("minimal", "f").unwrap(), Effort::Low);
        assert!(effort("huge", "f").is_err());
    }
}
