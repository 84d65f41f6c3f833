//! What is going on in all jobs: ticks that are taken in, each job's one after the other.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::context::Context;
use super::file::{Job, counted};
use super::lane::{self, Lane, TickAdmission};
use super::run::{Fate, Work};
use super::tick::{self, Tick};
use crate::store::record::DoorName;
use crate::store::{Note, StoreError};

/// Carries ticks out. Clones are the same one.
#[derive(Clone)]
pub(super) struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    context: Context,
    lanes: Mutex<HashMap<String, Lane>>,
    tasks: TaskTracker,
}

impl Runner {
    /// Nothing is carried out yet.
    #[must_use]
    pub(super) fn new(context: Context) -> Self {
        Self { shared: Arc::new(Shared { context, lanes: Mutex::default(), tasks: TaskTracker::new() }) }
    }

    /// What ticks are carried out with.
    pub(super) fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Takes up what an earlier server has left; up to when each job's ticks were accepted.
    ///
    /// A tick older than `oldest` is dropped: the ledger may not have its run any more, and it would run again.
    pub(super) async fn take_up(&self, oldest: DateTime<Utc>) -> Result<HashMap<String, DateTime<Utc>>, StoreError> {
        let ledger = self.context().engine.ledger();
        let mut accepted = HashMap::new();
        for note in ledger.notes(DoorName::Cron, tick::NOTES).await? {
            let tick: Tick = match serde_json::from_value(note.value) {
                Ok(tick) => tick,
                Err(error) => {
                    tracing::error!("cron: the note {} cannot be understood: {error}", note.key);
                    continue;
                }
            };
            if tick.scheduled() < oldest {
                tracing::warn!(
                    "job {}: its tick of {} is too old to go on with",
                    tick.job,
                    tick.tell(tick.scheduled * 1000)
                );
                ledger.remove_note(DoorName::Cron, &note.key).await?;
                continue;
            }
            // Keys of one job sort by time.
            accepted.insert(tick.job.clone(), tick.scheduled());
            self.enqueue(tick, TickAdmission::Wait);
        }
        if !accepted.is_empty() {
            tracing::info!("cron: going on with what an earlier server has left of {}", counted(accepted.len()));
        }
        Ok(accepted)
    }

    /// Takes a tick in, or leaves it out; `handled`: the note that says so. When this returns it is not forgotten.
    pub(super) async fn accept(&self, job: &Job, tick: Tick, handled: Note) -> Result<(), StoreError> {
        let ledger = self.context().engine.ledger();
        let admission = lane::admit(self.lanes().get(&job.name), job.on_overlap);
        let due = tick.tell(tick.scheduled * 1000);
        match admission {
            TickAdmission::LeaveOut => {
                tracing::warn!("job {}: its last run is not over, so the tick of {due} is left out", job.name);
                return ledger.put_note(DoorName::Cron, handled, None).await;
            }
            TickAdmission::Full => {
                let most = lane::MOST_WAITING;
                tracing::error!("job {}: {most} ticks wait already, so that of {due} is left out", job.name);
                return ledger.put_note(DoorName::Cron, handled, None).await;
            }
            TickAdmission::Start => {}
            TickAdmission::Wait => tracing::info!("job {}: the tick of {due} waits for the run before it", job.name),
            TickAdmission::Replace => tracing::info!("job {}: the tick of {due} replaces the run before it", job.name),
        }
        ledger.put_note(DoorName::Cron, tick.note(), None).await?;
        ledger.put_note(DoorName::Cron, handled, None).await?;
        for replaced in self.enqueue(tick, admission) {
            ledger.remove_note(DoorName::Cron, &replaced.key()).await?;
        }
        Ok(())
    }

    /// Returns when nothing is carried out any more, or `grace` is over.
    pub(super) async fn finish(&self, grace: Duration) {
        self.shared.tasks.close();
        // What is not over by then is the next server's.
        let _ = tokio::time::timeout(grace, self.shared.tasks.wait()).await;
    }

    /// Puts a tick behind those of its job; which of them it has replaced.
    fn enqueue(&self, tick: Tick, admission: TickAdmission) -> Vec<Tick> {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(&tick.job) else {
            lanes.insert(tick.job.clone(), Lane::default());
            self.shared.tasks.spawn(self.clone().work(tick));
            return Vec::new();
        };
        let replaced = match admission {
            TickAdmission::Replace => {
                lane.give_up.cancel();
                lane.waiting.drain(..).collect()
            }
            _ => Vec::new(),
        };
        lane.waiting.push_back(tick);
        replaced
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<String, Lane>> {
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out the ticks of one job, one after the other.
    async fn work(self, first: Tick) {
        let job = first.job.clone();
        let mut next = Some(first);
        while let Some(tick) = next {
            let give_up = self.lanes().get(&job).map(|lane| lane.give_up.clone()).unwrap_or_default();
            let work = AssertUnwindSafe(Work::new(self.context(), tick, give_up).carry_out());
            // A job must not stand still for good because of one tick. Its note is there for the next server.
            let fate = work.catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("job {job}: a fault of claudebox has ended its tick");
                Fate::Over
            });
            if fate == Fate::Left {
                return;
            }
            let mut lanes = self.lanes();
            let Some(lane) = lanes.get_mut(&job) else { return };
            lane.give_up = CancellationToken::new();
            next = lane.waiting.pop_front();
            if next.is_none() {
                lanes.remove(&job);
            }
        }
    }
}
