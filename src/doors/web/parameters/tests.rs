use super::*;
use axum::response::IntoResponse as _;
use rstest::rstest;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Example {
    prompt: String,
    effort: Option<Effort>,
    #[serde(default)]
    tools: Vec<Tool>,
    json_schema: Option<Value>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Effort {
    Low,
    High,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(expecting = "an object")]
struct Tool {
    name: String,
}

async fn shown(problem: Problem) -> (u16, Value) {
    let response = problem.into_response();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn post(body: &str) -> axum::http::request::Builder {
    axum::http::Request::post("/").header(header::CONTENT_LENGTH, body.len())
}

async fn read(request: Request) -> Result<Example, (u16, Value)> {
    match Body::<Example>::from_request(request, &()).await {
        Ok(Body(example)) => Ok(example),
        Err(problem) => Err(shown(problem).await),
    }
}

#[rstest]
#[case("", 400, "malformed_json", json!(null), json!(null), "the body is empty")]
#[case("{", 400, "malformed_json", json!(null), json!(null), "line 1 column 1")]
#[case("{\n\"prompt\": x}", 400, "malformed_json", json!(null), json!(null), "line 2 column 11")]
#[case("nonsense", 400, "malformed_json", json!(null), json!(null), "line 1 column")]
#[case("{\"prompt\": \"a\"} more", 400, "malformed_json", json!(null), json!(null), "trailing characters")]
#[case("[\"a\", \"low\", [], {}]", 422, "invalid_field", json!(null), json!(null), "a JSON object is needed")]
#[case("{}", 422, "invalid_field", json!("prompt"), json!(null), "missing field `prompt`")]
#[case("{\"prompt\": 5}", 422, "invalid_field", json!("prompt"), json!(null), "expected a string")]
#[case(
    "{\"prompt\": \"a\", \"effort\": \"x`, expected `evil\"}",
    422,
    "invalid_field",
    json!("effort"),
    json!(["low", "high"]),
    "unknown variant"
)]
#[case(
    "{\"prompt\": \"a\", \"promt\": \"b\"}",
    422,
    "invalid_field",
    json!("promt"),
    json!(["prompt", "effort", "tools", "jsonSchema"]),
    "unknown field `promt`"
)]
#[case("{\"prompt\": \"a\", \"prompt\": \"b\"}", 422, "invalid_field", json!("prompt"), json!(null), "duplicate field")]
#[case("{\"prompt\": \"a\", \"tools\": [{\"name\": \"x\"}, {}]}", 422, "invalid_field", json!("tools[1].name"), json!(null), "missing")]
#[case("{\"prompt\": \"a\", \"tools\": [{\"name\": []}]}", 422, "invalid_field", json!("tools[0].name"), json!(null), "expected a string")]
#[case("{\"prompt\": \"a\", \"tools\": [7]}", 422, "invalid_field", json!("tools[0]"), json!(null), "expected an object")]
#[tokio::test]
async fn a_wrong_body_is_named(
    #[case] body: &'static str,
    #[case] status: u16,
    #[case] code: &str,
    #[case] field: Value,
    #[case] allowed: Value,
    #[case] detail: &str,
) {
    let (found, said) = read(post(body).body(body.into()).unwrap()).await.unwrap_err();
    assert_eq!((found, said["code"].as_str().unwrap()), (status, code), "{said}");
    assert_eq!((&said["field"], &said["allowed"]), (&field, &allowed), "{said}");
    let text = said["detail"].as_str().unwrap();
    assert!(text.contains(detail), "{text}");
    assert!(status == 400 || !text.contains(" at line "), "{text}");
}

#[tokio::test]
async fn deep_nesting_is_refused_and_not_recursed_into() {
    let body = format!("{{\"prompt\": \"a\", \"jsonSchema\": {}", "[".repeat(100_000));
    let (status, said) = read(post(&body).body(body.into()).unwrap()).await.unwrap_err();
    assert_eq!((status, said["code"].as_str()), (400, Some("malformed_json")));
    let list = "[".repeat(100_000);
    let (status, _) = read(post(&list).body(list.into()).unwrap()).await.unwrap_err();
    assert_eq!(status, 400);
}

#[tokio::test]
async fn in_json_that_is_passed_on_the_last_duplicate_wins() {
    let body = "{\"prompt\": \"a\", \"jsonSchema\": {\"x\": 1, \"x\": 2}}";
    assert_eq!(read(post(body).body(body.into()).unwrap()).await.unwrap().json_schema, Some(json!({"x": 2})));
}

#[rstest]
#[case(None, true)]
#[case(Some("application/json"), true)]
#[case(Some("Application/JSON; charset=utf-8"), true)]
#[case(Some("application/vnd.api+json"), true)]
#[case(Some("application/x-www-form-urlencoded"), false)]
#[case(Some("text/plain"), false)]
#[case(Some("application/jsonp"), false)]
#[case(Some("+json"), false)]
#[case(Some(""), false)]
#[tokio::test]
async fn only_json_is_read(#[case] kind: Option<&str>, #[case] accepted: bool) {
    let body = "{\"prompt\": \"a\"}";
    let mut request = post(body);
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    match read(request.body(body.into()).unwrap()).await {
        Ok(_) => assert!(accepted),
        Err((status, said)) => {
            assert!(!accepted && status == 415, "{said}");
            assert_eq!(said["code"], "unsupported_media_type");
            assert!(said["detail"].as_str().unwrap().contains("Content-Type: application/json"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let request = post("x").header(header::CONTENT_ENCODING, "gzip").body("x".into()).unwrap();
    assert_eq!(read(request).await.unwrap_err().0, 415);
}

#[rstest]
#[case::announced(true, 33)]
#[case::not_announced(false, 33)]
#[tokio::test]
async fn a_body_over_the_limit_is_refused(#[case] announced: bool, #[case] length: usize) {
    let text = format!("{{\"prompt\": \"{}\"}}", "x".repeat(length - 14));
    for (limit, fits) in [(length, true), (length - 1, false)] {
        let mut request = axum::http::Request::post("/").extension(BodyLimit(limit as u64));
        if announced {
            request = request.header(header::CONTENT_LENGTH, text.len());
        }
        // A body that was not announced has no length to look at.
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(text.clone())]);
        match read(request.body(axum::body::Body::from_stream(body)).unwrap()).await {
            Ok(_) => assert!(fits),
            Err((status, said)) => {
                assert!(!fits && status == 413, "{said}");
                assert_eq!((&said["code"], &said["limitBytes"]), (&json!("too_large"), &json!(limit)));
                assert!(said["detail"].as_str().unwrap().contains("CLAUDEBOX_MODE_API_MAX_BODY_MB"), "{said}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_parsed() {
    let pieces = [Ok("{\"prompt\": \"a\"}"), Err(std::io::Error::other("gone"))];
    let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
    let (status, said) = read(post("").body(body).unwrap()).await.unwrap_err();
    assert_eq!((status, &said["code"]), (400, &json!("body_cut")));
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Asked {
    run_id: String,
    after: Option<u64>,
    effort: Option<Effort>,
}

#[rstest]
#[case("runId=a&after=x", "after", json!(null))]
#[case("after=1", "runId", json!(null))]
#[case("runId=a&runId=b", "runId", json!(null))]
#[case("runId=a&effort=max", "effort", json!(["low", "high"]))]
#[tokio::test]
async fn a_wrong_parameter_is_named(#[case] text: &str, #[case] field: &str, #[case] allowed: Value) {
    let (status, said) = shown(query::<Asked>(text).unwrap_err()).await;
    assert_eq!((status, &said["code"]), (422, &json!("invalid_parameter")));
    assert_eq!((&said["field"], &said["allowed"]), (&json!(field), &allowed), "{said}");
}

#[test]
fn a_query_is_decoded() {
    let asked: Asked = query("runId=a%2Fb+c&after=7&other=1").unwrap();
    assert_eq!(asked, Asked { run_id: "a/b c".into(), after: Some(7), effort: None });
}

#[tokio::test]
async fn a_path_that_is_no_text_is_a_problem() {
    use tower::ServiceExt as _;
    let router =
        axum::Router::new().route("/files/{*path}", axum::routing::get(|Path(path): Path<String>| async { path }));
    let ask = |path| router.clone().oneshot(axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap());
    let found = ask("/files/a%2Fb%20c").await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(found, "a/b c");
    let refused = ask("/files/%ff").await.unwrap();
    assert_eq!(refused.status(), 400);
    let said: Value = serde_json::from_slice(&refused.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(said["code"], "invalid_path");
}
