//! `POST /run`: what is asked, and the result.

use serde_json::{Value, json};

use crate::client::{prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

#[test]
fn a_result_is_the_clis_envelope_with_what_is_ours() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let answer = api.http.asks(prompt("a", "offline:echo hi")).send();
    let result = answer.json(200);
    let id = result["runId"].as_str().unwrap();
    assert_eq!((answer.header("x-run-id"), answer.header("location")), (id, format!("/runs/{id}").as_str()));
    let expected = json!({
        "type": "result", "subtype": "success", "isError": false, "result": "[claudebox offline model] hi",
        "workspace": api.workspace("a"), "outcome": "ok", "status": "completed", "state": "succeeded",
        "leftoverProcesses": 0, "numTurns": 1,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&result[field], value, "{field}: {result}");
    }
    let keys = result.as_object().unwrap().keys().chain(result["usage"].as_object().unwrap().keys());
    assert!(keys.clone().any(|key| key == "outputTokens") && !keys.clone().any(|key| key.contains('_')), "{result}");
    assert!(result["totalCostUsd"].as_f64().unwrap() > 0.0 && result["durationMs"].is_u64(), "{result}");
    // The root of all workspaces is one as well.
    let root = api.http.post("/run").json(&json!({"prompt": "offline:tool pwd"})).send().json(200);
    assert_eq!(root["workspace"], testbox.path("workspaces").to_str().unwrap());
    assert!(root["result"].as_str().unwrap().contains(testbox.path("workspaces").to_str().unwrap()), "{root}");
    api.http.post("/run").json(&prompt("missing", "hi")).send().problem(404, "workspace_not_found");
    api.assert_settled();
    api.stop();
}

/// The arguments of the CLI, as its tool sees them.
const ARGUMENTS: &str = r"offline:tool tr '\0' '|' </proc/$PPID/cmdline";

#[test]
fn every_field_reaches_the_cli_in_both_spellings() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let camel = json!({
        "model": "haiku", "systemPrompt": "you are S1", "appendSystemPrompt": "and A1", "effort": "high",
        "outputFormat": "json-verbose", "noContinue": true, "maxTurns": 7, "maxBudgetUsd": 1.5,
    });
    let snake = json!({
        "model": "haiku", "system_prompt": "you are S1", "append_system_prompt": "and A1", "effort": "high",
        "output_format": "json-verbose", "no_continue": true, "max_turns": 7, "max_budget_usd": 1.5,
    });
    for fields in [camel, snake] {
        let result = api.http.run(with(prompt("a", ARGUMENTS), fields));
        let turns = result["turns"].as_array().unwrap();
        let said = turns.iter().find(|turn| turn["role"] == "tool_result").unwrap().to_string();
        let wanted = [
            "|--model|haiku|",
            "|--system-prompt|you are S1|",
            "|--append-system-prompt|and A1|",
            "|--effort|high|",
            "|--max-turns|7|",
            "|--max-budget-usd|1.5|",
        ];
        for argument in wanted {
            assert!(said.contains(argument), "{argument}: {said}");
        }
        assert!(!said.contains("offline:tool") && !said.contains("|--resume|"), "{said}");
        assert!(result["modelUsage"].as_object().unwrap().keys().any(|name| name.contains("haiku")), "{result}");
        let run = api.http.look(result["runId"].as_str().unwrap());
        assert_eq!((&run["options"]["model"], &run["prompt"]), (&json!("haiku"), &json!(ARGUMENTS)));
    }
    api.stop();
}

#[test]
fn structured_output_keeps_the_users_own_keys() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let schema = json!({
        "type": "object", "required": ["user_name", "Some_List"],
        "properties": {
            "user_name": {"type": "string"},
            "Some_List": {"type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["in_ner"], "properties": {"in_ner": {"type": "integer"}},
            }},
        },
    });
    for schema in [schema.clone(), Value::from(schema.to_string())] {
        let result = api.http.run(with(prompt("a", "who?"), json!({"jsonSchema": schema})));
        let output = &result["structuredOutput"];
        assert!(output["user_name"].is_string() && output["Some_List"][0]["in_ner"].is_i64(), "{result}");
    }
    let missed = api.http.run(with(prompt("a", "offline:no-schema"), json!({"json_schema": schema})));
    assert_eq!((&missed["outcome"], &missed["isError"]), (&json!("schema_missed"), &json!(true)), "{missed}");
    assert_eq!(missed["status"], "failed");
    api.stop();
}

/// The conversation with the model: thinking, a cut connection, a tool in the background whose process outlives the CLI.
#[test]
fn what_the_model_does_ends_in_a_result() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    std::thread::scope(|scope| {
        let asks = |workspace: &'static str, text: &'static str| {
            let http = &api.http;
            scope.spawn(move || http.run(prompt(workspace, text)))
        };
        let think = asks("think", "offline:think");
        let cut = asks("cut", "offline:cut-once");
        let help = asks("help", "offline:help");
        let left = asks("left", "offline:tool setsid nohup sleep 1000 >/dev/null 2>&1 & echo started");
        assert!(think.join().unwrap()["result"].as_str().unwrap().contains("Nothing came of it"));
        assert!(cut.join().unwrap()["result"].as_str().unwrap().contains("whole this time"));
        assert!(help.join().unwrap()["result"].as_str().unwrap().contains("offline:cut-once"));
        let left = left.join().unwrap();
        assert_eq!((&left["outcome"], &left["leftoverProcesses"]), (&json!("ok"), &json!(1)), "{left}");
    });
    api.assert_settled();
    let long = "x".repeat(2_000_000);
    assert!(api.http.run(prompt("long", &long))["result"].as_str().unwrap().contains("(2000000 characters)"));
    api.stop();
}

#[test]
fn a_system_prompt_that_no_argument_holds_reaches_the_cli() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let long = "\u{fc}".repeat(100_000);
    let fields = json!({"systemPrompt": long, "appendSystemPrompt": long, "outputFormat": "json-verbose"});
    let result = api.http.run(with(prompt("a", ARGUMENTS), fields));
    assert_eq!(result["outcome"], "ok", "{result}");
    let turns = result["turns"].as_array().unwrap();
    let said = turns.iter().find(|turn| turn["role"] == "tool_result").unwrap().to_string();
    assert!(said.contains("|--system-prompt-file|") && said.contains("|--append-system-prompt-file|"), "{said}");
    api.stop();
}
