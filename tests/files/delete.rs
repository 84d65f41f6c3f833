//! Deleting, and callers who may use only part.

use axum::body::Body;
use rstest::rstest;
use serde_json::json;

use crate::fixture::{Fixture, send};

#[tokio::test]
async fn a_file_is_deleted() {
    let fixture = Fixture::new();
    let answer = fixture.delete("/files/b/file", &[]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({"status": "ok", "path": fixture.absolute("b/file")}))
    );
    assert!(fixture.names("b").is_empty());
    assert_eq!(fixture.delete("/files/b/file", &[]).await.outcome(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn a_folder_is_deleted_only_on_demand() {
    let fixture = Fixture::new();
    let answer = fixture.delete("/files/a", &[]).await;
    assert_eq!(answer.outcome(), (409, "is_a_folder".to_owned()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("recursive=true"));
    assert_eq!(fixture.delete("/files/a?recursive=false", &[]).await.status, 409);
    assert_eq!(fixture.delete("/files/a?recursive=true", &[]).await.status, 200);
    assert_eq!(fixture.names(""), ["b"]);
    fixture.assert_untouched("deleting a folder of links");
}

#[rstest]
#[case("/files/?recursive=true", 405)]
#[case("/files/.?recursive=true", 403)]
#[case("/files/%2e?recursive=true", 403)]
#[case("/files//?recursive=true", 403)]
#[case("/files/a/up/b/..?recursive=true", 403)]
#[case("/files/a/out/canary.txt", 403)]
#[case("/files/b/file?recursive=maybe", 422)]
#[tokio::test]
async fn what_cannot_be_deleted(#[case] target: &str, #[case] status: u16) {
    let fixture = Fixture::new();
    assert_eq!(fixture.delete(target, &[]).await.status, status);
    assert_eq!((fixture.names(""), fixture.names("b")), (vec!["a".into(), "b".into()], vec!["file".to_owned()]));
    fixture.assert_untouched(target);
}

#[tokio::test]
async fn a_link_is_deleted_itself() {
    let fixture = Fixture::new();
    for link in ["out", "out_file", "out_absolute", "up", "magic", "loop", "dangling"] {
        assert_eq!(fixture.delete(&format!("/files/a/{link}?recursive=true"), &[]).await.status, 200, "{link}");
    }
    fixture.assert_untouched("deleting links");
    assert_eq!(fixture.names(""), ["a", "b"]);
}

#[tokio::test]
async fn only_the_file_that_is_meant_is_deleted() {
    let fixture = Fixture::new();
    let tag = fixture.get("/files/b/file", &[]).await.header("etag").to_owned();
    assert_eq!(fixture.delete("/files/b/file", &[("if-match", "\"x\"")]).await.status, 412);
    fixture.put("/files/b/file", &[], "changed").await;
    assert_eq!(fixture.delete("/files/b/file", &[("if-match", &tag)]).await.status, 412);
    assert_eq!(fixture.names("b"), ["file"]);
    let tag = fixture.get("/files/b/file", &[]).await.header("etag").to_owned();
    assert_eq!(fixture.delete("/files/b/file", &[("if-match", &tag)]).await.status, 200);
}

#[tokio::test]
async fn a_restricted_caller_has_its_own_files_only() {
    let fixture = Fixture::new();
    let door = fixture.door_for(|path| path == "a" || path.starts_with("a/"));
    let ask = |method: &'static str, target: &'static str| {
        let door = door.clone();
        async move { send(door, method, target, &[], Body::from("text")).await }
    };
    assert_eq!(ask("GET", "/files").await.json()["entries"].as_array().unwrap().len(), 1);
    assert_eq!(ask("GET", "/files/a/file").await.text(), "inside");
    assert_eq!(ask("PUT", "/files/a/new").await.status, 200);
    let refused = (403, "workspace_not_allowed".to_owned());
    for (method, target) in [
        ("GET", "/files/b"),
        ("GET", "/files/b/file"),
        ("GET", "/files/b/missing"),
        ("GET", "/files/a/up/b/file"),
        ("PUT", "/files/b/file"),
        ("PUT", "/files/a/up/b/new/er"),
        ("PUT", "/files/new"),
        ("DELETE", "/files/b/file"),
        ("DELETE", "/files/a/up/b?recursive=true"),
    ] {
        assert_eq!(ask(method, target).await.outcome(), refused, "{method} {target}");
    }
    assert_eq!(fixture.names("b"), ["file"]);
}
