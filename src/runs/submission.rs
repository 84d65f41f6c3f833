//! What a door asks for, and why it may not get it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::budget::OverBudget;
use crate::store::StoreError;
use crate::store::record::{DoorName, Request, Requester, State};

/// A run to accept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Who asks, and through which door.
    pub origin: Origin,
    /// The workspace's folder, absolute and without links.
    pub workspace: PathBuf,
    /// What is asked.
    pub request: Request,
    /// What to do if the workspace is busy.
    pub busy: Busy,
    /// The client's key for "this very run": the same key again is the same run.
    pub idempotency_key: Option<String>,
    /// Where the result is posted to once it is there.
    pub webhook_url: Option<String>,
    /// Whether the run goes on when who asked for it goes away.
    pub stays: bool,
}

/// Who asks for a run, and through which door.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The door.
    pub door: DoorName,
    /// Who asks.
    pub requester: Requester,
    /// Most this requester's runs may cost on a day (UTC), US dollars.
    pub cost_per_day: Option<f64>,
    /// Most runs of this requester at once.
    pub max_runs: Option<usize>,
    /// Most runs of this requester that wait.
    pub max_queued: Option<usize>,
    /// Folders whose sessions the requester may resume, with all below them; `None` is all.
    pub sees: Option<Vec<PathBuf>>,
}

impl Origin {
    /// A requester without limits of their own.
    #[must_use]
    pub const fn unlimited(door: DoorName, requester: Requester) -> Self {
        Self { door, requester, cost_per_day: None, max_runs: None, max_queued: None, sees: None }
    }
}

/// What happens to a run whose workspace is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// It is refused.
    #[default]
    Reject,
    /// It waits for its turn.
    Queue,
    /// It takes the place: what runs and waits in the workspace is cancelled.
    Replace,
}

/// Why a run was not accepted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SubmitError {
    #[error("the workspace is busy with run {holder}")]
    Busy {
        /// What runs there, or waits first.
        holder: Uuid,
    },
    #[error("{limit} runs are waiting already, the most that may")]
    QueueFull { limit: usize },
    /// Its requester has too many waiting runs, and the places left are for others.
    #[error("{waiting} of your runs are waiting already, the most that may while others need places too")]
    OverShare { waiting: usize },
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    #[error("this key was used before, for run {before} that asked for something else")]
    KeyReused { before: Uuid },
    #[error("no run can be started yet: {0}")]
    NotReady(String),
    #[error("this server is shutting down")]
    Closed,
    #[error(transparent)]
    Ledger(#[from] StoreError),
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
