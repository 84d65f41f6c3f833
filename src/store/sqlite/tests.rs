//! What is this implementation's own: its file, where it lies, and what earlier versions have left in it.

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rusqlite::params;
use uuid::Uuid;

use super::*;
use crate::store::contract::{Stand, entry, finished, token};
use crate::store::record::{Requester, State, Terms};
use crate::store::{Accepted, Runs};

/// A folder for the file.
struct Folder(tempfile::TempDir);

impl Stand for Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Arc<dyn Store> {
        Arc::new(Sqlite::open(self.0.path()).unwrap())
    }
}

contract!(Folder);

#[test]
fn a_ledger_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Sqlite::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Sqlite::open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::TooNew { found: 99, .. }), "{error}");
}

/// As on 9p, the file of what connections share cannot be used: a FIFO stands in its place.
#[tokio::test]
async fn without_shared_memory_it_works_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first = entry(State::Queued);
    let store = Sqlite::open(folder.path()).unwrap();
    store.accept(first.clone()).await.unwrap();
    drop(store);
    // Its thread closes the database after that; the last one that writes removes what was shared.
    let shared = folder.path().join(format!("{FILE}-shm"));
    while shared.exists() {
        let last = Connection::open(folder.path().join(FILE)).unwrap();
        last.pragma_query_value(None, "user_version", |_| Ok(())).unwrap();
    }
    mkfifo(&shared, Mode::S_IRWXU).unwrap();
    let store = Sqlite::open(folder.path()).unwrap();
    assert_eq!(finished(&store, "s", 1.5).await, Some(1.5));
    let mut writes = Vec::new();
    for _ in 0..20 {
        let clone = store.clone();
        writes.push(tokio::spawn(async move { clone.accept(entry(State::Queued)).await.unwrap() }));
        assert_eq!(store.get(first.run.id).await.unwrap().unwrap(), first.run);
    }
    for write in writes {
        assert_eq!(write.await.unwrap(), Accepted::New);
    }
    drop(store);
    assert_eq!(Sqlite::open(folder.path()).unwrap().unfinished().await.unwrap().len(), 21);
}

#[test]
fn a_file_that_is_no_ledger_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::fs::write(&path, "no database at all, and longer than its header".repeat(10)).unwrap();
    let error = Sqlite::open(folder.path()).err().unwrap().to_string();
    for part in [path.to_str().unwrap(), "file is not a database", "Move that file away", "CLAUDEBOX_STATE_DIR"] {
        assert!(error.contains(part), "{error}");
    }
}

/// A ledger that an earlier version has left: nothing is lost, and its keys still count.
#[tokio::test]
async fn an_older_ledger_gets_kinds_and_keeps_its_runs_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<Uuid> = (0..2).map(|_| Uuid::now_v7()).collect();
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    for migration in &schema::MIGRATIONS[..2] {
        connection.execute_batch(migration).unwrap();
    }
    connection.pragma_update(None, "user_version", 2).unwrap();
    for (id, door, requester) in [(ids[0], "http", "me"), (ids[1], "cron", "nightly")] {
        let request = r#"{"prompt":"p","options":{},"format":"json"}"#;
        let sql =
            "INSERT INTO runs (id, workspace, door, requester, state, request, idempotency_key, idempotency_digest,
                                     created_at, finished_at, result, cost_usd)
                   VALUES (?1, x'2f77', ?2, ?3, 'succeeded', ?4, 'key', 'digest', 1, 2, 'null', 1.5)";
        connection.execute(sql, params![id.to_string(), door, requester, request]).unwrap();
    }
    drop(connection);
    let store = Sqlite::open(folder.path()).unwrap();
    let known = Some((ids[0], "digest".to_owned()));
    assert_eq!(store.by_key(&token("me"), "key").await.unwrap(), known);
    assert_eq!(store.by_key(&token("nightly"), "key").await.unwrap(), None);
    let mut costs = store.cost_since(0).await.unwrap();
    costs.sort_by_key(|(who, _)| who.name().into_owned());
    assert_eq!(costs, [(token("me"), 1.5), (Requester::Job("nightly".into()), 1.5)]);
    let run = store.get(ids[1]).await.unwrap().unwrap();
    assert!(run.terms == Terms::default() && !run.end.unwrap().cost_estimated);
    // A token of the job's name has keys of its own.
    let mut named = entry(State::Queued);
    named.run.requester = token("nightly");
    named.idempotency = Some(("key".into(), "digest".into()));
    assert_eq!(store.accept(named).await.unwrap(), Accepted::New);
}
