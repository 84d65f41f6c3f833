//! What happens to runs in the engine, whoever asked for them: each is let in, has its turn, and ends.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::budget::Claim;
use super::child::Workers;
use super::live::{Live, Progress};
use super::log::Logs;
use super::metrics::Metrics;
use super::patience::Patience;
use super::schedule::Admission;
use super::table::{self, Table};
use crate::claude::envelope;
use crate::claude::sessions::Sessions;
use crate::config::call::Variables;
use crate::config::server::EngineConfig;
use crate::store::record::{self, Cancel, End, Run, State};
use crate::store::{Accepted, Finish, LedgerEntry, Store, StoreError};

/// What the engine consists of.
pub(super) struct Shared {
    pub(super) config: EngineConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) logs: Logs,
    pub(super) workers: Workers,
    pub(super) metrics: Metrics,
    pub(super) sessions: Sessions,
    table: Mutex<Table>,
    /// Changes whenever a run has ended: for who waits until none is left, or for a result to post.
    pub(super) ended: watch::Sender<u64>,
}

impl Shared {
    /// Nothing runs.
    pub(super) fn new(
        config: EngineConfig,
        sessions: Sessions,
        store: Arc<dyn Store>,
        logs: Logs,
        workers: Workers,
        metrics: Metrics,
    ) -> Self {
        let (table, ended) = (Mutex::new(Table::new(&config)), watch::Sender::new(0));
        Self { config, store, logs, workers, metrics, sessions, table, ended }
    }

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
    pub(super) async fn let_in(
        self: Arc<Self>,
        live: Arc<Live>,
        admission: Admission,
        idempotency: Option<(String, String)>,
        webhook_url: Option<String>,
    ) -> Result<Accepted, StoreError> {
        // The worker starts, and its session is looked for, while the ledger writes; it gets its job only after that.
        let starts = admission == Admission::Start && !live.terms.session_hidden;
        let begun = async { starts.then(|| self.begin_early(&live)) };
        let accepted = self.store.accept(LedgerEntry { run: live.as_admitted(), idempotency, webhook_url });
        let (accepted, begun) = tokio::join!(biased; accepted, begun);
        live.accept(matches!(accepted, Ok(Accepted::New)));
        if !matches!(accepted, Ok(Accepted::New)) {
            self.turn_away(&live, &admission);
            return accepted;
        }
        match admission {
            Admission::Start => drop(tokio::spawn(Arc::clone(&self).carry_out(live, begun))),
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
    pub(super) async fn drop_queued(self: &Arc<Self>, live: &Live, why: Cancel) {
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
