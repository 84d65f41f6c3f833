//! `run_status`, `run_result` and `run_cancel`: runs that were started before, by this client or another one of the
//! same rights, through whichever door.

use std::time::Duration;

use rmcp::model::CallToolResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Fault, structured};
use super::call::Call;
use super::run::{answer, follow};
use super::words::invalid;
use crate::claude::outcome::Outcome;
use crate::desk::runs::{RunName, time};
use crate::store::Filter;
use crate::store::record::Run;

/// How many runs are listed if none is named.
const LISTED: usize = 20;
/// How much of a prompt is shown.
const SHOWN_CHARS: usize = 200;
const LONGEST_WAIT: f64 = 3600.0;

/// Arguments of `run_status`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct StatusArguments {
    /// The run. The latest runs if left out.
    run_id: Option<String>,
    /// Only runs of this workspace.
    workspace: Option<String>,
}

/// Arguments of `run_result`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ResultArguments {
    /// The run.
    run_id: String,
    /// How long to wait for its end, seconds. Without it, what there is comes at once.
    #[schemars(range(min = 0, max = 3600))]
    wait_seconds: Option<f64>,
}

/// Arguments of `run_cancel`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CancelArguments {
    /// The run.
    run_id: Option<String>,
    /// The workspace whose run is meant, if no run is named.
    workspace: Option<String>,
}

/// Runs, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StatusAnswer {
    runs: Vec<RunStatus>,
}

/// Where a run stands.
#[derive(Debug, Serialize, JsonSchema)]
struct RunStatus {
    run_id: String,
    /// An absolute path in the box.
    workspace: String,
    /// queued, running, succeeded, failed, cancelled or interrupted.
    state: &'static str,
    /// How many runs are before it in its workspace, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// What went wrong, one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The way it came in: http, openai, mcp, telegram, cron, local.
    door: &'static str,
    /// RFC 3339, UTC.
    created_at: String,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    /// The beginning of its prompt.
    prompt: String,
}

/// What a cancel has done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CancelAnswer {
    /// ok: the run is cancelled, and its processes are gone. `already_ended`: it had ended before; nothing has changed.
    status: &'static str,
    run_id: String,
    /// An absolute path in the box.
    workspace: String,
    /// Where the run stands now.
    state: &'static str,
}

fn status_of(call: &Call<'_>, run: &Run) -> RunStatus {
    let end = run.end.as_ref();
    RunStatus {
        run_id: run.id.to_string(),
        workspace: run.workspace.to_string_lossy().into_owned(),
        state: run.state.name(),
        position: call.desk.engine.ahead(run),
        outcome: end.and_then(|end| end.outcome).map(Outcome::name),
        error: end.and_then(|end| end.error.clone()),
        door: run.door.name(),
        created_at: time(run.created_at),
        finished_at: end.map(|end| time(end.at)),
        prompt: run.request.prompt.chars().take(SHOWN_CHARS).collect(),
    }
}

/// A name that was given.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// The tool.
pub(super) async fn run_status(call: Call<'_>, arguments: StatusArguments) -> Result<CallToolResult, Fault> {
    if let Some(id) = given(arguments.run_id.as_deref()) {
        let run = call.desk.visible_run(id, call.caller).await?;
        return structured(&StatusAnswer { runs: vec![status_of(&call, &run)] });
    }
    let workspace = match arguments.workspace {
        Some(name) => Some(call.desk.workspace(call.caller, name, false).await?.path),
        None => None,
    };
    let filter = Filter {
        workspace,
        limit: LISTED,
        visible: call.caller.sight(call.desk.workspaces.root()),
        ..Filter::default()
    };
    let runs = call.desk.engine.list(filter).await?;
    structured(&StatusAnswer { runs: runs.iter().map(|run| status_of(&call, run)).collect() })
}

/// The tool.
pub(super) async fn run_result(call: Call<'_>, arguments: ResultArguments) -> Result<CallToolResult, Fault> {
    let wait = arguments.wait_seconds.unwrap_or(0.0);
    if !(0.0..=LONGEST_WAIT).contains(&wait) {
        return Err(invalid("wait_seconds", &format!("a number from 0 to {LONGEST_WAIT} is allowed")).into());
    }
    let run = call.desk.visible_run(&arguments.run_id, call.caller).await?;
    if run.state.is_final() || wait == 0.0 {
        return answer(&run);
    }
    tokio::select! {
        ended = follow(&call, run.id) => answer(&ended?),
        // It is not ended: another may wait for it, or this client once more.
        () = call.cancelled() => Err(Fault::cancelled()),
        () = tokio::time::sleep(Duration::from_secs_f64(wait)) => {
            answer(&call.desk.visible_run(&arguments.run_id, call.caller).await?)
        }
    }
}

/// The tool.
pub(super) async fn run_cancel(call: Call<'_>, arguments: CancelArguments) -> Result<CallToolResult, Fault> {
    let neither = || invalid("run_id", "name a run (run_id) or a workspace (workspace)");
    let named = RunName::either(arguments.run_id, arguments.workspace).ok_or_else(neither)?;
    let cancellation = call.desk.cancel(call.caller, named).await?;
    let run = &cancellation.run;
    structured(&CancelAnswer {
        status: cancellation.status(),
        run_id: run.id.to_string(),
        workspace: run.workspace.to_string_lossy().into_owned(),
        state: run.state.name(),
    })
}
