//! The same hundreds of ways to name what is outside, as arguments of MCP's tools: none gets there, none is a fault.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use claudebox::claude::sessions::Sessions;
use claudebox::config::fetch_allow::Allow;
use claudebox::config::server::{EngineConfig, HttpConfig};
use claudebox::desk::Desk;
use claudebox::doors::mcp;
use claudebox::doors::web::auth::{Authenticator, protect};
use claudebox::doors::web::origin::Origins;
use claudebox::doors::web::parameters::BodyLimit;
use claudebox::doors::web::stack;
use claudebox::fetch::Fetcher;
use claudebox::runs::child::{EndTree, Workers};
use claudebox::runs::engine::Engine;
use claudebox::runs::log::Logs;
use claudebox::runs::metrics::Metrics;
use claudebox::store::sqlite::Sqlite;
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fixture::{Fixture, SECRET};

const TARGETS: &str = include_str!("../data/hostile_paths.txt");
const VERSION: &str = "2026-07-28";

/// An engine in which no run ever starts.
async fn engine(state: &Path) -> Engine {
    let config = EngineConfig {
        runs: 0,
        queue: 100_000,
        run_timeout: None,
        run_silence: None,
        cost_per_run: None,
        cost_per_day: None,
        keep: Duration::from_secs(1),
        offline: false,
        keep_bytes: 1,
    };
    let end_tree: EndTree = Arc::new(|_, _| Box::pin(async { 0 }));
    let store = Arc::new(Sqlite::open(state).unwrap());
    let sessions = Sessions { config_dir: state.to_owned(), state_dir: state.to_owned() };
    let workers = Workers::new("/nowhere".into(), Vec::new(), end_tree);
    let logs = Logs::open(state.join(Logs::FOLDER), config.keep_bytes).unwrap();
    Engine::start(store, logs, config, sessions, workers, Metrics::register(&mut Registry::default()), None)
        .await
        .unwrap()
}

/// The door.
fn doors(fixture: &Fixture, engine: &Engine, tokens: Option<&Path>) -> Router {
    let http = HttpConfig {
        bind: [127, 0, 0, 1].into(),
        port: 8080,
        token: None,
        tokens_file: tokens.map(Path::to_owned),
        hosts: Vec::new(),
        origins: Vec::new(),
        openai_models: Vec::new(),
        body_limit: 1 << 20,
        upload_limit: None,
        connections: 8,
    };
    let desk = Desk {
        engine: engine.clone(),
        workspaces: fixture.workspaces.clone(),
        fetcher: Arc::new(Fetcher::new(Allow::default())),
    };
    let authenticator = Arc::new(Authenticator::from_config(&http).unwrap());
    let door = mcp::routes(desk, None);
    let router = protect(door.protected, &authenticator, door.name, door.token_in_query);
    stack::wrap(router, Origins::from_config(&http).unwrap(), BodyLimit(1 << 20), |_, answer| answer)
}

/// What a tool gives.
async fn call(doors: &Router, token: &str, tool: &str, arguments: &Value) -> Value {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let request = Request::post("/mcp").header("host", "localhost").header("content-type", "application/json");
    let request = request.header("mcp-protocol-version", VERSION).header("mcp-method", "tools/call");
    let request = request.header("mcp-name", tool).header("authorization", format!("Bearer {token}"));
    let answer = doors.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "{tool} {arguments}");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(!text.contains(SECRET), "{tool} {arguments} got the secret");
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let result = answer["result"].clone();
    assert!(result.is_object(), "{tool} {arguments}: {answer}");
    assert_ne!(result["_meta"]["claudebox/problem"]["code"], "internal", "{tool} {arguments}: {answer}");
    result
}

/// The names of the corpus, relative and absolute. Nothing decodes an argument, so they are decoded here.
fn names() -> BTreeSet<String> {
    let targets = TARGETS.lines().map(|target| target.strip_prefix("/files/").unwrap());
    let decoded = targets.map(|target| percent_decode_str(target).decode_utf8_lossy().into_owned());
    decoded.flat_map(|name| [format!("/{name}"), name]).collect()
}

#[tokio::test]
async fn no_argument_leads_outside() {
    let mut fixture = Fixture::new();
    let state = tempfile::tempdir().unwrap();
    let engine = engine(state.path()).await;
    let mut all = doors(&fixture, &engine, None);
    for name in names() {
        let mut changed = false;
        for (tool, arguments) in [
            ("read_file", json!({"path": name})),
            ("list_files", json!({"path": name})),
            ("write_file", json!({"path": name, "content": "inside, written"})),
            ("delete_file", json!({"path": name, "recursive": true})),
        ] {
            let result = call(&all, "", tool, &arguments).await;
            let worked = result["isError"] == false;
            if worked && tool == "read_file" {
                assert!(result["content"][0]["text"].as_str().unwrap().starts_with("inside"), "{name}: {result}");
            }
            changed |= worked && ["write_file", "delete_file"].contains(&tool);
        }
        fixture.assert_untouched(&name);
        assert!(fixture.at("").is_dir(), "{name} took the workspaces folder");
        if changed {
            // The next one finds every link in place.
            fixture = Fixture::new();
            all = doors(&fixture, &engine, None);
        }
    }
}

#[tokio::test]
async fn no_argument_leads_into_another_workspace_and_no_run_outside() {
    let fixture = Fixture::new();
    let state = tempfile::tempdir().unwrap();
    let tokens = state.path().join("tokens.yaml");
    // SHA-256 of "b".
    let sum = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";
    std::fs::write(&tokens, format!("- {{name: b, sha256: {sum}, workspaces: [b]}}\n")).unwrap();
    let doors = doors(&fixture, &engine(state.path()).await, Some(&tokens));
    for name in names().into_iter().filter(|name| !name.starts_with('/')) {
        for (tool, arguments) in [
            ("read_file", json!({"path": name})),
            ("write_file", json!({"path": name, "content": "text"})),
            ("delete_file", json!({"path": name, "recursive": true})),
        ] {
            assert_eq!(call(&doors, "b", tool, &arguments).await["isError"], true, "{tool} {name}");
        }
        let listed = call(&doors, "b", "list_files", &json!({"path": name})).await;
        if listed["isError"] == false {
            let entries = listed["structuredContent"]["entries"].as_array().unwrap();
            assert_eq!((entries.len(), &entries[0]["name"]), (1, &json!("b")), "{name}");
        }
        let run = json!({"prompt": "p", "workspace": name, "create_workspace": true, "background": true});
        let result = call(&doors, "b", "claude_run", &run).await;
        assert_eq!(result["isError"], true, "{name}: {result}");
    }
    fixture.assert_untouched("a restricted caller");
    assert_eq!(fixture.names("b"), ["file"]);
}
