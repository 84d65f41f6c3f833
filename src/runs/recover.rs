//! The start of the engine: what an earlier one left is ended, marked or taken up.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::budget::Budget;
use super::child::Workers;
use super::cost::Meter;
use super::engine::Engine;
use super::log::Logs;
use super::metrics::Metrics;
use super::shared::Shared;
use crate::atomic_file;
use crate::claude::envelope;
use crate::claude::outcome::Outcome;
use crate::claude::sessions::Sessions;
use crate::config::server::EngineConfig;
use crate::store::record::{self, End, Run, State};
use crate::store::{Finish, Store, StoreError};

const LOCK: &str = "serve.lock";

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("cannot use the state folder {}: {source}; fix it, or set CLAUDEBOX_STATE_DIR to another", .path.display())]
    StateDir { path: PathBuf, source: io::Error },
    #[error(
        "another claudebox serve works in the state folder {}: give each container a CLAUDEBOX_CONTAINER_NAME of its own",
        .0.display()
    )]
    Locked(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StartError {
    /// Whether it is for want of space alone.
    pub fn is_full(&self) -> bool {
        match self {
            Self::StateDir { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Store(error) => matches!(error, StoreError::Full { .. }),
            Self::Locked(_) => false,
        }
    }
}

/// Holds the state folder: one server writes in it.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the folder, which is made if it is not there.
    pub fn take(state_dir: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::StateDir { path: state_dir.to_owned(), source };
        atomic_file::private_folder(state_dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        let path = state_dir.join(LOCK);
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(StartError::Locked(state_dir.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Engine {
    /// Starts the engine on `store` and `logs`, which [`StateLock`] keeps for this process. Ends the runs that an
    /// earlier server left running and marks them interrupted; takes up those that waited. `held`: [`Engine::hold`].
    pub async fn start(
        store: Arc<dyn Store>,
        logs: Logs,
        config: EngineConfig,
        sessions: Sessions,
        workers: Workers,
        metrics: Metrics,
        held: Option<String>,
    ) -> Result<Self, StartError> {
        let mut queued = Vec::new();
        for run in store.unfinished().await? {
            // Without its variables it would be another run.
            if run.state == State::Queued && !run.terms.has_variables {
                queued.push(run);
            } else {
                interrupt(&*store, &logs, &workers, run).await?;
            }
        }
        let engine = Self::new(Shared::new(config, sessions, store, logs, workers, metrics));
        engine.shared.table().held = held;
        for (requester, cost) in engine.shared.store.cost_since(Budget::day_start(record::now())).await? {
            engine.shared.table().budget.add(record::now(), &requester, cost);
        }
        if !queued.is_empty() {
            tracing::info!("{} runs that were waiting are taken up", queued.len());
        }
        for run in queued {
            engine.shared.take_up(run);
        }
        engine.shared.start_waiting();
        Ok(engine)
    }

    /// Removes what is older than the settings allow, and the oldest event logs beyond their size.
    pub async fn prune(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let keep = i64::try_from(shared.config.keep.as_millis()).unwrap_or(i64::MAX);
        shared.store.prune_notes(record::now()).await?;
        let gone = shared.store.prune(record::now().saturating_sub(keep)).await?;
        let (logs, most, live) = (shared.logs.clone(), shared.config.keep_bytes, shared.live_ids());
        let task = tokio::task::spawn_blocking(move || {
            for run in &gone {
                logs.remove(*run)?;
            }
            logs.prune(most, &live).map(|cut| (gone.len(), cut))
        });
        match task.await {
            Ok(Ok((0, 0))) | Err(_) => {}
            Ok(Ok((gone, cut))) => tracing::info!("retention: {gone} runs and {cut} event logs removed"),
            Ok(Err(error)) => tracing::warn!("retention: {error}"),
        }
        Ok(())
    }
}

/// What a run has cost by what it has left in its log.
fn cost_of_log(logs: &Logs, run: Uuid) -> Option<f64> {
    let log = logs.read(run).ok()??;
    let end = log.length().ok()?;
    let (mut meter, mut offset) = (Meter::default(), 0);
    loop {
        let lines = log.lines(offset, end).ok()?;
        if lines.is_empty() {
            return meter.usd();
        }
        meter.take(&lines);
        offset += lines.len() as u64;
    }
}

async fn interrupt(store: &dyn Store, logs: &Logs, workers: &Workers, run: Run) -> Result<(), StoreError> {
    let reaped = (workers.end_tree)(run.id, None).await;
    let (logs, id) = (logs.clone(), run.id);
    let cost_usd = tokio::task::spawn_blocking(move || cost_of_log(&logs, id)).await.ok().flatten();
    let error = "interrupted: the server or the box ended before the run did";
    tracing::warn!("run {} in {} was {error}", run.id, run.workspace.display());
    let outcome = Outcome::Killed { signal: None };
    let end = End {
        at: record::now(),
        outcome: Some(outcome),
        error: Some(error.into()),
        result: envelope::without_result(run.id, &run.workspace, outcome.name(), error),
        cost_usd,
        cost_estimated: cost_usd.is_some(),
        session_id: None,
        reaped,
    };
    store.finish(Arc::new(Finish { id: run.id, state: State::Interrupted, end })).await.map(drop)
}
