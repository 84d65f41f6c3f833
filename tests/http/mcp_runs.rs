//! Runs over MCP: progress, cancellation, connections that break, and runs that are fetched later.

use serde_json::{Value, json};

use crate::client::{Waiting, prompt};
use crate::fixture::{Api, sleeps, start, with_cli};
use crate::mcp_client::{Mcp, all, last, next};
use crate::support::TestBox;

/// A tool, and what it puts beyond its own session.
const ESCAPES: &str = "offline:tool setsid nohup sleep 1000 >/dev/null 2>&1 & sleep 2000";

fn call(workspace: &str, prompt: &str, more: Value) -> Value {
    let arguments = json!({"prompt": prompt, "workspace": workspace, "create_workspace": true});
    crate::client::with(json!({"name": "claude_run", "arguments": arguments}), more)
}

/// A run that does not end by itself, and its id.
fn begin(api: &mut Api, mcp: &Mcp, workspace: &str) -> (Waiting, String) {
    let waiting = mcp.ask(9, "tools/call", call(workspace, ESCAPES, json!({}))).leave();
    api.until("the tool and its escapee run", |all| sleeps(all, "1000") && sleeps(all, "2000"));
    let status = mcp.works("run_status", json!({"workspace": workspace}));
    let run = &status["runs"][0];
    assert_eq!((&run["state"], &run["door"]), (&json!("running"), &json!("mcp")), "{status}");
    (waiting, run["run_id"].as_str().unwrap().to_owned())
}

fn until_cancelled(api: &mut Api, id: &str) {
    let end = api.http.end_of(id);
    assert_eq!(end["state"], "cancelled", "{end}");
    api.assert_settled();
}

#[test]
fn progress_comes_to_who_asks_for_it() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    for mcp in [Mcp::in_session(&api.http), Mcp::without_session(&api.http)] {
        for token in [json!("my token"), json!(42)] {
            let params = call("a", "offline:tool echo one two", json!({"_meta": {"progressToken": token}}));
            let mut messages = all(mcp.ask(3, "tools/call", params).open());
            let answer = messages.pop().unwrap();
            assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(3), &json!(false)), "{answer}");
            let mut said = Vec::new();
            for (count, message) in (1..).zip(&messages) {
                assert_eq!(message["method"], "notifications/progress", "{message}");
                let params = &message["params"];
                assert_eq!((&params["progressToken"], params["progress"].as_f64()), (&token, Some(f64::from(count))));
                said.push(params["message"].as_str().unwrap().to_owned());
            }
            assert!(said[0].starts_with("run ") && said[0].ends_with(" has started"), "{said:?}");
            assert!(said.contains(&"Bash: echo one two".to_owned()), "{said:?}");
        }
        let quiet = all(mcp.ask(4, "tools/call", call("a", "offline:echo x", json!({}))).open());
        assert_eq!(quiet.len(), 1, "{quiet:?}");
        // By its later name: a session of its own.
        let before = mcp.works("run_status", json!({}))["runs"][0]["run_id"].clone();
        let session = mcp.works("run_result", json!({"run_id": before}))["session_id"].clone();
        let prompt = json!({"prompt": "offline:echo x", "workspace": "a", "thinking": "low"});
        let answer = mcp.works("run_prompt", prompt);
        assert!(answer["outcome"] == "ok" && answer["session_id"] != session, "{answer}");
    }
    api.stop();
}

#[test]
fn a_cancelled_request_ends_its_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let mcp = Mcp::in_session(&api.http);
    let (_waiting, id) = begin(&mut api, &mcp, "a");
    let cancelled = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9, "reason": "enough"},
    });
    assert_eq!(mcp.post(&cancelled).send().status, 202);
    until_cancelled(&mut api, &id);
    assert_eq!(api.http.look(&id)["result"]["cancelled"], "asked");

    // Without a session, going away is the way to say so.
    let mcp = Mcp::without_session(&api.http);
    let (waiting, id) = begin(&mut api, &mcp, "a");
    drop(waiting);
    until_cancelled(&mut api, &id);
    assert_eq!(api.http.look(&id)["result"]["cancelled"], "disconnected");
    let token = json!({"_meta": {"progressToken": 1}});
    let mut answering = mcp.ask(9, "tools/call", call("a", ESCAPES, token)).open();
    let first = next(&mut answering).unwrap().data;
    let id = first["params"]["message"].as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
    api.until("the tool runs", |all| sleeps(all, "2000"));
    drop(answering);
    until_cancelled(&mut api, &id);

    // Who ends its session has no use for what runs in it.
    let mcp = Mcp::in_session(&api.http);
    let (_waiting, id) = begin(&mut api, &mcp, "a");
    let session = mcp.session.clone().unwrap();
    assert_eq!(api.http.delete("/mcp").header("mcp-session-id", &session).send().status, 204);
    until_cancelled(&mut api, &id);
    assert_eq!(mcp.ask(1, "tools/list", json!({})).send().status, 404);
    api.stop();
}

#[test]
fn a_run_in_a_session_survives_its_connection() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let mcp = Mcp::in_session(&api.http);
    let slow = "offline:tool sleep 3; echo slept";
    let token = json!({"_meta": {"progressToken": 1}});
    let mut answering = mcp.ask(9, "tools/call", call("a", slow, token)).open();
    let first = next(&mut answering).unwrap();
    let id = first.data["params"]["message"].as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
    api.until("the tool runs", |all| sleeps(all, "3"));
    drop(answering);
    // The client comes back to where it was, and gets the rest.
    let session = mcp.session.clone().unwrap();
    let back = api.http.get("/mcp").header("accept", "text/event-stream").header("mcp-session-id", &session);
    let mut back = back.header("last-event-id", &first.id.unwrap()).open();
    assert_eq!(back.status, 200);
    let answer = loop {
        let message = next(&mut back).unwrap().data;
        if message["id"] == 9 {
            break message["result"].clone();
        }
    };
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("slept"), "{answer}");
    // Or it asks for it, from wherever it is now.
    for mcp in [mcp, Mcp::without_session(&api.http)] {
        assert_eq!(mcp.call("run_result", json!({"run_id": id}))["structuredContent"], answer["structuredContent"]);
    }
    api.stop();
}

#[test]
fn a_run_in_the_background_is_fetched_later() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    for mcp in [Mcp::in_session(&api.http), Mcp::without_session(&api.http)] {
        let background = |prompt: &str| {
            let arguments = json!({"prompt": prompt, "workspace": "a", "create_workspace": true, "background": true});
            mcp.call("claude_run", arguments)
        };
        let begun = background("offline:tool sleep 2; echo slept");
        let id = begun["structuredContent"]["run_id"].as_str().unwrap().to_owned();
        assert_eq!(begun["isError"], false);
        assert!(begun["content"][0]["text"].as_str().unwrap().contains("run_result"), "{begun}");
        let soon = mcp.works("run_result", json!({"run_id": id}));
        assert!(["queued", "running"].contains(&soon["state"].as_str().unwrap()), "{soon}");
        let (code, said) = mcp.refused("claude_run", json!({"prompt": "p", "workspace": "a", "busy": "reject"}));
        assert_eq!(code, "workspace_busy", "{said}");
        assert!(said.contains(&id) && said.contains("busy to queue or replace"), "{said}");
        let params = json!({
            "name": "run_result", "arguments": {"run_id": id, "wait_seconds": 60}, "_meta": {"progressToken": 5},
        });
        let mut messages = all(mcp.ask(8, "tools/call", params).open());
        let answer = messages.pop().unwrap()["result"].clone();
        assert!(answer["content"][0]["text"].as_str().unwrap().contains("slept"), "{answer}");
        assert!(!messages.is_empty());

        let begun = background(ESCAPES);
        let id = begun["structuredContent"]["run_id"].as_str().unwrap().to_owned();
        api.until("the tool runs", |all| sleeps(all, "1000") && sleeps(all, "2000"));
        let waited = mcp.works("run_result", json!({"run_id": id, "wait_seconds": 0.2}));
        assert_eq!(waited["state"], "running");
        // Nobody has to ask for it.
        let queued = mcp.works("claude_run", json!({"prompt": "p", "workspace": "a", "background": true}));
        let status = mcp.works("run_status", json!({"run_id": queued["run_id"]}));
        assert_eq!((&status["runs"][0]["state"], &status["runs"][0]["position"]), (&json!("queued"), &json!(1)));
        for _ in 0..16 {
            mcp.call("claude_run", json!({"prompt": "p", "workspace": "a", "background": true}));
        }
        let (code, said) = mcp.refused("claude_run", json!({"prompt": "p", "workspace": "a", "background": true}));
        assert!(code == "queue_full" && said.contains("try again in 30 s"), "{code}: {said}");
        for run in mcp.works("run_status", json!({"workspace": "a"}))["runs"].as_array().unwrap() {
            if run["state"] == "queued" {
                mcp.works("run_cancel", json!({"run_id": run["run_id"]}));
            }
        }
        let ended = mcp.works("run_cancel", json!({"workspace": "a"}));
        assert_eq!((&ended["status"], &ended["run_id"]), (&json!("ok"), &json!(id)));
        api.assert_settled();
        assert_eq!(mcp.works("run_cancel", json!({"run_id": id}))["status"], "already_ended");
        let cancelled = mcp.call("run_result", json!({"run_id": id}));
        assert_eq!(
            (&cancelled["isError"], &cancelled["structuredContent"]["state"]),
            (&json!(true), &json!("cancelled"))
        );
        assert_eq!(mcp.refused("run_cancel", json!({"workspace": "a"})).0, "run_not_found");
    }
    api.stop();
}

#[test]
fn runs_outlive_the_server_and_sessions_do_not() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let mcp = Mcp::in_session(&api.http);
    let arguments = json!({"prompt": "offline:echo kept", "workspace": "a", "create_workspace": true});
    let answer = mcp.call("claude_run", arguments);
    api.kill_serve();
    assert_eq!(mcp.ask(1, "tools/list", json!({})).send().status, 404);
    let mcp = Mcp::in_session(&api.http);
    let run_id = &answer["structuredContent"]["run_id"];
    assert_eq!(mcp.call("run_result", json!({"run_id": run_id})), answer);
    // Runs of other doors are seen too.
    api.http.run(prompt("a", "hi"));
    let runs = mcp.works("run_status", json!({}));
    let doors: Vec<&Value> = runs["runs"].as_array().unwrap().iter().map(|run| &run["door"]).collect();
    assert_eq!(doors, ["http", "mcp"]);
    api.stop();
}

#[test]
fn a_stop_ends_streams_and_tells_who_waits() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let mcp = Mcp::in_session(&api.http);
    let session = mcp.session.clone().unwrap();
    let listening = api.http.get("/mcp").header("accept", "text/event-stream").header("mcp-session-id", &session);
    let listening = listening.open();
    let (mut waiting, _) = begin(&mut api, &mcp, "a");
    api.ask_to_stop();
    let answer = last(waiting.head());
    assert_eq!(answer["result"]["structuredContent"]["state"], "interrupted", "{answer}");
    // It has its end, and is not cut.
    listening.rest();
    api.finish().exits(0);
}
