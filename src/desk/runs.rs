//! Runs that a caller may see: finding, following and ending them.

use chrono::{DateTime, SecondsFormat};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Desk;
use super::caller::Caller;
use super::refusal::{Kind, Refusal, left_waiting, unknown_run};
use crate::runs::events::Events;
use crate::runs::submission::Cancelled;
use crate::store::record::{Cancel, Run, State};

/// How a client says which run it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunName {
    /// By its id.
    Run(String),
    /// By the workspace that it works in.
    Workspace(String),
}

impl RunName {
    /// By its id if there is one, by its workspace otherwise. `None`: neither is named. An empty id is none; an empty workspace
    /// is the folder of all of them.
    pub fn either(run: Option<String>, workspace: Option<String>) -> Option<Self> {
        let run = run.filter(|id| !id.is_empty());
        run.map(Self::Run).or_else(|| workspace.map(Self::Workspace))
    }
}

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
    pub const fn status(&self) -> &'static str {
        if self.done { "ok" } else { "already_ended" }
    }
}

impl Desk {
    /// The run with this id, if `caller` may see it.
    pub async fn visible_run(&self, id: &str, caller: &Caller) -> Result<Run, Refusal> {
        let Ok(uuid) = Uuid::try_parse(id) else { return Err(unknown_run(id)) };
        let run = self.engine.get(uuid).await?;
        // A caller who may not see the run must not learn that it exists.
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

    /// Ends a run; returns when its processes are gone.
    pub async fn cancel(&self, caller: &Caller, named: RunName) -> Result<Cancellation, Refusal> {
        let id = match named {
            RunName::Run(id) => id,
            RunName::Workspace(name) => {
                let workspace = self.workspace(caller, name, false).await?;
                let holder = self.engine.running_in(&workspace.path);
                holder.ok_or_else(|| nothing_runs(&workspace.name))?.to_string()
            }
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
                Ok(Some(run)) if run.state == State::Queued => return Err(left_waiting(id)),
                _ => self.engine.wait(id).await,
            },
        };
        run?.ok_or_else(|| unknown_run(&id.to_string()))
    }
}

/// Milliseconds since 1970 as RFC 3339, UTC.
pub fn time(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds)
        .map_or_else(|| milliseconds.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn nothing_runs(workspace: &str) -> Refusal {
    Refusal::new(Kind::Missing, "run_not_found", format!("nothing runs in the workspace {workspace:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn a_run_is_named_before_its_workspace() {
        let named = |run: Option<&str>, workspace: Option<&str>| {
            RunName::either(run.map(str::to_owned), workspace.map(str::to_owned))
        };
        assert_eq!(named(Some("r"), Some("w")), Some(RunName::Run("r".into())));
        assert_eq!(named(Some(""), Some("")), Some(RunName::Workspace(String::new())));
        assert_eq!(named(None, None), None);
    }
}
