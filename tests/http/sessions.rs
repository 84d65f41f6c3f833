//! Which conversation a run belongs to, and what each of its runs cost.

use serde_json::{Value, json};

use crate::client::{prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

#[test]
fn a_workspace_goes_on_with_its_session_unless_told_otherwise() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let session = |result: &Value| result["sessionId"].as_str().unwrap().to_owned();
    let run = |api: &crate::fixture::Api, more: Value| api.http.run(with(prompt("a", "offline:echo x"), more));
    let first = session(&run(&api, json!({})));
    assert_eq!(session(&run(&api, json!({}))), first);
    let fresh = session(&run(&api, json!({"noContinue": true})));
    assert_ne!(fresh, first);
    // Not the newest, but the one that is named; and the next one goes on with that.
    assert_eq!(session(&run(&api, json!({"resume": first}))), first);
    assert_eq!(session(&run(&api, json!({}))), first);
    let fork = session(&run(&api, json!({"resume": first, "forkSession": true})));
    assert!(fork != first && fork != fresh, "{fork}");
    // What the server knows of sessions outlives it.
    api.kill_serve();
    assert_eq!(session(&run(&api, json!({}))), fork);
    let unknown = run(&api, json!({"resume": "99999999-2222-4333-8444-555555555555"}));
    assert_eq!((&unknown["outcome"], &unknown["status"]), (&json!("session_not_found"), &json!("failed")));
    api.stop();
}

/// The CLI keeps the sessions of `a.b` and `a_b` in one folder.
#[test]
fn workspaces_whose_names_look_alike_to_the_cli_have_sessions_of_their_own() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let session = |workspace: &str| api.http.run(prompt(workspace, "offline:echo x"))["sessionId"].clone();
    let (dot, line) = (session("a.b"), session("a_b"));
    assert_ne!(dot, line);
    assert_eq!([session("a.b"), session("a_b"), session("a.b")], [dot.clone(), line, dot]);
    api.stop();
}

/// The CLI tells what a session has cost so far, in all its runs. The ledger has each run's own: about the same each time,
/// because the offline model charges for the same words.
#[test]
fn a_run_in_a_resumed_session_costs_what_it_costs_alone() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let run = |more: Value| {
        let result = api.http.run(with(prompt("a", "offline:echo some words"), more));
        (result["sessionId"].clone(), result["costUsd"].as_f64().unwrap(), result["totalCostUsd"].as_f64().unwrap())
    };
    let (first, ..) = run(json!({}));
    let again = [run(json!({})), run(json!({}))];
    // Another session in between, and then not the last one of the workspace.
    let other = [run(json!({"noContinue": true}))];
    let back = [run(json!({"resume": first})), run(json!({})), run(json!({"resume": other[0].0}))];
    let forks = [run(json!({"resume": first, "forkSession": true})), run(json!({}))];
    let all: Vec<_> = again.into_iter().chain(other).chain(back).chain(forks).collect();
    let alone = all[2].1;
    for (_, own, total) in &all {
        assert!((0.9 * alone..1.3 * alone).contains(own), "alone {alone}, own {own} of {total}: {all:#?}");
    }
    // What a run may cost is no matter of what its session has cost before.
    let more = json!({"resume": first, "maxBudgetUsd": 2.0 * alone});
    let limited = api.http.run(with(prompt("a", "offline:echo some words"), more));
    assert_eq!(limited["outcome"], "ok", "{limited}");
    let figures = api.http.get("/metrics").send().text();
    let counted = figures.lines().find_map(|line| line.strip_prefix("claudebox_run_cost_usd_total ")).unwrap();
    assert!((9.0 * alone..12.5 * alone).contains(&counted.parse().unwrap()), "{counted}");
    api.stop();
}
