//! The OpenAI door: what real clients send and expect that a bare model does not need.

use serde_json::{Value, json};

use crate::client::{Answer, with};
use crate::fixture::{start, with_cli, without_cli};
use crate::openai::{ask, chat, chunks, text, user};
use crate::support::TestBox;

const RESPONSES: &str = "/openai/v1/responses";

fn content(answer: &Answer) -> String {
    answer.json(200)["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn output(answer: &Answer) -> String {
    answer.json(200)["output"][0]["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn every_id_that_was_handed_out_is_known() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let respond = |input: Value| ask(&api.http, RESPONSES, "a", &json!({"model": "haiku", "input": input})).send();
    let first = respond(json!("offline:echo one")).json(200);
    let message = &first["output"][0]["id"];
    for reference in [json!({"type": "item_reference", "id": message}), json!({"id": message})] {
        let input = json!([
            {"role": "user", "content": "one"}, reference, {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"role": "user", "content": "offline:echo two"},
        ]);
        assert_eq!(output(&respond(input)), "[claudebox offline model] two");
    }
    for unknown in ["msg_0192d0ea000070008000000000000000", "msg_x", "rs_1"] {
        let answer = respond(json!([{"type": "item_reference", "id": unknown}, {"role": "user", "content": "x"}]));
        let error = &answer.json(404)["error"];
        assert_eq!((&error["code"], &error["param"]), (&json!("item_not_found"), &json!("input[0].id")));
    }
    // What was not to be stored is known to nobody.
    let body = json!({"model": "haiku", "input": "offline:echo x", "store": false});
    let unstored = ask(&api.http, RESPONSES, "a", &body).send().json(200);
    let id = unstored["id"].as_str().unwrap();
    assert_eq!(api.http.get(&format!("{RESPONSES}/{id}")).send().json(404)["error"]["code"], "response_not_found");
    respond(json!([{"id": unstored["output"][0]["id"]}, {"role": "user", "content": "x"}])).json(404);
    // Nor is a chat completion a response.
    let chatted = chat(&api.http, "a", user("offline:echo y"), json!({})).send();
    let id = chatted.header("x-run-id").replace('-', "");
    api.http.get(&format!("{RESPONSES}/resp_{id}")).send().json(404);
    api.stop();
}

#[test]
fn a_stored_response_is_read_and_streamed_as_it_was() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let body =
        json!({"model": "haiku", "input": "offline:echo one", "instructions": "be brief", "metadata": {"k": "v"}});
    let first = ask(&api.http, RESPONSES, "a", &body).send().json(200);
    let path = format!("{RESPONSES}/{}", first["id"].as_str().unwrap());
    let again = api.http.get(&path).send().json(200);
    for key in ["id", "output", "instructions", "metadata", "usage", "status"] {
        assert_eq!(again[key], first[key], "{key}");
    }
    let mut streaming = api.http.get(&format!("{path}?stream=true")).open();
    let events = streaming.events();
    assert_eq!(events.first().unwrap().name, "response.created");
    assert_eq!(events.last().unwrap().data["response"]["output"], first["output"]);
    assert!(events.iter().any(|event| event.data["delta"] == "[claudebox offline model] one"));
    api.stop();
}

#[test]
fn the_last_word_need_not_be_the_users() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let told = |messages: Value| content(&chat(&api.http, "a", messages, json!({})).send());
    assert_eq!(told(json!([{"role": "system", "content": "offline:echo alone"}])), "[claudebox offline model] alone");
    let nudged = json!([
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "system", "content": "offline:echo on"},
    ]);
    assert_eq!(told(nudged), "[claudebox offline model] on");
    let cut = told(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "The sun"}]));
    assert!(cut.contains("Go on with your last message"), "{cut}");
    for input in [json!(null), json!([]), json!("")] {
        let body = json!({"model": "haiku", "instructions": "offline:echo told", "input": input});
        assert_eq!(output(&ask(&api.http, RESPONSES, "a", &body).send()), "[claudebox offline model] told");
    }
    let named = json!([{"role": "user", "name": "alice", "content": "red"}, {"role": "user", "name": "bob", "content": "blue"}]);
    let said = told(named);
    assert!(said.contains("alice: red") && said.contains("bob: blue"), "{said}");
    api.stop();
}

#[test]
fn other_names_of_models_are_the_owners_word() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch.env("CLAUDEBOX_OPENAI_MODELS", "gpt-4o=haiku, *=default"));
    let listed = api.http.get("/openai/v1/models").send().json(200).to_string();
    assert!(listed.contains("\"gpt-4o\"") && !listed.contains("\"*\""), "{listed}");
    let answer = chat(&api.http, "a", user("offline:echo x"), json!({"model": "gpt-4o"})).send();
    assert_eq!(answer.json(200)["model"], "gpt-4o");
    assert_eq!(api.http.look(answer.header("x-run-id"))["options"]["model"], "haiku");
    let answer = chat(&api.http, "a", user("offline:echo x"), json!({"model": "o3"})).send();
    answer.json(200);
    assert_eq!(api.http.look(answer.header("x-run-id"))["options"]["model"], json!(null));
    api.stop();
}

#[test]
fn a_name_that_is_no_model_starts_nothing() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let error = chat(&api.http, "a", user("x"), json!({"model": "gpt-4o"})).send().json(404)["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("haiku") && said.contains("CLAUDEBOX_OPENAI_MODELS"), "{said}");
    assert_eq!(api.http.get("/runs").send().json(200)["runs"], json!([]));
    // Slashes too many are a client's way to put addresses together.
    for path in ["/openai/v1/models/", "/openai/v1//models", "//openai/v1/models"] {
        assert_eq!(api.http.get(path).send().json(200)["object"], "list", "{path}");
    }
    api.stop();
}

#[test]
fn requests_wait_for_each_other_up_to_a_bound() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let held = chat(&api.http, "a", user("offline:tool exec sleep 1000"), json!({})).leave();
    api.until_sleeps("1000");
    let waiting: Vec<_> = (0..16)
        .map(|number| chat(&api.http, "a", user(&format!("offline:echo {number}")), json!({})).leave())
        .collect();
    let http = api.http.clone();
    api.until("all wait", |_| http.get("/status").send().json(200)["queued"] == 16);
    let full = chat(&api.http, "a", user("x"), json!({})).send();
    assert_eq!(full.json(429)["error"]["code"], "queue_full");
    assert!(full.retry_after() > 0);
    // Another workspace is another queue; and the HTTP door refuses as ever.
    assert_eq!(content(&chat(&api.http, "b", user("offline:echo b"), json!({})).send()), "[claudebox offline model] b");
    api.http.post("/run").json(&json!({"prompt": "x", "workspace": "a"})).send().problem(409, "workspace_busy");
    drop(held);
    for (number, mut waiting) in waiting.into_iter().enumerate() {
        assert_eq!(content(&waiting.head().rest()), format!("[claudebox offline model] {number}"));
    }
    api.stop();
}

#[test]
fn a_key_is_one_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let asks = |text: &str, more: Value| {
        let ask = chat(&api.http, "a", user(text), more).header("x-claude-continue", "1");
        ask.header("idempotency-key", "k1").send()
    };
    let first = asks("offline:echo one", json!({}));
    // The workspace's last session is another one since.
    chat(&api.http, "a", user("offline:echo else"), json!({})).send().json(200);
    let again = asks("offline:echo one", json!({}));
    assert_eq!((again.header("x-run-id"), content(&again)), (first.header("x-run-id"), content(&first)));
    let other = asks("offline:echo two", json!({}));
    assert_eq!(other.json(400)["error"]["code"], "key_reused");
    api.stop();
}

#[test]
fn what_a_cut_attempt_said_is_no_part_of_the_answer() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let go_on = |messages: Value, more: Value| chat(&api.http, "a", messages, more).header("x-claude-continue", "1");
    let mut answering = go_on(user("offline:cut-once"), json!({"stream": true})).open();
    let run = answering.header("x-run-id").unwrap().to_owned();
    let chunks = chunks(&mut answering);
    let run = api.http.look(&run);
    let whole = run["result"]["result"].as_str().unwrap();
    // What was sent cannot be taken back: the answer begins again in a paragraph of its own, and is whole.
    assert!(text(&chunks).ends_with(&format!("\n\n{whole}")), "{}", text(&chunks));
    // What is remembered is the answer alone.
    let next = json!([
        {"role": "user", "content": "offline:cut-once"}, {"role": "assistant", "content": whole},
        {"role": "user", "content": "offline:echo two"},
    ]);
    let next = go_on(next, json!({})).send();
    assert_eq!(
        (content(&next).as_str(), next.header("x-claude-session")),
        ("[claudebox offline model] two", run["sessionId"].as_str().unwrap())
    );
    let body = json!({"model": "haiku", "input": "offline:cut-once", "stream": true});
    let mut answering = ask(&api.http, RESPONSES, "a", &body).open();
    let events = answering.events();
    let last = &events.last().unwrap().data["response"];
    let said = last["output"][0]["content"][0]["text"].as_str().unwrap();
    assert_eq!(said.matches("[claudebox offline model]").count(), 1, "{said}");
    api.stop();
}

#[test]
fn a_stop_ends_the_answer_and_its_cost_is_told() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let stop = json!({"stop": ["END", "|"]});
    let whole = chat(&api.http, "a", user("offline:echo one END two"), stop.clone()).send();
    assert_eq!(content(&whole), "[claudebox offline model] one ");
    let body = whole.json(200);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let cost = body["usage"]["cost"].as_f64().unwrap();
    assert!(cost > 0.0 && body["claudebox"]["cost_usd"] == body["usage"]["cost"], "{body}");
    assert!((whole.header("x-litellm-response-cost").parse::<f64>().unwrap() - cost).abs() < 1e-12);
    let more = with(stop, json!({"stream": true, "stream_options": {"include_usage": true}}));
    let mut answering = chat(&api.http, "a", user("offline:echo one END two"), more).open();
    let chunks = chunks(&mut answering);
    assert_eq!(text(&chunks), "[claudebox offline model] one ");
    assert!(chunks.last().unwrap()["usage"]["cost"].as_f64().unwrap() > 0.0);
    api.stop();
}

fn weather() -> Value {
    json!({"name": "weather", "description": "What the weather is", "parameters": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false,
    }})
}

#[test]
fn a_forced_call_is_answered_as_one() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let city =
        |arguments: &Value| serde_json::from_str::<Value>(arguments.as_str().unwrap()).unwrap()["city"].is_string();
    let tools = json!([{"type": "function", "function": weather()}]);
    let more = json!({"tools": tools, "tool_choice": "required"});
    let whole = chat(&api.http, "a", user("Paris?"), more.clone()).send().json(200);
    let choice = &whole["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &json!(null)));
    let call = &choice["message"]["tool_calls"][0];
    assert!(call["function"]["name"] == "weather" && city(&call["function"]["arguments"]), "{whole}");
    let mut answering = chat(&api.http, "a", user("Paris?"), with(more, json!({"stream": true}))).open();
    let chunks = chunks(&mut answering);
    let calls: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
        .filter(|call| call.is_object())
        .collect();
    assert!(calls.len() == 1 && city(&calls[0]["function"]["arguments"]) && text(&chunks).is_empty(), "{chunks:?}");
    // As it was told before there were tools.
    let older = json!({"functions": [weather()], "function_call": {"name": "weather"}});
    let whole = chat(&api.http, "a", user("Paris?"), older).send().json(200);
    assert!(city(&whole["choices"][0]["message"]["function_call"]["arguments"]), "{whole}");
    assert_eq!(whole["choices"][0]["finish_reason"], "function_call");

    let mut flat = weather();
    flat["type"] = "function".into();
    let body = json!({"model": "haiku", "input": "Paris?", "tools": [flat], "tool_choice": {"type": "function", "name": "weather"}});
    let whole = ask(&api.http, RESPONSES, "a", &body).send().json(200);
    let item = &whole["output"][0];
    assert!(item["type"] == "function_call" && item["name"] == "weather" && city(&item["arguments"]), "{whole}");
    let again = api.http.get(&format!("{RESPONSES}/{}", whole["id"].as_str().unwrap())).send().json(200);
    assert_eq!(again["output"], whole["output"]);
    let events = ask(&api.http, RESPONSES, "a", &with(body, json!({"stream": true}))).open().events();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names[2..],
        [
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    // The id of the call stands for it in the next request.
    let next = json!([
        {"role": "user", "content": "Paris?"}, {"type": "item_reference", "id": item["id"]},
        {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"},
    ]);
    let next = ask(&api.http, RESPONSES, "a", &json!({"model": "haiku", "input": next})).send();
    assert!(output(&next).contains("sunny"), "{}", output(&next));
    // Tools that are not called are no secret.
    let ignored = chat(&api.http, "a", user("offline:echo x"), json!({"tools": tools})).send().json(200);
    assert_eq!(ignored["claudebox"]["ignored"], json!(["tools"]));
    api.stop();
}
