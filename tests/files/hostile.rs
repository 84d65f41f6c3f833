//! Hundreds of ways to name what is outside, each tried with each method. None gets there, and none is a fault.

use axum::body::Body;
use claudebox::workspace::{ErrorKind, Workspaces};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::fixture::{Answer, Fixture, SECRET, send};

/// Request targets as they are sent, one on a line.
const TARGETS: &str = include_str!("../data/hostile_paths.txt");

#[test]
fn the_corpus_is_large_and_has_no_duplicates() {
    let mut targets: Vec<_> = TARGETS.lines().collect();
    assert!(targets.len() >= 300, "only {} targets", targets.len());
    assert!(targets.iter().all(|target| target.starts_with("/files/")));
    targets.sort_unstable();
    let all = targets.len();
    targets.dedup();
    assert_eq!(targets.len(), all);
}

/// Reading comes first: a door that leaks there is not let near anything it could destroy.
#[tokio::test]
async fn no_name_leads_outside() {
    let fixture = Fixture::new();
    for target in TARGETS.lines() {
        for method in ["GET", "HEAD"] {
            let answer = fixture.send(method, target, &[], Body::empty()).await;
            assert_harmless(&format!("{method} {target}"), &answer);
            if answer.status == 200 && method == "GET" {
                assert_inside(target, &answer);
            }
        }
    }
    fixture.assert_untouched("reading");

    let mut fixture = fixture;
    for target in TARGETS.lines() {
        let mut changed = false;
        for (method, query) in [("PUT", ""), ("GET", ""), ("DELETE", ""), ("DELETE", "?recursive=true")] {
            let body = if method == "PUT" { "inside, written" } else { "" };
            let answer = fixture.send(method, &format!("{target}{query}"), &[], Body::from(body)).await;
            assert_harmless(&format!("{method} {target}{query}"), &answer);
            changed |= method != "GET" && answer.status.is_success();
        }
        fixture.assert_untouched(target);
        assert!(fixture.at("").is_dir(), "{target} took the workspaces folder");
        if changed {
            // The next one finds every link in place.
            fixture = Fixture::new();
        }
    }
}

#[test]
fn no_name_of_a_workspace_leads_outside() {
    let fixture = Fixture::new();
    let root = fixture.workspaces.root();
    for target in TARGETS.lines() {
        let decoded = percent_decode_str(target.strip_prefix("/files/").unwrap()).decode_utf8_lossy().into_owned();
        for find in [Workspaces::resolve, Workspaces::create] {
            match find(&fixture.workspaces, &decoded) {
                Ok(workspace) => {
                    let real = workspace.path.canonicalize().unwrap();
                    assert!(real.starts_with(root) && real == workspace.path, "{decoded:?} is {workspace:?}");
                }
                Err(error) => assert_ne!(error.kind(), ErrorKind::Fault, "{decoded:?}: {error}"),
            }
        }
    }
    fixture.assert_untouched("making workspaces");
}

/// A caller with one workspace gets to no other, not even by links in its own.
#[tokio::test]
async fn no_name_leads_into_another_workspace() {
    let fixture = Fixture::new();
    let door = fixture.door_for(|path| path == "b" || path.starts_with("b/"));
    for target in TARGETS.lines() {
        let answer = send(door.clone(), "GET", target, &[], Body::empty()).await;
        assert_harmless(target, &answer);
        if answer.status == 200 {
            assert_eq!(answer.json()["entries"].as_array().unwrap().len(), 1, "{target}: {:?}", answer.text());
            assert_eq!(answer.json()["entries"][0]["name"], "b", "{target}");
        }
        for method in ["PUT", "DELETE"] {
            let answer = send(door.clone(), method, target, &[], Body::from("text")).await;
            assert!(answer.status.is_client_error(), "{method} {target}: {}", answer.status);
        }
    }
    fixture.assert_untouched("a restricted caller");
    assert_eq!(fixture.names("b"), ["file"]);
}

fn assert_harmless(what: &str, answer: &Answer) {
    assert!(!answer.status.is_server_error(), "{what}: {} {:?}", answer.status, answer.body);
    let body = String::from_utf8_lossy(&answer.body);
    assert!(!body.contains(SECRET), "{what} got the secret");
    if answer.status.is_client_error() && !answer.body.is_empty() {
        let problem = answer.json();
        assert!(problem["code"].is_string() && problem["detail"].is_string(), "{what}: {problem}");
    }
}

/// What is read is one of the fixture's files, or a folder of it.
fn assert_inside(target: &str, answer: &Answer) {
    if answer.header("content-type") != "application/json" {
        assert!(answer.text().starts_with("inside"), "{target}: {:?}", answer.body);
        return;
    }
    let listing = answer.json();
    let names: Vec<_> =
        listing["entries"].as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
    let known = |names: &[&str]| names == ["a", "b"] || names == ["file"] || names.is_empty() || names.contains(&"out");
    assert!(known(&names), "{target} lists {names:?}");
    assert!(listing["path"].is_string() && listing["nextCursor"] == Value::Null);
}
