//! What is known of runs: the list, one run, its result, the glance.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::client::{Client, prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

fn page(http: &Client, query: &str) -> (Vec<String>, Option<String>) {
    let page = http.get(&format!("/runs?{query}")).send().json(200);
    let ids = page["runs"].as_array().unwrap().iter().map(|run| run["runId"].as_str().unwrap().to_owned());
    (ids.collect(), page["nextCursor"].as_str().map(str::to_owned))
}

#[test]
fn runs_are_listed_by_workspace_and_state_page_by_page() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch.env("CLAUDEBOX_MAX_RUNS", "1"));
    let done = api.http.run(prompt("done", "offline:echo done"))["runId"].as_str().unwrap().to_owned();
    let failed = api.http.run(prompt("done", "offline:error 400"))["runId"].as_str().unwrap().to_owned();
    let holder = api.http.begin(prompt("held", "offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    let begin = |number: usize| api.http.begin(prompt(&format!("w{number}"), "offline:echo later"));
    let waiting: Vec<String> = (0..8).map(begin).collect();

    for (state, expected) in [("succeeded", &done), ("failed", &failed), ("running", &holder)] {
        assert_eq!(page(&api.http, &format!("state={state}")), (vec![expected.clone()], None));
    }
    let newest_first = |ids: &[String]| ids.iter().rev().cloned().collect::<Vec<_>>();
    assert_eq!(page(&api.http, "state=queued"), (newest_first(&waiting), None));
    assert_eq!(page(&api.http, "workspace=done"), (vec![failed.clone(), done.clone()], None));
    assert_eq!(page(&api.http, "workspace=done&state=failed"), (vec![failed.clone()], None));
    assert_eq!(page(&api.http, "state=interrupted"), (vec![], None));
    assert_eq!(page(&api.http, "workspace=done&limit=2").1, None);

    // Pages while runs come in: none of the old ones twice, none left out.
    let (mut seen, mut cursor) = page(&api.http, "limit=3");
    let mut added = 100;
    while let Some(next) = cursor {
        begin(added);
        added += 1;
        let (ids, next) = page(&api.http, &format!("limit=3&cursor={next}"));
        assert!(ids.len() <= 3 && !ids.is_empty());
        seen.extend(ids);
        cursor = next;
    }
    let expected: Vec<String> = [done.clone(), failed.clone(), holder.clone()].into_iter().chain(waiting).collect();
    assert_eq!(seen, newest_first(&expected));
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());

    let status = api.http.get("/status").send().json(200);
    assert_eq!(status["busyWorkspaces"], json!([api.workspace("held")]));
    assert_eq!(status["queued"], 8 + (added - 100));
    let of = |id: &str| {
        let runs = status["runs"].as_array().unwrap().clone();
        runs.into_iter().find(|run| run["runId"] == id).unwrap_or_else(|| panic!("{id}: {status}"))
    };
    let expected = |id: &str, workspace: &str, status: &str, state: &str| json!({"runId": id, "workspace": api.workspace(workspace), "status": status, "state": state});
    assert_eq!(of(&holder), expected(&holder, "held", "running", "running"));
    assert_eq!(of(&done), expected(&done, "done", "completed", "succeeded"));
    assert_eq!(of(&failed), expected(&failed, "done", "failed", "failed"));
    api.stop();
}

#[test]
fn a_run_tells_what_was_asked_and_how_it_ended_as_often_as_one_likes() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let text = format!("offline:tool exec sleep 1000 # {}", "long ".repeat(100));
    let answer = api.http.asks(with(prompt("a", &text), json!({"async": true, "effort": "low"}))).send();
    let begun = answer.json(200);
    let id = begun["runId"].as_str().unwrap().to_owned();
    assert_eq!(begun, json!({"runId": id, "workspace": api.workspace("a"), "status": "running", "state": "running"}));
    assert_eq!((answer.header("location"), answer.header("x-run-id")), (format!("/runs/{id}").as_str(), id.as_str()));
    let result = |http: &Client| http.get(&format!("/run/result?runId={id}")).send().json(200);
    assert_eq!(result(&api.http), begun);
    api.until_sleeps("1000");
    let run = api.http.look(&id);
    assert_eq!(
        (&run["state"], &run["door"], &run["requester"]),
        (&json!("running"), &json!("http"), &json!("anonymous"))
    );
    assert_eq!((&run["prompt"], &run["options"]["effort"]), (&json!(text), &json!("low")), "{run}");
    assert!(run["startedAt"].as_str() >= run["createdAt"].as_str() && run["finishedAt"].is_null(), "{run}");
    let listed = &api.http.get("/runs").send().json(200)["runs"][0];
    assert_eq!(listed["prompt"].as_str().unwrap(), &text[..200]);
    assert!(listed.get("result").is_none(), "{listed}");

    let finished = api.http.run(prompt("b", "offline:echo b"));
    let id = finished["runId"].as_str().unwrap().to_owned();
    let result = |http: &Client| http.get(&format!("/run/result?run_id={id}")).send().json(200);
    let run = api.http.look(&id);
    assert_eq!((&run["outcome"], &run["error"], &run["status"]), (&json!("ok"), &Value::Null, &json!("completed")));
    assert_eq!(run["costUsd"], finished["costUsd"]);
    assert!(run["offline"] == true && finished["offline"] == true, "{run} {finished}");
    assert_eq!((&run["sessionId"], &run["result"]["result"]), (&finished["sessionId"], &finished["result"]));
    for _ in 0..3 {
        assert_eq!(result(&api.http), finished);
    }
    api.kill_serve();
    assert_eq!(result(&api.http), finished);
    assert_eq!(api.http.look(&id), run);
    api.stop();
}
