//! kill -9 of the server: what was accepted is not lost.

use serde_json::json;

use crate::client::{prompt, with};
use crate::fixture::{sleeps, start, with_cli};
use crate::support::TestBox;

#[test]
fn a_killed_server_loses_no_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let finished = api.http.run(prompt("a", "offline:echo kept"));
    let id = finished["runId"].as_str().unwrap();
    let events = |api: &crate::fixture::Api, id: &str| api.http.get(&format!("/runs/{id}/events")).open().events();
    let followed = events(&api, id);
    let text = "offline:tool setsid nohup sleep 1000 >/dev/null 2>&1 & sleep 2000";
    let body = with(prompt("b", text), json!({"async": true}));
    let ask = |api: &crate::fixture::Api| {
        let answer = api.http.asks(body.clone()).header("idempotency-key", "k-1").send().json(200);
        answer["runId"].as_str().unwrap().to_owned()
    };
    let running = ask(&api);
    api.until("the tool and its escapee run", |all| sleeps(all, "1000") && sleeps(all, "2000"));
    let queued = ["offline:echo 1", "offline:echo 2"]
        .map(|text| api.http.begin(with(prompt("b", text), json!({"busy": "queue"}))));
    api.kill_serve();

    assert_eq!(api.http.get(&format!("/run/result?runId={id}")).send().json(200), finished);
    assert_eq!(events(&api, id), followed);
    let cut = api.http.get(&format!("/run/result?runId={running}")).send().json(200);
    assert_eq!((&cut["state"], &cut["status"]), (&json!("interrupted"), &json!("failed")), "{cut}");
    assert_eq!((&cut["isError"], &cut["runId"]), (&json!(true), &json!(running)), "{cut}");
    assert!(!sleeps(&api.processes(), "1000") && !sleeps(&api.processes(), "2000"));
    // What was cut off is not begun again, not even by who asks for it once more.
    assert_eq!(ask(&api), running);
    for id in &queued {
        assert_eq!(api.http.end_of(id)["state"], "succeeded");
    }
    // Its events are those that came, and its end.
    let events = events(&api, &running);
    assert!(events.len() > 1 && events.last().unwrap().data["state"] == "interrupted", "{events:?}");
    assert!(!sleeps(&api.processes(), "2000"));
    assert_eq!(api.http.get("/runs?workspace=b").send().json(200)["runs"].as_array().unwrap().len(), 3);
    api.stop();
}
