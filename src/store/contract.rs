//! What every implementation of the store has to do: tests that know the traits alone.
//!
//! An implementation says how it is set up ([`Stand`]) and has `contract!` make a test of each function here.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::record::{self, DoorName, End, Request, Requester, Run, State, Terms};
use super::{Accepted, Due, Filter, Finish, LedgerEntry, Note, Sight, Store, StoreError};
use crate::claude::arguments::{Options, OutputFormat};
use crate::claude::outcome::Outcome;

/// An implementation that is set up for one test.
pub(super) trait Stand {
    /// With nothing in it.
    fn new() -> Self;
    /// Opens it. Called again when everything that it gave before is dropped, it opens the same one: a restart.
    fn open(&self) -> Arc<dyn Store>;
}

/// Makes tests of the contract for an implementation's [`Stand`].
macro_rules! contract {
    ($stand:ty) => {
        contract! { $stand:
            what_was_accepted_started_and_ended_is_there_after_a_restart
            what_is_written_can_be_read_at_once
            a_run_that_has_ended_stays_as_it_is
            a_write_may_be_repeated
            a_key_names_one_run_of_one_requester
            one_of_many_with_a_key_is_accepted
            an_entry_that_fails_takes_no_other_with_it
            a_write_whose_caller_has_gone_is_whole_or_not_there
            lists_go_from_new_to_old_in_pages
            a_list_has_the_beginning_of_each_prompt
            every_end_comes_back_as_it_went_in
            a_sessions_earlier_runs_are_not_paid_for_twice
            a_forked_session_does_not_cost_again_what_its_origin_did
            an_estimate_is_a_runs_own_cost_and_no_total_of_its_session
            a_session_is_where_it_was_last_used
            a_result_is_due_once_the_run_has_ended_and_until_it_is_delivered
            results_come_in_pages_the_soonest_first
            what_is_pruned_is_gone_and_the_rest_stays
            a_note_is_one_doors_and_is_replaced
            a_prefix_is_text_and_no_pattern
            an_expired_note_goes_and_others_stay
        }
    };
    ($stand:ty: $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::store::contract::$name(&<$stand as $crate::store::contract::Stand>::new()).await;
            }
        )*
    };
}

pub(super) fn token(name: &str) -> Requester {
    Requester::Token(name.into())
}

pub(super) fn entry(state: State) -> LedgerEntry {
    let request = Request::new("hi", OutputFormat::Json);
    LedgerEntry {
        run: Run {
            id: Uuid::now_v7(),
            workspace: PathBuf::from("/w/a"),
            door: DoorName::Http,
            requester: token("me"),
            state,
            request,
            terms: Terms::default(),
            created_at: record::now(),
            started_at: (state == State::Running).then(record::now),
            end: None,
        },
        idempotency: None,
        webhook_url: None,
    }
}

fn end(session: &str, total: f64) -> End {
    End {
        at: record::now(),
        outcome: Some(Outcome::RateLimited { resets_at: Some(7) }),
        error: None,
        result: json!({"result": "done", "big": 1}),
        cost_usd: Some(total),
        cost_estimated: false,
        session_id: Some(session.into()),
        reaped: 2,
    }
}

async fn finish(store: &dyn Store, id: Uuid, state: State, end: End) -> Option<f64> {
    store.finish(Arc::new(Finish { id, state, end })).await.unwrap()
}

/// Accepts a run and ends it in `session`, which has cost `total` then; what it alone has cost.
pub(super) async fn finished(store: &dyn Store, session: &str, total: f64) -> Option<f64> {
    let entry = entry(State::Running);
    let id = entry.run.id;
    store.accept(entry).await.unwrap();
    finish(store, id, State::Succeeded, end(session, total)).await
}

async fn due(store: &dyn Store) -> Vec<Due> {
    store.due(None, 10).await.unwrap()
}

fn note(key: &str, value: Value) -> Note {
    Note { key: key.into(), value }
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.notes(DoorName::Cron, prefix).await.unwrap().into_iter().map(|note| note.key).collect()
}

pub(super) async fn what_was_accepted_started_and_ended_is_there_after_a_restart(stand: &impl Stand) {
    let store = stand.open();
    let (queued, started, running) = (entry(State::Queued), entry(State::Queued), entry(State::Running));
    let (first, mut second, third) = (queued.run.clone(), started.run.clone(), running.run.id);
    for entry in [queued, started, running] {
        assert_eq!(store.accept(entry).await.unwrap(), Accepted::New);
    }
    store.start(second.id, 7).await.unwrap();
    let end = end("s", 1.0);
    finish(&*store, third, State::Succeeded, end.clone()).await;
    drop(store);
    let store = stand.open();
    (second.state, second.started_at) = (State::Running, Some(7));
    assert_eq!(store.unfinished().await.unwrap(), [first, second]);
    let found = store.get(third).await.unwrap().unwrap();
    assert_eq!((found.state, found.end), (State::Succeeded, Some(end)));
}

pub(super) async fn what_is_written_can_be_read_at_once(stand: &impl Stand) {
    let store = stand.open();
    for _ in 0..20 {
        let entry = entry(State::Queued);
        let run = entry.run.clone();
        store.accept(entry).await.unwrap();
        assert_eq!(store.get(run.id).await.unwrap(), Some(run));
    }
    assert_eq!(store.get(Uuid::now_v7()).await.unwrap(), None);
}

pub(super) async fn a_run_that_has_ended_stays_as_it_is(stand: &impl Stand) {
    let store = stand.open();
    let entry = entry(State::Running);
    let id = entry.run.id;
    store.accept(entry).await.unwrap();
    finish(&*store, id, State::Succeeded, end("s", 1.0)).await;
    finish(&*store, id, State::Cancelled, end("s", 9.0)).await;
    store.start(id, 1).await.unwrap();
    let found = store.get(id).await.unwrap().unwrap();
    assert_eq!((found.state, found.end.unwrap().cost_usd), (State::Succeeded, Some(1.0)));
    // Nor does its session cost what the second end said.
    assert_eq!(finished(&*store, "s", 1.5).await, Some(0.5));
}

/// Whoever was killed before it heard the answer asks again.
pub(super) async fn a_write_may_be_repeated(stand: &impl Stand) {
    let store = stand.open();
    let mut entry = entry(State::Queued);
    entry.idempotency = Some(("key".into(), "digest".into()));
    entry.webhook_url = Some("https://example.com/".into());
    let id = entry.run.id;
    store.accept(entry.clone()).await.unwrap();
    assert_eq!(store.accept(entry).await.unwrap(), Accepted::Before(id, "digest".into()));
    for at in [1, 2] {
        store.start(id, at).await.unwrap();
    }
    for _ in 0..2 {
        finish(&*store, id, State::Succeeded, end("s", 1.0)).await;
    }
    let found = store.get(id).await.unwrap().unwrap();
    assert_eq!((found.started_at, found.end.unwrap().cost_usd), (Some(1), Some(1.0)));
    assert_eq!(due(&*store).await.len(), 1);
    assert_eq!(store.cost_since(0).await.unwrap(), [(token("me"), 1.0)]);
    for _ in 0..2 {
        store.put_note(DoorName::Cron, note("a", json!(1)), None).await.unwrap();
    }
    assert_eq!(keys(&*store, "").await, ["a"]);
    for _ in 0..2 {
        store.remove_note(DoorName::Cron, "a").await.unwrap();
    }
    assert!(keys(&*store, "").await.is_empty());
}

pub(super) async fn a_key_names_one_run_of_one_requester(stand: &impl Stand) {
    let store = stand.open();
    let with_key = |requester: Requester| {
        let mut entry = entry(State::Queued);
        entry.run.requester = requester;
        entry.idempotency = Some(("key".into(), "digest".into()));
        entry
    };
    let first = with_key(token("me"));
    let id = first.run.id;
    assert_eq!(store.accept(first).await.unwrap(), Accepted::New);
    assert_eq!(store.accept(with_key(token("me"))).await.unwrap(), Accepted::Before(id, "digest".into()));
    assert_eq!(store.accept(with_key(token("you"))).await.unwrap(), Accepted::New);
    assert_eq!(store.by_key(&token("me"), "key").await.unwrap(), Some((id, "digest".into())));
    assert_eq!(store.by_key(&token("me"), "other").await.unwrap(), None);
    // A job of a token's name has keys of its own.
    let job = Requester::Job("me".into());
    assert_eq!(store.by_key(&job, "key").await.unwrap(), None);
    let mut of_job = with_key(job);
    of_job.run.door = DoorName::Cron;
    assert_eq!(store.accept(of_job).await.unwrap(), Accepted::New);
}

pub(super) async fn one_of_many_with_a_key_is_accepted(stand: &impl Stand) {
    let store = stand.open();
    let entries = (0..50).map(|number: u32| {
        let mut entry = entry(State::Queued);
        entry.idempotency = Some(("key".into(), number.to_string()));
        entry
    });
    let accepted = join_all(entries.map(|entry| store.accept(entry))).await;
    let accepted: Vec<Accepted> = accepted.into_iter().collect::<Result<_, _>>().unwrap();
    let first = store.unfinished().await.unwrap();
    let before = |one: &&Accepted| matches!(one, Accepted::Before(id, _) if [*id] == [first[0].id]);
    assert_eq!((first.len(), accepted.iter().filter(before).count()), (1, 49));
    assert!(accepted.contains(&Accepted::New));
}

pub(super) async fn an_entry_that_fails_takes_no_other_with_it(stand: &impl Stand) {
    let store = stand.open();
    let entries: Vec<LedgerEntry> = (0..50).map(|_| entry(State::Queued)).collect();
    let twice = entries.iter().chain(&entries).cloned();
    let results = join_all(twice.map(|entry| store.accept(entry))).await;
    let failed = |result: &&Result<Accepted, StoreError>| matches!(result, Err(StoreError::Failed { .. }));
    assert_eq!(results.iter().filter(failed).count(), 50);
    assert_eq!(store.unfinished().await.unwrap().len(), 50);
}

pub(super) async fn a_write_whose_caller_has_gone_is_whole_or_not_there(stand: &impl Stand) {
    let store = stand.open();
    let mut ids = Vec::new();
    for number in 0..40 {
        let mut entry = entry(State::Running);
        entry.webhook_url = Some("https://example.com/".into());
        ids.push(entry.run.id);
        store.accept(entry).await.unwrap();
        let finish = Arc::new(Finish { id: ids[number], state: State::Succeeded, end: end("s", 1.0) });
        let mut write = store.finish(finish);
        // Asked for once, and then nobody waits for it any more; or never asked for at all.
        if number % 2 == 0 {
            let polled = futures_util::poll!(&mut write);
            drop(polled);
        }
        drop(write);
    }
    // What comes after it is done after it.
    store.put_note(DoorName::Cron, note("a", json!(1)), None).await.unwrap();
    let due: Vec<Uuid> = store.due(None, 100).await.unwrap().into_iter().map(|due| due.run_id).collect();
    for id in ids {
        let run = store.get(id).await.unwrap().unwrap();
        assert_eq!(run.state.is_final(), run.end.is_some());
        assert_eq!(run.state.is_final(), due.contains(&id));
    }
}

pub(super) async fn lists_go_from_new_to_old_in_pages(stand: &impl Stand) {
    let store = stand.open();
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut entry = entry(if number % 2 == 0 { State::Queued } else { State::Running });
        entry.run.workspace = format!("/w/{number}").into();
        if number == 4 {
            entry.run.requester = token("you");
        }
        ids.insert(0, entry.run.id);
        store.accept(entry).await.unwrap();
    }
    let list =
        async |filter| -> Vec<Uuid> { store.list(filter).await.unwrap().into_iter().map(|run| run.id).collect() };
    let first = list(Filter { limit: 2, ..Filter::default() }).await;
    assert_eq!(first, ids[..2]);
    assert_eq!(list(Filter { limit: 9, before: Some(first[1]), ..Filter::default() }).await, ids[2..]);
    assert_eq!(list(Filter { limit: 9, state: Some(State::Running), ..Filter::default() }).await, [ids[1], ids[3]]);
    assert_eq!(list(Filter { limit: 9, workspace: Some("/w/3".into()), ..Filter::default() }).await, [ids[1]]);
    assert_eq!(list(Filter { limit: 9, requester: Some(token("you")), ..Filter::default() }).await, [ids[0]]);
    let visible: Option<Sight> = Some(Box::new(|path| path.ends_with("0")));
    assert_eq!(list(Filter { limit: 9, visible, ..Filter::default() }).await, [ids[4]]);
    // A page is full of what may be seen.
    let visible: Option<Sight> = Some(Box::new(|path| !path.ends_with("4")));
    assert_eq!(list(Filter { limit: 2, visible, ..Filter::default() }).await, ids[1..3]);
}

pub(super) async fn a_list_has_the_beginning_of_each_prompt(stand: &impl Stand) {
    let store = stand.open();
    let mut long = entry(State::Running);
    long.run.request.prompt = "é".repeat(5000);
    long.run.request.options.model = Some("opus".into());
    let id = long.run.id;
    store.accept(long).await.unwrap();
    finish(&*store, id, State::Succeeded, end("s", 1.0)).await;
    let listed = store.list(Filter { limit: 1, ..Filter::default() }).await.unwrap().remove(0);
    assert_eq!((listed.id, listed.request.prompt), (id, "é".repeat(200)));
    assert_eq!((listed.request.options, listed.end.unwrap().result), (Options::default(), Value::Null));
}

pub(super) async fn every_end_comes_back_as_it_went_in(stand: &impl Stand) {
    let store = stand.open();
    let outcomes = [Outcome::Ok, Outcome::RateLimited { resets_at: None }, Outcome::Auth, Outcome::Budget];
    for (outcome, state) in outcomes.into_iter().map(Some).chain([None]).zip(State::ALL.into_iter().cycle().skip(2)) {
        let entry = entry(State::Running);
        let id = entry.run.id;
        store.accept(entry).await.unwrap();
        let end = End {
            at: 7,
            outcome,
            error: Some("why".into()),
            // Numbers keep their digits, keys their order, and text may be anything.
            result: serde_json::from_str(r#"{"z":1.10,"a":123456789012345678901234567890,"text":"\u0000 é"}"#).unwrap(),
            cost_usd: None,
            cost_estimated: false,
            session_id: None,
            reaped: 3,
        };
        let state = if state.is_final() { state } else { State::Failed };
        finish(&*store, id, state, end.clone()).await;
        let found = store.get(id).await.unwrap().unwrap();
        assert_eq!((found.state, found.end.as_ref()), (state, Some(&end)));
        assert_eq!(found.end.unwrap().result.to_string(), end.result.to_string());
    }
}

pub(super) async fn a_sessions_earlier_runs_are_not_paid_for_twice(stand: &impl Stand) {
    let store = stand.open();
    assert_eq!(finished(&*store, "a", 1.0).await, Some(1.0));
    assert_eq!(finished(&*store, "a", 1.5).await, Some(0.5));
    assert_eq!(finished(&*store, "b", 2.0).await, Some(2.0));
    // It counts anew.
    assert_eq!(finished(&*store, "a", 0.25).await, Some(0.25));
    assert_eq!(store.cost_since(0).await.unwrap(), [(token("me"), 3.75)]);
    assert_eq!(store.cost_since(i64::MAX).await.unwrap(), []);
}

/// The CLI counts on from what the session had cost that it forks.
pub(super) async fn a_forked_session_does_not_cost_again_what_its_origin_did(stand: &impl Stand) {
    let store = stand.open();
    assert_eq!(finished(&*store, "origin", 1.5).await, Some(1.5));
    let mut forks = entry(State::Running);
    forks.run.request.options.resume = Some("origin".into());
    forks.run.request.options.fork_session = true;
    let id = forks.run.id;
    store.accept(forks).await.unwrap();
    assert_eq!(finish(&*store, id, State::Succeeded, end("fork", 2.0)).await, Some(0.5));
    assert_eq!(finished(&*store, "fork", 2.25).await, Some(0.25));
    assert_eq!(finished(&*store, "origin", 1.75).await, Some(0.25));
}

pub(super) async fn an_estimate_is_a_runs_own_cost_and_no_total_of_its_session(stand: &impl Stand) {
    let store = stand.open();
    assert_eq!(finished(&*store, "a", 1.0).await, Some(1.0));
    let cut = entry(State::Running);
    let id = cut.run.id;
    store.accept(cut).await.unwrap();
    let estimate = End { cost_estimated: true, ..end("a", 0.25) };
    assert_eq!(finish(&*store, id, State::Cancelled, estimate).await, Some(0.25));
    assert!(store.get(id).await.unwrap().unwrap().end.unwrap().cost_estimated);
    assert_eq!(finished(&*store, "a", 1.5).await, Some(0.5));
}

pub(super) async fn a_session_is_where_it_was_last_used(stand: &impl Stand) {
    let store = stand.open();
    assert_eq!(store.session_workspace("s").await.unwrap(), None);
    for workspace in ["/w/a", "/w/b"] {
        let mut entry = entry(State::Running);
        entry.run.workspace = workspace.into();
        let id = entry.run.id;
        store.accept(entry).await.unwrap();
        finish(&*store, id, State::Succeeded, end("s", 1.0)).await;
        assert_eq!(store.session_workspace("s").await.unwrap(), Some(workspace.into()));
    }
}

pub(super) async fn a_result_is_due_once_the_run_has_ended_and_until_it_is_delivered(stand: &impl Stand) {
    let store = stand.open();
    let mut entry = entry(State::Running);
    entry.webhook_url = Some("https://example.com/hook".into());
    let id = entry.run.id;
    store.accept(entry).await.unwrap();
    assert!(due(&*store).await.is_empty());
    finish(&*store, id, State::Succeeded, end("s", 1.0)).await;
    let found = due(&*store).await;
    assert_eq!((found[0].run_id, found[0].url.as_str(), found[0].attempts), (id, "https://example.com/hook", 0));
    assert_eq!(found[0].requester, Some(token("me")));
    store.tried(id, Some(i64::MAX), Some("503".into())).await.unwrap();
    drop(store);
    let store = stand.open();
    let found = due(&*store).await;
    assert_eq!((found[0].attempts, found[0].due_at), (1, i64::MAX));
    assert!(store.prune(i64::MAX).await.unwrap().is_empty(), "what is still to be posted stays");
    store.tried(id, None, None).await.unwrap();
    assert!(due(&*store).await.is_empty());
    assert_eq!(store.prune(i64::MAX).await.unwrap(), [id]);
    assert_eq!(store.get(id).await.unwrap(), None);
}

pub(super) async fn results_come_in_pages_the_soonest_first(stand: &impl Stand) {
    let store = stand.open();
    let mut expected = Vec::new();
    // Some are due in the same moment.
    for due_at in [5, 3, 3, 9, 3, 1] {
        let mut entry = entry(State::Running);
        entry.webhook_url = Some("https://example.com/".into());
        let id = entry.run.id;
        store.accept(entry).await.unwrap();
        finish(&*store, id, State::Failed, end("s", 1.0)).await;
        store.tried(id, Some(due_at), Some("503".into())).await.unwrap();
        expected.push((due_at, id));
    }
    expected.sort_unstable();
    for size in 1..=7 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.due(after, size).await.unwrap();
            found.extend(page.iter().map(|due| (due.due_at, due.run_id)));
            after = found.last().copied();
            if page.len() < size {
                break;
            }
        }
        assert_eq!(found, expected, "in pages of {size}");
    }
}

pub(super) async fn what_is_pruned_is_gone_and_the_rest_stays(stand: &impl Stand) {
    let store = stand.open();
    let (waits, old, new) = (entry(State::Queued), entry(State::Running), entry(State::Running));
    let (waiting, past, recent) = (waits.run.id, old.run.id, new.run.id);
    for entry in [waits, old, new] {
        store.accept(entry).await.unwrap();
    }
    finish(&*store, past, State::Succeeded, End { at: 99, ..end("s", 1.0) }).await;
    finish(&*store, recent, State::Succeeded, End { at: 100, ..end("t", 1.0) }).await;
    assert_eq!(store.prune(100).await.unwrap(), [past]);
    assert!(store.prune(100).await.unwrap().is_empty());
    assert_eq!(store.get(past).await.unwrap(), None);
    assert_eq!(store.session_workspace("s").await.unwrap(), None);
    assert!(store.session_workspace("t").await.unwrap().is_some());
    for id in [waiting, recent] {
        assert!(store.get(id).await.unwrap().is_some());
    }
}

pub(super) async fn a_note_is_one_doors_and_is_replaced(stand: &impl Stand) {
    let store = stand.open();
    store.put_note(DoorName::Cron, note("a", json!(1)), None).await.unwrap();
    store.put_note(DoorName::Cron, note("a", json!({"b": [2]})), None).await.unwrap();
    drop(store);
    let store = stand.open();
    assert_eq!(store.note(DoorName::Cron, "a").await.unwrap(), Some(json!({"b": [2]})));
    assert_eq!(store.note(DoorName::Mcp, "a").await.unwrap(), None);
    store.remove_note(DoorName::Cron, "a").await.unwrap();
    assert_eq!(store.note(DoorName::Cron, "a").await.unwrap(), None);
}

pub(super) async fn a_prefix_is_text_and_no_pattern(stand: &impl Stand) {
    let store = stand.open();
    for key in ["a%2", "a%1", "ab3", "A%4", "a%É"] {
        store.put_note(DoorName::Cron, note(key, json!(key)), None).await.unwrap();
    }
    assert_eq!(keys(&*store, "a%").await, ["a%1", "a%2", "a%É"]);
    assert_eq!(keys(&*store, "").await, ["A%4", "a%1", "a%2", "a%É", "ab3"]);
}

pub(super) async fn an_expired_note_goes_and_others_stay(stand: &impl Stand) {
    let store = stand.open();
    for (key, expires_at) in [("old", Some(99)), ("new", Some(100)), ("for ever", None)] {
        store.put_note(DoorName::Cron, note(key, json!(key)), expires_at).await.unwrap();
    }
    store.prune_notes(100).await.unwrap();
    assert_eq!(keys(&*store, "").await, ["for ever", "new"]);
}
