//! Runs that fail, hang, or are over a limit.

use serde_json::{Value, json};

use crate::fixture::start;
use crate::stand::{EACH_SECOND, folders, job, notes, read, wait_for, with_stub, write_jobs};
use crate::support::TestBox;

#[test]
fn a_hung_job_is_ended_and_does_not_block_its_next_run() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &format!("jobs:\n{}", job("hangs", EACH_SECOND, "hang", "timeout: 1s")));
    let mut api = start(&testbox, with_stub(&testbox));
    let metas = wait_for(&testbox, &mut api, "hangs", 2);
    for meta in &metas[..2] {
        assert_eq!(
            (&meta["state"], &meta["outcome"], &meta["exit_code"]),
            (&json!("failed"), &json!("hung"), &json!(124)),
            "{meta}"
        );
    }
    assert_ne!(metas[0]["run_id"], metas[1]["run_id"]);
    let stderr = read(&folders(&testbox, "hangs")[0], "stderr.log");
    assert!(!stderr.trim().is_empty());
    api.stop();
}

#[test]
fn a_failed_run_is_tried_again_as_often_as_the_job_says() {
    let Some(testbox) = TestBox::new() else { return };
    let jobs = [
        job("lucky", EACH_SECOND, "fail 1 lucky", "retries: 1; workspace: a"),
        job("unlucky", EACH_SECOND, "fail 1000 unlucky", "workspace: b"),
    ];
    write_jobs(&testbox, &format!("jobs:\n{}", jobs.concat()));
    let mut api = start(&testbox, with_stub(&testbox));
    let unlucky = wait_for(&testbox, &mut api, "unlucky", 2);
    for meta in &unlucky[..2] {
        assert_eq!((&meta["state"], &meta["outcome"]), (&json!("failed"), &json!("model_error")), "{meta}");
        assert_eq!(meta["earlier_attempts"], json!([]), "{meta}");
    }
    let lucky = &wait_for(&testbox, &mut api, "lucky", 1)[0];
    assert_eq!((&lucky["state"], &lucky["outcome"]), (&json!("succeeded"), &json!("ok")), "{lucky}");
    let first = &lucky["earlier_attempts"][0];
    assert_eq!((&first["state"], &first["outcome"]), (&json!("failed"), &json!("model_error")), "{lucky}");
    assert_ne!(first["run"], lucky["run_id"]);
    assert_eq!(lucky["earlier_attempts"].as_array().unwrap().len(), 1);
    // The events of both, in their order.
    let folder = &folders(&testbox, "lucky")[0];
    let activity = read(folder, "activity.jsonl");
    let results: Vec<Value> = activity
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &Value| event["type"] == "result")
        .map(|event| event["isError"].clone())
        .collect();
    assert_eq!(results, [json!(true), json!(false)], "{activity}");
    assert_eq!(read(folder, "result.txt"), "luck at last");
    let ended = api.stop();
    assert!(ended.err.contains("job lucky: run ") && ended.err.contains(" failed, tried again at 20"), "{}", ended.err);
}

#[test]
fn a_job_over_a_limit_waits_until_that_resets_and_says_so() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &format!("jobs:\n{}", job("limited", EACH_SECOND, "limit 3 limited", "")));
    let mut api = start(&testbox, with_stub(&testbox));
    let waits = |testbox: &TestBox| {
        let folders = folders(testbox, "limited");
        let meta: Value =
            serde_json::from_str(&std::fs::read_to_string(folders.first()?.join("meta.json")).ok()?).ok()?;
        (!meta["waits_until"].is_null()).then_some(meta)
    };
    let mut waiting = None;
    api.until("the job waits", |_| {
        waiting = waits(&testbox);
        waiting.is_some()
    });
    assert_eq!(waiting.unwrap()["outcome"], "rate_limited");
    // Ticks meanwhile are left out: the job is not over.
    let over = wait_for(&testbox, &mut api, "limited", 1);
    assert_eq!(
        (&over[0]["state"], &over[0]["earlier_attempts"][0]["outcome"]),
        (&json!("succeeded"), &json!("rate_limited"))
    );
    assert_eq!(read(&folders(&testbox, "limited")[0], "result.txt"), "after the limit");
    let ended = api.stop();
    assert!(ended.err.contains("job limited: rate limited, waits until 20"), "{}", ended.err);
}

#[test]
fn a_session_that_is_gone_is_begun_anew() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &format!("jobs:\n{}", job("talks", EACH_SECOND, "gone", "")));
    let mut api = start(&testbox, with_stub(&testbox));
    let metas = wait_for(&testbox, &mut api, "talks", 2);
    assert_eq!((&metas[0]["state"], &metas[1]["state"]), (&json!("succeeded"), &json!("succeeded")), "{metas:?}");
    assert_eq!(metas[1]["earlier_attempts"][0]["outcome"], "session_not_found", "{metas:?}");
    let arguments = notes(&testbox, "arguments");
    let resumes = |line: &String| line.contains("--resume 11111111-2222-4333-8444-");
    assert!(arguments.iter().any(resumes), "{arguments:?}");
    api.stop();
}

#[test]
fn a_workspace_that_cannot_be_used_fails_the_job_and_not_the_others() {
    let Some(testbox) = TestBox::new() else { return };
    std::os::unix::fs::symlink("/etc", testbox.path("work/out")).unwrap();
    let jobs = [
        job("outside", EACH_SECOND, "say no", "workspace: out"),
        job("inside", EACH_SECOND, "say yes", "workspace: in"),
    ];
    write_jobs(&testbox, &format!("jobs:\n{}", jobs.concat()));
    let mut api = start(&testbox, with_stub(&testbox));
    wait_for(&testbox, &mut api, "inside", 2);
    assert!(!notes(&testbox, "prompts").contains(&"say no".to_owned()));
    let ended = api.stop();
    assert!(ended.err.contains("job outside: its workspace cannot be used: "), "{}", ended.err);
}
