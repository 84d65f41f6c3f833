//! Runs that a caller may see: finding, following and ending them.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Desk;
use super::caller::Caller;
use super::refusal::{Kind, Refusal, unknown_run};
use crate::runs::events::Events;
use crate::runs::run::{Cancel, Run, State};
use crate::runs::submission::Cancelled;

/// What a cancel has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancellation {
    /// The run as it stands now; none of its processes is left.
    pub run: Run,
    /// Whether it was this cancel that ended it. Otherwise it had ended before, and nothing has changed.
    pub done: bool,
}

impl Cancellation {
    /// What clients are told: `ok` or `already_ended`.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        if self.done { "ok" } else { "already_ended" }
    }
}

impl Desk {
    /// The run with this id, if `caller` may see it.
    pub async fn visible_run(&self, id: &str, caller: &Caller) -> Result<Run, Refusal> {
        let Ok(uuid) = Uuid::try_parse(id) else { return Err(unknown_run(id)) };
        let run = self.engine.get(uuid).await?;
        // Who may not see it is not told that it exists.
        let sees = caller.sight(self.workspaces.root());
        run.filter(|run| sees.as_ref().is_none_or(|sees| sees(&run.workspace))).ok_or_else(|| unknown_run(id))
    }

    /// The run, which was accepted here: it is known unless its retention is over.
    pub async fn run(&self, id: Uuid) -> Result<Run, Refusal> {
        self.engine.get(id).await?.ok_or_else(|| unknown_run(&id.to_string()))
    }

    /// The events of a run from `offset` on, as they come.
    pub async fn events(&self, id: Uuid, offset: u64) -> Result<Events, Refusal> {
        self.engine.events(id, offset).await?.ok_or_else(|| unknown_run(&id.to_string()))
    }

    /// Ends the run with this id, or the one that works in `workspace`; returns when its processes are gone.
    pub async fn cancel(
        &self,
        caller: &Caller,
        id: Option<String>,
        workspace: Option<String>,
    ) -> Result<Cancellation, Refusal> {
        let id = match (id.filter(|id| !id.is_empty()), workspace) {
            (Some(id), _) => id,
            (None, Some(name)) => {
                let workspace = self.workspace(caller, name, false).await?;
                let holder = self.engine.running_in(&workspace.path);
                holder.ok_or_else(|| nothing_runs(&workspace.name))?.to_string()
            }
            (None, None) => return Err(neither()),
        };
        let run = self.visible_run(&id, caller).await?;
        let cancelled = self.engine.cancel(run.id, Cancel::Asked).await?;
        // Bounded: the run's processes get TERM, then KILL, and the worker itself after that.
        let run = self.engine.wait(run.id).await?.ok_or_else(|| unknown_run(&id))?;
        let ended_before = matches!(cancelled, Cancelled::AlreadyEnded(_) | Cancelled::Unknown);
        let done = !ended_before && run.state == State::Cancelled;
        Ok(Cancellation { run, done })
    }

    /// Waits for the end of a run. Once `stopping` is cancelled, one that still waits for its turn is the next server's.
    pub async fn wait_or_stop(&self, id: Uuid, stopping: Option<&CancellationToken>) -> Result<Run, Refusal> {
        let stopped = async {
            match stopping {
                Some(stopping) => stopping.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let run = tokio::select! {
            run = self.engine.wait(id) => run,
            () = stopped => match self.engine.get(id).await {
                Ok(Some(run)) if run.state == State::Queued => {
                    let detail = "the server is shutting down; the run waits for the next one";
                    let refusal = Refusal::new(Kind::Unavailable, "shutting_down", detail);
                    return Err(refusal.with("runId", id.to_string()));
                }
                _ => self.engine.wait(id).await,
            },
        };
        run?.ok_or_else(|| unknown_run(&id.to_string()))
    }
}

fn nothing_runs(workspace: &str) -> Refusal {
    Refusal::new(Kind::Missing, "run_not_found", format!("nothing runs in the workspace {workspace:?}"))
}

fn neither() -> Refusal {
    Refusal::new(Kind::Invalid, "invalid_parameter", "name a run or a workspace")
}
