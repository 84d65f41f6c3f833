//! The file of jobs: what is wrong in it is said, and it is followed while the box runs.

use std::process::Command;

use crate::fixture::start;
use crate::stand::{EACH_SECOND, finished, job, notes, wait_for, with_cron, with_stub, write_jobs};
use crate::support::TestBox;

#[test]
fn a_file_with_a_mistake_stops_the_start_and_says_where_it_is() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, "jobs:\n  - name: nightly\n    schedule: 0 25 * * *\n    instruction: x\n");
    let ended = with_cron(&testbox, testbox.claudebox(&["init", "--"])).start().finish().exits(78);
    let expected = "cron.yaml:3:15: job \"nightly\": schedule: \"0 25 * * *\" is no cron expression: the hour \"25\" cannot be; \
                    0 to 23 are allowed, with , - * and /";
    assert!(ended.err.contains(expected), "{}", ended.err);

    let ended = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_MODE_CRON", "1").start().finish().exits(78);
    assert!(ended.err.contains("CLAUDEBOX_MODE_CRON_FILE=\"\" is not usable: the cron door needs"), "{}", ended.err);
    std::fs::remove_file(testbox.path("cron.yaml")).unwrap();
    let ended = with_cron(&testbox, testbox.claudebox(&["init", "--"])).start().finish().exits(78);
    assert!(ended.err.contains("cannot read the jobs in ") && ended.err.contains("No such file"), "{}", ended.err);
    write_jobs(&testbox, &format!("jobs:\n{}", job("a", EACH_SECOND, "say hi", "")));
    let launch = with_cron(&testbox, testbox.claudebox(&["init", "--"])).env("CLAUDEBOX_WORKSPACE", "/no/such/folder");
    let ended = launch.start().finish().exits(78);
    assert!(
        ended.err.contains("the jobs cannot use the workspace /no/such/folder (CLAUDEBOX_WORKSPACE)"),
        "{}",
        ended.err
    );
}

#[test]
fn check_lists_the_next_times_or_the_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cron.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_claudebox"))
            .args(["cron", "check"])
            .arg(&file)
            .env_clear()
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = check(&format!("jobs:\n{}", job("a", "0 12 * * *", "x", "timezone: Asia/Tokyo")));
    assert_eq!((code, err.as_str()), (0, ""));
    let times = out.lines().filter(|line| line.contains("12:00:00 JST (") && line.contains("03:00:00 UTC)"));
    assert_eq!((out.lines().next(), times.count()), (Some("a: 0 12 * * * (Asia/Tokyo)"), 5), "{out}");
    let (code, out, err) = check(&format!("jobs:\n{}", job("a", "0 12 * * *", "x", "retires: 2")));
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.ends_with("cron.yaml:5:5: job \"a\": unknown field 'retires'; did you mean 'retries'?\n"), "{err}");
}

#[test]
fn the_file_is_followed_while_it_is_right() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &format!("jobs:\n{}", job("first", EACH_SECOND, "say one", "")));
    let mut api = start(&testbox, with_stub(&testbox));
    wait_for(&testbox, &mut api, "first", 1);
    // A wrong one is named, and changes nothing.
    write_jobs(&testbox, "jobs:\n- name: first\n  schedule: never\n  instruction: x\n");
    let before = finished(&testbox, "first").len();
    wait_for(&testbox, &mut api, "first", before + 7);
    let both = [job("first", EACH_SECOND, "say one", "enabled: false"), job("second", EACH_SECOND, "say two", "")];
    write_jobs(&testbox, &format!("jobs:\n{}", both.concat()));
    wait_for(&testbox, &mut api, "second", 1);
    let stopped = finished(&testbox, "first").len();
    wait_for(&testbox, &mut api, "second", 3);
    assert!(finished(&testbox, "first").len() <= stopped + 1);
    assert_eq!(notes(&testbox, "prompts").last().unwrap(), "say two");
    let ended = api.stop();
    let complaints = ended.err.lines().filter(|line| line.contains("the jobs stay as they were"));
    let complaints: Vec<&str> = complaints.collect();
    assert_eq!(complaints.len(), 1, "{}", ended.err);
    assert!(
        complaints[0].contains("cron.yaml:3:13: job \"first\": schedule: \"never\" has 1 fields"),
        "{complaints:?}"
    );
}

#[test]
fn a_chat_that_nobody_tells_is_warned_of() {
    let Some(testbox) = TestBox::new() else { return };
    let jobs = [
        job("loud", "0 0 1 1 *", "x", "telegram_chat_id: -100123"),
        job("silent", "0 0 1 1 *", "x", "telegram_chat_id: 0"),
        job("inside", "0 0 1 1 *", "x", "telegram_chat_id: 0; webhook: http://10.0.0.1/hook"),
    ];
    write_jobs(&testbox, &format!("telegram_chat_id: 5\njobs:\n{}", jobs.concat()));
    let ended = start(&testbox, with_stub(&testbox)).stop();
    let warned = |text: &str| ended.err.lines().filter(|line| line.contains(text)).count();
    assert_eq!((warned("nobody tells its chat"), warned("job loud: nobody tells its chat")), (1, 1), "{}", ended.err);
    assert_eq!(warned("job inside: its webhook will not be called: "), 1, "{}", ended.err);
}

#[test]
fn the_doctor_looks_at_the_jobs() {
    let Some(testbox) = TestBox::new() else { return };
    let cli =
        testbox.script("claude", &format!("#!/bin/sh\necho '{} (Claude Code)'\n", claudebox::claude::PINNED_VERSION));
    let workspaces = testbox.path("work");
    let check = || {
        let launch = with_cron(&testbox, testbox.claudebox(&["doctor", "--json"])).env("CLAUDEBOX_OFFLINE", "1");
        let launch =
            launch.env("CLAUDEBOX_CLAUDE_BIN", &cli).env("CLAUDEBOX_WORKSPACES_DIR", workspaces.to_str().unwrap());
        let found: serde_json::Value = serde_json::from_str(&launch.start().finish().out).unwrap();
        found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "jobs").unwrap().clone()
    };
    write_jobs(&testbox, &format!("jobs:\n{}", job("a", EACH_SECOND, "x", "")));
    let fine = check();
    assert_eq!((&fine["state"], fine["found"].as_str().unwrap().starts_with("1 in /")), (&"ok".into(), true), "{fine}");
    write_jobs(&testbox, "jobs: []\n");
    let wrong = check();
    assert_eq!(
        (&wrong["state"], &wrong["remedy"]),
        (&"wrong".into(), &"correct it, then: claudebox cron check".into()),
        "{wrong}"
    );
}
