//! The engine: what the doors call.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::events::Events;
use super::live::Live;
use super::shared::Shared;
use super::submission::{Cancelled, NewRun, SubmitError, digest};
use super::table::Admitted;
use crate::config::call::Variables;
use crate::store::record::{Cancel, Run, State, Terms};
use crate::store::{Accepted, Filter, Notes, StoreError};

/// The run engine. Clones are the same one.
#[derive(Clone)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

/// What is going on, for a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Workspaces with a running run.
    pub busy: Vec<PathBuf>,
    /// Runs that have not ended: id, workspace, state.
    pub live: Vec<(Uuid, PathBuf, State)>,
    /// How many runs wait.
    pub queued: usize,
    /// Whether runs are accepted.
    pub open: bool,
}

impl Engine {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Accepts a run: when this returns, it is in the ledger and will run, whatever happens to this process.
    ///
    /// `variables` of its environment are its own. They are never kept: a run that has some and waits ends with this process.
    pub async fn submit(&self, new: NewRun, variables: Variables) -> Result<Submitted, SubmitError> {
        let key = new.idempotency_key.clone().map(|key| (key, digest(&new)));
        if let Some((key, digest)) = &key
            && let Some((before, known)) = self.shared.store.by_key(&new.origin.requester, key).await?
        {
            return self.used_before(before, &known, digest);
        }
        let terms = Terms {
            session_hidden: self.shared.hides_session(&new).await?,
            cost_per_day: new.origin.cost_per_day,
            max_runs: new.origin.max_runs,
            has_variables: !variables.is_empty(),
            offline: self.shared.config.offline,
        };
        let (live, admission) = {
            let mut table = self.shared.table();
            match table.admit(&self.shared.config, &new, key.as_ref(), terms, variables)? {
                Admitted::New(live, admission) => (live, admission),
                Admitted::Known(before, known) => {
                    drop(table);
                    return self.used_before(before, &known, &key.unwrap_or_default().1);
                }
            }
        };
        // The client may go away while the ledger writes: the run is let in or out all the same, and what it gets
        // falls with it.
        let (engine, id) = (self.clone(), live.id);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let accepted = Arc::clone(&engine.shared).let_in(live, admission, key, new.webhook_url).await;
            let submitted = accepted.map(|accepted| match accepted {
                Accepted::New => {
                    engine.shared.metrics.accepted(new.origin.door);
                    let run = (!new.stays).then_some(id);
                    Submitted { id, new: true, hold: Hold { engine: engine.clone(), run } }
                }
                Accepted::Before(before, _) => engine.earlier(before),
            });
            let _ = answer.send(submitted);
        });
        answered.await.map_or(Err(SubmitError::Closed), |submitted| Ok(submitted?))
    }

    fn earlier(&self, run: Uuid) -> Submitted {
        Submitted { id: run, new: false, hold: Hold::nothing(self.clone()) }
    }

    fn used_before(&self, before: Uuid, known: &str, digest: &str) -> Result<Submitted, SubmitError> {
        if known == digest { Ok(self.earlier(before)) } else { Err(SubmitError::KeyReused { before }) }
    }

    /// Ends a run early, or takes it out of the queue. Never starts anything again.
    pub async fn cancel(&self, id: Uuid, why: Cancel) -> Result<Cancelled, StoreError> {
        let Some(live) = self.shared.live(id) else {
            let found = self.shared.store.get(id).await?;
            return Ok(found.map_or(Cancelled::Unknown, |run| Cancelled::AlreadyEnded(run.state)));
        };
        let withdrawn = self.shared.table().schedule.withdraw(&live.workspace, id);
        live.cancel(why);
        if withdrawn {
            self.shared.drop_queued(&live, why).await;
            return Ok(Cancelled::Withdrawn);
        }
        Ok(Cancelled::Ending)
    }

    /// The run that holds this workspace.
    pub fn running_in(&self, workspace: &Path) -> Option<Uuid> {
        self.shared.table().schedule.running_in(workspace)
    }

    /// How many runs hold this workspace or wait for it.
    pub fn holding(&self, workspace: &Path) -> usize {
        self.shared.table().schedule.holding(workspace)
    }

    /// One run, as it stands.
    pub async fn get(&self, id: Uuid) -> Result<Option<Run>, StoreError> {
        if let Some(run) = self.shared.live(id).and_then(|live| live.unfinished()) {
            return Ok(Some(run));
        }
        self.shared.store.get(id).await
    }

    /// Runs, the newest first: of each the beginning of its prompt, no options and no result.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Run>, StoreError> {
        self.shared.store.list(filter).await
    }

    /// How many runs are before this one in its workspace, if it waits.
    pub fn ahead(&self, run: &Run) -> Option<usize> {
        self.shared.table().schedule.ahead(&run.workspace, run.id)
    }

    /// What a door has to remember of its own.
    pub fn notes(&self) -> &(dyn Notes + 'static) {
        &*self.shared.store
    }

    /// The same, for a door that keeps it.
    pub fn notes_to_keep(&self) -> Arc<dyn Notes> {
        Arc::clone(&self.shared.store) as _
    }

    /// The notes, by the name that the doors still have for them.
    pub fn ledger(&self) -> &(dyn Notes + 'static) {
        self.notes()
    }

    /// Changes whenever a run has ended, and so whenever the places of those that wait may have changed.
    pub fn endings(&self) -> watch::Receiver<u64> {
        self.shared.ended.subscribe()
    }

    /// Waits for the end of a run. `None`: there is no such run.
    pub async fn wait(&self, id: Uuid) -> Result<Option<Run>, StoreError> {
        if let Some(live) = self.shared.live(id) {
            let mut progress = live.progress.subscribe();
            // The sender lives in `live`, so this cannot fail.
            let _ = progress.wait_for(|progress| progress.ended).await;
            return Ok(Some(live.run()));
        }
        self.shared.store.get(id).await
    }

    /// The events of a run from `offset` on, as they come. `None`: there is no such run.
    pub async fn events(&self, id: Uuid, offset: u64) -> Result<Option<Events>, StoreError> {
        if let Some(live) = self.shared.live(id) {
            return Ok(Some(Events::live(self.shared.logs.clone(), &live, offset)));
        }
        let run = self.shared.store.get(id).await?;
        Ok(run.map(|run| Events::ended(self.shared.logs.clone(), run.id, offset)))
    }

    /// What is going on.
    pub fn status(&self) -> Status {
        let table = self.shared.table();
        let mut live: Vec<(Uuid, PathBuf, State)> =
            table.live.values().map(|live| (live.id, live.workspace.clone(), live.state())).collect();
        live.sort_unstable_by_key(|(id, ..)| *id);
        Status { busy: table.schedule.busy(), queued: table.schedule.waiting(), live, open: !table.closed }
    }

    /// Lets no run in or start for this reason, or lets them again.
    pub fn hold(&self, why: Option<String>) {
        let free = why.is_none();
        self.shared.table().held = why;
        if free {
            self.shared.start_waiting();
        }
    }

    /// Why no run can be started, if none can.
    pub fn held(&self) -> Option<String> {
        self.shared.table().held.clone()
    }

    /// Ends all runs, and accepts none any more: returns when the last has ended, or `grace` is over. What waits is
    /// started by the next server.
    pub async fn shut_down(&self, grace: Duration) {
        let running: Vec<Arc<Live>> = {
            let mut table = self.shared.table();
            table.closed = true;
            table.live.values().filter(|live| live.state() == State::Running).cloned().collect()
        };
        let mut ended = self.shared.ended.subscribe();
        for live in &running {
            live.cancel(Cancel::Shutdown);
        }
        let all = ended.wait_for(|_| running.iter().all(|live| live.progress.borrow().ended));
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("runs are left at the end of the grace; they will be marked interrupted at the next start");
        }
    }
}

/// A run that was asked for.
pub struct Submitted {
    /// Its id.
    pub id: Uuid,
    /// Whether it was accepted just now; otherwise its requester had used the key before.
    pub new: bool,
    /// Who asked holds the run with this.
    pub hold: Hold,
}

/// A client's hold on its run. Dropped before it is released, it cancels the run: the client has gone away.
///
/// It is made with the run and handed over with its id, so there is no moment in which a client can go away unnoticed.
pub struct Hold {
    engine: Engine,
    run: Option<Uuid>,
}

impl Hold {
    /// Holds nothing.
    #[must_use]
    pub const fn nothing(engine: Engine) -> Self {
        Self { engine, run: None }
    }

    /// The run, if it still runs, goes on without its client. Release on shutdown too: that client was answered; it did
    /// not disconnect.
    pub const fn release(&mut self) {
        self.run = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(run) = self.run {
            let engine = self.engine.clone();
            tokio::spawn(async move {
                if let Err(error) = engine.cancel(run, Cancel::Disconnected).await {
                    tracing::error!("run {run}: its client went away, and it cannot be cancelled: {error}");
                }
            });
        }
    }
}
