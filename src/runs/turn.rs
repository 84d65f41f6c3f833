//! One run, from its turn to its end.

use std::io;
use std::sync::Arc;

use super::child::{Leaving, Worker, WorkerEnd};
use super::cost::Meter;
use super::live::Live;
use super::log::Log;
use super::patience::Patience;
use super::session::{Choosing, Noting};
use super::shared::Shared;
use crate::claude::arguments::{FromDoor, OutputFormat};
use crate::claude::envelope;
use crate::claude::outcome::Outcome;
use crate::claude::sessions::{Choice, Was};
use crate::store::record::{self, Cancel, End, State};
use crate::turn::protocol::{Prompt, RunReport, ToWorker};

/// How a run ends that is cancelled before its CLI is there.
const KILLED: Outcome = Outcome::Killed { signal: None };

/// What is begun for a run before it is known whether its turn has come.
pub(super) struct Begun {
    /// A worker that gets no job ends by itself.
    worker: io::Result<Worker>,
    choosing: Choosing,
}

/// Why a run does not begin: its outcome, and what its requester is told.
type NotBegun = (Outcome, String);

impl Shared {
    /// Begins what a run needs.
    pub(super) fn begin_early(&self, live: &Live) -> Begun {
        Begun { choosing: self.choose_session(live), worker: self.workers.start() }
    }

    /// Carries a run out whose turn it is. `begun` is there already, or is begun here.
    pub(super) async fn carry_out(self: Arc<Self>, live: Arc<Live>, begun: Option<Begun>) {
        if !live.accepted().await {
            return;
        }
        let waited = begun.is_none();
        let ready = self.begin(&live).map(|most| (most, begun.unwrap_or_else(|| self.begin_early(&live))));
        if waited {
            let now = record::now();
            live.started(now);
            // Before its CLI is: a run that may have begun is never started again.
            let mut patience = Patience::default();
            while let Err(error) = self.store.start(live.id, now).await {
                tokio::select! {
                    () = patience.wait(live.id, &error) => {}
                    () = live.wait_for_cancel() => break,
                }
            }
        }
        let done = self.do_turn(&live, ready).await;
        let Done { state, end, session, traces } = done;
        tracing::info!(
            run = %live.id, state = state.name(), outcome = end.outcome.map(Outcome::name), reaped = end.reaped,
            "run in {} ended", live.workspace.display()
        );
        let rest = async {
            let settle = async {
                if let Some((noting, was)) = session {
                    self.settle_session(noting, was).await;
                }
            };
            match traces {
                Some(Traces { log, leaving }) => drop(tokio::join!(log.sync(), leaving.wait(), settle)),
                None => settle.await,
            }
        };
        self.finish(&live, state, end, rest).await;
    }

    /// Has the CLI answer, if everything is there for that.
    async fn do_turn<'run>(
        self: &Arc<Self>,
        live: &'run Live,
        ready: Result<(Option<f64>, Begun), NotBegun>,
    ) -> Done<'run> {
        let (most, Begun { worker, choosing }) = match ready {
            Ok(ready) => ready,
            Err(not_begun) => return self.not_done(live, not_begun),
        };
        let choice = match self.chosen_session(live, choosing).await {
            Some(Ok(choice)) => choice,
            Some(Err(not_begun)) => return self.not_done(live, not_begun),
            // Told as the cancel that it is.
            None => return self.not_done(live, (KILLED, String::new())),
        };
        match worker {
            _ if live.cancelled().is_some() => self.not_done(live, (KILLED, String::new())),
            Ok(worker) => self.converse(live, most, choice, worker).await,
            Err(error) => {
                let error = format!("its worker cannot be started: {error}");
                self.not_done(live, (Outcome::Truncated, error))
            }
        }
    }

    /// A run that did not begin; a cancel is the first of the reasons.
    fn not_done<'run>(&self, live: &Live, (outcome, error): NotBegun) -> Done<'run> {
        let (state, end) = match live.cancelled() {
            Some(why) => (why.state(), self.without_report(live, &cancelled_text(why), KILLED, 0)),
            None => (State::Failed, self.without_report(live, &error, outcome, 0)),
        };
        Done { state, end, session: None, traces: None }
    }

    /// What a run may cost that begins now. Why it may not begin, otherwise: its outcome, and what its requester is told.
    fn begin(&self, live: &Live) -> Result<Option<f64>, NotBegun> {
        if live.terms.session_hidden {
            let session = live.read(|run| run.request.options.resume.clone()).unwrap_or_default();
            let said = format!(
                "there is no session {session:?} in a workspace that you may use; leave resume out to go on with the \
                 workspace's last one"
            );
            return Err((Outcome::SessionNotFound, said));
        }
        let claim = self.claim(live);
        let most = self.table().budget.start(record::now(), &claim);
        most.map_err(|over| (Outcome::Budget, format!("{over}: the run was not started")))
    }

    async fn converse<'run>(&self, live: &'run Live, most: Option<f64>, choice: Choice, worker: Worker) -> Done<'run> {
        let (request, door) = live.read(|run| (run.request.clone(), run.door));
        let mut options = request.options;
        let from_door = FromDoor { literal: door.prompts_are_text(), ..request.from_door };
        options.timeout = [options.timeout, self.config.run_timeout].into_iter().flatten().min();
        options.max_budget_usd = most;
        let prompt = Prompt {
            run_id: live.id,
            text: request.prompt,
            options,
            from_door,
            session: choice.session.clone(),
            workspace: live.workspace.clone(),
            silence: self.config.run_silence,
            verbose: request.format == OutputFormat::JsonVerbose,
            variables: live.variables.clone(),
        };
        let noting = self.note_session(choice);
        tracing::info!(run = %live.id, "run in {} starts", live.workspace.display());
        let mut log = EventLog { log: self.logs.create(live.id), live };
        let mut meter = Meter::default();
        let mut on_events = |events: &[u8]| {
            log.append(events);
            if meter.take(events) {
                self.table().budget.cost_so_far(live.id, meter.usd().unwrap_or_default());
            }
        };
        let (job, cancel) = (ToWorker::Prompt(Box::new(prompt)), live.wait_for_cancel());
        let (ended, leaving) = self.workers.carry_out(worker, live.id, job, cancel, &mut on_events).await;
        let (state, mut end, was) = match ended {
            WorkerEnd::Reported(report) => {
                let (state, end) = ended_with(*report, live.cancelled());
                let said = end.session_id.clone().filter(|_| end.outcome != Some(Outcome::SessionNotFound));
                (state, end, said.map_or(Was::Nowhere, Was::In))
            }
            WorkerEnd::Lost(reaped, why) => {
                let state = live.cancelled().map_or(State::Failed, Cancel::state);
                (state, self.without_report(live, &why, Outcome::Truncated, reaped), Was::Unknown)
            }
            WorkerEnd::ShellEnded(_) => {
                let why = "its worker has carried out a shell command";
                (State::Failed, self.without_report(live, why, Outcome::Truncated, 0), Was::Unknown)
            }
        };
        if let Some(dropped) = log.dropped() {
            end.result["droppedEvents"] = dropped.into();
        }
        if end.cost_usd.is_none() {
            end.cost_usd = meter.usd();
            end.cost_estimated = end.cost_usd.is_some();
        }
        Done { state, end, session: Some((noting, was)), traces: Some(Traces { log, leaving }) }
    }

    #[expect(clippy::unused_self, reason = "reads as what it does at its callers")]
    fn without_report(&self, live: &Live, error: &str, outcome: Outcome, reaped: u64) -> End {
        End {
            at: record::now(),
            outcome: Some(outcome),
            error: Some(error.to_owned()),
            result: envelope::without_result(live.id, &live.workspace, outcome.name(), error),
            cost_usd: None,
            cost_estimated: false,
            session_id: None,
            reaped,
        }
    }
}

fn ended_with(report: RunReport, cancel: Option<Cancel>) -> (State, End) {
    let state = match (report.outcome, cancel) {
        // A cancel that came after the result has cancelled nothing.
        (Outcome::Ok, _) => State::Succeeded,
        (Outcome::Killed { .. }, Some(cancel)) => cancel.state(),
        _ => State::Failed,
    };
    let mut result = report.envelope;
    let mut error = report.complaint;
    if let (State::Cancelled | State::Interrupted, Some(why)) = (state, cancel) {
        result["cancelled"] = why.name().into();
        error = Some(cancelled_text(why));
    }
    let end = End {
        at: record::now(),
        outcome: Some(report.outcome),
        error,
        cost_usd: result["totalCostUsd"].as_f64(),
        cost_estimated: false,
        result,
        session_id: report.session_id,
        reaped: report.reaped,
    };
    (state, end)
}

fn cancelled_text(why: Cancel) -> String {
    match why {
        Cancel::Asked => "cancelled",
        Cancel::Disconnected => "cancelled: its client went away",
        Cancel::Replaced => "cancelled: another run took its place",
        Cancel::Shutdown => "interrupted: the server was shut down",
    }
    .to_owned()
}

/// How a run's turn ended, and what is left to do about that.
struct Done<'run> {
    state: State,
    end: End,
    /// The session that was chosen and is noted, and where the run was after all.
    session: Option<(Noting, Was)>,
    traces: Option<Traces<'run>>,
}

/// What a run has to complete before it has ended, besides its entry in the ledger.
struct Traces<'run> {
    log: EventLog<'run>,
    leaving: Leaving,
}

/// A run's log; one that cannot be written is said once, and the run goes on.
struct EventLog<'run> {
    log: io::Result<Log>,
    live: &'run Live,
}

impl EventLog<'_> {
    fn append(&mut self, events: &[u8]) {
        match self.log.as_mut().map(|log| log.append(events)) {
            Ok(Ok(length)) => self.live.progress.send_modify(|progress| progress.log_bytes = length),
            Ok(Err(error)) => {
                tracing::error!("run {}: its event log ends here: {error}", self.live.id);
                self.log = Err(error);
            }
            Err(_) => {}
        }
    }

    /// How many events were left out, if any were.
    fn dropped(&self) -> Option<u64> {
        let dropped = self.log.as_ref().map_or(0, Log::dropped);
        (dropped > 0).then(|| {
            tracing::warn!("run {}: its event log is full, {dropped} events are left out", self.live.id);
            dropped
        })
    }

    async fn sync(self) {
        match self.log {
            // A disk may take its time.
            Ok(log) => drop(tokio::task::spawn_blocking(move || log.sync()).await),
            Err(error) => tracing::error!("run {}: its event log is incomplete: {error}", self.live.id),
        }
    }
}
