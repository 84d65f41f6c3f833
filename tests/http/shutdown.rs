//! SIGTERM to PID 1 with runs, streams and clients that wait.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

/// How long Docker waits before it kills.
const DOCKER: Duration = Duration::from_secs(10);

#[test]
fn a_stop_tells_everybody_and_keeps_what_waits() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let mut sync = api.http.asks(prompt("a", "offline:tool trap '' TERM; sleep 1000; sleep 1000")).leave();
    api.until_sleeps("1000");
    let running = api.http.get("/runs?state=running").send().json(200)["runs"][0]["runId"].as_str().unwrap().to_owned();
    let mut stream = api.http.get(&format!("/runs/{running}/events")).open();
    assert_eq!(stream.event().unwrap().name, "event");
    let queue = |text: &str, more| with(with(prompt("a", text), json!({"busy": "queue"})), more);
    let queued = api.http.begin(queue("offline:echo in the background", json!({})));
    let mut waits = api.http.asks(queue("offline:echo waited for", json!({}))).leave();
    let mut follows = api.http.get(&format!("/runs/{queued}/events")).open();
    let http = api.http.clone();
    api.until("both wait", |_| http.get("/status").send().json(200)["queued"] == 2);

    let began = Instant::now();
    api.ask_to_stop();
    let last = stream.events().pop().unwrap();
    assert_eq!((last.name.as_str(), &last.data["state"]), ("end", &json!("interrupted")), "{last:?}");
    let told = sync.head().rest().json(200);
    assert_eq!(
        (&told["state"], &told["runId"], &told["cancelled"]),
        (&json!("interrupted"), &json!(running), &json!("shutdown"))
    );
    let refused = waits.head().rest().problem(503, "shutting_down");
    let waiting = refused["runId"].as_str().unwrap().to_owned();
    let events = follows.events();
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("shutdown"), "{events:?}");
    api.finish().exits(0);
    assert!(began.elapsed() < DOCKER, "{:?}", began.elapsed());

    // The same box again.
    std::fs::remove_file(testbox.path("claude")).unwrap();
    let api = start(&testbox, with_cli(&testbox).unwrap());
    let run = api.http.look(&running);
    assert_eq!((&run["state"], &run["result"]["cancelled"]), (&json!("interrupted"), &json!("shutdown")), "{run}");
    for id in [&queued, &waiting] {
        let run = api.http.end_of(id);
        // A stop is no disconnect: who waited was told where the run will be.
        assert_eq!(run["state"], "succeeded", "{run}");
    }
    assert_eq!(api.http.get("/runs").send().json(200)["runs"].as_array().unwrap().len(), 3);
    api.stop();
}
