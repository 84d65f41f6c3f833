use std::sync::mpsc;

use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

fn fetcher(allow: &[&str]) -> Fetcher {
    Fetcher::new(Allow::parse(&allow.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>()).unwrap())
}

/// A server that reads one request's head, answers with `answer` and leaves the connection open. The head comes out of
/// the channel.
async fn server(answer: impl Into<Vec<u8>>) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    let answer = answer.into();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        tell.send(String::from_utf8(seen).unwrap()).unwrap();
        stream.write_all(&answer).await.unwrap();
        // Open until the client goes.
        while stream.read_buf(&mut Vec::new()).await.is_ok_and(|read| read > 0) {}
    });
    (port, told)
}

#[rstest]
#[case("https://example.com/hook?x=1", "https://example.com/hook?x=1")]
#[case("HTTP://EXAMPLE.com", "http://example.com/")]
#[case("http://n8n:5678/hook", "http://n8n:5678/hook")]
#[case("http://8.8.8.8/", "http://8.8.8.8/")]
#[case("http://134744072/", "http://8.8.8.8/")]
#[case("http://[2606:4700::1111]/", "http://[2606:4700::1111]/")]
fn these_may_be_tried(#[case] url: &str, #[case] normal: &str) {
    assert_eq!(fetcher(&[]).check(url).unwrap().as_str(), normal);
}

#[rstest]
#[case("http://127.0.0.1/", "127.0.0.1")]
#[case("http://127.1/", "127.0.0.1")]
#[case("http://127.0.0.1./", "127.0.0.1")]
#[case("http://2130706433/", "127.0.0.1")]
#[case("http://0x7f000001/", "127.0.0.1")]
#[case("http://0x7f.1/", "127.0.0.1")]
#[case("http://0177.0.0.01/", "127.0.0.1")]
#[case("http://%31%32%37.0.0.1/", "127.0.0.1")]
#[case("http://１２７．０．０．１/", "127.0.0.1")]
#[case("http://127。0。0。1/", "127.0.0.1")]
#[case("http:127.0.0.1", "127.0.0.1")]
#[case("http:\\\\127.0.0.1\\x", "127.0.0.1")]
#[case("\thttp://127.0.\n0.1/", "127.0.0.1")]
#[case("http://0/", "0.0.0.0")]
#[case("https://169.254.169.254/latest/meta-data/", "169.254.169.254")]
#[case("http://0xa9fea9fe/", "169.254.169.254")]
#[case("http://[::1]/", "::1")]
#[case("http://[0:0:0:0:0:0:0:1]/", "::1")]
#[case("http://[::]/", "::")]
#[case("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1")]
#[case("http://[::ffff:7f00:1]/", "::ffff:127.0.0.1")]
#[case("http://[64:ff9b::10.0.0.1]/", "64:ff9b::a00:1")]
#[case("http://[2002:a00:1::]/", "2002:a00:1::")]
#[case("http://[fd00:ec2::254]/", "fd00:ec2::254")]
fn an_address_that_is_not_public_is_refused_in_every_spelling(#[case] url: &str, #[case] address: IpAddr) {
    match fetcher(&[]).check(url) {
        Err(FetchError::Refused(refusal)) => assert_eq!(refusal.address, address),
        other => panic!("{url}: {other:?}"),
    }
}

#[rstest]
#[case("file:///etc/passwd", "the scheme \"file\" is not allowed; allowed are http and https")]
#[case("ftp://example.com/", "the scheme \"ftp\" is not allowed; allowed are http and https")]
#[case("data:text/plain,x", "the scheme \"data\" is not allowed; allowed are http and https")]
#[case(
    "http://user:secret@example.com/",
    "a URL with a user or a password in it is not allowed; use a token in the path or the query"
)]
#[case(
    "http://8.8.8.8@example.com/",
    "a URL with a user or a password in it is not allowed; use a token in the path or the query"
)]
#[case("/hook", "this is no URL: relative URL without a base; allowed are URLs such as https://example.com/hook")]
#[case("http://", "this is no URL: empty host; allowed are URLs such as https://example.com/hook")]
#[case(
    "http://[fe80::1%25eth0]/",
    "this is no URL: invalid IPv6 address; allowed are URLs such as https://example.com/hook"
)]
#[case(
    "http://10.0.0.1/",
    "10.0.0.1 is private; only public addresses are fetched from, and what CLAUDEBOX_FETCH_ALLOW lists \
     (CLAUDEBOX_FETCH_ALLOW=10.0.0.1 would allow it)"
)]
fn what_is_wrong_is_said(#[case] url: &str, #[case] message: &str) {
    assert_eq!(fetcher(&[]).check(url).unwrap_err().to_string(), message);
}

#[test]
fn what_the_setting_lists_is_allowed() {
    let fetcher = fetcher(&["10.0.0.0/8", "::1"]);
    assert!(fetcher.check("http://10.1.2.3/").is_ok());
    assert!(fetcher.check("http://[::1]/").is_ok());
    assert!(fetcher.check("http://192.168.1.1/").is_err());
}

#[tokio::test]
async fn a_name_with_private_addresses_only_is_refused_and_said_so() {
    let (port, told) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let error = fetcher(&[]).get(&format!("http://localhost:{port}/"), 10, LONG).await.unwrap_err();
    let FetchError::Refused(refusal) = &error else { panic!("{error:?}") };
    assert_eq!(refusal.host, "localhost");
    assert!(error.to_string().contains("which is loopback; "), "{error}");
    assert!(error.to_string().contains("CLAUDEBOX_FETCH_ALLOW=localhost would allow it"), "{error}");
    assert!(told.try_recv().is_err(), "nothing may reach the server");
}

#[tokio::test]
async fn a_name_on_the_list_is_fetched() {
    let (port, told) = server("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 3\r\n\r\npng").await;
    let url = format!("http://localhost:{port}/a");
    let fetched = fetcher(&["localhost"]).get(&url, 3, LONG).await.unwrap();
    assert_eq!((&fetched.body[..], fetched.content_type.as_deref()), (&b"png"[..], Some("image/png")));
    let head = told.recv().unwrap();
    assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(concat!("user-agent: claudebox/", env!("CARGO_PKG_VERSION"))), "{head}");
}

#[tokio::test]
async fn a_redirect_is_an_error_that_says_where_to() {
    let (port, _told) =
        server("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
    let url = format!("http://127.0.0.1:{port}/");
    let error = fetcher(&["127.0.0.1"]).get(&url, 10, LONG).await.unwrap_err();
    assert_eq!(error, FetchError::Redirect { status: 302, to: Some("http://169.254.169.254/".into()), allowed: 0 });
    assert_eq!(
        error.to_string(),
        "the answer is a redirect (status 302 to \"http://169.254.169.254/\"), and redirects are not followed; name \
         the URL that answers itself"
    );
}

#[rstest]
#[case("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890")]
#[case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890\r\n0\r\n\r\n")]
// A length that promises more than may come is enough: nothing of the body is waited for.
#[case("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")]
#[tokio::test]
async fn a_body_over_the_limit_ends_the_reading(#[case] answer: &str) {
    let (port, _told) = server(answer).await;
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(fetcher(&["127.0.0.1"]).get(&url, 10, LONG).await, Err(FetchError::TooLarge(10)));
}

#[rstest]
#[case("")]
#[case("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")]
#[tokio::test]
async fn silence_ends_with_the_time_out(#[case] answer: &str) {
    let (port, _told) = server(answer).await;
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(fetcher(&["127.0.0.1"]).get(&url, 10, SHORT).await, Err(FetchError::Timeout(SHORT)));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let fetcher = fetcher(&["127.0.0.1"]);
    let (port, _told) = server("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let answer = fetcher.get(&format!("http://127.0.0.1:{port}/"), 10, LONG).await;
    assert_eq!(answer, Err(FetchError::Status(404)));
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    match fetcher.get(&format!("http://127.0.0.1:{closed}/?token=s3cret"), 10, LONG).await {
        Err(FetchError::Connection(reason)) => assert!(reason.contains("refused") && !reason.contains("s3cret")),
        other => panic!("{other:?}"),
    }
    // The name that can never be given away (RFC 2606): no resolver knows it.
    match fetcher.get("http://nobody.invalid/", 10, LONG).await {
        Err(FetchError::Name { host, .. }) => assert_eq!(host, "nobody.invalid"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_post_reads_no_body_of_the_answer() {
    let (port, told) = server("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 9999\r\n\r\n").await;
    let url = format!("http://127.0.0.1:{port}/hook");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"))]);
    let posted = fetcher(&["127.0.0.1"]).post(&url, headers, Bytes::from_static(b"{}"), LONG).await.unwrap();
    assert_eq!((posted.status.as_u16(), posted.headers[header::RETRY_AFTER].as_bytes()), (503, &b"7"[..]));
    let head = told.recv().unwrap();
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n") && head.contains("content-type: application/json"), "{head}");
}

/// A proxy would look names up where no rule of ours holds. The environment is read once per process, so this starts one.
#[test]
fn the_environments_proxy_is_not_used() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "fetch::tests::a_name_on_the_list_is_fetched"]);
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        test.env(name, "http://127.0.0.1:1");
    }
    let output = test.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
