//! A run as clients see it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::claude::envelope::camel_case;
use crate::claude::outcome::Outcome;
use crate::desk::runs::time;
use crate::store::record::{Run, State};

/// How much of a prompt a list shows.
const LISTED_PROMPT_CHARS: usize = 200;

/// A run. Times are RFC 3339, UTC.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunView {
    run_id: String,
    /// Absolute path.
    workspace: String,
    /// Where it stands.
    #[schema(value_type = StateName)]
    state: &'static str,
    /// The same in the predecessor's words: running, completed, failed, cancelled.
    status: &'static str,
    /// The way it came in: http, openai, mcp, telegram, cron, local.
    door: &'static str,
    /// Name of the token that asked for it.
    requester: String,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// How many runs are before it in its workspace, while it waits.
    position: Option<usize>,
    /// How it ended: `ok`, `model_error`, `rate_limited`, `auth`, `budget`, `max_turns`, `schema_missed`,
    /// `session_not_found`, `killed`, `hung`, `truncated`.
    outcome: Option<&'static str>,
    /// What went wrong, one line.
    error: Option<String>,
    /// What it cost, US dollars; earlier runs of its session are not in it.
    cost_usd: Option<f64>,
    /// Whether the cost is an estimate, from what the run had used when it was ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_estimated: Option<bool>,
    /// What its session has cost so far, US dollars: this run, the earlier ones, and those of the session that it was forked from.
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_cost_usd: Option<f64>,
    /// Whether the offline model has answered: its costs are made up, as its answer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    offline: Option<bool>,
    session_id: Option<String>,
    /// Processes it had left behind; all of them were ended.
    leftover_processes: Option<u64>,
    /// The prompt; in lists its beginning.
    prompt: String,
    /// What else was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
    /// The CLI's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

/// Names of states, for the API's description.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum StateName {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Interrupted,
}

impl RunView {
    /// A line of a list.
    pub(super) fn short(run: &Run, position: Option<usize>) -> Self {
        let end = run.end.as_ref();
        Self {
            run_id: run.id.to_string(),
            workspace: run.workspace.to_string_lossy().into_owned(),
            state: run.state.name(),
            status: status(run.state),
            door: run.door.name(),
            requester: run.requester.name().into_owned(),
            created_at: time(run.created_at),
            started_at: run.started_at.map(time),
            finished_at: end.map(|end| time(end.at)),
            position,
            outcome: end.and_then(|end| end.outcome).map(Outcome::name),
            error: end.and_then(|end| end.error.clone()),
            cost_usd: end.and_then(|end| end.cost_usd),
            cost_estimated: end.filter(|end| end.cost_estimated).map(|_| true),
            session_cost_usd: end.and_then(|end| end.result["sessionCostUsd"].as_f64()),
            offline: run.terms.offline.then_some(true),
            session_id: end.and_then(|end| end.session_id.clone()),
            leftover_processes: end.map(|end| end.reaped),
            prompt: run.request.prompt.chars().take(LISTED_PROMPT_CHARS).collect(),
            options: None,
            result: None,
        }
    }

    /// All of it.
    pub(super) fn whole(run: &Run, position: Option<usize>) -> Self {
        let (options, from_door) = (json!(run.request.options), json!(run.request.from_door));
        Self {
            prompt: run.request.prompt.clone(),
            options: Some(camel_case(&joined(options, without_data(from_door)))),
            result: run.end.as_ref().map(|end| end.result.clone()),
            ..Self::short(run, position)
        }
    }
}

/// One object of two: to clients all of it is what was asked.
fn joined(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}

/// What a door has said, with how much each attachment holds in place of its data: megabytes are for who sent them.
fn without_data(mut from_door: Value) -> Value {
    for attachment in from_door.get_mut("attachments").and_then(Value::as_array_mut).into_iter().flatten() {
        let bytes = attachment.to_string().len();
        *attachment = json!({"type": attachment["type"], "bytes": bytes});
    }
    from_door
}

/// A state in the predecessor's words. Its clients poll for as long as it is "running".
pub(super) const fn status(state: State) -> &'static str {
    match state {
        State::Queued | State::Running => "running",
        State::Succeeded => "completed",
        State::Failed | State::Interrupted => "failed",
        State::Cancelled => "cancelled",
    }
}

/// A run's result as the API's description has it. What else the CLI says is there as well.
#[derive(ToSchema)]
#[schema(as = RunResult, rename_all = "camelCase")]
#[expect(dead_code, reason = "only described, never made: the CLI's result is passed on as it is")]
pub(super) struct ResultBody {
    run_id: String,
    /// Absolute path.
    workspace: String,
    /// running, completed, failed, cancelled.
    status: String,
    state: StateName,
    /// How many runs are before it in its workspace, while it waits.
    position: Option<usize>,
    /// How it ended: `ok`, `model_error`, `rate_limited`, `auth`, `budget`, `max_turns`, `schema_missed`,
    /// `session_not_found`, `killed`, `hung`, `truncated`.
    outcome: Option<&'static str>,
    /// Whether it has no answer.
    is_error: Option<bool>,
    /// The answer.
    result: Option<String>,
    /// The answer in the form of `jsonSchema`.
    #[schema(value_type = Option<Object>)]
    structured_output: Option<Value>,
    /// What went wrong, one line.
    error: Option<String>,
    /// Its session, for `resume`.
    session_id: Option<String>,
    /// What it cost, US dollars; earlier runs of its session are not in it.
    cost_usd: Option<f64>,
    /// Tokens, by kind.
    #[schema(value_type = Option<Object>)]
    usage: Option<Value>,
    /// Milliseconds.
    duration_ms: Option<u64>,
    num_turns: Option<u64>,
}

/// A run without its result: what an asynchronous client gets until the result is there.
pub(super) fn brief(run: &Run, position: Option<usize>) -> Value {
    let mut brief = json!({
        "runId": run.id, "workspace": run.workspace, "status": status(run.state), "state": run.state.name(),
    });
    if let Some(position) = position {
        brief["position"] = position.into();
    }
    brief
}

/// A run's result: the CLI's own, with what is ours.
pub(super) fn result(run: &Run) -> Value {
    let Some(end) = &run.end else { return brief(run, None) };
    let mut result = end.result.clone();
    result["runId"] = run.id.to_string().into();
    result["workspace"] = json!(run.workspace);
    result["status"] = status(run.state).into();
    result["state"] = run.state.name().into();
    result["costUsd"] = json!(end.cost_usd);
    if run.terms.offline {
        result["offline"] = true.into();
    }
    if end.cost_estimated {
        result["costEstimated"] = true.into();
    }
    if let Some(error) = &end.error {
        result["error"] = error.clone().into();
    }
    result
}

/// What is posted to a webhook: the run as `GET /runs/{id}` gives it.
pub fn webhook_body(run: &Run) -> Bytes {
    let at = run.end.as_ref().map_or(run.created_at, |end| end.at);
    let body = json!({"type": "run.finished", "timestamp": time(at), "data": RunView::whole(run, None)});
    body.to_string().into()
}
