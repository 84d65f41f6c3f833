//! Answers of runs that use sub-agents, background shells and wake-ups: the last result counts, and nothing is left.
//! With the real CLI; skipped without `CLAUDEBOX_TEST_CLI`.

use serde_json::Value;

use crate::real_cli::claude;
use crate::support::{Finished, NOT_PID1, TestBox};

/// What the offline model says when the CLI tells it that `count` pieces of background work have ended.
fn reported(count: usize) -> String {
    format!("Background work that has ended: {count}.")
}

fn run(testbox: &TestBox, prompt: &str, format: &str, background: &str) -> Option<Finished> {
    let launch = claude(testbox, &[prompt, "--output-format", format])?;
    Some(launch.env("CLAUDEBOX_BACKGROUND_SECONDS", background).start().finish().exits(0))
}

fn json(testbox: &TestBox, prompt: &str, background: &str) -> Option<(Value, String)> {
    let finished = run(testbox, prompt, "json-verbose", background)?;
    Some((serde_json::from_str(&finished.out).unwrap(), finished.err))
}

fn text(result: &Value) -> &str {
    result["result"].as_str().unwrap()
}

#[test]
fn the_answer_of_a_run_with_a_sub_agent_is_its_last_in_every_format() {
    let Some(testbox) = TestBox::new() else { return };
    let prompt = "offline:agent offline:tool sleep 1; echo found";
    let Some((result, _)) = json(&testbox, prompt, "10") else { return };
    assert!(text(&result).contains(&reported(1)) && text(&result).contains("found"), "{result}");
    assert!(result["interimResults"][0].as_str().unwrap().contains("The Agent tool answered"), "{result}");
    assert_eq!(result["backgroundEnded"], Value::Null);
    // What the sub-agent said is told apart from what the run said.
    let turns = result["turns"].as_array().unwrap();
    assert!(turns.iter().any(|turn| turn["parentToolUseId"].is_string()), "{result}");
    assert!(turns.last().unwrap()["content"][0]["text"].as_str().unwrap().contains(&reported(1)), "{result}");
    // One turn of the prompt and one of the report, and the usage of both.
    assert_eq!(result["numTurns"], 3);

    let plain = run(&testbox, prompt, "text", "10").unwrap().out;
    assert!(plain.contains(&reported(1)) && !plain.contains("The Agent tool answered"), "{plain}");

    let stream = run(&testbox, prompt, "stream-json", "10").unwrap().out;
    let events: Vec<Value> = stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let results: Vec<&Value> = events.iter().filter(|event| event["type"] == "result").collect();
    assert_eq!(results.len(), 1, "{stream}");
    assert!(text(results[0]).contains(&reported(1)), "{stream}");
    assert_eq!(events.last().unwrap()["type"], "result");
    assert_eq!(events.iter().filter(|event| event["subtype"] == "interim_result").count(), 1);
}

#[test]
fn several_and_nested_sub_agents_are_awaited() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((result, _)) = json(&testbox, "offline:agents 3 offline:tool sleep 1; echo found", "10") else { return };
    assert!(text(&result).contains(&reported(3)), "{result}");
    let nested = "offline:agent offline:agent offline:tool sleep 1; echo deep";
    let (result, _) = json(&testbox, nested, "10").unwrap();
    assert!(text(&result).contains(&reported(1)) && text(&result).contains("deep"), "{result}");
}

#[test]
fn a_background_shell_that_ends_in_time_makes_the_answer() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((result, said)) = json(&testbox, "offline:background sleep 1", "60") else { return };
    assert!(text(&result).contains(&reported(1)), "{result}");
    assert_eq!((&result["backgroundEnded"], &result["leftoverProcesses"]), (&Value::Null, &0.into()));
    assert!(!said.contains("background work"), "{said}");
}

#[test]
fn a_background_shell_that_does_not_end_is_cut_and_named() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((result, said)) = json(&testbox, "offline:background sleep 1234", "1") else { return };
    assert!(text(&result).contains("Bash tool answered"), "{result}");
    let ended = &result["backgroundEnded"][0];
    assert_eq!((&ended["kind"], &ended["command"]), (&"shell".into(), &"sleep 1234".into()));
    assert!(ended["seconds"].as_f64().unwrap() >= 1.0, "{result}");
    assert_eq!(said.lines().filter(|line| line.contains("sleep 1234")).count(), 1, "{said}");
}

#[test]
fn a_wakeup_is_not_waited_for_beyond_the_limit() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((result, _)) = json(&testbox, "offline:wakeup 600 offline:echo woken", "1") else { return };
    let ended = &result["backgroundEnded"][0];
    assert_eq!((&ended["kind"], &ended["command"]), (&"wakeup".into(), &"offline:echo woken".into()));
}

#[test]
fn the_time_limit_holds_while_a_sub_agent_works() {
    let Some(testbox) = TestBox::new() else { return };
    let prompt = "offline:agent offline:tool tail -f /dev/null";
    let Some(launch) = claude(&testbox, &[prompt, "--timeout", "20", "--output-format", "json"]) else { return };
    let mut running = launch.tail(NOT_PID1).start();
    running.until("the sub-agent's tool runs", |all| {
        all.iter().any(|process| process.command() == ["tail", "-f", "/dev/null"])
    });
    let finished = running.finish().exits(124);
    let result: Value = serde_json::from_str(finished.out.lines().next().unwrap()).unwrap();
    assert_eq!((&result["outcome"], &result["result"]), (&"hung".into(), &Value::Null));
    assert!(finished.out.contains("nothing else is left") && !finished.out.contains("left behind"), "{}", finished.out);
}

#[test]
fn a_cancel_ends_a_sub_agent_and_its_tool() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &["offline:agent offline:tool tail -f /dev/null", "--output-format", "json"])
    else {
        return;
    };
    let mut running = launch.start();
    running.until("the sub-agent's tool runs", |all| {
        all.iter().any(|process| process.command() == ["tail", "-f", "/dev/null"])
    });
    running.signal(libc::SIGTERM);
    let result: Value = serde_json::from_str(&running.finish().exits(143).out).unwrap();
    assert_eq!((&result["outcome"], &result["backgroundEnded"][0]["kind"]), (&"killed".into(), &"agent".into()));
}

#[test]
fn structured_output_of_a_run_with_a_sub_agent_follows_its_schema() {
    let Some(testbox) = TestBox::new() else { return };
    let schema = r#"{"type":"object","properties":{"user_name":{"type":"string"}},"required":["user_name"]}"#;
    let prompt = "offline:agent offline:tool sleep 1; echo found";
    let Some(launch) = claude(&testbox, &[prompt, "--json-schema", schema, "--output-format", "json"]) else { return };
    let result: Value = serde_json::from_str(&launch.start().finish().exits(0).out).unwrap();
    assert!(result["structuredOutput"]["user_name"].is_string(), "{result}");
    assert!(!result["interimResults"].is_null(), "{result}");
}
