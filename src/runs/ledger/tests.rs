use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::path::PathBuf;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::claude::arguments::OutputFormat;
use crate::claude::outcome::Outcome;
use crate::runs::run::{self, DoorName, Request, Requester, Terms};

fn token(name: &str) -> Requester {
    Requester::Token(name.into())
}

fn entry(state: State) -> Entry {
    let request = Request::new("hi", OutputFormat::Json);
    Entry {
        run: Run {
            id: Uuid::now_v7(),
            workspace: PathBuf::from("/w/a"),
            door: DoorName::Http,
            requester: token("me"),
            state,
            request,
            terms: Terms::default(),
            created_at: run::now(),
            started_at: (state == State::Running).then(run::now),
            end: None,
        },
        idempotency: None,
        webhook_url: None,
    }
}

fn end(session: &str, total: f64) -> End {
    End {
        at: run::now(),
        outcome: Some(Outcome::RateLimited { resets_at: Some(7) }),
        error: None,
        result: json!({"result": "done", "big": 1}),
        cost_usd: Some(total),
        cost_estimated: false,
        session_id: Some(session.into()),
        reaped: 2,
    }
}

async fn finished(ledger: &Ledger, session: &str, total: f64) -> Option<f64> {
    let entry = entry(State::Running);
    let id = entry.run.id;
    ledger.accept(entry).await.unwrap();
    ledger.finish(Finish { id, state: State::Succeeded, end: end(session, total) }).await.unwrap()
}

#[tokio::test]
async fn what_was_accepted_and_ended_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let (queued, running) = (entry(State::Queued), entry(State::Running));
    let (first, second) = (queued.run.clone(), running.run.id);
    assert_eq!(ledger.accept(queued).await.unwrap(), Accepted::New);
    assert_eq!(ledger.accept(running).await.unwrap(), Accepted::New);
    let finish = Finish { id: second, state: State::Succeeded, end: end("s", 1.0) };
    ledger.finish(finish.clone()).await.unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.unfinished().await.unwrap(), [first]);
    let found = ledger.get(second).await.unwrap().unwrap();
    assert_eq!((found.state, found.end), (State::Succeeded, Some(finish.end)));
}

#[tokio::test]
async fn a_run_that_has_ended_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let entry = entry(State::Running);
    let id = entry.run.id;
    ledger.accept(entry).await.unwrap();
    ledger.finish(Finish { id, state: State::Succeeded, end: end("s", 1.0) }).await.unwrap();
    ledger.finish(Finish { id, state: State::Cancelled, end: end("s", 9.0) }).await.unwrap();
    ledger.start(id, 1).await.unwrap();
    let found = ledger.get(id).await.unwrap().unwrap();
    assert_eq!((found.state, found.end.unwrap().cost_usd), (State::Succeeded, Some(1.0)));
}

#[tokio::test]
async fn a_session_s_earlier_runs_are_not_paid_for_twice() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(finished(&ledger, "a", 1.0).await, Some(1.0));
    assert_eq!(finished(&ledger, "a", 1.5).await, Some(0.5));
    assert_eq!(finished(&ledger, "b", 2.0).await, Some(2.0));
    // It counts anew.
    assert_eq!(finished(&ledger, "a", 0.25).await, Some(0.25));
    assert_eq!(ledger.cost_since(0).await.unwrap(), [(token("me"), 3.75)]);
}

#[tokio::test]
async fn a_key_names_one_run_of_one_requester() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let with_key = |requester: &str| {
        let mut entry = entry(State::Queued);
        entry.run.requester = token(requester);
        entry.idempotency = Some(("key".into(), "digest".into()));
        entry
    };
    let first = with_key("me");
    let id = first.run.id;
    assert_eq!(ledger.accept(first).await.unwrap(), Accepted::New);
    assert_eq!(ledger.accept(with_key("me")).await.unwrap(), Accepted::Before(id, "digest".into()));
    assert_eq!(ledger.accept(with_key("you")).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn lists_go_from_new_to_old_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut entry = entry(if number % 2 == 0 { State::Queued } else { State::Running });
        entry.run.workspace = format!("/w/{number}").into();
        ids.insert(0, entry.run.id);
        ledger.accept(entry).await.unwrap();
    }
    let list =
        async |filter| -> Vec<Uuid> { ledger.list(filter).await.unwrap().into_iter().map(|run| run.id).collect() };
    let first = list(Filter { limit: 2, ..Filter::default() }).await;
    assert_eq!(first, ids[..2]);
    assert_eq!(list(Filter { limit: 9, before: Some(first[1]), ..Filter::default() }).await, ids[2..]);
    assert_eq!(list(Filter { limit: 9, state: Some(State::Running), ..Filter::default() }).await, [ids[1], ids[3]]);
    assert_eq!(list(Filter { limit: 9, workspace: Some("/w/3".into()), ..Filter::default() }).await, [ids[1]]);
    let visible: Option<Sight> = Some(Box::new(|path| path.ends_with("0")));
    assert_eq!(list(Filter { limit: 9, visible, ..Filter::default() }).await, [ids[4]]);
}

#[tokio::test]
async fn a_result_is_due_once_the_run_has_ended_and_until_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let mut entry = entry(State::Running);
    entry.webhook_url = Some("https://example.com/hook".into());
    let id = entry.run.id;
    ledger.accept(entry).await.unwrap();
    assert!(due_now(&ledger).await.is_empty());
    ledger.finish(Finish { id, state: State::Succeeded, end: end("s", 1.0) }).await.unwrap();
    let due = due_now(&ledger).await;
    assert_eq!((due[0].run_id, due[0].url.as_str(), due[0].attempts), (id, "https://example.com/hook", 0));
    ledger.webhook_tried(id, Some(i64::MAX), Some("503".into())).await.unwrap();
    assert_eq!(due_now(&ledger).await[0].attempts, 1);
    assert!(ledger.prune(i64::MAX).await.unwrap().is_empty(), "what is still to be posted stays");
    ledger.webhook_tried(id, None, None).await.unwrap();
    assert!(due_now(&ledger).await.is_empty());
    assert_eq!(ledger.prune(i64::MAX).await.unwrap(), [id]);
    assert_eq!(ledger.get(id).await.unwrap(), None);
}

#[tokio::test]
async fn a_failing_change_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let entries: Vec<Entry> = (0..50).map(|_| entry(State::Queued)).collect();
    let twice = entries.iter().chain(&entries).cloned();
    let results = futures_util::future::join_all(twice.map(|entry| ledger.accept(entry))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 50);
    assert_eq!(ledger.unfinished().await.unwrap().len(), 50);
}

#[test]
fn a_ledger_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Ledger::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Ledger::open(folder.path()).err().unwrap();
    assert!(matches!(error, LedgerError::TooNew { found: 99, .. }), "{error}");
}

async fn due_now(ledger: &Ledger) -> Vec<Due> {
    ledger.due_webhooks(|waiting| waiting.collect()).await.unwrap()
}

/// As on 9p, the file of what connections share cannot be used: a FIFO stands in its place.
#[tokio::test]
async fn without_shared_memory_it_works_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first = entry(State::Queued);
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.accept(first.clone()).await.unwrap();
    drop(ledger);
    // Its thread closes the database after that; the last one that writes removes what was shared.
    let shared = folder.path().join(format!("{FILE}-shm"));
    while shared.exists() {
        let last = Connection::open(folder.path().join(FILE)).unwrap();
        last.pragma_query_value(None, "user_version", |_| Ok(())).unwrap();
    }
    mkfifo(&shared, Mode::S_IRWXU).unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(finished(&ledger, "s", 1.5).await, Some(1.5));
    let mut writes = Vec::new();
    for _ in 0..20 {
        let clone = ledger.clone();
        writes.push(tokio::spawn(async move { clone.accept(entry(State::Queued)).await.unwrap() }));
        assert_eq!(ledger.get(first.run.id).await.unwrap().unwrap(), first.run);
    }
    for write in writes {
        assert_eq!(write.await.unwrap(), Accepted::New);
    }
    drop(ledger);
    assert_eq!(Ledger::open(folder.path()).unwrap().unfinished().await.unwrap().len(), 21);
}

#[test]
fn a_file_that_is_no_ledger_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::fs::write(&path, "no database at all, and longer than its header".repeat(10)).unwrap();
    let error = Ledger::open(folder.path()).err().unwrap().to_string();
    for part in [path.to_str().unwrap(), "file is not a database", "Move that file away", "CLAUDEBOX_STATE_DIR"] {
        assert!(error.contains(part), "{error}");
    }
}

/// The CLI counts on from what the session had cost that it forks.
#[tokio::test]
async fn a_forked_session_does_not_cost_again_what_its_origin_did() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(finished(&ledger, "origin", 1.5).await, Some(1.5));
    let mut forks = entry(State::Running);
    forks.run.request.options.resume = Some("origin".into());
    forks.run.request.options.fork_session = true;
    let id = forks.run.id;
    ledger.accept(forks).await.unwrap();
    let finish = Finish { id, state: State::Succeeded, end: end("fork", 2.0) };
    assert_eq!(ledger.finish(finish).await.unwrap(), Some(0.5));
    assert_eq!(finished(&ledger, "fork", 2.25).await, Some(0.25));
    assert_eq!(finished(&ledger, "origin", 1.75).await, Some(0.25));
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
    let ledger = Ledger::open(folder.path()).unwrap();
    let known = Some((ids[0], "digest".to_owned()));
    assert_eq!(ledger.by_key(&token("me"), "key").await.unwrap(), known);
    assert_eq!(ledger.by_key(&token("nightly"), "key").await.unwrap(), None);
    let mut costs = ledger.cost_since(0).await.unwrap();
    costs.sort_by_key(|(who, _)| who.name().into_owned());
    assert_eq!(costs, [(token("me"), 1.5), (Requester::Job("nightly".into()), 1.5)]);
    let run = ledger.get(ids[1]).await.unwrap().unwrap();
    assert!(run.terms == Terms::default() && !run.end.unwrap().cost_estimated);
    // A token of the job's name has keys of its own.
    let mut named = entry(State::Queued);
    named.run.requester = token("nightly");
    named.idempotency = Some(("key".into(), "digest".into()));
    assert_eq!(ledger.accept(named).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn an_estimate_is_a_runs_own_cost_and_no_total_of_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(finished(&ledger, "a", 1.0).await, Some(1.0));
    let cut = entry(State::Running);
    let id = cut.run.id;
    ledger.accept(cut).await.unwrap();
    let estimate = End { cost_estimated: true, ..end("a", 0.25) };
    let finish = Finish { id, state: State::Cancelled, end: estimate };
    assert_eq!(ledger.finish(finish).await.unwrap(), Some(0.25));
    assert!(ledger.get(id).await.unwrap().unwrap().end.unwrap().cost_estimated);
    assert_eq!(finished(&ledger, "a", 1.5).await, Some(0.5));
}
