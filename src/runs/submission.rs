//! What a door gets for a run that it asks for.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::budget::OverBudget;
use super::engine::Engine;
use super::ledger::LedgerError;
use super::run::{Cancel, NewRun, State};

/// A run that was asked for.
pub struct Submitted {
    /// Its id.
    pub id: Uuid,
    /// Whether it was accepted just now; otherwise its requester had used the key before.
    pub new: bool,
    /// Who asked holds the run with this.
    pub hold: Hold,
}

/// Somebody's interest in a run. Dropped before it is released, the run is cancelled: its client has gone away.
///
/// It is made with the run and handed over with its id, so there is no moment in which a client can go away unnoticed.
pub struct Hold {
    engine: Engine,
    run: Option<Uuid>,
}

impl Hold {
    pub(super) const fn new(engine: Engine, run: Option<Uuid>) -> Self {
        Self { engine, run }
    }

    /// Holds nothing: the run goes on without its client.
    #[must_use]
    pub const fn nothing(engine: Engine) -> Self {
        Self { engine, run: None }
    }

    /// The client has what it wanted; the run, if it still runs, goes on.
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

/// Why a run was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Something runs or waits in its workspace.
    #[error("the workspace is busy with run {holder}")]
    Busy {
        /// What runs there, or waits first.
        holder: Uuid,
    },
    /// Too many runs wait.
    #[error("{limit} runs are waiting already, the most that may")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// Its requester has too many waiting runs, and the places left are for others.
    #[error("{waiting} of your runs are waiting already, the most that may while others need places too")]
    OverShare {
        /// How many wait.
        waiting: usize,
    },
    /// Too much was spent today.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The key was used before, for something else.
    #[error("this key was used before, for run {before} that asked for something else")]
    KeyReused {
        /// That run.
        before: Uuid,
    },
    /// There is nothing to carry it out with yet.
    #[error("no run can be started yet: {0}")]
    NotReady(String),
    /// The server ends.
    #[error("this server is shutting down")]
    Closed,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What became of the wish to end a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancelled {
    /// It waited, and is out.
    Withdrawn,
    /// It is being ended.
    Ending,
    /// It had ended before; nothing has changed.
    AlreadyEnded(State),
    /// There is no such run.
    Unknown,
}

/// What was asked under a key, so that a key that is used for something else is noticed.
pub(super) fn digest(new: &NewRun) -> String {
    let asked = serde_json::json!([new.workspace, new.request, new.webhook_url]);
    crate::claude::envelope::hex(&Sha256::digest(asked.to_string().as_bytes()))
}
