//! What is going on in this process: which runs live, which workspaces are taken, what was spent.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::budget::{Budget, Claim};
use super::live::Live;
use super::schedule::{Admission, Candidate, Schedule};
use super::submission::{NewRun, SubmitError};
use crate::config::call::Variables;
use crate::config::server::EngineConfig;
use crate::store::record::{self, Requester, Run, State, Terms};

/// What is going on now.
pub(super) struct Table {
    pub(super) schedule: Schedule,
    pub(super) live: HashMap<Uuid, Arc<Live>>,
    /// Keys of live runs: requester and key.
    keys: HashMap<(Requester, String), (Uuid, String)>,
    pub(super) budget: Budget,
    pub(super) closed: bool,
    /// Why no run can be started, if none can: then none is let in, and those that wait go on waiting.
    pub(super) held: Option<String>,
}

/// What became of a run that was asked for.
pub(super) enum Admitted {
    /// It is in, and may do this.
    New(Arc<Live>, Admission),
    /// Its key was used before, for this run and what has this digest.
    Known(Uuid, String),
}

/// What a run has to be paid with.
pub(super) fn claim(config: &EngineConfig, live: &Live) -> Claim {
    Claim {
        run: live.id,
        requester: live.requester.clone(),
        most: least(live.most, config.cost_per_run),
        limit: config.cost_per_day,
        own_limit: live.terms.cost_per_day,
    }
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().min_by(f64::total_cmp)
}

impl Table {
    /// Nothing runs.
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self {
            schedule: Schedule::new(config.runs, config.queue),
            live: HashMap::new(),
            keys: HashMap::new(),
            budget: Budget::default(),
            closed: false,
            held: None,
        }
    }

    /// Admits a run in memory, or returns the run that already has this key.
    pub(super) fn admit(
        &mut self,
        config: &EngineConfig,
        new: &NewRun,
        key: Option<&(String, String)>,
        terms: Terms,
        variables: Variables,
    ) -> Result<Admitted, SubmitError> {
        if self.closed {
            return Err(SubmitError::Closed);
        }
        if let Some(why) = &self.held {
            return Err(SubmitError::NotReady(why.clone()));
        }
        let full_key = key.map(|(key, _)| (new.origin.requester.clone(), key.clone()));
        if let Some((before, digest)) = full_key.as_ref().and_then(|key| self.keys.get(key)) {
            return Ok(Admitted::Known(*before, digest.clone()));
        }
        // Under the lock: ids must sort as runs were let in.
        let id = Uuid::now_v7();
        let claim = Claim {
            run: id,
            requester: new.origin.requester.clone(),
            most: least(new.request.options.max_budget_usd, config.cost_per_run),
            limit: config.cost_per_day,
            own_limit: new.origin.cost_per_day,
        };
        self.budget.reserve(record::now(), &claim)?;
        let who = Candidate { run: id, requester: new.origin.requester.clone(), max_runs: new.origin.max_runs };
        let admission = self.schedule.admit(&new.workspace, who, new.busy, new.origin.max_queued);
        if matches!(admission, Admission::Busy(_) | Admission::Full | Admission::OverShare { .. }) {
            self.budget.release(id);
        }
        let state = match &admission {
            Admission::Busy(holder) => return Err(SubmitError::Busy { holder: *holder }),
            Admission::Full => return Err(SubmitError::QueueFull { limit: config.queue }),
            Admission::OverShare { waiting } => return Err(SubmitError::OverShare { waiting: *waiting }),
            Admission::Start => State::Running,
            Admission::Wait { .. } | Admission::Replace(_) => State::Queued,
        };
        let created_at = record::now();
        let run = Run {
            id,
            workspace: new.workspace.clone(),
            door: new.origin.door,
            requester: new.origin.requester.clone(),
            state,
            request: new.request.clone(),
            terms,
            created_at,
            started_at: (state == State::Running).then_some(created_at),
            end: None,
        };
        if let (Some(key), Some((_, digest))) = (full_key, key) {
            self.keys.insert(key, (id, digest.clone()));
        }
        let live = Arc::new(Live::new(run, variables));
        self.live.insert(id, Arc::clone(&live));
        Ok(Admitted::New(live, admission))
    }

    /// Takes up a run that an earlier server has accepted.
    pub(super) fn take_up(&mut self, config: &EngineConfig, live: Arc<Live>) {
        // Should nothing be left, its start says so.
        let _ = self.budget.reserve(record::now(), &claim(config, &live));
        self.schedule.enqueue(&live.workspace, live.place());
        self.live.insert(live.id, live);
    }

    /// Lets a run go, whatever it was doing.
    pub(super) fn forget(&mut self, live: &Live) {
        self.live.remove(&live.id);
        self.budget.release(live.id);
        self.keys.retain(|_, (id, _)| *id != live.id);
        self.schedule.withdraw(&live.workspace, live.id);
        self.schedule.finish(&live.workspace, live.id);
    }
}
