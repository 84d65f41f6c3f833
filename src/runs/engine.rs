//! The engine: what the doors call.

use std::collections::HashSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::budget::Claim;
use super::child::Workers;
use super::events::Events;
use super::live::{Live, Progress};
use super::log::Logs;
use super::metrics::Metrics;
use super::patience::Patience;
use super::schedule::Admission;
use super::submission::{Cancelled, Hold, NewRun, SubmitError, Submitted, digest};
use super::table::{self, Table};
use crate::claude::envelope;
use crate::claude::sessions::Sessions;
use crate::config::call::Variables;
use crate::config::server::EngineConfig;
use crate::store::record::{self, Cancel, End, Run, State, Terms};
use crate::store::{Accepted, Entry, Filter, Finish, Notes, Store, StoreError};

/// The run engine. Clones are the same one.
#[derive(Clone)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: EngineConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) logs: Logs,
    pub(super) workers: Workers,
    pub(super) metrics: Metrics,
    sessions: Sessions,
    table: Mutex<Table>,
    /// Changes whenever a run has ended: for who waits until none is left, or for a result to post.
    pub(super) ended: watch::Sender<u64>,
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
    pub(super) fn new(
        config: EngineConfig,
        sessions: Sessions,
        store: Arc<dyn Store>,
        logs: Logs,
        workers: Workers,
        metrics: Metrics,
    ) -> Self {
        let (table, ended) = (Mutex::new(Table::new(&config)), watch::Sender::new(0));
        Self { shared: Arc::new(Shared { config, store, logs, workers, metrics, sessions, table, ended }) }
    }

    /// Accepts a run: when this returns, it is in the ledger and will run, whatever happens to this process.
    pub async fn submit(&self, new: NewRun) -> Result<Submitted, SubmitError> {
        self.submit_with(new, Variables::default()).await
    }

    /// The same with variables of its own in its environment. They are never kept: a run that has some and waits ends with this
    /// process.
    pub async fn submit_with(&self, new: NewRun, variables: Variables) -> Result<Submitted, SubmitError> {
        let key = new.idempotency_key.clone().map(|key| (key, digest(&new)));
        if let Some((key, digest)) = &key
            && let Some((before, known)) = self.shared.store.by_key(&new.origin.requester, key).await?
        {
            return self.used_before(before, &known, digest);
        }
        let terms = Terms {
            session_hidden: self.hides_session(&new).await?,
            cost_per_day: new.origin.cost_per_day,
            max_runs: new.origin.max_runs,
            has_variables: !variables.is_empty(),
            offline: self.shared.config.offline,
        };
        let (live, admission) = {
            let mut table = self.shared.table();
            match table.admit(&self.shared.config, &new, key.as_ref(), terms, variables)? {
                Ok(admitted) => admitted,
                Err((before, known)) => {
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
                    Submitted { id, new: true, hold: Hold::new(engine.clone(), run) }
                }
                Accepted::Before(before, _) => engine.earlier(before),
            });
            let _ = answer.send(submitted);
        });
        answered.await.map_or(Err(SubmitError::Closed), |submitted| Ok(submitted?))
    }

    /// Whether the session that `new` is to resume is none that its requester may see.
    ///
    /// A session that was used in several workspaces holds what was said in each, so all of them have to be visible.
    async fn hides_session(&self, new: &NewRun) -> Result<bool, StoreError> {
        let (Some(folders), Some(id)) = (&new.origin.sees, &new.request.options.resume) else { return Ok(false) };
        let (sessions, session) = (self.shared.sessions.clone(), id.clone());
        let look = move || (sessions.exists(&session), sessions.begun_in(&session));
        let (exists, mut places) = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        places.extend(self.shared.store.session_workspace(id).await?);
        let seen = |place: &PathBuf| folders.iter().any(|folder| place.starts_with(folder));
        Ok(!exists || places.is_empty() || !places.iter().all(seen))
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
    #[must_use]
    pub fn running_in(&self, workspace: &Path) -> Option<Uuid> {
        self.shared.table().schedule.running_in(workspace)
    }

    /// How many runs hold this workspace or wait for it.
    #[must_use]
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
    #[must_use]
    pub fn ahead(&self, run: &Run) -> Option<usize> {
        self.shared.table().schedule.ahead(&run.workspace, run.id)
    }

    /// Runs that have not ended, the oldest first.
    pub async fn unfinished(&self) -> Result<Vec<Run>, StoreError> {
        self.shared.store.unfinished().await
    }

    /// What a door has to remember of its own.
    #[must_use]
    pub fn notes(&self) -> &(dyn Notes + 'static) {
        &*self.shared.store
    }

    /// The same, for a door that keeps it.
    #[must_use]
    pub fn notes_to_keep(&self) -> Arc<dyn Notes> {
        Arc::clone(&self.shared.store) as _
    }

    /// The notes, by the name that the doors still have for them.
    #[must_use]
    pub fn ledger(&self) -> &(dyn Notes + 'static) {
        self.notes()
    }

    /// Changes whenever a run has ended, and so whenever the places of those that wait may have changed.
    #[must_use]
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
    #[must_use]
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
    #[must_use]
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

impl Shared {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self, id: Uuid) -> Option<Arc<Live>> {
        self.table().live.get(&id).cloned()
    }

    /// Ids of the runs that have not ended.
    pub(super) fn live_ids(&self) -> HashSet<Uuid> {
        self.table().live.keys().copied().collect()
    }

    /// What `live` has to be paid with.
    pub(super) fn claim(&self, live: &Live) -> Claim {
        table::claim(&self.config, live)
    }

    /// Puts an admitted run into the ledger and on its way.
    async fn let_in(
        self: Arc<Self>,
        live: Arc<Live>,
        admission: Admission,
        idempotency: Option<(String, String)>,
        webhook_url: Option<String>,
    ) -> Result<Accepted, StoreError> {
        // The worker starts while the ledger writes; it gets its job only after that.
        let starts = admission == Admission::Start && !live.terms.session_hidden;
        let worker = async { starts.then(|| self.workers.start()) };
        let accepted = self.store.accept(Entry { run: live.as_admitted(), idempotency, webhook_url });
        let (accepted, worker) = tokio::join!(biased; accepted, worker);
        live.accept(matches!(accepted, Ok(Accepted::New)));
        if !matches!(accepted, Ok(Accepted::New)) {
            self.turn_away(&live, &admission);
            return accepted;
        }
        match admission {
            Admission::Start => drop(tokio::spawn(Arc::clone(&self).carry_out(live, worker))),
            Admission::Replace(others) => {
                for other in others.iter().filter_map(|&id| self.live(id)) {
                    other.cancel(Cancel::Replaced);
                    if other.state() == State::Queued {
                        self.drop_queued(&other, Cancel::Replaced).await;
                    }
                }
                self.start_waiting();
            }
            _ => self.start_waiting(),
        }
        self.gauge();
        accepted
    }

    /// Undoes the admission of a run that the ledger did not take.
    fn turn_away(self: &Arc<Self>, live: &Live, admission: &Admission) {
        self.table().forget(live);
        if let Admission::Replace(others) = admission {
            let mut table = self.table();
            let waiting: Vec<Arc<Live>> = others.iter().filter_map(|id| table.live.get(id).cloned()).collect();
            for other in waiting.iter().filter(|other| other.state() == State::Queued) {
                table.schedule.enqueue(&other.workspace, other.place());
            }
        }
        self.start_waiting();
        // Wakes callers that attached by idempotency key.
        live.progress.send_modify(|progress| *progress = Progress { state: State::Failed, ended: true, ..*progress });
    }

    /// Takes up a run that an earlier server has accepted.
    pub(super) fn take_up(&self, run: Run) {
        let live = Arc::new(Live::new(run, Variables::default()));
        live.accept(true);
        self.table().take_up(&self.config, live);
    }

    /// Starts every run whose turn it is.
    pub(super) fn start_waiting(self: &Arc<Self>) {
        loop {
            let live = {
                let mut table = self.table();
                // What waits when the server ends is the next server's.
                let next = if table.closed || table.held.is_some() { None } else { table.schedule.start_next() };
                let Some(id) = next else { break };
                table.live.get(&id).cloned()
            };
            if let Some(live) = live {
                live.progress.send_modify(|progress| progress.state = State::Running);
                drop(tokio::spawn(Arc::clone(self).carry_out(live, None)));
            }
        }
        self.gauge();
    }

    /// Ends a run that was taken out of the queue.
    async fn drop_queued(self: &Arc<Self>, live: &Live, why: Cancel) {
        let error = format!("cancelled while it waited ({})", why.name());
        let end = End {
            at: record::now(),
            outcome: None,
            error: Some(error.clone()),
            result: envelope::without_result(live.id, &live.workspace, State::Cancelled.name(), &error),
            cost_usd: None,
            cost_estimated: false,
            session_id: None,
            reaped: 0,
        };
        self.finish(live, State::Cancelled, end, async {}).await;
    }

    /// Writes the end of a run down, frees its workspace, and tells who waits for it; in that order. `rest` is done while
    /// the ledger writes.
    pub(super) async fn finish(
        self: &Arc<Self>,
        live: &Live,
        state: State,
        mut end: End,
        rest: impl Future<Output = ()>,
    ) {
        // A queued run may be cancelled before the ledger has it.
        live.accepted().await;
        let finish = Arc::new(Finish { id: live.id, state, end: end.clone() });
        // Nobody is told of an end that a kill would undo: until it is in the ledger, the run goes on.
        let write = async {
            let mut patience = Patience::default();
            loop {
                match self.store.finish(Arc::clone(&finish)).await {
                    Ok(cost) => break cost,
                    Err(error) => patience.wait(live.id, &error).await,
                }
            }
        };
        let (cost, ()) = tokio::join!(biased; write, rest);
        end.cost_usd = cost;
        if let Some(cost) = end.cost_usd {
            self.table().budget.add(record::now(), &live.requester, cost);
        }
        let run = live.ended(state, end);
        self.metrics.finished(&run);
        self.table().forget(live);
        self.start_waiting();
        live.progress.send_modify(|progress| *progress = Progress { state, ended: true, ..*progress });
        self.ended.send_modify(|count| *count += 1);
    }

    fn gauge(&self) {
        let (busy, waiting) = {
            let table = self.table();
            (table.schedule.busy().len(), table.schedule.waiting())
        };
        self.metrics.running.set(i64::try_from(busy).unwrap_or(i64::MAX));
        self.metrics.queued.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
