use super::*;
use crate::doors::cron::file;
use crate::doors::cron::tick::Attempt;
use crate::store::record::{DoorName, End, Requester, Terms};
use crate::store::sqlite::Sqlite;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rstest::rstest;
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Mutex;

fn tick(job: &str) -> Tick {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cron.yaml");
    let text = format!(
        "jobs: [{{name: {job}, schedule: 0 3 * * *, instruction: x, telegram_chat_id: -5, timezone: Europe/Berlin}}]"
    );
    std::fs::write(&path, text).unwrap();
    let at: DateTime<Utc> = "2026-07-01T01:00:00Z".parse().unwrap();
    Tick::new(&file::read(&path, Tz::UTC).unwrap()[0], at, at)
}

fn run(state: State, outcome: Outcome, result: Value) -> Run {
    let end = End {
        at: 1,
        outcome: Some(outcome),
        error: Some("API Error: 500".into()),
        result,
        cost_usd: None,
        cost_estimated: false,
        session_id: None,
        reaped: 0,
    };
    Run {
        id: Uuid::from_u128(7),
        workspace: "/w".into(),
        door: DoorName::Cron,
        requester: Requester::Job("j".into()),
        state,
        request: tick("j").request,
        terms: Terms::default(),
        created_at: 1,
        started_at: Some(1),
        end: Some(end),
    }
}

const KILLED: Outcome = Outcome::Killed { signal: None };

#[rstest]
#[case(State::Succeeded, Outcome::Ok, json!({"result": " # Done\n"}), Some("# Done"))]
#[case(State::Succeeded, Outcome::Ok, json!({"result": ""}), Some("Finished, with an empty answer."))]
#[case(State::Failed, Outcome::ModelError, json!({}), Some("**Failed** (`model_error`): API Error: 500"))]
#[case(State::Interrupted, KILLED, json!({}), Some("**Interrupted**: the server or the box ended before it did."))]
#[case(State::Cancelled, KILLED, json!({"cancelled": "asked"}), Some("**Cancelled.**"))]
#[case(State::Cancelled, KILLED, json!({"cancelled": "replaced"}), None)]
fn what_a_chat_is_told(
    #[case] state: State,
    #[case] outcome: Outcome,
    #[case] result: Value,
    #[case] expected: Option<&str>,
) {
    assert_eq!(text(&tick("j"), Ok(&run(state, outcome, result))).as_deref(), expected);
}

#[test]
fn a_chat_is_told_of_attempts_and_of_waits() {
    let mut tick = tick("j");
    assert_eq!(text(&tick, Err("no folder")).as_deref(), Some("**Failed**: no folder"));
    tick.attempts = vec![Attempt::of(&run(State::Failed, Outcome::Hung { silent: false }, json!({}))); 2];
    let told = text(&tick, Ok(&run(State::Failed, Outcome::Hung { silent: false }, json!({}))));
    assert_eq!(told.as_deref(), Some("**Failed** after 3 attempts (`hung`): API Error: 500"));
    let told = waiting(&tick, tick.fired + 3_600_000);
    assert_eq!(told, "**Rate limited.** It is tried again at 2026-07-01 04:00:00 CEST.");
}

/// A chat that takes its time.
#[derive(Default)]
struct Chat {
    told: Mutex<Vec<String>>,
    refuses: Mutex<Vec<ChatError>>,
}

impl Chats for Chat {
    fn report(&self, report: ChatReport) -> Pin<Box<dyn Future<Output = Result<(), ChatError>> + Send + '_>> {
        Box::pin(async move {
            if let Some(error) = self.refuses.lock().unwrap().pop() {
                return Err(error);
            }
            self.told.lock().unwrap().push(format!("{} {} {}", report.chat, report.job, report.text));
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_report_waits_in_the_ledger_until_the_chat_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Sqlite::open(folder.path()).unwrap();
    let chat = Arc::new(Chat::default());
    let reports = Reports::new(Arc::clone(&chat) as Arc<dyn Chats>);
    let report = |text: &str, is_last| Report { run: None, text: text.into(), is_last };
    let mut tick = tick("a");
    reports.accept(&ledger, &tick, &report("waits", false)).await.unwrap();
    reports.accept(&ledger, &tick, &report("done", true)).await.unwrap();
    // The server was killed before it was told; the next one says it again.
    reports.accept(&ledger, &tick, &report("done", true)).await.unwrap();
    tick.chat = None;
    reports.accept(&ledger, &tick, &report("to nobody", true)).await.unwrap();
    *chat.refuses.lock().unwrap() = vec![ChatError::Later("offline".into()), ChatError::Later("offline".into())];
    assert!(!reports.tell_all(&ledger).await);
    assert!(chat.told.lock().unwrap().is_empty());
    drop(ledger);
    let ledger = Sqlite::open(folder.path()).unwrap();
    assert!(reports.tell_all(&ledger).await && reports.tell_all(&ledger).await);
    assert_eq!(*chat.told.lock().unwrap(), ["-5 a waits", "-5 a done"]);
}

#[tokio::test]
async fn a_chat_that_is_no_more_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Sqlite::open(folder.path()).unwrap();
    let chat = Arc::new(Chat { refuses: Mutex::new(vec![ChatError::Never("no such chat".into())]), ..Chat::default() });
    let reports = Reports::new(Arc::clone(&chat) as Arc<dyn Chats>);
    let report = |text: &str| Report { run: None, text: text.into(), is_last: true };
    reports.accept(&ledger, &tick("a"), &report("one")).await.unwrap();
    reports.accept(&ledger, &tick("b"), &report("two")).await.unwrap();
    assert!(reports.tell_all(&ledger).await);
    assert_eq!(*chat.told.lock().unwrap(), ["-5 b two"]);
    assert!(ledger.notes(DoorName::Cron, NOTES).await.unwrap().is_empty());
}
