//! The end of a run before its own: whoever asks for it, no process is left, and nothing is started again.

use serde_json::{Value, json};

use crate::client::{Client, prompt, with};
use crate::fixture::{Api, sleeps, start, with_cli};
use crate::support::TestBox;

/// A tool, and what it puts beyond its own session.
const ESCAPES: &str = "offline:tool setsid nohup sleep 1000 >/dev/null 2>&1 & sleep 2000";

fn begin(api: &mut Api, workspace: &str) -> String {
    let id = api.http.begin(prompt(workspace, ESCAPES));
    api.until("the tool and its escapee run", |all| sleeps(all, "1000") && sleeps(all, "2000"));
    id
}

fn runs(http: &Client) -> usize {
    http.get("/runs?limit=500").send().json(200)["runs"].as_array().unwrap().len()
}

#[test]
fn a_cancelled_run_is_over_when_the_cancel_is_answered() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let ways: [fn(&Client, &str) -> Value; 3] = [
        |http, id| http.post(&format!("/run/cancel?runId={id}")).send().json(200),
        |http, _| http.post("/run/cancel?workspace=a").send().json(200),
        |http, id| http.delete(&format!("/runs/{id}")).send().json(200),
    ];
    for (index, way) in ways.into_iter().enumerate() {
        let id = begin(&mut api, "a");
        let answer = way(&api.http, &id);
        api.assert_settled();
        let expected = json!({"status": "ok", "runId": id, "workspace": api.workspace("a"), "state": "cancelled"});
        assert_eq!(answer, expected);
        let run = api.http.look(&id);
        assert_eq!((&run["state"], &run["result"]["cancelled"]), (&json!("cancelled"), &json!("asked")), "{run}");
        // Free at once, and nothing but what was asked for has ever run.
        assert_eq!(api.http.run(prompt("a", "offline:echo next"))["status"], "completed");
        assert_eq!(runs(&api.http), 2 * (index + 1));
    }
    api.stop();
}

#[test]
fn cancels_of_runs_that_do_not_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let finished = api.http.run(prompt("a", "offline:echo done"));
    let finished = finished["runId"].as_str().unwrap().to_owned();
    let result = |http: &Client| http.get(&format!("/run/result?runId={finished}")).send().json(200);
    let before = result(&api.http);
    // A run of the same workspace is not meant.
    let other = begin(&mut api, "a");
    for answer in [
        api.http.post(&format!("/run/cancel?runId={finished}")).send(),
        api.http.post(&format!("/run/cancel?run_id={finished}&workspace=a")).send(),
        api.http.delete(&format!("/runs/{finished}")).send(),
    ] {
        let answer = answer.json(200);
        assert_eq!((&answer["status"], &answer["state"]), (&json!("already_ended"), &json!("succeeded")));
    }
    assert_eq!(result(&api.http), before);
    assert_eq!(api.http.look(&other)["state"], "running");

    let queued = api.http.asks(with(prompt("a", "offline:echo never"), json!({"busy": "queue"}))).leave();
    let is_queued = |http: &Client| {
        let found = http.get("/runs?state=queued").send().json(200);
        found["runs"][0]["runId"].as_str().map(str::to_owned)
    };
    let mut waiting = None;
    let http = api.http.clone();
    api.until("a run waits", |_| {
        waiting = is_queued(&http);
        waiting.is_some()
    });
    let waiting = waiting.unwrap();
    let answer = api.http.post(&format!("/run/cancel?runId={waiting}")).send().json(200);
    assert_eq!((&answer["status"], &answer["state"]), (&json!("ok"), &json!("cancelled")));
    // Who waits for it is told.
    let mut queued = queued;
    let told = queued.head().rest().json(200);
    assert_eq!((&told["runId"], &told["status"]), (&json!(waiting), &json!("cancelled")), "{told}");
    assert_eq!(api.http.delete(&format!("/runs/{waiting}")).send().json(200)["status"], "already_ended");
    assert_eq!(api.http.look(&other)["state"], "running");

    let unknown = "01890000-0000-7000-8000-000000000000";
    for id in [unknown, "nonsense", "..%2f..", "%00"] {
        api.http.delete(&format!("/runs/{id}")).send().problem(404, "run_not_found");
        api.http.post(&format!("/run/cancel?runId={id}")).send().problem(404, "run_not_found");
    }
    api.http.post("/run/cancel").send().problem(422, "invalid_parameter");
    api.http.post("/run/cancel?workspace=nowhere").send().problem(404, "workspace_not_found");
    std::fs::create_dir(testbox.path("workspaces/idle")).unwrap();
    api.http.post("/run/cancel?workspace=idle").send().problem(404, "run_not_found");
    api.http.post("/run/cancel?workspace=..").send().problem(403, "path_outside");
    api.http.delete(&format!("/runs/{other}")).send().json(200);
    api.assert_settled();
    assert_eq!(runs(&api.http), 3);
    api.stop();
}

/// The run of a client that goes away, unless it said that it might.
#[test]
fn a_client_that_goes_away_takes_its_run_with_it() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let running_in = |http: &Client, workspace: &str| {
        let found = http.get(&format!("/runs?workspace={workspace}")).send().json(200);
        found["runs"][0]["runId"].as_str().unwrap().to_owned()
    };
    for (workspace, more) in [("sync", json!({})), ("lines", json!({"stream": true}))] {
        let waiting = api.http.asks(with(prompt(workspace, ESCAPES), more)).leave();
        api.until("the tool and its escapee run", |all| sleeps(all, "1000") && sleeps(all, "2000"));
        let id = running_in(&api.http, workspace);
        drop(waiting);
        let run = api.http.end_of(&id);
        assert_eq!(
            (&run["state"], &run["result"]["cancelled"]),
            (&json!("cancelled"), &json!("disconnected")),
            "{run}"
        );
        api.assert_settled();
        assert_eq!(api.http.run(prompt(workspace, "offline:echo next"))["status"], "completed");
    }
    // Who waits for a turn and goes away takes the run out of the queue.
    let holder = begin(&mut api, "queue");
    let waiting = api.http.asks(with(prompt("queue", "offline:echo never"), json!({"busy": "queue"}))).leave();
    let http = api.http.clone();
    api.until("a run waits", |_| http.get("/status").send().json(200)["queued"] == 1);
    let id = running_in(&api.http, "queue");
    drop(waiting);
    let run = api.http.end_of(&id);
    assert_eq!((&run["state"], &run["startedAt"]), (&json!("cancelled"), &Value::Null), "{run}");
    assert_eq!(api.http.look(&holder)["state"], "running");
    api.http.delete(&format!("/runs/{holder}")).send().json(200);
    let stays = [
        ("forget", json!({"fireAndForget": true}), None),
        ("forget-snake", json!({"fire_and_forget": true, "stream": true}), None),
        ("keyed", json!({}), Some("k-1")),
    ];
    for (workspace, more, key) in stays {
        let text = "offline:tool until [ -e go ]; do sleep 0.05; done; echo went on";
        let ask = api.http.asks(with(prompt(workspace, text), more));
        let waiting = match key {
            Some(key) => ask.header("idempotency-key", key).leave(),
            None => ask.leave(),
        };
        api.until("the tool runs", |all| all.iter().any(|process| process.command() == ["sleep", "0.05"]));
        let id = running_in(&api.http, workspace);
        drop(waiting);
        // Another request, so that the server has seen the end of this one.
        assert_eq!(api.http.look(&id)["state"], "running");
        std::fs::write(testbox.path("workspaces").join(workspace).join("go"), "").unwrap();
        let run = api.http.end_of(&id);
        assert_eq!(run["state"], "succeeded", "{run}");
        assert!(run["result"]["result"].as_str().unwrap().contains("went on"), "{run}");
    }
    // Who follows a run does not hold it.
    let id = begin(&mut api, "followed");
    drop(api.http.get(&format!("/runs/{id}/events")).open());
    assert_eq!(api.http.look(&id)["state"], "running");
    api.http.delete(&format!("/runs/{id}")).send().json(200);
    api.assert_settled();
    api.stop();
}
