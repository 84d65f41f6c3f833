//! Jobs with the real CLI and the offline model.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::fixture::{start, with_cli};
use crate::stand::{EACH_SECOND, finished, folders, job, read, wait_for, with_cron, write_jobs};
use crate::support::{TestBox, UID};

#[test]
fn jobs_run_when_they_are_due_and_leave_their_history() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let jobs = [
        job("report", "*/2 * * * * *", "offline:echo {job_name} at {system_datetime}", "workspace: reports/daily"),
        // Whose name ends like that one's.
        job("daily-report", "*/2 * * * * *", "offline:echo {\"{job_name}\": 1}", "no_continue: true; workspace: other"),
    ];
    write_jobs(
        &testbox,
        &format!("timezone: Europe/Berlin\nappend_system_prompt: you are {{job_name}}\njobs:\n{}", jobs.concat()),
    );
    let mut api = start(&testbox, with_cron(&testbox, launch));
    let metas = wait_for(&testbox, &mut api, "report", 3);
    let others = wait_for(&testbox, &mut api, "daily-report", 2);

    let (meta, folder) = (&metas[0], &folders(&testbox, "report")[0]);
    let workspace = testbox.path("work/reports/daily");
    assert_eq!(fs::metadata(&workspace).unwrap().uid(), UID);
    assert_eq!(
        (&meta["state"], &meta["outcome"], &meta["exit_code"], &meta["error"]),
        (&json!("succeeded"), &json!("ok"), &json!(0), &Value::Null),
        "{meta}"
    );
    assert_eq!(meta["workspace"], workspace.to_str().unwrap());
    assert_eq!(meta["append_system_prompt"], "you are report");
    let answer = read(folder, "result.txt");
    assert!(answer.contains("report at 20"), "{answer}");
    assert!(answer.contains(" CET") || answer.contains(" CEST"), "{answer}");
    // Its own time with the zone's difference, and the folder's name is UTC.
    let scheduled = chrono::DateTime::parse_from_rfc3339(meta["scheduled_at"].as_str().unwrap()).unwrap();
    assert_ne!(scheduled.offset().local_minus_utc(), 0);
    let name = scheduled.to_utc().format("%Y%m%d-%H%M%S-report").to_string();
    assert_eq!(folder.file_name().unwrap().to_str().unwrap(), name);
    assert_eq!(scheduled.timestamp() % 2, 0);
    let activity = read(folder, "activity.jsonl");
    let kinds: Vec<Value> =
        activity.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&json!("system")), Some(&json!("result"))), "{activity}");
    assert_eq!(read(folder, "stderr.log"), "");

    let lines = fs::read_to_string(testbox.path("home/.claude/cron/report.jsonl")).unwrap();
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["text"], &line["run_id"], &line["exit_code"]),
        (&json!(answer), &meta["run_id"], &json!(0)),
        "{line}"
    );
    assert_eq!(line["history_dir"], folder.to_str().unwrap());

    // One session for a job that goes on, one for each run of one that does not.
    assert!(metas.iter().all(|other| other["session_id"] == meta["session_id"]), "{metas:?}");
    assert_ne!(others[0]["session_id"], others[1]["session_id"]);
    assert!(others.iter().all(|other| other["session_id"] != meta["session_id"]));
    // What Claude was asked is what the ledger has, and from the second run on it is told of the one before.
    let run = api.http.look(meta["run_id"].as_str().unwrap());
    assert_eq!(
        (&run["door"], &run["requester"], &run["state"]),
        (&json!("cron"), &json!("report"), &json!("succeeded"))
    );
    assert_eq!(run["options"]["appendSystemPrompt"], "you are report");
    let second = api.http.look(metas[1]["run_id"].as_str().unwrap());
    let told = second["options"]["appendSystemPrompt"].as_str().unwrap();
    assert!(told.starts_with("you are report\n\n") && told.contains(folder.to_str().unwrap()), "{told}");
    assert!(finished(&testbox, "daily-report")[0]["instruction"].as_str().unwrap().ends_with("{\"daily-report\": 1}"));
    let ended = api.stop();
    assert!(ended.err.contains("job report: */2 * * * * *, next at 20"), "{}", ended.err);
}

/// With a subscription's token the CLI says when a limit resets.
#[test]
fn a_limit_is_waited_for_with_the_real_cli() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let subscribed = format!(
        // Offline, the settings of the command line say which credentials there are.
        "#!/bin/sh\nunset ANTHROPIC_API_KEY\n\
         for arg; do shift; case $arg in '{{\"cross'*) arg='{{}}' ;; esac; set -- \"$@\" \"$arg\"; done\n\
         CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-offline exec {} \"$@\"\n",
        testbox.path("claude").display()
    );
    let launch = launch.env("CLAUDEBOX_CLAUDE_BIN", &testbox.script("subscribed", &subscribed));
    write_jobs(&testbox, &format!("jobs:\n{}", job("limited", EACH_SECOND, "offline:error 429 600", "")));
    let mut api = start(&testbox, with_cron(&testbox, launch.env("CLAUDE_CODE_MAX_RETRIES", "1")));
    let mut meta = Value::Null;
    api.until("the job waits", |_| {
        let text = folders(&testbox, "limited").first().and_then(|folder| fs::read(folder.join("meta.json")).ok());
        meta = text.map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap());
        !meta["waits_until"].is_null()
    });
    assert_eq!((&meta["state"], &meta["outcome"]), (&json!("failed"), &json!("rate_limited")), "{meta}");
    let time = |name: &str| chrono::DateTime::parse_from_rfc3339(meta[name].as_str().unwrap()).unwrap();
    let wait = (time("waits_until") - time("finished_at")).num_seconds();
    assert!((500..=603).contains(&wait), "{wait}");
    // It holds nobody's workspace while it waits.
    assert_eq!(api.http.get("/status").send().json(200)["busyWorkspaces"], json!([]));
    api.stop();
}

#[test]
fn a_job_with_a_sub_agent_has_its_last_result() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let instruction = "offline:agent offline:tool sleep 1; echo found";
    write_jobs(&testbox, &format!("jobs:\n{}", job("helped", "*/2 * * * * *", instruction, "")));
    let mut api = start(&testbox, with_cron(&testbox, launch));
    let metas = wait_for(&testbox, &mut api, "helped", 1);
    assert_eq!(metas[0]["outcome"], "ok", "{}", metas[0]);
    let answer = read(&folders(&testbox, "helped")[0], "result.txt");
    assert!(answer.contains("Background work that has ended: 1.") && answer.contains("found"), "{answer}");
    api.stop();
}
