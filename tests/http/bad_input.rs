//! What is not carried out is answered with a status, a code and a sentence that names what is wrong. Always JSON.

use serde_json::{Value, json};

use crate::client::{prompt, with};
use crate::fixture::{start, without_cli};
use crate::support::TestBox;

/// A field of `POST /run`, its value, what the detail must name.
fn fields() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        ("prompt", json!(""), &["empty"]),
        ("prompt", json!(7), &["string"]),
        ("prompt", Value::Null, &["string"]),
        ("workspace", json!(["a"]), &["string"]),
        ("model", json!("--help"), &["opus", "full model name"]),
        ("model", json!({}), &["string"]),
        ("effort", json!("utmost"), &["utmost", "low", "max"]),
        ("outputFormat", json!("xml"), &["xml", "json-verbose"]),
        ("busy", json!("maybe"), &["maybe", "reject", "queue", "replace"]),
        ("jsonSchema", json!("{"), &["JSON Schema"]),
        ("jsonSchema", json!([1]), &["JSON Schema"]),
        ("systemPrompt", json!("a\u{0}b"), &["NUL"]),
        ("appendSystemPrompt", json!("a\u{0}b"), &["NUL"]),
        ("resume", json!("last"), &["UUID"]),
        ("forkSession", json!(true), &["resume"]),
        ("noContinue", json!("yes"), &["boolean"]),
        ("async", json!(1), &["boolean"]),
        ("stream", json!("sse"), &["boolean"]),
        ("maxTurns", json!(0), &["at least 1"]),
        ("maxTurns", json!(1.5), &[]),
        ("maxBudgetUsd", json!(-1), &["above 0"]),
        ("timeoutSeconds", json!(0), &["above 0"]),
        ("timeoutSeconds", json!(3e6), &["2592000"]),
        ("webhookUrl", json!("ftp://example.com/"), &["http"]),
        ("webhookUrl", json!("nonsense"), &["no URL", "https://"]),
        ("webhookUrl", json!("http://127.0.0.1:1/"), &["127.0.0.1", "CLAUDEBOX_FETCH_ALLOW"]),
        ("webhookUrl", json!("http://[::ffff:10.0.0.1]/"), &["CLAUDEBOX_FETCH_ALLOW"]),
        ("webhookUrl", json!("http://me:secret@example.com/"), &[]),
    ]
}

/// A request that is refused, the status, the code, and what the detail must name.
type Refused = (&'static str, &'static str, u16, &'static str, &'static [&'static str]);

const REQUESTS: [Refused; 28] = [
    ("GET", "/nowhere", 404, "not_found", &["/nowhere"]),
    ("GET", "/run", 405, "method_not_allowed", &["GET", "/run"]),
    ("PUT", "/health", 405, "method_not_allowed", &["PUT"]),
    ("GET", "/run/result", 422, "invalid_parameter", &["runId"]),
    ("GET", "/run/result?runId=", 404, "run_not_found", &[]),
    ("GET", "/run/result?runId=nonsense", 404, "run_not_found", &["nonsense"]),
    ("GET", "/run/result?runId=a&runId=b", 422, "invalid_parameter", &["runId"]),
    ("GET", "/runs/nonsense", 404, "run_not_found", &["nonsense"]),
    ("GET", "/runs/%ff", 400, "invalid_path", &[]),
    ("GET", "/runs/01890000-0000-7000-8000-000000000000", 404, "run_not_found", &["01890000"]),
    ("GET", "/runs?limit=0", 422, "invalid_parameter", &["limit", "1", "500"]),
    ("GET", "/runs?limit=501", 422, "invalid_parameter", &["limit", "500"]),
    ("GET", "/runs?limit=many", 422, "invalid_parameter", &["limit"]),
    ("GET", "/runs?state=lost", 422, "invalid_parameter", &["state", "lost", "interrupted"]),
    ("GET", "/runs?cursor=next", 422, "invalid_parameter", &["cursor", "nextCursor"]),
    ("GET", "/runs?workspace=nowhere", 404, "workspace_not_found", &["nowhere"]),
    ("GET", "/runs?workspace=../etc", 403, "path_outside", &[".."]),
    ("GET", "/runs?workspace=%00", 422, "path_invalid", &[]),
    ("POST", "/run/cancel", 422, "invalid_parameter", &["runId", "workspace"]),
    ("POST", "/run/cancel?workspace=nowhere", 404, "workspace_not_found", &["nowhere"]),
    ("POST", "/run/cancel?workspace=/etc", 404, "workspace_not_found", &["etc"]),
    ("DELETE", "/runs/nonsense", 404, "run_not_found", &["nonsense"]),
    ("DELETE", "/run/nonsense", 404, "run_not_found", &["nonsense"]),
    ("GET", "//runs/nonsense/", 404, "run_not_found", &["nonsense"]),
    ("GET", "/files/nothing", 404, "not_found", &["nothing"]),
    ("GET", "/files/..%2fetc/passwd", 403, "path_outside", &[".."]),
    ("DELETE", "/files/nothing", 404, "not_found", &["nothing"]),
    ("POST", "/run?strict=maybe", 422, "invalid_parameter", &["strict", "true", "false"]),
];

fn names(problem: &Value, wanted: &[&str]) {
    let detail = problem["detail"].as_str().unwrap();
    for word in wanted {
        assert!(detail.contains(word), "{word} is not in {problem}");
    }
}

#[test]
fn every_refusal_names_what_is_wrong_and_what_is_allowed() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    for (field, value, wanted) in fields() {
        let problem =
            api.http.asks(with(prompt("a", "hi"), json!({field: value}))).send().problem(422, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
        names(&problem, &[field]);
        names(&problem, wanted);
    }
    let snake = with(prompt("a", "hi"), json!({"timeout_seconds": "soon"}));
    assert!(api.http.asks(snake).send().problem(422, "invalid_field")["field"].is_string());
    let missing = api.http.post("/run").json(&json!({"workspace": "a"})).send().problem(422, "invalid_field");
    assert_eq!(missing["field"], "prompt");
    let effort = with(prompt("a", "hi"), json!({"effort": "utmost"}));
    let allowed = api.http.asks(effort).send().problem(422, "invalid_field")["allowed"].clone();
    assert_eq!(allowed, json!(["low", "medium", "high", "xhigh", "max"]));
    let twice = r#"{"prompt": "a", "prompt": "b"}"#;
    api.http.post("/run").header("content-type", "application/json").body(twice).send().problem(422, "invalid_field");
    for (method, path, status, code, wanted) in REQUESTS {
        let ask = api.http.ask(method, path);
        let ask = if path.starts_with("/run?") { ask.json(&prompt("a", "hi")) } else { ask };
        names(&ask.send().problem(status, code), wanted);
    }
    // Nothing of all that was begun.
    assert_eq!(api.http.get("/runs").send().json(200)["runs"], json!([]));
    api.stop();
}

#[test]
fn workspaces_stay_below_their_folder() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let root = testbox.path("workspaces");
    std::fs::write(root.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    std::fs::create_dir(testbox.path("workspaces-secret")).unwrap();
    let cases = [
        ("..", 403, "path_outside"),
        ("../workspaces-secret", 403, "path_outside"),
        ("a/../../b", 403, "path_outside"),
        ("link", 403, "path_outside"),
        ("link/ssl", 403, "path_outside"),
        ("file", 422, "not_a_folder"),
        ("file/below", 422, "not_a_folder"),
        ("nul\u{0}", 422, "path_invalid"),
    ];
    for (workspace, status, code) in cases {
        for create in [false, true] {
            let body = with(prompt(workspace, "hi"), json!({"createWorkspace": create}));
            api.http.post("/run").json(&body).send().problem(status, code);
        }
    }
    let long = "x".repeat(300);
    let body = with(prompt(&long, "hi"), json!({"createWorkspace": true}));
    api.http.post("/run").json(&body).send().problem(422, "path_invalid");
    assert!(!testbox.path("b").exists());
    // A slash at the beginning is the workspaces folder: a workspace may be named with it, and as answers name it.
    api.http.post("/run").json(&prompt("/etc", "hi")).send().problem(404, "workspace_not_found");
    std::fs::create_dir(root.join("etc")).unwrap();
    let absolute = root.join("etc").to_str().unwrap().to_owned();
    for workspace in ["etc", "/etc", "//etc/", &absolute] {
        let path = format!("/runs?workspace={workspace}");
        assert_eq!(api.http.get(&path).send().json(200)["runs"], json!([]), "{workspace}");
    }
    api.stop();
}

#[test]
fn a_body_is_an_object_of_json() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let json = "application/json";
    let good = r#"{"prompt": "hi", "workspace": "nowhere"}"#;
    let cases: [(&str, &[u8], u16, &str); 11] = [
        (json, b"", 400, "malformed_json"),
        (json, br#"{"prompt": "hi""#, 400, "malformed_json"),
        (json, b"prompt=hi", 400, "malformed_json"),
        (json, br#"{"prompt": "hi"} x"#, 400, "malformed_json"),
        (json, b"{\"prompt\": \"\xff\"}", 400, "malformed_json"),
        (json, br#"["hi"]"#, 422, "invalid_field"),
        ("application/x-www-form-urlencoded", good.as_bytes(), 415, "unsupported_media_type"),
        ("text/plain", good.as_bytes(), 415, "unsupported_media_type"),
        // Read, and refused for what it asks.
        ("application/json; charset=utf-8", good.as_bytes(), 404, "workspace_not_found"),
        ("application/vnd.me+json", good.as_bytes(), 404, "workspace_not_found"),
        // An editor's mark before the text is no part of it.
        (json, b"\xef\xbb\xbf{\"prompt\": \"hi\", \"workspace\": \"nowhere\"}", 404, "workspace_not_found"),
    ];
    for (kind, body, status, code) in cases {
        api.http.post("/run").header("content-type", kind).body(body).send().problem(status, code);
    }
    api.http.post("/run").body(good).send().problem(404, "workspace_not_found");
    let packed = api.http.post("/run").header("content-encoding", "gzip").body(good).send();
    packed.problem(415, "unsupported_media_type");
    let deep = format!("{{\"prompt\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let deep = api.http.post("/run").body(deep).send();
    assert!([400, 422].contains(&deep.status), "{}", deep.text());
    api.stop();
}
