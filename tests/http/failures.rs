//! Errors of Claude are results, with 200; with `strict` they are errors of the request.

use serde_json::json;

use crate::client::{prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

#[test]
fn errors_of_the_model_are_results() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    // Its retries of 429, 500 and 529 would take minutes.
    let api = start(&testbox, launch.env("CLAUDE_CODE_MAX_RETRIES", "1"));
    let expected = [
        ("400", "model_error"),
        ("403", "auth"),
        ("429 60", "rate_limited"),
        ("500", "model_error"),
        ("529", "model_error"),
    ];
    std::thread::scope(|scope| {
        for (status, outcome) in expected {
            let http = &api.http;
            scope.spawn(move || {
                let workspace = format!("w{}", &status[..3]);
                let result = http.run(prompt(&workspace, &format!("offline:error {status}")));
                let said = json!([result["outcome"], result["isError"], result["status"], result["state"]]);
                assert_eq!(said, json!([outcome, true, "failed", "failed"]), "{status}: {result}");
                let run = http.look(result["runId"].as_str().unwrap());
                assert!(run["error"].as_str().is_some_and(|error| !error.is_empty()), "{run}");
            });
        }
    });
    // Cut off at every attempt: no answer is no success.
    let cut = api.http.run(prompt("cut", "offline:cut"));
    assert_eq!((&cut["isError"], &cut["status"]), (&json!(true), &json!("failed")), "{cut}");
    let strict = api.http.post("/run?strict=true").json(&prompt("w400", "offline:error 400")).send();
    let problem = strict.problem(502, "run_failed");
    assert_eq!(problem["result"]["outcome"], "model_error", "{problem}");
    assert_eq!(strict.header("x-run-id"), problem["result"]["runId"].as_str().unwrap());
    let fine = api.http.post("/run?strict=true").json(&prompt("w400", "offline:echo fine")).send();
    assert_eq!(fine.json(200)["status"], "completed");
    api.http.post("/run?strict=perhaps").json(&prompt("w400", "hi")).send().problem(422, "invalid_parameter");
    api.stop();
}

/// The CLI itself would try for three minutes.
#[test]
fn a_wrong_key_does_not_hold_a_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let result = api.http.run(prompt("a", "offline:error 401"));
    assert_eq!((&result["outcome"], &result["status"]), (&json!("auth"), &json!("failed")), "{result}");
    api.assert_settled();
    api.stop();
}

/// With a subscription's token the CLI says when a limit resets.
#[test]
fn a_limit_says_when_to_try_again() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let real = testbox.path("claude");
    let subscribed = format!(
        // Offline, the settings of the command line say which credentials there are.
        "#!/bin/sh\nunset ANTHROPIC_API_KEY\n\
         for arg; do shift; case $arg in '{{\"cross'*) arg='{{}}' ;; esac; set -- \"$@\" \"$arg\"; done\n\
         CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-offline exec {} \"$@\"\n",
        real.display()
    );
    let launch = launch.env("CLAUDEBOX_CLAUDE_BIN", &testbox.script("subscribed", &subscribed));
    let api = start(&testbox, launch.env("CLAUDE_CODE_MAX_RETRIES", "1"));
    let answer = api
        .http
        .post("/run?strict=true")
        .json(&with(prompt("a", "offline:error 429 500"), json!({"createWorkspace": true})));
    let answer = answer.send();
    let problem = answer.problem(429, "run_rate_limited");
    assert_eq!(problem["result"]["outcome"], "rate_limited", "{problem}");
    assert!((400..=500).contains(&answer.retry_after()), "{}", answer.retry_after());
    api.stop();
}
