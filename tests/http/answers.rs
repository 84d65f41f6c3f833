//! The answer of a run with sub-agents through every door of HTTP, and prompts that are text.

use serde_json::{Value, json};

use crate::client::{prompt, with};
use crate::fixture::{start, with_cli};
use crate::mcp_client::Mcp;
use crate::openai::{ask, chat, chunks, text, user};
use crate::support::TestBox;

const AGENT: &str = "offline:agent offline:tool sleep 1; echo found";
/// What the offline model says once the sub-agent has reported.
const LAST: &str = "Background work that has ended: 1.";
/// What it says before.
const INTERIM: &str = "The Agent tool answered";

#[track_caller]
fn is_last(answer: &Value) {
    let answer = answer.as_str().unwrap();
    assert!(answer.contains(LAST) && answer.contains("found") && !answer.contains(INTERIM), "{answer}");
}

#[test]
fn every_door_answers_with_the_last_result_of_a_run_with_a_sub_agent() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let http = &api.http;

    let run = http.run(with(prompt("a", AGENT), json!({"outputFormat": "json-verbose"})));
    is_last(&run["result"]);
    assert!(run["interimResults"][0].as_str().unwrap().contains(INTERIM), "{run}");

    let mut stream = http.asks(with(prompt("a", AGENT), json!({"stream": true}))).open();
    let lines: Vec<Value> = std::iter::from_fn(|| stream.value()).collect();
    let results: Vec<&Value> = lines.iter().filter(|line| line["type"] == "result").collect();
    assert_eq!(results.len(), 1, "{lines:?}");
    is_last(&results[0]["result"]);
    is_last(&lines.last().unwrap()["run"]["result"]["result"]);

    let whole = chat(http, "b", user(AGENT), json!({})).send().json(200);
    is_last(&whole["choices"][0]["message"]["content"]);
    let streamed = text(&chunks(&mut chat(http, "b", user(AGENT), json!({"stream": true})).open()));
    assert!(streamed.find(INTERIM).unwrap() < streamed.find(LAST).unwrap(), "{streamed}");

    let body = json!({"model": "haiku", "input": AGENT});
    let response = ask(http, "/openai/v1/responses", "c", &body).send().json(200);
    let output = response["output"].as_array().unwrap();
    is_last(&output.last().unwrap()["content"][0]["text"]);

    let mcp = Mcp::in_session(http);
    let answer = mcp.works("claude_run", json!({"prompt": AGENT, "workspace": "d", "create_workspace": true}));
    is_last(&answer["result"]);
    api.stop();
}

#[test]
fn a_run_that_is_cancelled_while_a_sub_agent_works_has_no_answer_and_leaves_nothing() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let id = api.http.begin(prompt("a", "offline:agent offline:tool tail -f /dev/null"));
    api.until("the sub-agent's tool runs", |all| {
        all.iter().any(|process| process.command() == ["tail", "-f", "/dev/null"])
    });
    api.http.delete(&format!("/runs/{id}")).send().json(200);
    let end = api.http.end_of(&id);
    assert_eq!((&end["state"], &end["result"]["result"]), (&json!("cancelled"), &Value::Null), "{end}");
    assert_eq!(end["result"]["backgroundEnded"][0]["kind"], "agent");
    api.assert_settled();
    api.stop();
}

#[test]
fn prompts_of_clients_are_text() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let first = api.http.run(prompt("a", "offline:echo x"));
    for text in ["/clear", "/compact now", "@secret.txt"] {
        let run = api.http.run(prompt("a", text));
        assert!(run["result"].as_str().unwrap().ends_with(&format!("You said: {text}")), "{run}");
        assert_eq!(run["sessionId"], first["sessionId"]);
    }
    let whole = chat(&api.http, "b", user("/clear"), json!({})).send().json(200);
    assert!(whole["choices"][0]["message"]["content"].as_str().unwrap().ends_with("You said: /clear"), "{whole}");
    api.stop();
}

/// docker-claudebox 2 calls it so.
#[test]
fn every_event_of_a_run_can_be_in_its_result() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let run = api.http.run(with(prompt("a", "offline:slow 0.3"), json!({"eventMode": "full"})));
    let events = run["events"].as_array().unwrap();
    for (number, event) in (1_usize..).zip(events) {
        assert_eq!((&event["sequence"], &event["backend"]), (&json!(number), &json!("claude")));
        assert_eq!(event["eventType"], event["event"]["type"]);
    }
    let pieces = events.iter().filter(|event| event["eventType"] == "stream_event").count();
    assert!(pieces > 3 && events.last().unwrap()["event"]["result"] == run["result"], "{run}");
    let id = run["runId"].as_str().unwrap();
    let again = api.http.get(&format!("/run/result?runId={id}")).send().json(200);
    assert_eq!(again["events"], run["events"]);
    let none = api.http.run(with(prompt("a", "hi"), json!({"eventMode": "none", "outputFormat": "json-verbose"})));
    assert_eq!((&none["events"], &none["turns"]), (&Value::Null, &Value::Null));
    api.stop();
}
