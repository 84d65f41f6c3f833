//! Which conversation a run belongs to, and what each of its runs cost.

use serde_json::{Value, json};

use crate::access::{token, with_tokens};
use crate::client::{Client, prompt, with};
use crate::fixture::{start, with_cli};
use crate::mcp_client::Mcp;
use crate::openai::{chat, user};
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

/// What was said in it is not lost.
#[test]
fn a_new_session_whose_server_was_killed_is_gone_on_with() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let run = |api: &crate::fixture::Api| {
        let result = api.http.run(prompt("a", "offline:echo x"));
        result["sessionId"].as_str().unwrap().to_owned()
    };
    let first = run(&api);
    let id = api.http.begin(with(prompt("a", "offline:tool exec sleep 3000"), json!({"noContinue": true})));
    api.until_sleeps("3000");
    api.kill_serve();
    let events = api.http.get(&format!("/runs/{id}/events")).open().events();
    let said = events.iter().find_map(|event| event.data["sessionId"].as_str()).unwrap().to_owned();
    assert_ne!(said, first);
    assert_eq!([run(&api), run(&api)], [said.clone(), said]);
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

/// The CLI tells what a session has cost so far, in all its runs. The ledger has each run's own: little where the session
/// goes on, because the offline model has what was said before in its cache.
#[test]
fn a_run_in_a_resumed_session_costs_what_it_costs_alone() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let run = |more: Value| {
        let result = api.http.run(with(prompt("a", "offline:echo some words"), more));
        (result["sessionId"].clone(), result["costUsd"].as_f64().unwrap(), result["totalCostUsd"].as_f64().unwrap())
    };
    let (first, alone, total) = run(json!({}));
    assert!((alone - total).abs() < 1e-9, "{alone} {total}");
    let again = [run(json!({})), run(json!({}))];
    // Another session in between, and then not the last one of the workspace.
    let (other, other_alone, _) = run(json!({"noContinue": true}));
    assert!((0.9 * alone..1.1 * alone).contains(&other_alone), "{alone} {other_alone}");
    let back = [run(json!({"resume": first})), run(json!({})), run(json!({"resume": other}))];
    let forks = [run(json!({"resume": first, "forkSession": true})), run(json!({}))];
    let resumed: Vec<_> = again.into_iter().chain(back).chain(forks).collect();
    for (_, own, total) in &resumed {
        assert!((0.01 * alone..0.2 * alone).contains(own) && *total > alone, "{own} of {total}: {resumed:#?}");
    }
    // What a run may cost is no matter of what its session has cost before.
    let more = json!({"resume": first, "maxBudgetUsd": 0.5 * alone});
    let limited = api.http.run(with(prompt("a", "offline:echo some words"), more));
    assert_eq!(limited["outcome"], "ok", "{limited}");
    let figures = api.http.get("/metrics").send().text();
    let counted = figures.lines().find_map(|line| line.strip_prefix("claudebox_run_cost_usd_total ")).unwrap();
    let sum =
        alone + other_alone + resumed.iter().map(|(_, own, _)| own).sum::<f64>() + limited["costUsd"].as_f64().unwrap();
    assert!((counted.parse::<f64>().unwrap() - sum).abs() < 1e-6, "{counted} is not {sum}");
    api.stop();
}

/// A session holds what was said in its workspace: who may not use that may neither go on with it nor learn that it exists.
#[test]
fn a_session_of_another_workspace_is_none_to_a_restricted_token() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, with_tokens(&testbox, launch));
    let (boss, team) = (token(&api, "boss"), token(&api, "team"));
    let session = |result: Value| result["sessionId"].as_str().unwrap().to_owned();
    let foreign = session(boss.run(prompt("other", "offline:echo secret")));
    let own = session(team.run(prompt("team/sub", "offline:echo own")));
    let unknown = "99999999-2222-4333-8444-555555555555".to_owned();

    let refused = |team: &Client, id: &str, fork: bool| {
        let more = json!({"resume": id, "forkSession": fork});
        let result = team.run(with(prompt("team", "offline:echo x"), more));
        assert_eq!(
            (&result["outcome"], &result["status"]),
            (&json!("session_not_found"), &json!("failed")),
            "{result}"
        );
        result["errors"].to_string().replace(id, "ID")
    };
    assert_eq!(refused(&team, &foreign, false), refused(&team, &unknown, false));
    assert_eq!(refused(&team, &foreign, true), refused(&team, &unknown, true));
    for id in [&foreign, &unknown] {
        let named = chat(&team, "team", user("offline:echo x"), json!({})).header("x-claude-session", id).send();
        assert_eq!(named.json(404)["error"]["code"], "session_not_found");
        let mcp = Mcp { http: team.clone(), path: "/mcp", session: None };
        let arguments = json!({"prompt": "offline:echo x", "workspace": "team", "resume": id});
        let called = mcp.ask(1, "tools/call", json!({"name": "claude_run", "arguments": arguments})).send().json(200);
        assert!(called["result"]["isError"] == true && called.to_string().contains("session_not_found"), "{called}");
    }
    // Its own goes on, from another of its folders too; and the next server knows whose it is.
    api.kill_serve();
    let more = json!({"resume": own});
    assert_eq!(session(team.run(with(prompt("team/sub", "offline:echo x"), more))), own);
    // Gone on with elsewhere, it holds what is said there.
    assert_eq!(session(boss.run(with(prompt("other", "offline:echo x"), json!({"resume": own})))), own);
    refused(&team, &own, false);
    let free = boss.run(with(prompt("other", "offline:echo x"), json!({"resume": foreign})));
    assert_eq!(session(free), foreign);
    api.stop();
}
