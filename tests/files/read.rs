//! Reading and listing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use claudebox::doors::http::files;
use rstest::rstest;
use serde_json::json;
use utoipa::OpenApi;

use crate::fixture::{Fixture, send};

#[tokio::test]
async fn a_folder_is_listed() {
    let fixture = Fixture::new();
    fs::File::open(fixture.at("b/file")).unwrap().set_modified(UNIX_EPOCH + Duration::from_millis(1500)).unwrap();
    fs::create_dir(fixture.at("b/folder")).unwrap();
    fs::write(fixture.at("b").join(OsStr::from_bytes(b"\xff \xc3\xa4")), "x").unwrap();
    let answer = fixture.get("/files/b", &[]).await;
    let listing = answer.json();
    assert_eq!(listing["path"], "b");
    assert_eq!(listing["nextCursor"], json!(null));
    assert_eq!(
        listing["entries"][0],
        json!({"name": "file", "type": "file", "size": 6, "mtime": "1970-01-01T00:00:01.500Z"})
    );
    assert_eq!(listing["entries"][1]["type"], "dir");
    assert_eq!(listing["entries"][2]["name"], "\u{fffd} ä");
    assert_eq!(listing["entries"][2]["encodedName"], "%FF%20%C3%A4");
    let raw = fixture.get("/files/b/%FF%20%C3%A4", &[]).await;
    assert_eq!(raw.text(), "x");
    for root in ["/files", "/files/", "/files/.", "/files/a/up"] {
        let listing = fixture.get(root, &[]).await.json();
        let names: Vec<_> = listing["entries"].as_array().unwrap().iter().map(|entry| &entry["name"]).collect();
        assert_eq!(names, ["a", "b"], "{root}");
    }
}

#[tokio::test]
async fn a_large_folder_comes_in_pages() {
    let fixture = Fixture::new();
    for number in 0..10 {
        fs::write(fixture.at(&format!("b/n {number}%")), "").unwrap();
    }
    let mut names = Vec::new();
    let mut target = "/files/b?limit=4".to_owned();
    let mut pages = 0;
    loop {
        let page = fixture.get(&target, &[]).await.json();
        names
            .extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        let cursor: String =
            percent_encoding::utf8_percent_encode(cursor, percent_encoding::NON_ALPHANUMERIC).collect();
        target = format!("/files/b?limit=4&cursor={cursor}");
    }
    let mut expected = vec!["file".to_owned()];
    expected.extend((0..10).map(|number| format!("n {number}%")));
    assert_eq!((names, pages), (expected, 3));
}

#[rstest]
#[case("/files?limit=0", "limit")]
#[case("/files/a/file?limit=abc", "limit")]
#[case("/files?limit=%ff", "limit")]
#[case("/files/a/file?download=maybe", "download")]
#[tokio::test]
async fn a_parameter_that_is_not_allowed_is_named(#[case] target: &str, #[case] name: &str) {
    let answer = Fixture::new().get(target, &[]).await;
    assert_eq!(answer.outcome(), (422, "invalid_parameter".to_owned()));
    assert_eq!(answer.json()["parameter"], name);
}

#[tokio::test]
async fn a_file_comes_as_it_is() {
    let fixture = Fixture::new();
    fs::write(fixture.at("b/ä.html"), "<p>ä").unwrap();
    let got = fixture.get("/files/b/%c3%a4.html", &[]).await;
    assert_eq!((got.status.as_u16(), got.text()), (200, "<p>ä"));
    assert_eq!(got.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(got.header("content-length"), "5");
    assert_eq!(got.header("accept-ranges"), "bytes");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(got.header("content-security-policy"), "sandbox");
    assert!(httpdate::parse_http_date(got.header("last-modified")).is_ok());
    assert!(!got.headers.contains_key("content-disposition"));
    let head = fixture.send("HEAD", "/files/b/%c3%a4.html", &[("range", "bytes=0-1")], Body::empty()).await;
    assert_eq!((head.status.as_u16(), &*head.body), (200, &b""[..]));
    assert_eq!(head.headers, got.headers);
    let saved = fixture.get("/files/b/%c3%a4.html?download", &[]).await;
    assert_eq!(saved.header("content-disposition"), "attachment; filename=\"_.html\"; filename*=UTF-8''%C3%A4.html");
}

#[rstest]
#[case("x.json", b"{}", "application/json")]
#[case("x.png", b"\x89PNG", "image/png")]
#[case("x.txt", b"text", "text/plain; charset=utf-8")]
#[case("x.txt", b"\xe4", "text/plain")]
#[case("x.CSV", b"", "text/csv; charset=utf-8")]
#[case("x", b"text", "application/octet-stream")]
#[case("x.unknown", b"text", "application/octet-stream")]
#[tokio::test]
async fn the_type_is_what_the_name_says(#[case] name: &str, #[case] content: &[u8], #[case] expected: &str) {
    let fixture = Fixture::new();
    fs::write(fixture.at("b").join(name), content).unwrap();
    assert_eq!(fixture.get(&format!("/files/b/{name}"), &[]).await.header("content-type"), expected);
}

/// The sample that tells the encoding ends in the middle of a character.
#[tokio::test]
async fn a_long_text_is_utf8_too() {
    let fixture = Fixture::new();
    fs::write(fixture.at("b/x.txt"), "x".to_owned() + &"ä".repeat(5000)).unwrap();
    assert_eq!(fixture.get("/files/b/x.txt", &[]).await.header("content-type"), "text/plain; charset=utf-8");
}

#[rstest]
#[case(&[], 200, 0..6)]
#[case(&[("range", "bytes=1-3")], 206, 1..4)]
#[case(&[("range", "bytes=-2")], 206, 4..6)]
#[case(&[("range", "bytes=2-")], 206, 2..6)]
#[case(&[("range", "bytes=0-5")], 206, 0..6)]
#[case(&[("range", "bytes=0-1,3-4")], 200, 0..6)]
#[case(&[("range", "lines=1-2")], 200, 0..6)]
#[case(&[("range", "bytes=1-3"), ("if-range", "TAG")], 206, 1..4)]
#[case(&[("range", "bytes=1-3"), ("if-range", "DATE")], 206, 1..4)]
#[case(&[("range", "bytes=1-3"), ("if-range", "\"other\"")], 200, 0..6)]
#[case(&[("range", "bytes=1-3"), ("if-range", "W/TAG")], 200, 0..6)]
#[case(&[("if-none-match", "TAG")], 304, 0..0)]
#[case(&[("if-none-match", "\"x\", W/TAG")], 304, 0..0)]
#[case(&[("if-none-match", "*")], 304, 0..0)]
#[case(&[("if-none-match", "\"x\"")], 200, 0..6)]
#[case(&[("if-modified-since", "DATE")], 304, 0..0)]
#[case(&[("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], 200, 0..6)]
#[case(&[("if-modified-since", "yesterday")], 200, 0..6)]
#[case(&[("if-modified-since", "DATE"), ("if-none-match", "\"x\"")], 200, 0..6)]
#[case(&[("if-match", "TAG")], 200, 0..6)]
#[case(&[("if-match", "*")], 200, 0..6)]
#[case(&[("if-unmodified-since", "DATE")], 200, 0..6)]
#[case(&[("range", "bytes=1-3"), ("if-none-match", "TAG")], 304, 0..0)]
#[tokio::test]
async fn ranges_and_conditions(
    #[case] headers: &[(&str, &str)],
    #[case] status: u16,
    #[case] bytes: std::ops::Range<usize>,
) {
    let fixture = Fixture::new();
    let first = fixture.get("/files/b/file", &[]).await;
    let filled: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let value = value.replace("TAG", first.header("etag")).replace("DATE", first.header("last-modified"));
            (*name, value)
        })
        .collect();
    let filled: Vec<_> = filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = fixture.get("/files/b/file", &filled).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (status, &"inside"[bytes.clone()]));
    assert_eq!(answer.header("etag"), first.header("etag"));
    if status == 206 {
        assert_eq!(answer.header("content-range"), format!("bytes {}-{}/6", bytes.start, bytes.end - 1));
        assert_eq!(answer.header("content-length"), bytes.len().to_string());
    } else {
        assert_eq!(answer.header("content-range"), "");
    }
}

#[rstest]
#[case(&[("range", "bytes=6-")], 416, "range_not_satisfiable")]
#[case(&[("range", "bytes=-0")], 416, "range_not_satisfiable")]
#[case(&[("if-match", "\"x\"")], 412, "precondition_failed")]
#[case(&[("if-match", "W/TAG")], 412, "precondition_failed")]
#[case(&[("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], 412, "precondition_failed")]
#[tokio::test]
async fn ranges_and_conditions_that_fail(#[case] headers: &[(&str, &str)], #[case] status: u16, #[case] code: &str) {
    let fixture = Fixture::new();
    let answer = fixture.get("/files/b/file", headers).await;
    assert_eq!(answer.outcome(), (status, code.to_owned()));
    if status == 416 {
        assert_eq!(answer.header("content-range"), "bytes */6");
    }
}

/// Larger than what is read at once, and no multiple of a piece.
#[tokio::test]
async fn a_large_file_comes_whole_and_in_part() {
    let fixture = Fixture::new();
    let content: Vec<u8> = (0..1_000_003_u32).flat_map(u32::to_le_bytes).take(1_000_003).collect();
    fs::write(fixture.at("b/large"), &content).unwrap();
    let whole = fixture.get("/files/b/large", &[]).await;
    assert_eq!(whole.header("content-length"), "1000003");
    assert!(whole.body == content);
    let part = fixture.get("/files/b/large", &[("range", "bytes=100001-900000")]).await;
    assert_eq!((part.status.as_u16(), part.header("content-length")), (206, "800000"));
    assert!(part.body == content[100_001..=900_000]);
}

#[tokio::test]
async fn a_tag_changes_with_the_file() {
    let fixture = Fixture::new();
    let before = fixture.get("/files/b/file", &[]).await;
    fixture.put("/files/b/file", &[], "inside").await;
    let after = fixture.get("/files/b/file", &[]).await;
    assert_ne!(before.header("etag"), after.header("etag"));
}

/// Dates no HTTP date can name must not end the server.
#[tokio::test]
async fn a_file_may_be_of_any_age() {
    let fixture = Fixture::new();
    for name in ["before", "after"] {
        let time = if name == "before" {
            UNIX_EPOCH - Duration::from_secs(5)
        } else {
            UNIX_EPOCH + Duration::from_secs(15_032_385_535)
        };
        fs::File::create(fixture.at("b").join(name)).unwrap().set_modified(time).unwrap();
        assert_eq!(fixture.get(&format!("/files/b/{name}"), &[]).await.status, 200, "{name}");
    }
    assert_eq!(fixture.get("/files/b", &[]).await.json()["entries"][1]["mtime"], "1969-12-31T23:59:55Z");
}

#[rstest]
#[case("a/pipe", 422, "not_a_file")]
#[case("a/socket", 422, "not_a_file")]
#[case("a/missing", 404, "not_found")]
#[case("a/file/x", 422, "not_a_folder")]
#[case("a/%00", 422, "path_invalid")]
#[case("a/%252e%252e/file", 404, "not_found")]
#[case("../b", 403, "path_outside")]
#[case("a/out", 403, "path_outside")]
#[case("/etc/passwd", 404, "not_found")]
#[tokio::test]
async fn what_cannot_be_read(#[case] path: &str, #[case] status: u16, #[case] code: &str) {
    let fixture = Fixture::new();
    assert_eq!(fixture.get(&format!("/files/{path}"), &[]).await.outcome(), (status, code.to_owned()));
}

/// As answers of the API name it, with the slash bare or encoded.
#[tokio::test]
async fn an_absolute_path_from_an_answer_can_be_used() {
    let fixture = Fixture::new();
    let absolute = fixture.absolute("b/file");
    for target in [format!("/files/{absolute}"), format!("/files/{}", absolute.replace('/', "%2F"))] {
        assert_eq!(fixture.get(&target, &[]).await.text(), "inside", "{target}");
    }
}

/// A route wired up without its guard must not be an open one.
#[tokio::test]
async fn without_a_guard_nobody_gets_in() {
    let fixture = Fixture::new();
    let door = files::router().layer(axum::Extension(fixture.workspaces.clone()));
    assert_eq!(send(door, "GET", "/files/b/file", &[], Body::empty()).await.status, 500);
}

#[test]
fn the_description_has_every_operation() {
    let described = serde_json::to_value(files::Described::openapi()).unwrap();
    assert!(described["paths"]["/files"]["get"].is_object());
    for method in ["get", "put", "delete"] {
        let operation = &described["paths"]["/files/{path}"][method];
        assert!(operation["responses"]["403"].is_object() && operation["parameters"][0]["in"] == "path", "{method}");
    }
    assert!(described["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
}
