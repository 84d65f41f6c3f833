//! Ticks that come while the job's last run is not over.

use serde_json::json;

use crate::fixture::start;
use crate::stand::{EACH_SECOND, finished, folders, job, let_go, notes, wait_for, with_stub, write_jobs};
use crate::support::TestBox;

#[test]
fn a_tick_is_left_out_queued_or_takes_the_place() {
    let Some(testbox) = TestBox::new() else { return };
    let jobs = [
        job("skips", EACH_SECOND, "until go", "workspace: a"),
        job("queues", EACH_SECOND, "until go", "workspace: b; on_overlap: queue"),
        job("replaces", EACH_SECOND, "until never", "workspace: c; on_overlap: replace"),
        job("clock", EACH_SECOND, "say tick", "workspace: d"),
    ];
    write_jobs(&testbox, &format!("jobs:\n{}", jobs.concat()));
    let mut api = start(&testbox, with_stub(&testbox));
    // Each is cancelled by the next, so several are over while none has answered.
    let replaced = wait_for(&testbox, &mut api, "replaces", 3);
    for meta in &replaced[..3] {
        assert_eq!((&meta["state"], &meta["outcome"]), (&json!("cancelled"), &json!("killed")), "{meta}");
        assert_eq!(meta["error"], "cancelled: another run took its place", "{meta}");
        let run = api.http.look(meta["run_id"].as_str().unwrap());
        assert_eq!(run["result"]["cancelled"], "replaced", "{run}");
    }
    wait_for(&testbox, &mut api, "clock", 4);
    assert_eq!((folders(&testbox, "skips").len(), finished(&testbox, "skips").len()), (1, 0));
    assert_eq!(finished(&testbox, "queues").len(), 0);
    let_go(&testbox, "go");
    // All that waited, and each as its own run: seconds without a gap.
    let queued = wait_for(&testbox, &mut api, "queues", 6);
    let seconds: Vec<i64> = queued
        .iter()
        .map(|meta| chrono::DateTime::parse_from_rfc3339(meta["scheduled_at"].as_str().unwrap()).unwrap().timestamp())
        .collect();
    assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seconds:?}");
    // The one that was busy meanwhile has a gap.
    let skipped = wait_for(&testbox, &mut api, "skips", 2);
    let seconds: Vec<i64> = skipped
        .iter()
        .map(|meta| chrono::DateTime::parse_from_rfc3339(meta["scheduled_at"].as_str().unwrap()).unwrap().timestamp())
        .collect();
    assert!(seconds[1] - seconds[0] >= 4, "{seconds:?}");
    assert!(notes(&testbox, "prompts").iter().filter(|prompt| *prompt == "until never").count() >= 3);
    let ended = api.stop();
    assert!(ended.err.contains("job skips: its last run is not over, so the tick of 20"), "{}", ended.err);
}
