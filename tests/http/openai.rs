//! The OpenAI door: answers, whole and in pieces, in both protocols.

use serde_json::{Value, json};

use crate::client::{Answering, Ask, Client, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// `POST /chat/completions` with these messages, in a workspace that is made.
pub(crate) fn chat<'http>(http: &'http Client, workspace: &str, messages: Value, more: Value) -> Ask<'http> {
    let mut body = with(json!({"model": "haiku"}), more);
    body["messages"] = messages;
    ask(http, "/openai/v1/chat/completions", workspace, &body)
}

pub(crate) fn ask<'http>(http: &'http Client, path: &str, workspace: &str, body: &Value) -> Ask<'http> {
    let ask = http.post(path).json(body).header("x-claude-workspace", workspace);
    ask.header("x-claude-create-workspace", "1")
}

pub(crate) fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// All chunks of a stream, `[DONE]` checked.
pub(crate) fn chunks(answering: &mut Answering) -> Vec<Value> {
    assert_eq!(answering.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let mut chunks = Vec::new();
    loop {
        let data = answering.data().expect("the stream ends with [DONE]");
        if data == "[DONE]" {
            assert_eq!(answering.data(), None);
            return chunks;
        }
        chunks.push(serde_json::from_str(&data).unwrap());
    }
}

/// The text of chunks.
pub(crate) fn text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

#[test]
fn an_answer_whole_and_in_pieces() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let http = &api.http;

    let answer =
        chat(http, "a", user("offline:echo hello there"), json!({"temperature": 0.5, "tools": [], "foo": 1})).send();
    let whole = answer.json(200);
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["model"], "haiku");
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["content"], "[claudebox offline model] hello there");
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    let run = http.look(answer.header("x-run-id"));
    assert_eq!((&run["door"], &run["workspace"]), (&json!("openai"), &json!(api.workspace("a"))));
    assert_eq!(run["sessionId"], answer.header("x-claude-session"));
    // The CLI's own figures.
    let used = &run["result"]["usage"];
    assert_eq!(whole["usage"]["completion_tokens"], used["outputTokens"]);
    let input =
        ["inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens"].map(|key| used[key].as_u64().unwrap());
    assert!(input[2] > 0, "nothing went through the cache, so nothing is told of it here: {used}");
    assert_eq!(whole["usage"]["prompt_tokens"], input.iter().sum::<u64>());
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cache_write_tokens"], input[2]);

    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut answering = chat(http, "a", user("offline:slow 1"), more).open();
    assert_eq!(answering.status, 200);
    let run = answering.header("x-run-id").unwrap().to_owned();
    let chunks = chunks(&mut answering);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    for chunk in &chunks {
        assert_eq!((&chunk["id"], &chunk["created"]), (&chunks[0]["id"], &chunks[0]["created"]));
        assert_eq!((&chunk["model"], &chunk["object"]), (&json!("haiku"), &json!("chat.completion.chunk")));
    }
    let run = http.look(&run);
    assert_eq!(text(&chunks), run["result"]["result"].as_str().unwrap());
    let (last, rest) = chunks.split_last().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["completion_tokens"]),
        (&json!([]), &run["result"]["usage"]["outputTokens"])
    );
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null()));
    let reasons: Vec<&Value> = rest.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(reasons.iter().filter(|reason| reason.is_null()).count(), rest.len() - 1);
    assert_eq!(reasons.last().unwrap(), &"stop");
    // Word by word, not whole messages.
    assert!(rest.len() > 20, "{} chunks", rest.len());
    api.stop();
}

#[test]
fn a_response_whole_and_in_pieces() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let http = &api.http;
    let body =
        json!({"model": "haiku", "input": "offline:echo hi", "instructions": "be brief", "metadata": {"a": "b"}});
    let whole = ask(http, "/openai/v1/responses", "a", &body).send().json(200);
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("completed")));
    assert_eq!(whole["output"][0]["content"][0]["text"], "[claudebox offline model] hi");
    assert_eq!((&whole["instructions"], &whole["metadata"]), (&json!("be brief"), &json!({"a": "b"})));
    let again = http.get(&format!("/openai/v1/responses/{}", whole["id"].as_str().unwrap())).send().json(200);
    assert_eq!((&again["output"], &again["usage"]), (&whole["output"], &whole["usage"]));

    let body = json!({"model": "haiku", "stream": true, "input": [{"role": "user", "content": [
        {"type": "input_text", "text": "offline:slow 0.5"},
    ]}]});
    let mut answering = ask(http, "/openai/v1/responses", "a", &body).open();
    let events = answering.events();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names[..5],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
        ]
    );
    assert_eq!(
        names[names.len() - 4..],
        ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",]
    );
    for (index, event) in events.iter().enumerate() {
        assert_eq!((&event.data["sequence_number"], &event.data["type"]), (&json!(index), &json!(event.name)));
    }
    let deltas = events.iter().filter(|event| event.name == "response.output_text.delta");
    let text: String = deltas.map(|event| event.data["delta"].as_str().unwrap()).collect();
    let last = &events.last().unwrap().data["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], text);
    assert!(text.contains("Counting slowly"), "{text}");
    api.stop();
}

#[test]
fn images_and_files_reach_the_model() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let url = format!("data:image/png;base64,{PNG}");
    let content = json!([{"role": "user", "content": [
        {"type": "text", "text": "what is on these"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
    ]}]);
    let answer = chat(&api.http, "a", content, json!({})).send();
    let said = answer.json(200)["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.contains("Images received: 2. You said: what is on these"), "{said}");
    // The run says what it had, not the megabytes themselves.
    let run = api.http.look(answer.header("x-run-id"));
    assert_eq!(
        (&run["prompt"], &run["options"]["attachments"][0]["type"]),
        (&json!("what is on these"), &json!("image"))
    );
    assert!(!run.to_string().contains(&PNG[..30]), "{run}");
    let input = json!({"model": "haiku", "input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": url},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,dGhlIHRleHQ="},
        {"type": "input_text", "text": "and now"},
    ]}]});
    let answer = ask(&api.http, "/openai/v1/responses", "a", &input).send().json(200);
    let said = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(said.contains("Images received: 1."), "{said}");
    assert!(said.contains("the text") && said.contains("and now"), "{said}");
    api.stop();
}

#[test]
fn an_answer_in_a_form() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let schema = json!({"type": "object", "properties": {"user_name": {"type": "string"}}, "required": ["user_name"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    let whole = chat(&api.http, "a", user("who"), json!({"response_format": format})).send().json(200);
    let content: Value = serde_json::from_str(whole["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(content["user_name"].is_string(), "{content}");
    let mut answering = chat(&api.http, "a", user("who"), json!({"response_format": format, "stream": true})).open();
    let streamed: Value = serde_json::from_str(&text(&chunks(&mut answering))).unwrap();
    assert_eq!(streamed, content);
    api.stop();
}

#[test]
fn thinking_and_tools_show_as_asked() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let stream = json!({"stream": true});
    let ask = |prompt: &str, progress: &str| {
        chat(&api.http, "a", user(prompt), stream.clone()).header("x-claude-progress", progress).send().text()
    };
    let reasoning = ask("offline:think", "reasoning");
    assert!(reasoning.contains(r#""reasoning_content":"[claudebox offline model] Thinking"#), "{reasoning}");
    assert!(!ask("offline:think", "off").contains("reasoning_content"));
    let tool = ask("offline:tool echo one two", "reasoning");
    assert!(tool.contains(r#""reasoning_content":"\n[Bash: echo one two]\n""#), "{tool}");
    let comments = ask("offline:tool echo one two", "comments");
    assert!(comments.contains("\n: tool Bash: echo one two\n"), "{comments}");
    assert!(comments.contains(r#""content":"answered: ""#), "{comments}");
    api.stop();
}

#[test]
fn models_are_listed() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let list = api.http.get("/openai/v1/models").send().json(200);
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["haiku", "sonnet", "opus", "opusplan", "sonnet[1m]"]);
    for id in ["opus", "claudebox/haiku", "claude-opus-5-5"] {
        let model = api.http.get(&format!("/openai/v1/models/{id}")).send().json(200);
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")));
    }
    let problem = api.http.get("/openai/v1/models/gpt-4o").send().json(404);
    assert_eq!(problem["error"]["code"], "model_not_found");
    api.stop();
}
