//! `claude_run`: a run, its progress while it works, and its answer.
//!
//! Whoever does not want the answer any more ends the run: with `notifications/cancelled` in a session, and where there
//! is none by going away. In a session a connection that breaks is no goodbye: the run goes on, and its answer can be
//! fetched. With `background` nothing but `run_cancel` ends it.

use std::time::Duration;

use rmcp::model::{CallToolResult, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RoleServer};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::answer::{Fault, with_text};
use super::arguments::RunArguments;
use super::call::Call;
use crate::claude::outcome::Outcome;
use crate::desk::Desk;
use crate::desk::ask::Ask;
use crate::desk::narrate::{Delta, Reader, one_line, tool_line};
use crate::doors::web::server::Stopping;
use crate::runs::engine::{Hold, Submitted};
use crate::runs::events::Events;
use crate::runs::submission::Busy;
use crate::store::record::{Cancel, DoorName, Run, State};

/// Time between two signs of life where nothing happens: clients that wait a minute for one get several.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// A run, as `claude_run` and `run_result` give it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunAnswer {
    /// The run, for `run_status`, `run_result` and `run_cancel`.
    run_id: String,
    /// Where it works, an absolute path in the box.
    workspace: String,
    /// queued, running, succeeded, failed, cancelled or interrupted.
    state: &'static str,
    /// How it ended: ok, `model_error`, `rate_limited`, auth, budget, `max_turns`, `schema_missed`, `session_not_found`, killed,
    /// hung or truncated.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    /// The answer in the form of `json_schema`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    structured_output: Option<Value>,
    /// What went wrong, one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Its session, for resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// What it cost, US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    /// Whether the offline model has answered: the cost is made up, as the answer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    offline: Option<bool>,
    /// How long it took, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// How many turns it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    num_turns: Option<u64>,
}

/// Whatever the client's schema asks for: an array or a text too.
fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({})
}

impl RunAnswer {
    fn new(run: &Run) -> Self {
        let end = run.end.as_ref();
        let of_cli = |key: &str| end.map(|end| &end.result[key]).filter(|value| !value.is_null());
        Self {
            run_id: run.id.to_string(),
            workspace: run.workspace.to_string_lossy().into_owned(),
            state: run.state.name(),
            outcome: end.and_then(|end| end.outcome).map(Outcome::name),
            result: of_cli("result").and_then(Value::as_str).map(str::to_owned),
            structured_output: of_cli("structuredOutput").cloned(),
            error: end.and_then(|end| end.error.clone()),
            session_id: end.and_then(|end| end.session_id.clone()),
            cost_usd: end.and_then(|end| end.cost_usd),
            offline: run.terms.offline.then_some(true),
            duration_ms: of_cli("durationMs").and_then(Value::as_u64),
            num_turns: of_cli("numTurns").and_then(Value::as_u64),
        }
    }

    /// What a model reads of it.
    fn text(&self, run: &Run) -> String {
        let id = &self.run_id;
        match run.state {
            State::Succeeded => match (&self.structured_output, &self.result) {
                (Some(form), _) => form.to_string(),
                (None, result) => result.clone().unwrap_or_default(),
            },
            State::Queued => format!("Run {id} waits for its turn. run_result gives its answer once it is there."),
            State::Running => format!("Run {id} is running. run_result gives its answer once it is there."),
            State::Failed | State::Cancelled | State::Interrupted => {
                let outcome = self.outcome.unwrap_or(self.state);
                let error = self.error.as_deref().unwrap_or("it ended without an answer");
                format!("Run {id} did not succeed ({outcome}): {error}")
            }
        }
    }
}

/// A run as a result. One that failed is an error, with its outcome.
pub(super) fn answer(run: &Run) -> Result<CallToolResult, Fault> {
    let answer = RunAnswer::new(run);
    let text = answer.text(run);
    with_text(&answer, text, run.state.is_final() && run.state != State::Succeeded)
}

/// The tool.
pub(super) async fn claude_run(call: Call<'_>, arguments: RunArguments) -> Result<CallToolResult, Fault> {
    let request = arguments.request()?;
    let desk = call.desk;
    let name = arguments.workspace.clone().unwrap_or_default();
    let workspace = desk.workspace(call.caller, name, arguments.create_workspace).await?;
    if arguments.busy.is_none() {
        desk.room(&workspace.path)?;
    }
    let ask = Ask::new(call.caller.origin(DoorName::Mcp, desk.workspaces.root()), workspace.path, request);
    let ask = ask.busy(arguments.busy.unwrap_or(Busy::Queue)).stays(arguments.background);
    let Submitted { id, mut hold, .. } = ask.submit(&desk.engine).await?;
    if arguments.background {
        return answer(&desk.run(id).await?);
    }
    tokio::select! {
        ended = follow(&call, id) => {
            hold.release();
            answer(&ended?)
        }
        () = call.cancelled() => {
            end(desk, id, hold, call.in_session).await?;
            Err(Fault::cancelled())
        }
    }
}

/// Ends a run whose client does not want it any more. Returns when its processes are gone.
async fn end(desk: &Desk, id: Uuid, mut hold: Hold, asked: bool) -> Result<(), Fault> {
    hold.release();
    let why = if asked { Cancel::Asked } else { Cancel::Disconnected };
    desk.engine.cancel(id, why).await?;
    desk.engine.wait(id).await?;
    Ok(())
}

/// Waits for the end of a run, and tells the client how it goes if it wants to know.
pub(super) async fn follow(call: &Call<'_>, id: Uuid) -> Result<Run, Fault> {
    let ended = call.desk.wait_or_stop(id, call.stopping.as_ref().map(Stopping::token));
    let Some(token) = call.progress.clone() else { return Ok(ended.await?) };
    let events = call.desk.events(id, 0).await?;
    tokio::select! {
        biased;
        ended = ended => Ok(ended?),
        () = tell(call.peer, token, id, events) => Ok(call.desk.wait_or_stop(id, None).await?),
    }
}

/// Tells what a run does, until its events end.
async fn tell(peer: &Peer<RoleServer>, token: ProgressToken, id: Uuid, mut events: Events) {
    let began = Instant::now();
    let mut count = 0_u32;
    let mut say = async |message: String| {
        count += 1;
        let told = ProgressNotificationParam::new(token.clone(), count.into()).with_message(message);
        // Nobody listens at this moment; who comes back finds it in the session.
        if let Err(error) = peer.notify_progress(told).await {
            tracing::debug!(run = %id, "its progress was not told: {error}");
        }
    };
    say(format!("run {id} {}", if events.is_waiting() { "waits for its turn" } else { "has started" })).await;
    let mut reader = Reader::default();
    let mut sign = began + SIGN_OF_LIFE;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = events.next() => chunk,
            () = sleep_until(sign) => {
                let seconds = began.elapsed().as_secs();
                let what = if events.is_waiting() { "waiting for its turn" } else { "working" };
                say(format!("{what}, {seconds} s")).await;
                sign = Instant::now() + SIGN_OF_LIFE;
                continue;
            }
        };
        match chunk {
            Ok(Some(chunk)) => {
                for line in reader.read(&chunk.lines).into_iter().filter_map(told) {
                    say(line).await;
                    sign = Instant::now() + SIGN_OF_LIFE;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(run = %id, "its events cannot be read: {error}");
                return;
            }
        }
    }
}

/// The line that tells of it: each thing the run says or does has one.
fn told(delta: Delta) -> Option<String> {
    match delta {
        Delta::Said(text) => Some(one_line(&text)).filter(|line| !line.is_empty()),
        Delta::Tool { name, input } => Some(tool_line(&name, &input)),
        _ => None,
    }
}
