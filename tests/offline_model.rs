//! `claudebox offline-model` from outside: raw HTTP, and the real CLI.
//!
//! The tests with the real CLI run it from the path in `CLAUDEBOX_TEST_CLI`, and are skipped without it. They refuse
//! to run where there is a route out: the CLI may reach nothing but loopback. So:
//! `unshare --net sh -c 'ip link set lo up; CLAUDEBOX_TEST_CLI=... cargo test --test offline_model'`

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

mod offline {
    pub(crate) mod cli;
    pub(crate) mod server;
}

use std::io::{BufRead as _, BufReader, Read as _};

use nix::sys::signal::Signal;
use offline::cli::{Cli, assistant_texts, kinds, result};
use offline::server::{DEADLINE, Server, json_body, messages, one_message};
use rstest::rstest;
use serde_json::{Value, json};

const LABEL: &str = "[claudebox offline model]";

#[rstest]
#[case("GET", "/health", "200 OK")]
#[case("GET", "/api/hello", "200 OK")]
#[case("HEAD", "/api/hello", "200 OK")]
#[case("GET", "/v1/messages", "404 Not Found")]
#[case("POST", "/v1/models", "404 Not Found")]
fn routes(#[case] method: &str, #[case] path: &str, #[case] status: &str) {
    let answer = Server::start().exchange(method, path, "");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
}

#[test]
fn an_unknown_path_gets_the_apis_error_shape() {
    let answer = Server::start().exchange("GET", "/nowhere", "");
    let error = json_body(&answer);
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], "not_found_error");
    assert!(error["error"]["message"].as_str().unwrap().starts_with(LABEL));
}

#[rstest]
#[case("{", "is not JSON")]
#[case("{}", "messages: a list")]
fn a_malformed_request_is_a_labelled_400(#[case] body: &str, #[case] words: &str) {
    let answer = Server::start().exchange("POST", "/v1/messages?beta=true", body);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let message = json_body(&answer)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(LABEL) && message.contains(words), "{message}");
}

#[test]
fn a_message_comes_whole_or_as_a_stream() {
    let server = Server::start();
    let whole = json_body(&server.exchange("POST", "/v1/messages", &messages("hello", false)));
    let text = whole["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with(LABEL) && text.ends_with("You said: hello"), "{text}");
    let stream = server.exchange("POST", "/v1/messages?beta=true", &messages("hello", true));
    assert!(stream.contains("content-type: text/event-stream"), "{stream}");
    assert!(stream.contains("event: message_stop\n"), "{stream}");
    assert!(stream.ends_with("0\r\n\r\n"), "{stream}");
}

#[test]
fn tokens_are_counted() {
    let body = one_message(&"word".repeat(100), false);
    let count = json_body(&Server::start().exchange("POST", "/v1/messages/count_tokens", &body.to_string()));
    assert!(count["input_tokens"].as_u64().unwrap() >= 100, "{count}");
}

#[test]
fn twelve_megabytes_are_taken_and_counted() {
    let prompt = "x".repeat(12_000_000);
    let answer = Server::start().exchange("POST", "/v1/messages", &messages(&prompt, false));
    assert!(answer.len() < 2000);
    assert!(answer.contains("(12000000 characters)"), "{answer}");
}

#[rstest]
#[case("400", "invalid_request_error")]
#[case("401", "authentication_error")]
#[case("403", "permission_error")]
#[case("429", "rate_limit_error")]
#[case("500", "api_error")]
#[case("529", "overloaded_error")]
fn an_error_is_the_one_asked_for(#[case] status: &str, #[case] kind: &str) {
    let prompt = format!("offline:error {status}");
    let answer = Server::start().exchange("POST", "/v1/messages", &messages(&prompt, true));
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert_eq!(json_body(&answer)["error"]["type"], kind);
    for header in ["retry-after: 1\r\n", "anthropic-ratelimit-unified-reset: "] {
        assert_eq!(answer.contains(header), status == "429", "{answer}");
    }
}

#[rstest]
#[case(true)]
#[case(false)]
fn a_cut_answer_has_no_end(#[case] stream: bool) {
    let server = Server::start();
    for _ in 0..2 {
        let answer = server.exchange("POST", "/v1/messages", &messages("offline:cut", stream));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("msg_offline_"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}

#[test]
fn cut_once_cuts_the_first_time_in_each_conversation() {
    let server = Server::start();
    for session in ["one", "two"] {
        for cut in [true, false, false] {
            let header = format!("x-claude-code-session-id: {session}\r\n");
            let body = messages("offline:cut-once", true);
            let answer = server.exchange_with("POST", "/v1/messages", &header, &body);
            assert_eq!(!answer.ends_with("0\r\n\r\n"), cut, "{session}: {answer}");
        }
    }
}

#[rstest]
#[case(Signal::SIGTERM)]
#[case(Signal::SIGINT)]
fn a_signal_ends_the_server_at_once_with_a_stream_open(#[case] signal: Signal) {
    let mut server = Server::start();
    let mut stream = BufReader::new(server.send("POST", "/v1/messages", "", &messages("offline:silent", true)));
    let mut line = String::new();
    while !line.starts_with("event: message_start") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "closed before it began");
    }
    assert!(server.end(signal).success());
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest); // the kernel may reset the connection
    assert!(!rest.contains("message_stop"), "{rest}");
}

#[test]
fn only_one_line_is_announced() {
    let mut server = Server::start();
    assert!(server.end(Signal::SIGTERM).success());
    assert_eq!(server.rest_of_stdout(), "");
}

#[rstest]
#[case("0.0.0.0:0")]
#[case("192.0.2.7:80")]
fn an_address_others_reach_is_refused(#[case] listen: &str) {
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_claudebox"))
        .args(["offline-model", "--listen", listen])
        .timeout(DEADLINE)
        .output()
        .unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains(listen) && complaint.contains("127.0.0.0/8"), "{complaint}");
}

/// Does the rest of the test with a real CLI, or says that it does not.
macro_rules! cli {
    () => {
        match Cli::start() {
            Some(cli) => cli,
            None => return,
        }
    };
}

#[test]
fn cli_answers_a_prompt() {
    let cli = cli!();
    let events = cli.run(&["hello"]);
    assert_eq!(kinds(&events), ["system", "assistant", "result"]);
    let result = result(&events);
    assert_eq!(result["is_error"], false);
    assert!(result["result"].as_str().unwrap().ends_with("You said: hello"), "{result}");
}

#[test]
fn cli_takes_two_megabytes_on_stdin() {
    let cli = cli!();
    let events = cli.run_with_stdin(&[], &"x".repeat(2_000_000));
    let answer = result(&events)["result"].as_str().unwrap().to_owned();
    assert!(answer.contains("(2000000 characters)") && answer.len() < 1000, "{answer}");
}

#[test]
fn cli_runs_the_command() {
    let cli = cli!();
    let events = cli.run(&["--allowedTools", "Bash", "--", "offline:tool echo $((6*7)) > out.txt; cat out.txt"]);
    assert_eq!(result(&events)["result"], format!("{LABEL} The Bash tool answered: 42"));
    assert_eq!(std::fs::read_to_string(cli.workspace().join("out.txt")).unwrap(), "42\n");
}

#[test]
fn cli_leaves_the_command_in_the_background() {
    let cli = cli!();
    let events = cli.run(&["--allowedTools", "Bash", "--", "offline:background echo done"]);
    let started = events.iter().any(|event| event["subtype"] == "task_started" && event["is_backgrounded"] == true);
    assert!(started, "{events:#?}");
}

#[test]
fn cli_gets_its_structured_output() {
    let cli = cli!();
    let schema = json!({
        "type": "object",
        "properties": {"answer": {"type": "string"}, "n": {"type": "integer", "minimum": 3}, "k": {"$ref": "#/$defs/k"}},
        "required": ["answer", "n", "k"],
        "additionalProperties": false,
        "$defs": {"k": {"enum": ["a", "b"]}},
    });
    let events = cli.run(&["--json-schema", &schema.to_string(), "--", "hello"]);
    assert_eq!(result(&events)["structured_output"], json!({"answer": LABEL, "n": 3, "k": "a"}));
}

#[test]
fn cli_gets_no_structured_output_from_one_that_refuses() {
    let cli = cli!();
    let schema = r#"{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}"#;
    let events = cli.run(&["--json-schema", schema, "--", "offline:no-schema hi"]);
    let result = result(&events);
    assert_eq!((&result["is_error"], result.get("structured_output")), (&Value::Bool(false), None));
}

#[test]
fn cli_thinks() {
    let cli = cli!();
    let events = cli.run(&["offline:think"]);
    let thought = events.iter().any(|event| event["message"]["content"][0]["type"] == "thinking");
    assert!(thought, "{events:#?}");
}

#[test]
fn cli_streams_a_slow_answer_word_by_word() {
    let cli = cli!();
    let events = cli.run(&["--include-partial-messages", "--", "offline:slow 1"]);
    let words = events.iter().filter(|event| event["event"]["delta"]["type"] == "text_delta");
    assert!(words.count() >= 20, "{events:#?}");
}

#[rstest]
#[case(400)]
#[case(401)]
#[case(403)]
#[case(429)]
#[case(500)]
#[case(529)]
fn cli_reports_the_error(#[case] status: u16) {
    let cli = cli!();
    let events = cli.run(&["--", &format!("offline:error {status}")]);
    let result = result(&events);
    assert_eq!((&result["is_error"], &result["api_error_status"]), (&json!(true), &json!(status)));
}

#[test]
fn cli_gives_up_on_a_connection_that_is_always_cut() {
    let cli = cli!();
    let events = cli.run(&["offline:cut"]);
    assert_eq!(result(&events)["terminal_reason"], "api_error");
}

#[test]
fn cli_recovers_from_one_cut() {
    let cli = cli!();
    let events = cli.run(&["offline:cut-once"]);
    assert_eq!(result(&events)["is_error"], false);
    let retried = events.iter().any(|event| event["subtype"] == "api_retry");
    assert!(retried && assistant_texts(&events).contains("whole this time"), "{events:#?}");
}

#[test]
fn cli_continues_a_conversation() {
    let cli = cli!();
    cli.run(&["hello"]);
    let events = cli.run(&["--continue", "--", "offline:echo again"]);
    assert_eq!(result(&events)["result"], format!("{LABEL} again"));
}
