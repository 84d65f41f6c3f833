//! The database's tables, and how an older one becomes a newer one.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::error::{OpenError, unusable};

/// Each brings the database from one version to the next; never changed once released, only added to.
pub(super) const MIGRATIONS: [&str; 4] = [
    "
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        workspace BLOB NOT NULL,
        door TEXT NOT NULL,
        requester TEXT NOT NULL,
        state TEXT NOT NULL,
        request TEXT NOT NULL,
        idempotency_key TEXT,
        idempotency_digest TEXT,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        finished_at INTEGER,
        outcome TEXT,
        resets_at INTEGER,
        error TEXT,
        result TEXT,
        cost_usd REAL,
        session_id TEXT,
        reaped INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_state ON runs (state, id) WHERE state IN ('queued', 'running');
    CREATE INDEX runs_by_workspace ON runs (workspace, id);
    CREATE INDEX runs_by_end ON runs (finished_at);
    CREATE UNIQUE INDEX runs_by_key ON runs (requester, idempotency_key) WHERE idempotency_key IS NOT NULL;
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        workspace BLOB NOT NULL,
        total_cost_usd REAL,
        last_run TEXT NOT NULL,
        used_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE webhooks (
        run_id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER,
        state TEXT NOT NULL DEFAULT 'waiting',
        last_error TEXT
    ) WITHOUT ROWID;
    CREATE INDEX webhooks_by_due ON webhooks (due_at) WHERE state = 'due';
",
    "
    CREATE TABLE notes (
        door TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        expires_at INTEGER,
        PRIMARY KEY (door, key)
    ) WITHOUT ROWID;
    CREATE INDEX notes_by_expiry ON notes (expires_at) WHERE expires_at IS NOT NULL;
",
    "ALTER TABLE runs ADD COLUMN terms TEXT NOT NULL DEFAULT '{}'",
    // A job and a token may have the same name: budgets and keys are by kind and name. Runs that are there get their kind
    // from their door.
    "
    ALTER TABLE runs ADD COLUMN cost_estimated INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN kind TEXT GENERATED ALWAYS AS
        (CASE WHEN door IN ('telegram', 'cron', 'local') THEN door ELSE 'token' END) VIRTUAL;
    DROP INDEX runs_by_key;
    CREATE UNIQUE INDEX runs_by_key ON runs (kind, requester, idempotency_key) WHERE idempotency_key IS NOT NULL;
",
];

/// Opens the database for writing and brings it up to date.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let begun = begin(path, "WAL").or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => begin_without_sharing(path).map_err(|_| error),
        _ => Err(error),
    });
    let mut connection = begun.map_err(unusable(path))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// A connection, and a first look into the database, which shows whether it can be used in this way.
fn begin(path: &Path, journal_mode: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    for (pragma, value) in
        [("journal_mode", journal_mode), ("synchronous", "FULL"), ("cache_size", "-512"), ("temp_store", "MEMORY")]
    {
        connection.pragma_update(None, pragma, value)?;
    }
    // A checkpoint leaves the log's file at its size; this much of it may stay.
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    connection.pragma_query_value(None, "user_version", |_| Ok(()))?;
    Ok(connection)
}

/// A write-ahead log needs memory that connections share through a file, which 9p and some FUSE file systems do not
/// have. There it is a rollback journal: reads and writes then wait for each other.
fn begin_without_sharing(path: &Path) -> rusqlite::Result<Connection> {
    {
        // A write-ahead log from another file system is taken in by the only connection, which shares nothing.
        let alone = Connection::open(path)?;
        alone.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        alone.pragma_update(None, "journal_mode", "TRUNCATE")?;
        alone.pragma_query_value(None, "user_version", |_| Ok(()))?;
    }
    let connection = begin(path, "TRUNCATE")?;
    tracing::info!(
        "the file system of {} has no shared memory: the ledger of runs works without a write-ahead log",
        path.display()
    );
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unusable(path))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(OpenError::TooNew { path: path.to_owned(), found: version, known });
    }
    if version == known {
        return Ok(());
    }
    // One transaction, which is one wait for the disk: an older database becomes today's, or stays as it was.
    let transaction = connection.transaction().map_err(unusable(path))?;
    for migration in MIGRATIONS.into_iter().skip(usize::try_from(version).unwrap_or_default()) {
        transaction.execute_batch(migration).map_err(unusable(path))?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(unusable(path))?;
    transaction.commit().map_err(unusable(path))?;
    Ok(())
}
