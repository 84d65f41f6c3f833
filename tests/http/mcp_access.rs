//! Who may use the MCP door, from where, and whose a session is.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::fixture::{start, without_cli};
use crate::mcp_client::{Mcp, request};
use crate::support::TestBox;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
                            "capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

fn initialize(http: &Client, path: &str, headers: &[(&str, &str)]) -> crate::client::Answer {
    let ask = http.post(path).header("content-type", "application/json").body(INITIALIZE);
    headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send()
}

#[test]
fn a_token_is_needed_in_the_header_or_the_query() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = without_cli(&testbox).env("CLAUDEBOX_MODE_API_TOKEN", "s3cret-token").env("DEBUG", "1");
    let api = start(&testbox, launch);
    for path in ["/mcp", "/mcp/"] {
        for wrong in ["", "?apiToken=s3cret", "?apiToken=", "?apitoken=s3cret-token"] {
            let refused = initialize(&api.http, &format!("{path}{wrong}"), &[]);
            refused.problem(401, "unauthorized");
            assert_eq!(refused.header("www-authenticate"), "Bearer");
        }
        // Asked for before the body.
        let early = api.http.post(path).header("content-length", "1000000").send();
        early.problem(401, "unauthorized");
        assert_eq!(initialize(&api.http, &format!("{path}?apiToken=s3cret-token"), &[]).status, 200);
        assert_eq!(initialize(&api.http.with_token("s3cret-token"), path, &[]).status, 200);
        assert_eq!(initialize(&api.http.with_token("wrong"), path, &[]).status, 401);
    }
    // A whole client, by address alone.
    let mcp = Mcp { http: api.http.clone(), path: "/mcp/?apiToken=s3cret-token", session: None };
    let listed = mcp.ask(1, "tools/call", json!({"name": "list_files", "arguments": {}})).send().json(200);
    assert_eq!(listed["result"]["isError"], false, "{listed}");
    let log = api.stop().err;
    assert!(log.contains("/mcp") && !log.contains("s3cret"), "{log}");
}

#[test]
fn a_foreign_host_and_a_foreign_page_are_refused() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_MODE_API_HOSTS", "box.example.com"));
    for host in ["127.0.0.1:8080", "localhost", "[::1]:8080", "box.example.com", "BOX.example.com:443"] {
        assert_eq!(initialize(&api.http, "/mcp", &[("host", host)]).status, 200, "{host}");
    }
    for host in ["evil.example.com", "box.example.com.evil.com"] {
        let refused = initialize(&api.http, "/mcp", &[("host", host)]).problem(403, "host_not_allowed");
        assert!(refused["detail"].as_str().unwrap().contains("CLAUDEBOX_MODE_API_HOSTS"), "{refused}");
    }
    let refused = initialize(&api.http, "/mcp", &[("origin", "https://evil.example.com")]);
    let refused = refused.problem(403, "origin_not_allowed");
    assert!(refused["detail"].as_str().unwrap().contains("CLAUDEBOX_MODE_API_ORIGINS"), "{refused}");
    assert_eq!(initialize(&api.http, "/mcp", &[("origin", "http://127.0.0.1:8080")]).status, 200);
    api.stop();
}

fn entry(name: &str, more: &str) -> String {
    let sum = Sha256::digest(format!("{name}-token")).iter().fold(String::new(), |mut sum, byte| {
        let _ = write!(sum, "{byte:02x}");
        sum
    });
    format!("- {{name: {name}, sha256: {sum}{more}}}\n")
}

#[test]
fn tokens_have_their_workspaces_doors_and_sessions() {
    let Some(testbox) = TestBox::new() else { return };
    let tokens = testbox.path("tokens.yaml");
    let list = [
        entry("ann", ", workspaces: [ann]"),
        entry("bob", ", workspaces: [bob]"),
        entry("web", ", doors: [http]"),
        entry("tool", ", doors: [mcp]"),
    ];
    fs::write(&tokens, list.concat()).unwrap();
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_MODE_API_TOKENS_FILE", tokens.to_str().unwrap()));
    let of = |name: &str| api.http.with_token(&format!("{name}-token"));
    initialize(&of("web"), "/mcp", &[]).problem(403, "door_not_allowed");
    of("tool").get("/status").send().problem(403, "door_not_allowed");
    Mcp::in_session(&of("tool")).works("write_file", json!({"path": "ann/file", "content": "hers"}));

    let (ann, bob) = (Mcp::in_session(&of("ann")), Mcp::in_session(&of("bob")));
    bob.works("write_file", json!({"path": "bob/file", "content": "his"}));
    for mcp in [bob.clone(), Mcp::without_session(&of("bob"))] {
        for (tool, arguments) in [
            ("read_file", json!({"path": "ann/file"})),
            ("list_files", json!({"path": "ann"})),
            ("write_file", json!({"path": "ann/file", "content": "x"})),
            ("write_file", json!({"path": "file", "content": "x"})),
            ("delete_file", json!({"path": "ann/file"})),
            ("claude_run", json!({"prompt": "p", "workspace": "ann"})),
            ("claude_run", json!({"prompt": "p"})),
            ("run_status", json!({"workspace": "ann"})),
            ("run_cancel", json!({"workspace": "ann"})),
        ] {
            assert_eq!(mcp.refused(tool, arguments.clone()).0, "workspace_not_allowed", "{tool} {arguments}");
        }
        let seen = mcp.works("list_files", json!({}));
        assert_eq!((seen["entries"].as_array().unwrap().len(), &seen["entries"][0]["name"]), (1, &json!("bob")));
    }
    assert_eq!(ann.works("read_file", json!({"path": "ann/file"}))["content"], "hers");

    // A session's id opens nothing to another token, and is not even confirmed.
    let stolen = Mcp { http: of("bob"), ..ann.clone() };
    let list = request(1, "tools/list", json!({}));
    let refused = stolen.post(&list).send().json(404);
    let unknown = Mcp { session: Some("unknown".into()), ..stolen.clone() }.post(&list).send().json(404);
    assert_eq!(refused, unknown);
    let session = ann.session.clone().unwrap();
    for method in ["GET", "DELETE"] {
        let ask = stolen.http.ask(method, "/mcp").header("accept", "text/event-stream");
        assert_eq!(ask.header("mcp-session-id", &session).send().status, 404, "{method}");
    }
    assert_eq!(ann.post(&list).send().status, 200);
    api.stop();
}
