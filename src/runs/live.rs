//! A run that has not ended: what can still change of it, and how others hear of that.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::schedule::Candidate;
use crate::config::call::Variables;
use crate::store::record::{Cancel, End, Requester, Run, State, Terms};

/// A run that has not ended.
#[derive(Debug)]
pub(super) struct Live {
    /// Its id.
    pub(super) id: Uuid,
    /// Its workspace.
    pub(super) workspace: PathBuf,
    /// Who asked for it.
    pub(super) requester: Requester,
    /// Most it may cost by its own options, US dollars.
    pub(super) most: Option<f64>,
    /// What its requester may do.
    pub(super) terms: Terms,
    /// Variables of its environment that are its own.
    pub(super) variables: Variables,
    run: Mutex<Run>,
    /// How far it is.
    pub(super) progress: watch::Sender<Progress>,
    cancel: watch::Sender<Option<Cancel>>,
    /// Whether the ledger has it, once that is known.
    accepted: watch::Sender<Option<bool>>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where it stands.
    pub(super) state: State,
    /// How long its event log is, bytes.
    pub(super) log_bytes: u64,
    /// Whether its end is in the ledger, and its workspace free.
    pub(super) ended: bool,
}

impl Live {
    /// `run`, before the ledger has it.
    pub(super) fn new(run: Run, variables: Variables) -> Self {
        Self {
            variables,
            id: run.id,
            workspace: run.workspace.clone(),
            requester: run.requester.clone(),
            most: run.request.options.max_budget_usd,
            terms: run.terms.clone(),
            progress: watch::Sender::new(Progress { state: run.state, log_bytes: 0, ended: false }),
            cancel: watch::Sender::new(None),
            accepted: watch::Sender::new(None),
            run: Mutex::new(run),
        }
    }

    /// Something of the run, without a copy of the rest: a prompt may be long.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        read(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The run, as it stands.
    pub(super) fn run(&self) -> Run {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        run.state = self.state();
        run
    }

    /// Snapshot for the INSERT. A promotion to running is written separately, afterwards.
    pub(super) fn as_admitted(&self) -> Run {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It as the schedule knows it.
    pub(super) fn place(&self) -> Candidate {
        Candidate { run: self.id, requester: self.requester.clone(), max_runs: self.terms.max_runs }
    }

    /// The run, as it stands; `None` if it has ended since it was looked up, and how is in the ledger alone.
    pub(super) fn unfinished(&self) -> Option<Run> {
        let run = self.run();
        // Its end is noted before its state: by then the ledger has both.
        (run.end.is_none() && !run.state.is_final()).then_some(run)
    }

    /// Notes when its CLI was started.
    pub(super) fn started(&self, at: i64) {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).started_at = Some(at);
    }

    /// Notes how it ended; the run as it stands then. Who waits for its end is not told yet.
    pub(super) fn ended(&self, state: State, end: End) -> Run {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.end = Some(end);
        Run { state, ..run.clone() }
    }

    pub(super) fn state(&self) -> State {
        self.progress.borrow().state
    }

    /// Says whether the ledger has it.
    pub(super) fn accept(&self, accepted: bool) {
        self.accepted.send_replace(Some(accepted));
    }

    /// Waits until the ledger has it. `false`: it never will.
    pub(super) async fn accepted(&self) -> bool {
        // The sender lives in `self`, so this cannot fail.
        self.accepted.subscribe().wait_for(Option::is_some).await.is_ok_and(|accepted| *accepted == Some(true))
    }

    /// Asks for its end; the first reason counts.
    pub(super) fn cancel(&self, why: Cancel) {
        self.cancel.send_if_modified(|cancel| cancel.is_none() && cancel.replace(why).is_none());
    }

    /// Why its end was asked for, if it was.
    pub(super) fn cancelled(&self) -> Option<Cancel> {
        *self.cancel.borrow()
    }

    /// Waits until its end is asked for.
    pub(super) async fn wait_for_cancel(&self) {
        let _ = self.cancel.subscribe().wait_for(Option::is_some).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::arguments::OutputFormat;
    use crate::claude::outcome::Outcome;
    use crate::store::record::{DoorName, Request};

    fn live(state: State) -> Live {
        let request = Request::new("p", OutputFormat::Json);
        Live::new(
            Run {
                id: Uuid::now_v7(),
                workspace: "/w".into(),
                door: DoorName::Http,
                requester: Requester::Token("r".into()),
                state,
                request,
                terms: Terms::default(),
                created_at: 1,
                started_at: (state == State::Running).then_some(1),
                end: None,
            },
            Variables::default(),
        )
    }

    /// Told that it runs, the ledger would never learn when it was started.
    #[test]
    fn a_run_whose_turn_comes_before_the_ledger_has_it_goes_in_as_one_that_waits() {
        let live = live(State::Queued);
        live.progress.send_modify(|progress| progress.state = State::Running);
        assert_eq!(live.as_admitted().state, State::Queued);
        assert_eq!(live.run().state, State::Running);
    }

    /// A run that ends between lookup and read is answered from the ledger: complete, never half-ended.
    #[test]
    fn a_run_that_has_ended_meanwhile_is_the_ledgers() {
        let state_first = live(State::Running);
        assert_eq!(state_first.unfinished().map(|run| run.state), Some(State::Running));
        state_first.progress.send_modify(|progress| progress.state = State::Succeeded);
        assert_eq!(state_first.unfinished(), None);

        let end_first = live(State::Running);
        let end = End {
            at: 2,
            outcome: Some(Outcome::Ok),
            error: None,
            result: serde_json::Value::Null,
            cost_usd: None,
            cost_estimated: false,
            session_id: None,
            reaped: 0,
        };
        let ended = end_first.ended(State::Succeeded, end.clone());
        assert_eq!((ended.state, ended.end), (State::Succeeded, Some(end)));
        assert_eq!(end_first.unfinished(), None);
    }
}
