//! Writing: whole or not at all.

use std::fs;

use axum::body::{Body, Bytes};
use futures_util::stream;
use rstest::rstest;
use serde_json::json;
use tokio::sync::mpsc;

use crate::fixture::{Fixture, send};

#[tokio::test]
async fn a_file_is_written_with_the_folders_above_it() {
    let fixture = Fixture::new();
    let answer = fixture.put("/files/new/deep/x.txt", &[], "text").await;
    let tag = answer.header("etag");
    let expected = json!({"status": "ok", "path": fixture.absolute("new/deep/x.txt"), "size": 4, "etag": tag});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    let read = fixture.get("/files/new/deep/x.txt", &[]).await;
    assert_eq!((read.text(), read.header("etag")), ("text", tag));
    assert_eq!(fixture.names("new/deep"), ["x.txt"]);
}

#[tokio::test]
async fn a_large_body_arrives_in_many_pieces() {
    let fixture = Fixture::new();
    let pieces = (0..100_u8).map(|number| Ok::<_, std::io::Error>(Bytes::from(vec![number; 10_007])));
    let answer = fixture.send("PUT", "/files/b/large", &[], Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(answer.json()["size"], 1_000_700);
    let expected: Vec<u8> = (0..100_u8).flat_map(|number| vec![number; 10_007]).collect();
    assert!(fs::read(fixture.at("b/large")).unwrap() == expected);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let fixture = Fixture::new();
    for target in ["/files/b/file", "/files/x/y/new"] {
        let pieces = [Ok(Bytes::from(vec![b'x'; 600_000])), Err(std::io::Error::other("gone"))];
        let answer = fixture.send("PUT", target, &[], Body::from_stream(stream::iter(pieces))).await;
        assert_eq!(answer.outcome(), (400, "body_incomplete".to_owned()));
    }
    assert_eq!((fixture.names(""), fixture.names("b")), (vec!["a".into(), "b".into()], vec!["file".to_owned()]));
    assert_eq!(fs::read_to_string(fixture.at("b/file")).unwrap(), "inside");
}

/// The server drops the handler of a client that is gone.
#[tokio::test]
async fn a_client_that_disconnects_leaves_nothing() {
    let fixture = Fixture::new();
    let (waiting, mut waits) = mpsc::unbounded_channel();
    let pieces = stream::unfold(0, move |at| {
        let waiting = waiting.clone();
        async move {
            if at == 2 {
                waiting.send(()).unwrap();
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 600_000])), at + 1))
        }
    });
    let body = Body::from_stream(pieces);
    let door = fixture.door();
    let client = tokio::spawn(async move { send(door, "PUT", "/files/b/new", &[], body).await.status });
    waits.recv().await.unwrap();
    let meanwhile = fixture.names("b");
    assert!(meanwhile.len() == 2 && meanwhile[0].starts_with(".claudebox-upload-"), "{meanwhile:?}");
    assert_eq!(fixture.get("/files/b", &[]).await.json()["entries"].as_array().unwrap().len(), 1);
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_eq!(fixture.names("b"), ["file"]);
}

#[tokio::test]
async fn a_body_has_at_most_the_limit() {
    let fixture = Fixture::new();
    let put = |body: Body, length: Option<&'static str>| {
        let headers: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let door = fixture.door_with_limit(1000);
        async move { send(door, "PUT", "/files/b/new", &headers, body).await.outcome() }
    };
    let refused = (413, "too_large".to_owned());
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(put(never, Some("1001")).await, refused);
    assert_eq!(put(Body::from(vec![b'x'; 1001]), None).await, refused);
    assert_eq!(fixture.names("b"), ["file"]);
    assert_eq!(put(Body::from(vec![b'x'; 1000]), Some("1000")).await.0, 200);
}

#[rstest]
#[case("b/file", ("if-match", "TAG"), 200)]
#[case("b/file", ("if-match", "*"), 200)]
#[case("b/file", ("if-match", "\"x\""), 412)]
#[case("b/file", ("if-match", "W/TAG"), 412)]
#[case("b/file", ("if-none-match", "*"), 412)]
#[case("b/file", ("if-none-match", "TAG"), 412)]
#[case("b/file", ("if-none-match", "\"x\""), 200)]
#[case("b/new", ("if-none-match", "*"), 200)]
#[case("b/new", ("if-match", "*"), 412)]
#[case("b/new", ("if-match", "TAG"), 412)]
#[tokio::test]
async fn conditions_of_a_write(#[case] path: &str, #[case] header: (&str, &str), #[case] status: u16) {
    let fixture = Fixture::new();
    let tag = fixture.get("/files/b/file", &[]).await.header("etag").to_owned();
    let value = header.1.replace("TAG", &tag);
    let answer = fixture.put(&format!("/files/{path}"), &[(header.0, &value)], "new").await;
    assert_eq!(answer.status, status);
    let written = fs::read_to_string(fixture.at(path)).is_ok_and(|text| text == "new");
    assert_eq!(written, status == 200);
    assert_eq!(fixture.names("b").len(), if path == "b/new" && status == 200 { 2 } else { 1 });
}

#[rstest]
#[case("a/deep", &[], 409, "is_a_folder")]
#[case(".", &[], 409, "is_a_folder")]
#[case("a/pipe", &[], 422, "not_a_file")]
#[case("a/file/x", &[], 422, "not_a_folder")]
#[case("a/out_file", &[], 403, "path_outside")]
#[case("a/dangling_out", &[], 403, "path_outside")]
#[case("a/dangling", &[], 404, "not_found")]
#[case("..%2fx", &[], 403, "path_outside")]
#[case("b/dir/", &[], 422, "path_invalid")]
#[case("b/dir%2F", &[], 422, "path_invalid")]
#[case("b/file", &[("if-match", "\"x\"")], 412, "precondition_failed")]
#[case("b/file", &[("if-none-match", "*")], 412, "precondition_failed")]
#[case("b/file", &[("content-range", "bytes 0-1/2")], 400, "content_range_not_supported")]
#[tokio::test]
async fn what_cannot_be_written(
    #[case] path: &str,
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
    #[case] code: &str,
) {
    let fixture = Fixture::new();
    // Refused before the body, which never ends.
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = fixture.send("PUT", &format!("/files/{path}"), headers, never).await;
    assert_eq!(answer.outcome(), (status, code.to_owned()));
    fixture.assert_untouched(path);
}
