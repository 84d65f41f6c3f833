//! What is going on in this process: which runs live, which workspaces are taken, what was spent.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::budget::Budget;
use super::live::Live;
use super::run::{self, NewRun, Run, State, Terms};
use super::schedule::{Admission, Schedule};
use super::submission::SubmitError;
use crate::config::server::EngineConfig;

/// What is going on now.
pub(super) struct Table {
    pub(super) schedule: Schedule,
    pub(super) live: HashMap<Uuid, Arc<Live>>,
    /// Keys of live runs: requester and key.
    keys: HashMap<(String, String), (Uuid, String)>,
    pub(super) budget: Budget,
    pub(super) closed: bool,
}

/// The run and what it may do, or the run that was asked for under its key before.
pub(super) type Admitted = Result<(Arc<Live>, Admission), (Uuid, String)>;

impl Table {
    /// Nothing runs.
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self {
            schedule: Schedule::new(config.runs, config.queue),
            live: HashMap::new(),
            keys: HashMap::new(),
            budget: Budget::default(),
            closed: false,
        }
    }

    /// Lets a run in as far as this process is concerned, or says which run had its key.
    pub(super) fn admit(
        &mut self,
        config: &EngineConfig,
        new: &NewRun,
        key: Option<&(String, String)>,
        terms: Terms,
    ) -> Result<Admitted, SubmitError> {
        if self.closed {
            return Err(SubmitError::Closed);
        }
        let full_key = key.map(|(key, _)| (new.origin.requester.clone(), key.clone()));
        if let Some(before) = full_key.as_ref().and_then(|key| self.keys.get(key)) {
            return Ok(Err(before.clone()));
        }
        self.budget.check(run::now(), config.cost_per_day, &new.origin)?;
        // Under the lock: ids must sort as runs were let in.
        let id = Uuid::now_v7();
        let admission = self.schedule.admit(&new.workspace, id, new.busy);
        let state = match &admission {
            Admission::Busy(holder) => return Err(SubmitError::Busy { holder: *holder }),
            Admission::Full => return Err(SubmitError::QueueFull { limit: config.queue }),
            Admission::Start => State::Running,
            Admission::Wait { .. } | Admission::Replace(_) => State::Queued,
        };
        let created_at = run::now();
        let run = Run {
            id,
            workspace: new.workspace.clone(),
            door: new.origin.door.to_owned(),
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
        let live = Arc::new(Live::new(run));
        self.live.insert(id, Arc::clone(&live));
        Ok(Ok((live, admission)))
    }

    /// Takes up a run that an earlier server has accepted.
    pub(super) fn take_up(&mut self, live: Arc<Live>) {
        self.schedule.enqueue(&live.workspace, live.id);
        self.live.insert(live.id, live);
    }

    /// Lets a run go, whatever it was doing.
    pub(super) fn forget(&mut self, live: &Live) {
        self.live.remove(&live.id);
        self.keys.retain(|_, (id, _)| *id != live.id);
        self.schedule.withdraw(&live.workspace, live.id);
        self.schedule.finish(&live.workspace, live.id);
    }
}
