//! Runs that meet in a workspace, and keys that make a request the same one.

use serde_json::{Value, json};

use crate::client::{prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

#[test]
fn a_busy_workspace_refuses_lets_wait_or_gives_way() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let holder = api.http.begin(prompt("a", "offline:tool exec sleep 1001"));
    api.until_sleeps("1001");

    let problem = api.http.asks(prompt("a", "hi")).send().problem(409, "workspace_busy");
    assert_eq!(problem["runId"], holder.as_str());
    assert!(problem["detail"].as_str().unwrap().contains("queue or replace"), "{problem}");
    // Another workspace is none of its business.
    assert_eq!(api.http.run(prompt("b", "hi"))["status"], "completed");

    let waits = |text: &str| {
        let answer = api.http.asks(with(prompt("a", text), json!({"busy": "queue", "async": true}))).send().json(200);
        assert_eq!((&answer["status"], &answer["state"]), (&json!("running"), &json!("queued")), "{answer}");
        answer
    };
    let waiting = ["offline:echo 1", "offline:echo 2", "offline:echo 3"].map(waits);
    let position = |run: &Value| run["position"].as_u64().unwrap();
    let first = position(&waiting[0]);
    assert_eq!(waiting.each_ref().map(position), [first, first + 1, first + 2]);
    let ids = waiting.map(|run| run["runId"].as_str().unwrap().to_owned());
    assert_eq!(position(&api.http.look(&ids[2])), first + 2);
    assert_eq!(api.http.get(&format!("/run/result?runId={}", ids[2])).send().json(200)["position"], first + 2);
    // Who waits moves up.
    assert_eq!(api.http.delete(&format!("/runs/{}", ids[0])).send().json(200)["status"], "ok");
    assert_eq!(position(&api.http.look(&ids[2])), first + 1);

    let taken = api.http.run(with(prompt("a", "offline:echo mine"), json!({"busy": "replace"})));
    assert_eq!(taken["status"], "completed", "{taken}");
    for id in [&holder, &ids[1], &ids[2]] {
        let run = api.http.look(id);
        assert_eq!(run["state"], "cancelled", "{run}");
        assert!(
            run["error"].as_str().unwrap().contains("replaced") || run["result"]["cancelled"] == "replaced",
            "{run}"
        );
    }
    // What was cancelled while it waited has never begun.
    assert_eq!(api.http.look(&ids[1])["startedAt"], Value::Null);
    api.assert_settled();

    let holder = api.http.begin(prompt("a", "offline:tool exec sleep 1002"));
    api.until_sleeps("1002");
    let queued = [1, 2, 3]
        .map(|number| api.http.begin(with(prompt("a", &format!("offline:echo {number}")), json!({"busy": "queue"}))));
    api.http.delete(&format!("/runs/{holder}")).send().json(200);
    let runs = queued.each_ref().map(|id| api.http.end_of(id));
    assert!(runs.iter().all(|run| run["state"] == "succeeded"), "{runs:?}");
    for pair in runs.windows(2) {
        // Times of this one form sort as texts.
        assert!(pair[0]["finishedAt"].as_str() <= pair[1]["startedAt"].as_str(), "{pair:?}");
    }
    api.stop();
}

#[test]
fn the_same_key_is_the_same_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let body = prompt("a", "offline:tool echo once >>count; sleep 0.3; wc -l <count");
    let ask = |http: &crate::client::Client| http.asks(body.clone()).header("idempotency-key", "k-1").send().json(200);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let http = &api.http;
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || ask(http))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0]["status"], "completed");
    let run = answers[0]["runId"].as_str().unwrap().to_owned();
    let reused = |api: &crate::fixture::Api, body: Value| {
        let problem = api.http.asks(body).header("idempotency-key", "k-1").send().problem(422, "key_reused");
        assert_eq!(problem["runId"], run.as_str());
    };
    reused(&api, prompt("a", "something else"));
    reused(&api, with(body.clone(), json!({"workspace": "b"})));
    // Afterwards, and of the next server too.
    assert_eq!(ask(&api.http), answers[0]);
    api.kill_serve();
    assert_eq!(ask(&api.http), answers[0]);
    reused(&api, prompt("a", "something else"));
    assert_eq!(api.http.get("/runs?workspace=a").send().json(200)["runs"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(testbox.path("workspaces/a/count")).unwrap(), "once\n");
    for key in [String::new(), "x".repeat(256), "\u{e9}".to_owned()] {
        let problem =
            api.http.asks(body.clone()).header("idempotency-key", &key).send().problem(422, "invalid_parameter");
        assert_eq!(problem["parameter"], "Idempotency-Key");
    }
    api.stop();
}
