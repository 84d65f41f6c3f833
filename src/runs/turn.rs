//! One run, from its turn to its end.

use std::sync::Arc;

use super::child::{Ended, Leaving, Worker};
use super::cost::Meter;
use super::live::Live;
use super::log::Log;
use super::patience::Patience;
use super::shared::Shared;
use crate::claude::arguments::{FromDoor, OutputFormat};
use crate::claude::envelope;
use crate::claude::outcome::Outcome;
use crate::store::record::{self, Cancel, End, State};
use crate::turn::protocol::{Prompt, Report, ToWorker};

/// How a run ends that is cancelled before its CLI is there.
const KILLED: Outcome = Outcome::Killed { signal: None };

impl Shared {
    /// Carries a run out whose turn it is. `worker` was started already, or could not be, or is to be started here.
    pub(super) async fn carry_out(self: Arc<Self>, live: Arc<Live>, worker: Option<std::io::Result<Worker>>) {
        if !live.accepted().await {
            return;
        }
        let queued = worker.is_none();
        let begin = self.begin(&live);
        // A worker that gets no job ends by itself.
        let worker = if begin.is_err() { None } else { Some(worker.unwrap_or_else(|| self.workers.start())) };
        if queued {
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
        let (state, end, traces) = match (live.cancelled(), begin, worker) {
            (Some(why), ..) => (why.state(), self.without_report(&live, &cancelled_text(why), KILLED, 0), None),
            (None, Err((outcome, error)), _) => (State::Failed, self.without_report(&live, &error, outcome, 0), None),
            (None, Ok(_), None) => unreachable!("a worker was started, or could not be"),
            (None, Ok(_), Some(Err(error))) => {
                let error = format!("its worker cannot be started: {error}");
                (State::Failed, self.without_report(&live, &error, Outcome::Truncated, 0), None)
            }
            (None, Ok(most), Some(Ok(worker))) => {
                let (state, end, traces) = self.converse(&live, most, worker).await;
                (state, end, Some(traces))
            }
        };
        tracing::info!(
            run = %live.id, state = state.name(), outcome = end.outcome.map(Outcome::name), reaped = end.reaped,
            "run in {} ended", live.workspace.display()
        );
        let rest = async {
            if let Some(Traces { log, leaving }) = traces {
                tokio::join!(log.sync(), leaving.wait());
            }
        };
        self.finish(&live, state, end, rest).await;
    }

    /// What a run may cost that begins now. Why it may not begin, otherwise: its outcome, and what its requester is told.
    fn begin(&self, live: &Live) -> Result<Option<f64>, (Outcome, String)> {
        if live.terms.session_hidden {
            let session = live.run().request.options.resume.unwrap_or_default();
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

    async fn converse<'run>(&self, live: &'run Live, most: Option<f64>, worker: Worker) -> (State, End, Traces<'run>) {
        let request = live.run().request;
        let mut options = request.options;
        let from_door = FromDoor { literal: live.run().door.prompts_are_text(), ..request.from_door };
        options.timeout = [options.timeout, self.config.run_timeout].into_iter().flatten().min();
        options.max_budget_usd = most;
        let prompt = Prompt {
            run_id: live.id,
            text: request.prompt,
            options,
            from_door,
            workspace: live.workspace.clone(),
            silence: self.config.run_silence,
            verbose: request.format == OutputFormat::JsonVerbose,
            variables: live.variables.clone(),
        };
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
        let (state, mut end) = match ended {
            Ended::Reported(report) => ended_with(*report, live.cancelled()),
            Ended::Lost(reaped, why) => {
                let state = live.cancelled().map_or(State::Failed, Cancel::state);
                (state, self.without_report(live, &why, Outcome::Truncated, reaped))
            }
            Ended::ShellEnded(_) => {
                let why = "its worker has carried out a shell command";
                (State::Failed, self.without_report(live, why, Outcome::Truncated, 0))
            }
        };
        if let Some(dropped) = log.dropped() {
            end.result["droppedEvents"] = dropped.into();
        }
        if end.cost_usd.is_none() {
            end.cost_usd = meter.usd();
            end.cost_estimated = end.cost_usd.is_some();
        }
        (state, end, Traces { log, leaving })
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

fn ended_with(report: Report, cancel: Option<Cancel>) -> (State, End) {
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

/// What a run has to complete before it has ended, besides its entry in the ledger.
struct Traces<'run> {
    log: EventLog<'run>,
    leaving: Leaving,
}

/// A run's log; one that cannot be written is said once, and the run goes on.
struct EventLog<'run> {
    log: std::io::Result<Log>,
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
