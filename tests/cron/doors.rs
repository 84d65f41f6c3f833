//! The other doors see a job's run, and may end it; a server that stops leaves what is not over to the next.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use serde_json::{Value, json};

use crate::client::{prompt, with};
use crate::fixture::{Api, start};
use crate::stand::{EACH_SECOND, finished, folders, job, let_go, notes, wait_for, with_stub, write_jobs};
use crate::support::TestBox;

fn runs_of(api: &Api, job: &str, state: &str) -> Vec<Value> {
    let runs = api.http.get(&format!("/runs?state={state}&limit=500")).send().json(200);
    let runs = runs["runs"].as_array().unwrap().clone();
    runs.into_iter().filter(|run| run["requester"] == job).collect()
}

#[test]
fn a_jobs_run_is_seen_and_cancelled_over_http() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &format!("jobs:\n{}", job("long", EACH_SECOND, "until go", "retries: 3")));
    let mut api = start(&testbox, with_stub(&testbox));
    api.until("it runs", |_| notes(&testbox, "prompts").len() == 1);
    let run = runs_of(&api, "long", "running").remove(0);
    assert_eq!((&run["door"], &run["prompt"]), (&json!("cron"), &json!("until go")), "{run}");
    assert_eq!(run["workspace"], testbox.path("work").to_str().unwrap());
    let id = run["runId"].as_str().unwrap();
    assert_eq!(api.http.delete(&format!("/runs/{id}")).send().json(200)["state"], "cancelled");
    let meta = &wait_for(&testbox, &mut api, "long", 1)[0];
    assert_eq!(
        (&meta["state"], &meta["run_id"], &meta["error"]),
        (&json!("cancelled"), &json!(id), &json!("cancelled"))
    );
    // A cancel is somebody's will: that tick is not tried again, and the next one comes.
    assert_eq!(meta["earlier_attempts"], json!([]));
    api.until("the next one runs", |_| notes(&testbox, "prompts").len() == 2);
    assert_ne!(runs_of(&api, "long", "running")[0]["runId"], id);
    // The API has workspaces of its own, and runs there meanwhile.
    let answer = api.http.run(with(prompt("a", "say hello"), json!({})));
    assert_eq!(answer["result"], "hello");
    api.stop();
}

/// What the box was stopped in the middle of is told by the next one, once; what had not begun is done by it.
#[test]
fn a_stopped_box_leaves_its_jobs_to_the_next() {
    let Some(testbox) = TestBox::new() else { return };
    let first = job("holds", EACH_SECOND, "until go", "workspace: a; retries: 1");
    write_jobs(&testbox, &format!("jobs:\n{first}"));
    let mut api = start(&testbox, with_stub(&testbox));
    api.until("the first one runs", |_| notes(&testbox, "prompts").len() == 1);
    write_jobs(&testbox, &format!("jobs:\n{first}{}", job("waits", EACH_SECOND, "say done", "workspace: a")));
    let mut waiting = Vec::new();
    let http = api.http.clone();
    api.until("the other one waits for the workspace", |_| {
        waiting = http.get("/runs?state=queued").send().json(200)["runs"].as_array().unwrap().clone();
        waiting.len() == 1
    });
    api.stop();
    // Nothing new: only what was left.
    let disabled = [
        job("holds", EACH_SECOND, "until go", "workspace: a; retries: 1; enabled: false"),
        job("waits", EACH_SECOND, "say done", "workspace: a; enabled: false"),
    ];
    write_jobs(&testbox, &format!("jobs:\n{}", disabled.concat()));
    let_go(&testbox, "go");
    let mut api = start(&testbox, with_stub(&testbox));
    let held = wait_for(&testbox, &mut api, "holds", 1);
    let waited = wait_for(&testbox, &mut api, "waits", 1);
    let (now, before) = (&held[0]["state"], &held[0]["earlier_attempts"][0]["state"]);
    assert_eq!((now, before), (&json!("succeeded"), &json!("interrupted")));
    assert_eq!(waited[0]["run_id"], waiting[0]["runId"]);
    assert_eq!(waited[0]["state"], "succeeded");
    for job in ["holds", "waits"] {
        assert_eq!((finished(&testbox, job).len(), folders(&testbox, job).len()), (1, 1), "{job}");
    }
    assert_eq!(api.http.get("/status").send().json(200)["queued"], 0);
    api.stop();
}

#[test]
fn a_jobs_result_is_posted_to_its_webhook() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &format!("jobs:\n{}", job("posts", EACH_SECOND, "say hello", "enabled: false")));
    let launch = with_stub(&testbox).env("CLAUDEBOX_FETCH_ALLOW", "127.0.0.1");
    let mut api = start(&testbox, launch);
    let listener = api.network.listen();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    write_jobs(&testbox, &format!("jobs:\n{}", job("posts", EACH_SECOND, "say hello", &format!("webhook: {url}"))));
    listener.set_nonblocking(true).unwrap();
    let mut posted = None;
    api.until("its result is posted", |_| {
        posted = listener.accept().ok();
        posted.is_some()
    });
    let (stream, _) = posted.unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n").unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let data = &body["data"];
    assert_eq!(
        (&body["type"], &data["requester"], &data["door"]),
        (&json!("run.finished"), &json!("posts"), &json!("cron"))
    );
    assert_eq!(data["result"]["result"], "hello", "{body}");
    api.stop();
}
