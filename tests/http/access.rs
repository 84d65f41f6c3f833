//! Who may call, from where, and what they see; and that the API's secrets stay with the server.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::client::{Client, prompt, with};
use crate::fixture::{Api, start, start_on, with_cli, without_cli};
use crate::support::{Launch, TestBox};

/// One of each route that needs a token.
const PROTECTED: [(&str, &str); 14] = [
    ("POST", "/run"),
    ("GET", "/run/result?runId=x"),
    ("POST", "/run/cancel?runId=x"),
    ("GET", "/runs"),
    ("GET", "/runs/x"),
    ("DELETE", "/runs/x"),
    ("DELETE", "/run/x"),
    ("GET", "//runs/"),
    ("GET", "/runs/x/events"),
    ("GET", "/status"),
    ("GET", "/metrics"),
    ("GET", "/files"),
    ("PUT", "/files/x"),
    ("DELETE", "/files/x"),
];

#[test]
fn the_token_is_asked_for_before_anything_else() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_MODE_API_TOKEN", "s3cret"));
    let right = api.http.with_token("s3cret");
    for (method, path) in PROTECTED {
        let none = api.http.ask(method, path).send();
        none.problem(401, "unauthorized");
        assert_eq!(none.header("www-authenticate"), "Bearer");
        for wrong in ["s3cre", "s3cret2", "", "S3CRET"] {
            api.http.with_token(wrong).ask(method, path).send().problem(401, "unauthorized");
        }
        let basic = api.http.ask(method, path).header("authorization", "Basic s3cret").send();
        basic.problem(401, "unauthorized");
        let admitted = right.ask(method, path).send();
        assert!(![401, 403].contains(&admitted.status), "{method} {path}: {}", admitted.text());
    }
    for path in ["/health", "/ready", "/openapi.json", "/", "/docs"] {
        let open = api.http.get(path).send();
        assert!([200, 503].contains(&open.status), "{path}: {}", open.text());
    }
    api.http.get("/status?apiToken=s3cret").send().problem(401, "unauthorized");
    // The client waits for the answer with a body that it has not sent.
    let early = api.http.post("/run").header("content-length", "1000000").send();
    early.problem(401, "unauthorized");
    let early = api.http.ask("PUT", "/files/big").header("content-length", "1000000").send();
    early.problem(401, "unauthorized");
    assert!(!testbox.path("workspaces/big").exists());
    api.stop();
}

/// The tool looks at all that a program of its user can look at; `SERVE` is the server's process.
const LOOKS: &str = "offline:tool (env; cat /proc/*/environ /proc/*/cmdline) 2>/dev/null | tr '\\0' '\\n' \
                     | grep -aoE 's3cret-[a-z]+' | sort -u; echo looked; cat /proc/SERVE/environ 2>&1";

#[test]
fn runs_do_not_get_the_apis_secrets() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let launch = launch.env("CLAUDEBOX_MODE_API_TOKEN", "s3cret-token").env("CLAUDE_MODE_API_TOKEN", "s3cret-other");
    let launch = launch.env("CLAUDEBOX_WEBHOOK_SECRET", "s3cret-webhook").env("CLAUDEBOX_NOT_ONE", "s3cret-known");
    let api = start(&testbox, launch);
    let http = api.http.with_token("s3cret-token");
    let looks = LOOKS.replace("SERVE", &api.serve().inner.to_string());
    let result = http.run(with(prompt("a", &looks), json!({"outputFormat": "json-verbose"})));
    let turns = result["turns"].as_array().unwrap();
    let said = turns.iter().find(|turn| turn["role"] == "tool_result").unwrap().to_string();
    // It did look, and found what is no secret.
    assert!(said.contains("s3cret-known") && said.contains("looked") && said.contains("ermission denied"), "{said}");
    for secret in ["s3cret-token", "s3cret-other", "s3cret-webhook"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    api.stop();
}

fn entry(name: &str, more: &str) -> String {
    let sum = Sha256::digest(format!("{name}-token")).iter().fold(String::new(), |mut sum, byte| {
        let _ = write!(sum, "{byte:02x}");
        sum
    });
    format!("- {{name: {name}, sha256: {sum}{more}}}\n")
}

pub(crate) fn with_tokens<'testbox>(testbox: &'testbox TestBox, launch: Launch<'testbox>) -> Launch<'testbox> {
    let tokens = [
        entry("boss", ""),
        entry("team", ", workspaces: [team]"),
        entry("talker", ", doors: [mcp, openai]"),
        entry("slow", ", requests_per_minute: 3"),
        entry("poor", ", cost_per_day_usd: 0.01"),
        entry("bounded", ", max_runs: 1, max_queued: 1"),
        entry("saver", ", cost_per_day_usd: 1"),
        entry("frugal", ", cost_per_day_usd: 0.06"),
    ];
    let file = testbox.path("tokens.yml");
    fs::write(&file, tokens.concat()).unwrap();
    launch.env("CLAUDEBOX_MODE_API_TOKENS_FILE", file.to_str().unwrap())
}

pub(crate) fn token(api: &Api, name: &str) -> Client {
    api.http.with_token(&format!("{name}-token"))
}

#[test]
fn a_restricted_caller_sees_and_touches_only_what_is_theirs() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let mut api = start(&testbox, with_tokens(&testbox, launch));
    let (boss, team) = (token(&api, "boss"), token(&api, "team"));
    let theirs = team.run(prompt("team/sub", "offline:echo theirs"))["runId"].as_str().unwrap().to_owned();
    let own = boss.run(prompt("other", "offline:echo other"))["runId"].as_str().unwrap().to_owned();
    let running = boss.begin(prompt("other", "offline:tool exec sleep 1000"));
    api.until_sleeps("1000");
    fs::write(testbox.path("workspaces/other/file"), "private").unwrap();

    for workspace in ["other", "", "teams", "."] {
        for create in [false, true] {
            let body = with(prompt(workspace, "hi"), json!({"createWorkspace": create}));
            team.post("/run").json(&body).send().problem(403, "workspace_not_allowed");
        }
    }
    team.post("/run").json(&json!({"prompt": "hi"})).send().problem(403, "workspace_not_allowed");
    let outside = team.asks(prompt("team/../other", "hi")).send();
    assert_eq!(outside.status, 403, "{}", outside.text());
    for id in [&own, &running] {
        team.get(&format!("/runs/{id}")).send().problem(404, "run_not_found");
        team.get(&format!("/runs/{id}/events")).send().problem(404, "run_not_found");
        team.get(&format!("/run/result?runId={id}")).send().problem(404, "run_not_found");
        team.delete(&format!("/runs/{id}")).send().problem(404, "run_not_found");
        team.post(&format!("/run/cancel?runId={id}")).send().problem(404, "run_not_found");
    }
    team.post("/run/cancel?workspace=other").send().problem(403, "workspace_not_allowed");
    team.get("/runs?workspace=other").send().problem(403, "workspace_not_allowed");
    team.get("/files/other/file").send().problem(403, "workspace_not_allowed");
    team.delete("/files/other/file").send().problem(403, "workspace_not_allowed");
    team.ask("PUT", "/files/other/file").body("x").send().problem(403, "workspace_not_allowed");
    assert_eq!(fs::read_to_string(testbox.path("workspaces/other/file")).unwrap(), "private");

    let listed = |http: &Client| {
        let runs = http.get("/runs").send().json(200)["runs"].clone();
        runs.as_array().unwrap().iter().map(|run| run["runId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&team), std::slice::from_ref(&theirs));
    assert_eq!(listed(&boss), [running.clone(), own, theirs.clone()]);
    let status = team.get("/status").send().json(200);
    assert_eq!((&status["busyWorkspaces"], status["runs"].as_array().unwrap().len()), (&json!([]), 1), "{status}");
    assert_eq!(team.look(&theirs)["requester"], "team");
    // A key is its requester's own.
    let keyed = |http: &Client| {
        let ask = http.asks(prompt("team", "offline:echo keyed")).header("idempotency-key", "k-1");
        ask.send().json(200)["runId"].clone()
    };
    assert_ne!(keyed(&team), keyed(&boss));
    boss.delete(&format!("/runs/{running}")).send().json(200);
    api.stop();
}

#[test]
fn tokens_have_doors_and_limits_of_their_own() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, with_tokens(&testbox, launch.env("CLAUDEBOX_MODE_API_TOKEN", "s3cret")));
    let refused = token(&api, "talker").get("/status").send().problem(403, "door_not_allowed");
    assert_eq!(refused["allowed"], json!(["mcp", "openai"]));
    let slow = token(&api, "slow");
    let answers: Vec<_> = (0..4).map(|_| slow.get("/status").send()).collect();
    assert!(answers[..3].iter().all(|answer| answer.status == 200));
    answers[3].problem(429, "rate_limited");
    assert!((1..=20).contains(&answers[3].retry_after()), "{}", answers[3].retry_after());

    let poor = token(&api, "poor");
    // What is left of the day is the most that a run may cost.
    assert_eq!(poor.run(prompt("a", "offline:echo dear"))["outcome"], "budget");
    let over = poor.asks(prompt("a", "offline:echo dear")).send();
    let problem = over.problem(429, "over_budget");
    assert!(problem["detail"].as_str().unwrap().starts_with("your limit of 0.01 USD a day"), "{problem}");
    assert!((1..=86_400).contains(&over.retry_after()));
    // The one token of the settings is as good as those of the file.
    assert_eq!(api.http.with_token("s3cret").run(prompt("a", "offline:echo fine"))["status"], "completed");
    api.stop();
}

#[test]
fn strangers_names_and_pages_are_refused() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = without_cli(&testbox).env("CLAUDEBOX_MODE_API_ORIGINS", "https://app.example.com");
    let api = start(&testbox, launch);
    let status = |host: &str| api.http.get("/status").header("host", host).send();
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "box", "box.localhost"] {
        assert_eq!(status(host).status, 200, "{host}");
    }
    for host in ["evil.example.com", "127.0.0.1.evil.example.com:8080"] {
        let problem = status(host).problem(403, "host_not_allowed");
        assert!(problem["detail"].as_str().unwrap().contains("CLAUDEBOX_MODE_API_HOSTS"), "{problem}");
    }
    api.http.get("/status").header("host", "a@b").send().problem(400, "invalid_host");
    assert_eq!(api.http.get("/health").header("host", "evil.example.com").send().status, 200);

    let from = |origin: &str| api.http.get("/status").header("origin", origin).send();
    assert_eq!(from("http://127.0.0.1:8080").status, 200);
    let listed = from("https://app.example.com");
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, "https://app.example.com"));
    for origin in ["https://evil.example.com", "null", "http://app.example.com"] {
        from(origin).problem(403, "origin_not_allowed");
    }
    let ask = api.http.ask("OPTIONS", "/run").header("origin", "https://app.example.com");
    let preflight = ask.header("access-control-request-method", "POST").send();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), "Authorization, *");
    let ask = api.http.ask("OPTIONS", "/run").header("origin", "https://evil.example.com");
    ask.header("access-control-request-method", "POST").send().problem(403, "origin_not_allowed");
    api.stop();
}

#[test]
fn named_hosts_are_answered_to_and_others_are_not() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = without_cli(&testbox).env("CLAUDEBOX_MODE_API_HOSTS", "box.example.com,*.box.example.org");
    let api = start(&testbox, launch);
    let status = |host: &str| api.http.get("/status").header("host", host).send();
    for host in ["box.example.com:8080", "a.box.example.org", "localhost"] {
        assert_eq!(status(host).status, 200, "{host}");
    }
    for host in ["a.box.example.com", "box.example.org", "neighbour"] {
        status(host).problem(403, "host_not_allowed");
    }
    api.stop();
}

/// The predecessor's names, and the other order of words it knew.
#[test]
fn the_api_is_turned_on_by_each_of_its_prefixes() {
    for prefix in ["CLAUDE_MODE_API", "CLAUDEBOX_API_MODE"] {
        let Some(testbox) = TestBox::new() else { return };
        let workspaces = testbox.path("workspaces");
        let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_WORKSPACES_DIR", workspaces.to_str().unwrap());
        let launch = launch.env("CLAUDEBOX_WORKSPACE", "/no/such/folder").env(prefix, "1");
        let launch = launch.env(&format!("{prefix}_PORT"), "8099").env(&format!("{prefix}_TOKEN"), "s3cret");
        let api = start_on(8099, &testbox, launch);
        api.http.get("/status").send().problem(401, "unauthorized");
        let status = api.http.with_token("s3cret").get("/status").send().json(200);
        assert_eq!(status, json!({"busyWorkspaces": [], "runs": [], "queued": 0}), "{prefix}");
        let health: Value = api.http.get("/health").send().json(200);
        assert_eq!(health, json!({"status": "ok"}));
        api.stop();
    }
}
