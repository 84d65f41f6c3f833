//! Whether it lives, whether it can work, its figures, its description, its page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::client::prompt;
use crate::fixture::{Api, start, with_cli, without_cli};
use crate::support::TestBox;

#[test]
fn a_box_without_a_cli_lives_and_is_not_ready() {
    let Some(testbox) = TestBox::new() else { return };
    let cli = testbox.path("late-cli");
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_CLAUDE_BIN", cli.to_str().unwrap()));
    for name in ["/health", "/healthz", "/health/"] {
        assert_eq!(api.http.get(name).send().json(200), json!({"status": "ok"}));
    }
    let problem = api.http.get("/ready").send().problem(503, "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains("late-cli"), "{problem}");
    // A run there fails, and says why; it is no fault of the request.
    let result = api.http.run(prompt("a", "hi"));
    assert_eq!((&result["isError"], &result["status"]), (&json!(true), &json!("failed")), "{result}");
    assert!(result["error"].as_str().unwrap().contains("late-cli"), "{result}");
    testbox.script("late-cli", "#!/bin/sh\n");
    assert_eq!(api.http.get("/ready").send().json(200), json!({"status": "ok"}));
    api.stop();
}

#[test]
fn workspaces_that_claude_cannot_write_in_are_named_until_it_can() {
    let Some(testbox) = TestBox::new() else { return };
    let workspaces = testbox.path("workspaces");
    fs::create_dir(&workspaces).unwrap();
    fs::write(workspaces.join("somebody's"), "").unwrap();
    let cli = testbox.script("cli", "#!/bin/sh\n");
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_CLAUDE_BIN", &cli));
    let problem = api.http.get("/ready").send().problem(503, "not_ready");
    let why = problem["detail"].as_str().unwrap();
    assert!(why.starts_with(&format!("{} belongs to 0:0 and ", workspaces.display())), "{why}");
    // A folder in it that can be written in is enough: mounted, for one.
    fs::create_dir(workspaces.join("mine")).unwrap();
    fs::set_permissions(workspaces.join("mine"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(api.http.get("/ready").send().json(200), json!({"status": "ok"}));
    let log = api.stop().err;
    assert!(log.contains(&format!("claudebox: warning: {why}\n")), "{log}");
}

/// What the host command keeps: a box with nothing but the local door, and an end of its own.
#[test]
fn a_box_that_nobody_uses_ends_itself() {
    let Some(testbox) = TestBox::new() else { return };
    let workspaces = testbox.path("workspaces");
    let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_WORKSPACES_DIR", workspaces.to_str().unwrap());
    let launch = launch.env("CLAUDEBOX_MODE_LOCAL", "1").env("CLAUDEBOX_IDLE_EXIT_SECONDS", "1");
    let finished = launch.start().finish().exits(0);
    assert!(finished.err.contains("nothing has happened for 1 s: the box ends"), "{}", finished.err);
    assert!(!finished.err.contains("listens"), "{}", finished.err);
}

/// Samples by name and labels. Panics at what is no `OpenMetrics` text.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            assert!(["HELP", "TYPE", "UNIT"].contains(&words[0]) && words.len() == 3, "{line}");
            if words[0] == "TYPE" {
                assert!(types.insert(words[1].to_owned(), words[2].to_owned()).is_none(), "twice: {line}");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let family = types.iter().find(|(family, kind)| {
            let endings: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => panic!("{kind} of {family}"),
            };
            endings.iter().any(|ending| bare.strip_suffix(ending) == Some(family))
        });
        assert!(family.is_some(), "{line} belongs to nothing");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn the_figures_parse_and_move() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, launch);
    let figures = |api: &Api| api.http.get("/metrics").header("accept", "application/openmetrics-text").send();
    let answer = figures(&api);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    // Whoever does not ask for it gets the older text, in which a counter is described by its samples' name.
    let text = api.http.get("/metrics").send();
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = text.text();
    assert!(
        text.contains(&format!("\nclaudebox_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))),
        "{text}"
    );
    assert!(text.contains("# TYPE claudebox_build_info gauge\n") && !text.contains("# EOF"), "{text}");
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
    }
    let figure = |text: &str, name: &str| samples(text).get(name).copied().unwrap_or_default();
    let count = |text: &str, name: &str| figure(text, name).to_string();
    assert_eq!(count(&answer.text(), "claudebox_runs_running"), "0");
    api.http.run(prompt("a", "offline:tool setsid nohup sleep 1000 >/dev/null 2>&1 & echo"));
    api.http.run(prompt("b", "offline:error 400"));
    api.http.begin(prompt("c", "offline:tool exec sleep 1001"));
    api.until_sleeps("1001");
    let text = figures(&api).text();
    for (name, expected) in [
        (r#"claudebox_runs_accepted_total{door="http"}"#, "3"),
        (r#"claudebox_runs_finished_total{state="succeeded",outcome="ok"}"#, "1"),
        (r#"claudebox_runs_finished_total{state="failed",outcome="model_error"}"#, "1"),
        ("claudebox_run_duration_seconds_count", "2"),
        ("claudebox_reaped_processes_total", "1"),
        ("claudebox_runs_running", "1"),
        ("claudebox_runs_queued", "0"),
        ("claudebox_serve_restarts", "0"),
    ] {
        assert_eq!(count(&text, name), expected, "{name}\n{text}");
    }
    assert!(figure(&text, "claudebox_run_cost_usd_total") > 0.0, "{text}");
    assert!(figure(&text, r#"claudebox_run_tokens_total{kind="output"}"#) > 0.0, "{text}");
    api.kill_serve();
    assert_eq!(count(&figures(&api).text(), "claudebox_serve_restarts"), "1");
    api.stop();
}

#[test]
fn the_description_lists_every_route_and_no_other() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let description = api.http.get("/openapi.json").send().json(200);
    let paths = description["paths"].as_object().unwrap();
    let operations: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let expected = BTreeSet::from(
        [
            "POST /run",
            "GET /run/result",
            "POST /run/cancel",
            "GET /runs",
            "GET /runs/{id}",
            "DELETE /runs/{id}",
            "GET /runs/{id}/events",
            "GET /status",
            "GET /health",
            "GET /ready",
            "GET /healthz",
            "GET /metrics",
            "GET /files",
            "GET /files/{path}",
            "PUT /files/{path}",
            "DELETE /files/{path}",
            "GET /openai/v1/models",
            "GET /openai/v1/models/{id}",
            "POST /openai/v1/chat/completions",
            "POST /openai/v1/responses",
            "GET /openai/v1/responses/{id}",
        ]
        .map(str::to_owned),
    );
    assert_eq!(operations, expected);
    assert_eq!(description["servers"], json!([{"url": "/"}]));
    let result = &description["paths"]["/run"]["post"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(result["$ref"], "#/components/schemas/RunResult", "{result}");
    assert!(description["components"]["schemas"]["RunResult"]["properties"]["costUsd"].is_object());
    let file = &description["paths"]["/files/{path}"]["get"]["responses"]["200"]["content"];
    assert!(file["application/octet-stream"].is_object(), "{file}");
    for operation in &operations {
        let (method, path) = operation.split_once(' ').unwrap();
        let answer = api.http.ask(method, &path.replace("{id}", "x").replace("{path}", "x")).open();
        assert_ne!(answer.status, 405, "{operation}");
        assert!(answer.status < 500 || path == "/ready", "{operation}: {}", answer.status);
    }
    let body = &description["components"]["schemas"]["RunBody"]["properties"];
    let fields: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let described = ["prompt", "workspace", "webhookUrl", "timeoutSeconds", "busy", "stream", "async", "jsonSchema"];
    assert!(described.iter().all(|field| fields.contains(field)), "{fields:?}");
    for (path, operations) in paths {
        let open = ["/health", "/healthz", "/ready"].contains(&path.as_str());
        let security = operations
            .as_object()
            .unwrap()
            .values()
            .all(|operation| operation.get("security").map_or(!open, |needed| open && *needed == json!([{}])));
        assert!(security, "{path}: {operations:?}");
    }
    api.stop();
}

#[test]
fn the_page_is_there_and_may_load_nothing_foreign() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    for path in ["/", "/docs"] {
        let page = api.http.get(path).send();
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
        assert!(page.text().contains("page/app.js"), "{}", page.text());
    }
    let script = api.http.get("/page/app.js").send();
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    let known = api.http.get("/page/app.js").header("if-none-match", script.header("etag")).open();
    assert_eq!(known.status, 304);
    api.stop();
}
