//! The database's tables, and how an older one becomes a newer one.

use std::path::Path;

use rusqlite::Connection;

use super::{LedgerError, failed};

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
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path).map_err(failed("open"))?;
    for (pragma, value) in
        [("journal_mode", "WAL"), ("synchronous", "FULL"), ("cache_size", "-512"), ("temp_store", "MEMORY")]
    {
        connection.pragma_update(None, pragma, value).map_err(failed("open"))?;
    }
    // A checkpoint leaves the log's file at its size; this much of it may stay.
    connection.pragma_update(None, "journal_size_limit", 4 << 20).map_err(failed("open"))?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed("read"))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        return Err(LedgerError::TooNew { path: path.to_owned(), found: version, known });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= version) {
        let transaction = connection.transaction().map_err(failed("migrate"))?;
        transaction.execute_batch(migration).map_err(failed("migrate"))?;
        transaction.pragma_update(None, "user_version", number).map_err(failed("migrate"))?;
        transaction.commit().map_err(failed("migrate"))?;
    }
    Ok(())
}
