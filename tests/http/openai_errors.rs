//! The OpenAI door: every error in its shape, and what becomes of runs that nobody waits for.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::fixture::{start, with_cli, without_cli};
use crate::openai::{ask, chat, chunks, text, user};
use crate::support::TestBox;

/// Checks that an answer is an error of this status and code in OpenAI's shape; the error.
#[track_caller]
fn error(answer: &Answer, status: u16, code: &str) -> Value {
    let error = answer.json(status)["error"].clone();
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    assert!(error["type"].is_string() && error.get("param").is_some(), "{error}");
    error
}

#[test]
fn bad_input_is_named() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let http = &api.http;
    let post =
        |body: &str| http.post("/openai/v1/chat/completions").header("content-type", "application/json").body(body);
    error(&post("{").send(), 400, "malformed_json");
    error(&post("[]").send(), 400, "invalid_field");
    assert_eq!(error(&post(r#"{"model":"haiku"}"#).send(), 400, "invalid_field")["param"], "messages");
    let cases = [
        (json!([]), json!({}), "messages"),
        (json!([{"role": "user", "content": " "}]), json!({}), "messages"),
        (json!([{"role": "robot", "content": "x"}]), json!({}), "messages[0].role"),
        (json!([{"role": "user", "content": [{"type": "input_audio"}]}]), json!({}), "messages[0].content[0].type"),
        (user("x"), json!({"n": 2}), "n"),
        (user("x"), json!({"reasoning_effort": "huge"}), "reasoning_effort"),
        (user("x"), json!({"response_format": {"type": "xml"}}), "response_format.type"),
        (user("x"), json!({"tool_choice": "required"}), "tool_choice"),
        (user("x"), json!({"function_call": {"name": "f"}}), "function_call"),
        (user("x"), json!({"stop": 5}), "stop"),
        (
            user("x"),
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}}),
            "response_format.json_schema.schema",
        ),
        (user("x"), json!({"stream": "yes"}), "stream"),
    ];
    for (messages, more, param) in cases {
        let error = error(&chat(http, "a", messages, more).send(), 400, "invalid_field");
        assert_eq!(error["param"], param, "{error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let image =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]);
    let refused = error(&chat(http, "a", image, json!({})).send(), 400, "invalid_field");
    assert_eq!(refused["param"], "messages[0].content[0].image_url");
    assert!(refused["message"].as_str().unwrap().contains("127.0.0.1 is loopback"), "{refused}");
    let missing = http
        .post("/openai/v1/chat/completions")
        .json(&json!({"messages": user("x")}))
        .header("x-claude-workspace", "no");
    let missing = error(&missing.send(), 404, "workspace_not_found");
    assert!(missing["message"].as_str().unwrap().contains("X-Claude-Create-Workspace"), "{missing}");
    error(&chat(http, "../x", user("x"), json!({})).send(), 403, "path_outside");
    let header = chat(http, "a", user("x"), json!({})).header("x-claude-continue", "perhaps");
    assert_eq!(error(&header.send(), 400, "invalid_header")["param"], "X-Claude-Continue");
    let large = json!({"messages": user(&"x".repeat(17 << 20))});
    error(&ask(http, "/openai/v1/chat/completions", "a", &large).send(), 413, "too_large");
    error(&http.get("/openai/v1/nothing").send(), 404, "not_found");
    error(&http.get("/openai/v1/chat/completions").send(), 405, "method_not_allowed");
    let foreign = http.get("/openai/v1/models").header("origin", "https://evil.example").send();
    assert_eq!(foreign.status, 403);
    assert_eq!(foreign.json(403)["error"]["type"], "permission_error");
    for body in [
        json!({}),
        json!({"input": 5}),
        json!({"input": "x", "background": true}),
        json!({"input": "x", "previous_response_id": "resp_x"}),
    ] {
        let answer = ask(http, "/openai/v1/responses", "a", &body).send();
        assert!([404, 400].contains(&answer.status), "{body}: {}", answer.text());
        assert!(answer.json(answer.status)["error"]["param"].is_string());
    }
    // Only this door has this shape.
    http.get("/run/result?runId=x").send().problem(404, "run_not_found");
    api.stop();
}

#[test]
fn a_token_is_asked_for_before_the_body() {
    let Some(testbox) = TestBox::new() else { return };
    let tokens = testbox.path("tokens.yml");
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    std::fs::write(&tokens, format!("- {{name: files, sha256: {digest}, doors: [http]}}\n")).unwrap();
    let launch = without_cli(&testbox).env("CLAUDEBOX_MODE_API_TOKEN", "good");
    let api = start(&testbox, launch.env("CLAUDEBOX_MODE_API_TOKENS_FILE", tokens.to_str().unwrap()));
    let ask = || api.http.post("/openai/v1/chat/completions").header("content-length", "1000000000");
    let none = error(&ask().send(), 401, "unauthorized");
    assert_eq!(none["type"], "authentication_error");
    error(&ask().header("authorization", "Bearer bad").send(), 401, "unauthorized");
    error(&ask().header("authorization", "Bearer test").send(), 403, "door_not_allowed");
    error(&ask().header("authorization", "Bearer good").send(), 413, "too_large");
    assert_eq!(api.http.with_token("good").get("/openai/v1/models").send().status, 200);
    api.stop();
}

#[test]
fn a_run_without_an_answer_is_an_error() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch.env("CLAUDEBOX_RUN_SILENCE_SECONDS", "5").env("CLAUDE_CODE_MAX_RETRIES", "1"));
    let cases = [
        ("haiku", "offline:error 401", 403, "run_auth", true),
        ("haiku", "offline:error 500", 400, "run_failed", true),
        ("haiku", "offline:error 529", 503, "run_overloaded", false),
        ("haiku", "offline:error 400", 400, "model_refused", false),
        ("us.anthropic.claude-no-such", "hello", 404, "model_not_found", false),
        ("haiku", "offline:silent 60", 400, "run_hung", true),
        ("haiku", "offline:error 429 90", 429, "run_rate_limited", false),
    ];
    for (index, (model, prompt, status, code, final_word)) in cases.into_iter().enumerate() {
        for stream in [false, true] {
            let workspace = format!("w{index}");
            let body = json!({"model": model, "messages": user(prompt), "stream": stream});
            let answer = ask(&api.http, "/openai/v1/chat/completions", &workspace, &body).send();
            // Also of a stream: it has said nothing yet.
            let error = error(&answer, status, code);
            assert!(error["runId"].is_string(), "{error}");
            if final_word {
                assert_eq!(answer.header("x-should-retry"), "false");
            }
            // What clients ask again at by themselves, whatever the headers say.
            let again = [408, 409, 429].contains(&answer.status) || answer.status >= 500;
            assert_eq!(again, ["run_rate_limited", "run_overloaded"].contains(&code), "{error}");
            if again {
                assert!(answer.retry_after() > 0 && !answer.has("x-should-retry"));
            }
            if status == 429 {
                assert!((30..=90).contains(&answer.retry_after()), "{}", answer.retry_after());
            }
        }
    }
    // Which has begun: the error comes in the stream.
    let mut answering = chat(&api.http, "cut", user("offline:cut"), json!({"stream": true})).open();
    let chunks = chunks(&mut answering);
    assert!(text(&chunks).starts_with("[claudebox offline model] The connection"), "{chunks:?}");
    let last = &chunks.last().unwrap()["error"];
    assert!(last["message"].is_string() && last["code"].is_string(), "{last}");
    api.assert_settled();
    api.stop();
}

#[test]
fn a_busy_workspace_says_so_or_is_waited_for() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let held = chat(&api.http, "a", user("offline:tool exec sleep 1000"), json!({})).leave();
    api.until_sleeps("1000");
    let refused = chat(&api.http, "a", user("hi"), json!({})).header("x-claude-busy", "reject").send();
    let busy = error(&refused, 409, "workspace_busy");
    assert!(busy["message"].as_str().unwrap().contains("X-Claude-Busy"), "{busy}");
    let next = chat(&api.http, "a", user("offline:echo next"), json!({})).header("x-claude-busy", "replace").send();
    assert_eq!(next.json(200)["choices"][0]["message"]["content"], "[claudebox offline model] next");
    let mut held = held;
    let answer = held.head().rest();
    error(&answer, 400, "run_cancelled");
    api.assert_settled();
    api.stop();
}

#[test]
fn a_client_that_goes_away_ends_its_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    for stream in [false, true] {
        let waiting = chat(&api.http, "a", user("offline:tool exec sleep 1000"), json!({"stream": stream})).leave();
        api.until_sleeps("1000");
        drop(waiting);
        let http = api.http.clone();
        api.until("its run is cancelled", |_| {
            let runs = http.get("/runs?limit=1").send().json(200);
            runs["runs"][0]["state"] == "cancelled"
        });
        api.assert_settled();
    }
    // In the middle of a stream.
    let mut answering = chat(&api.http, "a", user("offline:slow 1000"), json!({"stream": true})).open();
    assert!(answering.data().is_some());
    drop(answering);
    let http = api.http.clone();
    api.until("its run is cancelled", |_| {
        http.get("/runs?limit=1").send().json(200)["runs"][0]["state"] == "cancelled"
    });
    api.assert_settled();
    api.stop();
}
