//! What was due while the box was off.

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use claudebox::store::record::DoorName;
use claudebox::store::sqlite::Sqlite;
use claudebox::store::{Note, Notes as _};
use serde_json::json;

use crate::fixture::start;
use crate::stand::{EACH_SECOND, finished, folders, job, wait_for, with_stub, write_jobs};
use crate::support::TestBox;

/// Puts a job's note into the ledger of a box that is off: nobody was there since `until`.
fn was_there_until(testbox: &TestBox, job: &str, schedule: &str, until: DateTime<Utc>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ledger = Sqlite::open(&testbox.path("var/lib/claudebox/boxes/box")).unwrap();
        let value = json!({"until": until.timestamp_millis(), "schedule": schedule, "timezone": "UTC"});
        // As the door itself writes it, or this test would prove nothing.
        let key = format!("last/{job}");
        let written = ledger.note(DoorName::Cron, &key).await.unwrap().unwrap();
        assert!(
            written["until"].is_i64() && written["schedule"] == schedule && written["timezone"] == "UTC",
            "{written}"
        );
        ledger.put_note(DoorName::Cron, Note { key, value }, None).await.unwrap();
    });
}

#[test]
fn one_run_makes_up_for_what_was_missed_if_the_job_says_so() {
    let Some(testbox) = TestBox::new() else { return };
    let now = Utc::now();
    // Long enough ago to be missed, and not due again for a while.
    let last = (now - TimeDelta::minutes(10)).with_second(0).unwrap().with_nanosecond(0).unwrap();
    let schedule = format!("{} * * * *", last.minute());
    let jobs = [
        job("makes-up", &schedule, "say made up", "workspace: a; on_missed: run_once"),
        job("skips", &schedule, "say never", "workspace: b"),
        job("clock", EACH_SECOND, "say tick", "workspace: c"),
    ];
    write_jobs(&testbox, &format!("jobs:\n{}", jobs.concat()));
    let mut api = start(&testbox, with_stub(&testbox));
    // A job that is new has missed nothing.
    wait_for(&testbox, &mut api, "clock", 1);
    assert!(folders(&testbox, "makes-up").is_empty() && folders(&testbox, "skips").is_empty());
    api.stop();
    for name in ["makes-up", "skips"] {
        was_there_until(&testbox, name, &schedule, now - TimeDelta::hours(5));
    }
    let mut api = start(&testbox, with_stub(&testbox));
    let made_up = wait_for(&testbox, &mut api, "makes-up", 1);
    let scheduled = DateTime::parse_from_rfc3339(made_up[0]["scheduled_at"].as_str().unwrap()).unwrap();
    assert_eq!((&made_up[0]["state"], scheduled.to_utc()), (&json!("succeeded"), last));
    let before = finished(&testbox, "clock").len();
    wait_for(&testbox, &mut api, "clock", before + 2);
    let ended = api.stop();
    let missed = last.format("%Y-%m-%d %H:%M:%S UTC");
    for text in [
        format!("job makes-up: ticks were missed, the last at {missed}; one run makes up for them"),
        format!("job skips: ticks were missed, the last at {missed}; they are left out"),
    ] {
        assert!(ended.err.contains(&text), "{text}\n{}", ended.err);
    }
    // Once: the next box has nothing to make up for.
    let mut api = start(&testbox, with_stub(&testbox));
    let before = finished(&testbox, "clock").len();
    wait_for(&testbox, &mut api, "clock", before + 2);
    assert_eq!((folders(&testbox, "makes-up").len(), folders(&testbox, "skips").len()), (1, 0));
    api.stop();
}
