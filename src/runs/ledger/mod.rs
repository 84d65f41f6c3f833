//! The ledger: every run that was accepted, durable before its client is answered.
//!
//! `SQLite` in one file, write-ahead log where the file system allows it, `synchronous=FULL`: what a method returned for is on the disk. One thread writes
//! and commits what has piled up in one transaction, so a hundred clients at once cost one `fsync`, not a hundred.
//! Nothing outside this module knows that it is `SQLite`: `PostgreSQL` will stand here too, for several boxes.

mod notes;
mod patience;
mod rows;
mod schema;
mod webhooks;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use uuid::Uuid;

use super::run::{End, Requester, Run, State};
pub use notes::Note;
pub use patience::Patience;
pub use webhooks::Due;
use writer::Writer;

/// The ledger's file in the state folder.
const FILE: &str = "runs.sqlite3";

/// What the ledger could not do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The database refused.
    #[error("cannot {operation} the ledger of runs: {why}")]
    Database {
        /// What was to be done.
        operation: &'static str,
        /// What the database said.
        why: String,
    },
    /// The disk under it is full.
    #[error("cannot {operation} the ledger of runs: no space is left in the state folder")]
    Full {
        /// What was to be done.
        operation: &'static str,
    },
    /// Its file cannot be opened, or is none.
    #[error(
        "cannot use the ledger of runs {}: {why}. Move that file away to begin a new one (runs, results and webhooks of \
         the old one are not known to it), or set CLAUDEBOX_STATE_DIR to another folder", .path.display()
    )]
    Unusable {
        /// Its file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
    /// It was written by a later version.
    #[error(
        "the ledger of runs {} has version {found}, and this claudebox knows up to {known}: start the newer image again, \
         or set CLAUDEBOX_STATE_DIR to another folder",
        .path.display()
    )]
    TooNew {
        /// Its file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
}

fn failed(operation: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => LedgerError::Full { operation },
        _ => LedgerError::Database { operation, why: error.to_string() },
    }
}

fn unusable(path: &Path) -> impl Fn(rusqlite::Error) -> LedgerError {
    move |error| match failed("open")(error) {
        LedgerError::Database { why, .. } => LedgerError::Unusable { path: path.to_owned(), why },
        full => full,
    }
}

/// The ledger. Clones are the same one.
#[derive(Clone)]
pub struct Ledger {
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
}

/// A run to be put into the ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The run: queued or running.
    pub run: Run,
    /// The client's key for it, and a digest of what was asked under that key.
    pub idempotency: Option<(String, String)>,
    /// Where its result is to be posted.
    pub webhook_url: Option<String>,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is in.
    New,
    /// The requester has used the key before, for this run and this digest.
    Before(Uuid, String),
}

/// How a run ended, as far as the ledger does not work it out itself.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Which run.
    pub id: Uuid,
    /// Its state now.
    pub state: State,
    /// How it ended. `cost_usd` is what the CLI said, the whole session so far.
    pub end: End,
}

/// Says whether a workspace may be seen.
pub type Sight = Box<dyn Fn(&Path) -> bool + Send>;

/// Which runs to list.
#[derive(Default)]
pub struct Filter {
    /// Only those of this workspace.
    pub workspace: Option<PathBuf>,
    /// Only those that this requester asked for.
    pub requester: Option<Requester>,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those accepted before this one.
    pub before: Option<Uuid>,
    /// No more than this.
    pub limit: usize,
    /// Only those whose workspace passes.
    pub visible: Option<Sight>,
}

impl Ledger {
    /// Opens the ledger in `state_dir`, or makes one. The folder must be there.
    pub fn open(state_dir: &Path) -> Result<Self, LedgerError> {
        let path = state_dir.join(FILE);
        let connection = schema::open(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(unusable(&path))?;
        reader.pragma_update(None, "cache_size", -256).map_err(unusable(&path))?;
        Ok(Self { writer: Writer::start(connection)?, reader: Arc::new(Mutex::new(reader)) })
    }

    /// Puts a run in, unless its requester has used its key before.
    pub async fn accept(&self, entry: Entry) -> Result<Accepted, LedgerError> {
        self.writer.write("add to", move |connection| rows::insert(connection, &entry)).await
    }

    /// Notes that a queued run runs now.
    pub async fn start(&self, id: Uuid, at: i64) -> Result<(), LedgerError> {
        self.writer
            .write("write to", move |connection| {
                let sql = "UPDATE runs SET state = 'running', started_at = ?2 WHERE id = ?1 AND state = 'queued'";
                connection.execute(sql, params![id.to_string(), at]).map(drop)
            })
            .await
    }

    /// Notes how a run ended; what it cost, its session's earlier runs left out. A run that has ended stays as it is.
    pub async fn finish(&self, finish: Finish) -> Result<Option<f64>, LedgerError> {
        self.writer.write("write to", move |connection| rows::finish(connection, &finish)).await
    }

    /// One run.
    pub async fn get(&self, id: Uuid) -> Result<Option<Run>, LedgerError> {
        self.read(move |connection| {
            let sql = format!("SELECT {} FROM runs WHERE id = ?1", rows::COLUMNS);
            connection.query_row(&sql, [id.to_string()], rows::run).optional()
        })
        .await
    }

    /// The run that `requester` has used `key` for, and the digest of what it asked.
    pub async fn by_key(&self, requester: &Requester, key: &str) -> Result<Option<(Uuid, String)>, LedgerError> {
        let (requester, key) = (requester.clone(), key.to_owned());
        self.read(move |connection| {
            let sql = "SELECT id, idempotency_digest FROM runs 
                       WHERE kind = ?1 AND requester = ?2 AND idempotency_key = ?3";
            let by = params![requester.kind(), requester.name(), key];
            connection.query_row(sql, by, |row| Ok((rows::uuid(row, 0)?, row.get(1)?))).optional()
        })
        .await
    }

    /// The workspace that a session was last used in by a run of this ledger.
    pub async fn session_workspace(&self, session: &str) -> Result<Option<PathBuf>, LedgerError> {
        let session = session.to_owned();
        self.read(move |connection| rows::session_workspace(connection, &session)).await
    }

    /// Runs, the newest first: of each the beginning of its prompt, no options and no result.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Run>, LedgerError> {
        self.read(move |connection| rows::list(connection, &filter)).await
    }

    /// Runs that have not ended, the oldest first.
    pub async fn unfinished(&self) -> Result<Vec<Run>, LedgerError> {
        self.read(|connection| {
            let columns = rows::COLUMNS;
            let sql = format!("SELECT {columns} FROM runs WHERE state IN ('queued', 'running') ORDER BY id");
            connection.prepare(&sql)?.query_map([], rows::run)?.collect()
        })
        .await
    }

    /// What each requester's runs cost that ended at or after `since`.
    pub async fn cost_since(&self, since: i64) -> Result<Vec<(Requester, f64)>, LedgerError> {
        self.read(move |connection| {
            let sql = "SELECT kind, requester, SUM(cost_usd) FROM runs
                       WHERE finished_at >= ?1 AND cost_usd IS NOT NULL GROUP BY kind, requester";
            let who = |row: &Row<'_>| Ok((rows::requester(row, 1, 0)?, row.get(2)?));
            connection.prepare(sql)?.query_map([since], who)?.collect()
        })
        .await
    }

    /// Removes runs that ended before `before` and have nothing left to post; their ids.
    pub async fn prune(&self, before: i64) -> Result<Vec<Uuid>, LedgerError> {
        self.writer.write("prune", move |connection| rows::prune(connection, before)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let reader = Arc::clone(&self.reader);
        let task = tokio::task::spawn_blocking(move || query(&reader.lock().unwrap_or_else(PoisonError::into_inner)));
        match task.await {
            Ok(result) => result.map_err(failed("read")),
            Err(error) => Err(LedgerError::Database { operation: "read", why: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests;
