//! Workspaces that are there for one run.

use std::fs;

use serde_json::json;

use crate::fixture::{start, with_cli};
use crate::support::TestBox;

#[test]
fn a_workspace_of_one_run_is_gone_after_it() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let ask = |prompt: &str| json!({"prompt": prompt, "ephemeral": true});
    let first = api.http.run(ask("offline:tool mkdir deep && touch deep/file && pwd"));
    let folder = first["workspace"].as_str().unwrap();
    assert!(folder.starts_with(&api.workspace("ephemeral")) && first["result"].as_str().unwrap().contains(folder));
    let second = api.http.run(ask("offline:echo x"));
    assert_ne!((&second["workspace"], &second["sessionId"]), (&first["workspace"], &first["sessionId"]));
    api.until("both are gone", |_| count(&testbox) == 0);

    // The same key is the same run, and its workspace stays gone.
    let keyed =
        || api.http.asks(ask("offline:echo once")).header("idempotency-key", "k").send().json(200)["runId"].clone();
    assert_eq!(keyed(), keyed());
    let named = json!({"prompt": "x", "ephemeral": true, "workspace": "a"});
    assert_eq!(api.http.asks(named).send().problem(422, "invalid_field")["field"], "ephemeral");

    // A run that a death of the server has cut is not forgotten.
    let cut = api.http.begin(ask("offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    assert_eq!(count(&testbox), 1);
    api.kill_serve();
    assert_eq!(api.http.look(&cut)["state"], "interrupted");
    api.until("it is gone", |_| count(&testbox) == 0);
    api.stop();
}

/// How many of these workspaces there are.
fn count(testbox: &TestBox) -> usize {
    fs::read_dir(testbox.path("workspaces/ephemeral")).into_iter().flatten().count()
}
