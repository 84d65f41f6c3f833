use super::*;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{Uri, header};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::secret::Secret;
use crate::config::server::HttpConfig;
use crate::desk::caller::Caller;
use crate::doors::web::auth::{Authenticator, protect};
use crate::doors::web::parameters::Body;
use crate::doors::web::server::{Limits, bind, serve};
use crate::store::record::DoorName;

/// No test waits that long; one that does has failed.
const DEADLINE: Duration = Duration::from_secs(20);

fn as_it_is(_: &str, response: Response) -> Response {
    response
}

/// A server as the API's is put together, asked over TCP.
fn start(tokens_file: Option<PathBuf>) -> SocketAddr {
    let config = HttpConfig {
        bind: [127, 0, 0, 1].into(),
        port: 8080,
        token: Some(Secret::new("s3cret".into())),
        tokens_file,
        hosts: Vec::new(),
        origins: vec!["https://app.example".into()],
        openai_models: Vec::new(),
        body_limit: 100,
        upload_limit: None,
        connections: 8,
    };
    let authenticator = Arc::new(Authenticator::from_config(&config).unwrap());
    let who = |Extension(caller): Extension<Caller>| async move { caller.name };
    let run = post(|Extension(caller): Extension<Caller>, Body(_): Body<Value>| async move { caller.name });
    let api = protect(Router::new().route("/who", get(who)).route("/run", run), &authenticator, DoorName::Http, false);
    let address = |uri: Uri, Extension(caller): Extension<Caller>| async move { format!("{} at {uri}", caller.name) };
    let mcp = protect(Router::new().route("/mcp", get(address)), &authenticator, DoorName::Mcp, true);
    let router = api.merge(mcp).route("/health", get(|| async { "ok" }));
    let router = wrap(router, Origins::from_config(&config).unwrap(), BodyLimit(config.body_limit), as_it_is);
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, Limits::new(8), as_it_is, std::future::pending()));
    address
}

/// Sends `text` and nothing more, and reads the head and the body of the one answer.
async fn ask(address: SocketAddr, text: &str) -> (String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        loop {
            if let Some((head, body)) = answer.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return (head, body.to_owned());
                }
            }
            answer.push(stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {answer:?}")).into());
        }
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("no answer came")
}

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let address = start(None);
    let unsent = "Host: localhost\r\nContent-Length: 90\r\nContent-Type: application/json\r\n";
    for headers in [
        unsent.to_owned(),
        format!("{unsent}Authorization: Bearer wrong\r\n"),
        format!("{unsent}Expect: 100-continue\r\n"),
    ] {
        let (head, body) = ask(address, &format!("POST /run HTTP/1.1\r\n{headers}\r\n")).await;
        assert!(head.starts_with("http/1.1 401 "), "{head}");
        assert!(head.contains("www-authenticate: bearer") && head.contains("cache-control: no-store"), "{head}");
        assert_eq!(code(&body), "unauthorized");
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_before_it_is_sent() {
    let address = start(None);
    let head = "POST /run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nContent-Length: 101\r\n\r\n";
    let (head, body) = ask(address, head).await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert_eq!(code(&body), "too_large");
}

#[tokio::test]
async fn a_request_in_order_reaches_its_handler() {
    let address = start(None);
    let post = "POST /run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(ask(address, post).await.1, "default");
    let (head, body) = ask(address, "GET /mcp?x=1&apiToken=s3cret HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(body, "default at /mcp?x=1", "{head}");
    assert!(ask(address, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.0.starts_with("http/1.1 200 "));
}

#[tokio::test]
async fn a_slash_too_much_leads_to_the_same_route_and_to_the_same_refusals() {
    let address = start(None);
    for (path, status) in [("//health/", 200), ("/who/", 401), ("//who", 401), ("/mcp/", 401), ("//nowhere//", 404)] {
        let (head, _) = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path}: {head}");
    }
    let post = "POST //run/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(ask(address, post).await.1, "default");
}

#[tokio::test]
async fn a_coding_that_is_not_undone_is_refused() {
    let address = start(None);
    let head = "POST /run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nTransfer-Encoding: ";
    let (refused, body) = ask(address, &format!("{head}gzip, chunked\r\n\r\n0\r\n\r\n")).await;
    assert!(refused.starts_with("http/1.1 501 ") && body.contains("gzip"), "{refused}");
    assert_eq!(ask(address, &format!("{head}chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).await.1, "default");
}

#[tokio::test]
async fn a_token_in_the_query_is_for_mcp_alone() {
    let address = start(None);
    let (head, _) = ask(address, "GET /who?apiToken=s3cret HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
}

#[tokio::test]
async fn a_restricted_token_is_refused_at_other_doors_and_when_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yml");
    // SHA-256 of "secret".
    let sum = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    std::fs::write(&file, format!("- {{name: ci, sha256: {sum}, doors: [http], requests_per_minute: 1}}")).unwrap();
    let address = start(Some(file));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: bearer secret\r\n\r\n");
    let (head, body) = ask(address, &get("/mcp")).await;
    assert!(head.starts_with("http/1.1 403 ") && code(&body) == "door_not_allowed", "{head}");
    assert_eq!(ask(address, &get("/who")).await.1, "ci");
    let (head, body) = ask(address, &get("/who")).await;
    assert!(head.starts_with("http/1.1 429 ") && code(&body) == "rate_limited", "{head}");
    assert!(head.contains("retry-after: "), "{head}");
}

#[tokio::test]
async fn a_page_can_read_its_refusal_and_ask_first_without_a_token() {
    let address = start(None);
    let from = "Host: localhost\r\nOrigin: https://app.example\r\n";
    let (head, _) = ask(address, &format!("GET /who HTTP/1.1\r\n{from}\r\n")).await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
    let preflight = format!("OPTIONS /run HTTP/1.1\r\n{from}Access-Control-Request-Method: POST\r\n\r\n");
    let (head, _) = ask(address, &preflight).await;
    assert!(head.starts_with("http/1.1 204 "), "{head}");
    assert!(head.contains("x-request-id: "), "what is answered on the way in is logged as well: {head}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let address = start(None);
    let (head, body) = ask(address, "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 404 ") && code(&body) == "not_found", "{head}");
    assert!(body.contains("/nowhere"), "{body}");
    let (head, body) = ask(address, "DELETE /run HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 405 ") && code(&body) == "method_not_allowed", "{head}");
    assert!(head.contains(&format!("{}: post", header::ALLOW)), "{head}");
}
