//! Limits of size, number, time and money.

use serde_json::json;

use crate::access::{token, with_tokens};
use crate::client::{prompt, with};
use crate::fixture::{start, with_cli, without_cli};
use crate::support::TestBox;

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_MODE_API_MAX_BODY_MB", "1"));
    let megabyte = 1 << 20;
    // Nothing of it is sent, and the answer comes.
    let declared = api.http.post("/run").header("content-length", &(megabyte + 1).to_string()).send();
    let problem = declared.problem(413, "too_large");
    assert_eq!(problem["limitBytes"], megabyte);
    assert!(problem["detail"].as_str().unwrap().contains("CLAUDEBOX_MODE_API_MAX_BODY_MB"), "{problem}");
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", megabyte + 1, "x".repeat(megabyte + 1));
    let streamed = api.http.post("/run").header("transfer-encoding", "chunked").body(chunked).send();
    streamed.problem(413, "too_large");
    // One byte less is read, and refused for what it is.
    let fits = api.http.post("/run").json(&prompt("nowhere", &"x".repeat(megabyte - 100))).send();
    fits.problem(404, "workspace_not_found");
    api.stop();
}

#[test]
fn a_prompt_has_a_limit_of_its_own() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let problem = api.http.asks(prompt("a", &"x".repeat(10_000_001))).send().problem(413, "too_large");
    assert_eq!(problem["field"], "prompt");
    assert!(problem["detail"].as_str().unwrap().contains("10000000"), "{problem}");
    api.stop();
}

#[test]
fn runs_wait_for_their_turn_and_a_full_queue_refuses() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let launch = launch.env("CLAUDEBOX_MAX_RUNS", "1").env("CLAUDEBOX_MAX_QUEUED", "2");
    let mut api = start(&testbox, launch);
    let holder = api.http.begin(prompt("a", "offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    let waiting = ["b", "c"].map(|workspace| api.http.begin(prompt(workspace, "offline:echo late")));
    assert!(waiting.iter().all(|id| api.http.look(id)["state"] == "queued"));
    let full = api.http.asks(prompt("d", "hi")).send();
    assert!(full.problem(429, "queue_full")["detail"].as_str().unwrap().starts_with("2 runs are waiting"));
    assert!(full.retry_after() > 0);
    // Their own workspace is free, and the whole is not.
    assert_eq!(api.http.get("/status").send().json(200)["busyWorkspaces"], json!([api.workspace("a")]));
    api.http.delete(&format!("/runs/{holder}")).send().json(200);
    for id in waiting {
        assert_eq!(api.http.end_of(&id)["state"], "succeeded");
    }
    assert_eq!(api.http.run(prompt("d", "hi"))["status"], "completed");
    api.stop();
}

#[test]
fn a_run_has_a_time_and_a_stream_that_may_not_be_silent() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch.env("CLAUDEBOX_RUN_SILENCE_SECONDS", "4"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let hung = api.http.run(with(prompt("a", "offline:tool exec sleep 1000"), json!({"timeoutSeconds": 2.5})));
            assert_eq!((&hung["outcome"], &hung["status"]), (&json!("hung"), &json!("failed")), "{hung}");
        });
        scope.spawn(|| {
            let silent = api.http.run(prompt("b", "offline:silent"));
            assert_eq!((&silent["outcome"], &silent["status"]), (&json!("hung"), &json!("failed")), "{silent}");
        });
        scope.spawn(|| {
            // A tool that takes its time is not silence.
            assert_eq!(api.http.run(prompt("c", "offline:tool exec sleep 5"))["status"], "completed");
        });
    });
    api.assert_settled();
    api.stop();
}

#[test]
fn money_has_limits_for_a_run_and_for_a_day() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    // A short prompt costs about 0.055, 40,000 letters 0.0375 more.
    let launch = launch.env("CLAUDEBOX_MAX_COST_PER_DAY", "0.15").env("CLAUDEBOX_MAX_COST_PER_RUN", "0.07");
    let mut api = start(&testbox, launch);
    let stopped = api.http.run(with(prompt("a", "hi"), json!({"maxBudgetUsd": 0.0001})));
    assert_eq!((&stopped["outcome"], &stopped["status"]), (&json!("budget"), &json!("failed")), "{stopped}");
    assert_eq!(api.http.run(prompt("b", "hi"))["status"], "completed");
    assert_eq!(api.http.run(prompt("d", &"long".repeat(10_000)))["outcome"], "budget");
    let answer = api.http.asks(prompt("c", "hi")).send();
    let problem = answer.problem(429, "over_budget");
    assert!(problem["detail"].as_str().unwrap().contains("limit of 0.15 USD a day"), "{problem}");
    assert!((1..=86_400).contains(&answer.retry_after()), "{}", answer.retry_after());
    // What was spent is not forgotten by the next server.
    api.kill_serve();
    api.http.asks(prompt("c", "hi")).send().problem(429, "over_budget");
    assert_eq!(api.http.get("/runs").send().json(200)["runs"].as_array().unwrap().len(), 3);
    api.stop();
}

/// Runs that wait have reserved what they may cost: a limit of 1 is not worth thirty runs of 0.5.
#[test]
fn waiting_runs_count_against_the_day_before_they_cost_anything() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, with_tokens(&testbox, launch.env("CLAUDEBOX_MAX_RUNS", "1")));
    let (boss, saver) = (token(&api, "boss"), token(&api, "saver"));
    let holder = boss.begin(prompt("held", "offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    let ask = |workspace: &str| {
        let more = json!({"maxBudgetUsd": 0.5, "async": true});
        saver.asks(with(prompt(workspace, "offline:echo x"), more)).send()
    };
    let waiting = ["a", "b"].map(|workspace| ask(workspace).json(200)["runId"].as_str().unwrap().to_owned());
    for workspace in ["c", "d"] {
        let problem = ask(workspace).problem(429, "over_budget");
        assert!(problem["detail"].as_str().unwrap().contains("1.0000 USD reserved"), "{problem}");
    }
    // The next server knows what those have reserved that wait.
    api.kill_serve();
    assert_eq!(boss.end_of(&holder)["state"], "interrupted");
    for id in &waiting {
        assert_eq!(saver.end_of(id)["state"], "succeeded");
    }
    // They have cost less than they might have.
    assert_eq!(ask("c").json(200)["status"], "running");
    api.stop();
}

/// The CLI states a cost in its result alone. A run that is ended before that has cost something all the same.
#[test]
fn a_run_without_a_result_costs_what_it_had_used() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, with_tokens(&testbox, launch));
    let (boss, frugal) = (token(&api, "boss"), token(&api, "frugal"));
    let whole = boss.run(prompt("a", "offline:tool exec echo x"));
    assert!(whole.get("costEstimated").is_none(), "{whole}");
    let stated = whole["costUsd"].as_f64().unwrap();
    let cancelled = frugal.begin(prompt("b", "offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    frugal.delete(&format!("/runs/{cancelled}")).send().json(200);
    let run = frugal.look(&cancelled);
    let cost = run["costUsd"].as_f64().unwrap();
    // It has heard the prompt and called a tool: the larger part of what the same with an answer costs.
    assert!(run["costEstimated"] == true && (0.3 * stated..1.5 * stated).contains(&cost), "{run} {stated}");
    // It counts: what is left of the day is too little for a prompt.
    assert_eq!(frugal.run(prompt("d", "offline:echo x"))["outcome"], "budget");

    // Neither is a run for nothing whose server was killed.
    let killed = boss.begin(prompt("c", "offline:tool exec sleep 2000"));
    api.until_sleeps("2000");
    api.kill_serve();
    let run = boss.look(&killed);
    let cost = run["costUsd"].as_f64().unwrap();
    assert!(run["costEstimated"] == true && (0.3 * stated..1.5 * stated).contains(&cost), "{run} {stated}");
    // What was charged for the cancelled part is not charged again by the run that goes on with its session.
    let next = boss.run(prompt("c", "offline:echo x"));
    assert!(next.get("costEstimated").is_none() && next["costUsd"].as_f64().unwrap() < 1.5 * stated, "{next} {stated}");
    api.stop();
}

#[test]
fn a_token_has_no_more_runs_than_it_may_and_no_more_than_its_share_of_the_queue() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let launch = launch.env("CLAUDEBOX_MAX_RUNS", "2").env("CLAUDEBOX_MAX_QUEUED", "4");
    let mut api = start(&testbox, with_tokens(&testbox, launch));
    let (boss, bounded) = (token(&api, "boss"), token(&api, "bounded"));
    let holder = bounded.begin(prompt("a", "offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    // There is a free slot, and it is not theirs.
    let second = bounded.begin(prompt("b", "offline:echo late"));
    assert_eq!(bounded.look(&second)["state"], "queued");
    let full = bounded.asks(prompt("c", "hi")).send();
    assert!(full.problem(429, "queue_full")["detail"].as_str().unwrap().contains("1 of your runs"), "{}", full.text());
    assert_eq!(boss.run(prompt("d", "hi"))["status"], "completed");
    // Four places: with two of their own waiting and one free there is none to be had for somebody who has three.
    let other = boss.begin(prompt("e", "offline:tool exec sleep 2000"));
    api.until_sleeps("2000");
    let waiting = ["f", "g"].map(|workspace| boss.begin(prompt(workspace, "offline:echo late")));
    let last = boss.begin(prompt("h", "offline:echo late"));
    boss.asks(prompt("i", "hi")).send().problem(429, "queue_full");
    for id in [&holder, &other] {
        boss.delete(&format!("/runs/{id}")).send().json(200);
    }
    for id in waiting.iter().chain([&second, &last]) {
        assert_eq!(boss.end_of(id)["state"], "succeeded");
    }
    api.stop();
}
