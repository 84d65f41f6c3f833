//! What goes on to the API, and what comes back.

use claudebox::broker::protocol::{CredentialKind, FromBroker};
use rstest::rstest;

use crate::api::Api;
use crate::stand::{
    Broker, KEY, answer, delta, event, eventually, final_usage, post, read_until, send, send_as, start, text, told,
};

#[test]
fn a_stream_comes_back_byte_by_byte_and_is_read_on_the_way() {
    let api = Api::start();
    let broker = Broker::start(&(api.url() + "/prefix"));
    let mut lease = broker.open(None);
    assert_eq!(lease.credential(), CredentialKind::ApiKey);
    let body = r#"{"model":"unknown-model","stream":true,"text":"ü"}"#;
    let headers = "Authorization: Bearer of-the-agent\r\nCookie: of-the-agent\r\nX-Other-Key: of-the-agent\r\n\
                   anthropic-version: 2023-06-01\r\nX-Stainless-Lang: js\r\n";
    let stream = send(&lease, "POST /v1/messages?beta=true", headers, body);
    let mut asked = api.asked();
    assert!(asked.head.starts_with("POST /prefix/v1/messages?beta=true HTTP/1.1\n"), "{}", asked.head);
    assert_eq!(asked.body, body.as_bytes());
    assert_eq!(asked.header("x-api-key"), Some(KEY));
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert_eq!(asked.header("host"), Some(api.address.to_string().as_str()));
    assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(asked.header("x-stainless-lang"), Some("js"));
    assert!(!asked.head.contains("of-the-agent"), "{}", asked.head);

    let events = [
        start(100).replace('\n', "\r\n"),
        event("ping", ""),
        format!(": a comment\n{}", text(40)),
        "data: no JSON\n\n".into(),
        "event: odd\n\n".into(),
        delta(12),
        event("message_stop", ""),
        "an end without a line feed".into(),
    ]
    .concat();
    asked.begin_events();
    let mut rest = events.as_bytes();
    // Borders in the middle of lines, of line ends and of names.
    for length in [1, 2, 3, 5, 7, 11, 13, 17].into_iter().cycle() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        asked.send(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    asked.end();
    let answer = answer(stream);
    assert!(answer.is_whole);
    assert_eq!(answer.body, events.as_bytes());
    assert_eq!(answer.status(), "200");
    assert!(answer.head.contains("request-id: req_1") && answer.head.contains("text/event-stream; charset=utf-8"));
    assert!(!answer.head.contains(KEY));

    let usage = final_usage(&mut lease);
    assert_eq!((usage.model.as_str(), usage.input_tokens, usage.output_tokens), ("unknown-model", 100, 12));
    assert!((usage.cost_usd - (100.0 * 15.0 + 12.0 * 75.0) / 1e6).abs() < 1e-9, "{usage:?}");
    eventually("the use is in the audit log", || !broker.audit("credential").is_empty());
    let line = &broker.audit("credential")[0];
    assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some("/v1/messages"), Some(200)));
    assert_eq!(line["bytes"].as_u64(), Some(events.len() as u64));
    assert!(!std::fs::read_to_string(broker.path("audit")).unwrap().contains(KEY));
}

#[test]
fn an_event_comes_before_the_next_is_sent() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(None);
    let mut stream = post(&lease);
    let mut asked = api.asked();
    asked.begin_events();
    for number in 0..5 {
        let event = event("ping", &format!(",\"number\":{number}"));
        asked.send(event.as_bytes());
        read_until(&mut stream, event.as_bytes());
    }
}

#[test]
fn a_large_request_and_answer_come_whole() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(None);
    let body = "x".repeat(8 << 20);
    let (socket, key) = (lease.socket().to_owned(), lease.stand_in().to_owned());
    let sent = std::thread::spawn(move || answer(send_as(&key, &socket, "POST /v1/messages", "", &body)));
    let mut asked = api.asked();
    assert_eq!(asked.body.len(), 8 << 20);
    let long = "y".repeat(3 << 20);
    asked.answer("200 OK", "Content-Type: application/json\r\n", &long);
    assert_eq!(sent.join().unwrap().body, long.into_bytes());
    // The connection to the API is used again, and an answer that is no stream is read.
    let stream = post(&lease);
    let whole = r#"{"type":"message","model":"unknown-model","usage":{"input_tokens":7,"output_tokens":9}}"#;
    api.asked().answer("200 OK", "Content-Type: application/json\r\n", whole);
    let answer = answer(stream);
    assert_eq!(answer.body, whole.as_bytes());
    assert!(answer.head.contains(&format!("content-length: {}", whole.len())));
    let usage = final_usage(&mut lease);
    assert_eq!((usage.input_tokens, usage.output_tokens), (7, 9));
}

#[rstest]
#[case("GET /v1/models")]
#[case("GET /v1/messages")]
#[case("PUT /v1/messages")]
#[case("POST /v1/messages/")]
#[case("POST /v1/messages/batches")]
#[case("POST //v1/messages")]
#[case("POST /v1/messages/../files")]
#[case("POST /v1/messages%2f..%2ffiles")]
#[case("POST /v1/files?x=/v1/messages")]
#[case("DELETE /v1/files/1")]
#[case("HEAD /v1/messages")]
#[case("GET /")]
fn other_paths_are_refused(#[case] request: &str) {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(None);
    let answer = answer(send(&lease, request, "", ""));
    assert_eq!(answer.status(), "403");
    if !request.starts_with("HEAD") {
        assert!(answer.error("permission_error").starts_with("claudebox: "));
    }
    let lines = broker.audit("refused");
    let (method, path) = request.split_once(' ').unwrap();
    assert_eq!(lines[0]["method"], method);
    assert_eq!(lines[0]["path"], path.split('?').next().unwrap());
    assert!(api.is_unasked());
}

#[test]
fn what_the_cli_asks_besides_is_answered_here() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(None);
    let limits = answer(send(&lease, "GET /api/claude_code/policy_limits", "", ""));
    assert_eq!(limits.status(), "404");
    limits.error("not_found_error");
    assert_eq!(answer(send(&lease, "HEAD /", "", "")).status(), "200");
    assert!(broker.audit("refused").is_empty() && api.is_unasked());
}

#[test]
fn tokens_are_counted_with_the_credential_too() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(None);
    let stream = send(&lease, "POST /v1/messages/count_tokens?beta=true", "", "{}");
    let mut asked = api.asked();
    assert_eq!(asked.header("x-api-key"), Some(KEY));
    let limits = "Retry-After: 30\r\nanthropic-ratelimit-unified-status: rejected\r\n\
                  anthropic-ratelimit-unified-reset: 1700003600\r\nanthropic-ratelimit-unified-5h-utilization: 0.99\r\n";
    asked.answer("429 Too Many Requests", limits, "slow down");
    let answer = answer(stream);
    assert_eq!((answer.status(), answer.body.as_slice()), ("429", &b"slow down"[..]));
    assert!(answer.head.contains("retry-after: 30"));
    let limits = told(&mut lease, |message| match message {
        FromBroker::Limits(limits) => Some(limits),
        _ => None,
    });
    assert_eq!((limits.http_status, limits.retry_after_seconds), (429, Some(30)));
    assert_eq!((limits.status.as_deref(), limits.resets_at), (Some("rejected"), Some(1_700_003_600)));
    assert_eq!(limits.windows[0].utilization, Some(0.99));
}

#[test]
fn an_oauth_token_is_sent_with_its_beta() {
    let api = Api::start();
    let broker = Broker::with(&[("ANTHROPIC_BASE_URL", &api.url()), ("CLAUDE_CODE_OAUTH_TOKEN", "the-true-token")]);
    let lease = broker.open(None);
    assert_eq!(lease.credential(), CredentialKind::OauthToken);
    let _stream = send(&lease, "POST /v1/messages", "anthropic-beta: one,two\r\n", "{}");
    let asked = api.asked();
    assert_eq!(asked.header("authorization"), Some("Bearer the-true-token"));
    assert_eq!(asked.header("anthropic-beta"), Some("one,two,oauth-2025-04-20"));
    assert_eq!(asked.header("x-api-key"), None);
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(None);
    let mut stream = std::os::unix::net::UnixStream::connect(lease.socket()).unwrap();
    stream.set_read_timeout(Some(crate::stand::DEADLINE)).unwrap();
    let length = (64 << 20) + 1;
    let key = lease.stand_in();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let answer = answer(stream);
    assert_eq!(answer.status(), "413");
    assert_eq!(answer.error("request_too_large"), "claudebox: the request is larger than 64 MiB");
    assert!(api.is_unasked());
}

#[test]
fn a_request_whose_length_is_not_said_is_bounded_too() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(None);
    let mut stream = std::os::unix::net::UnixStream::connect(lease.socket()).unwrap();
    stream.set_read_timeout(Some(crate::stand::DEADLINE)).unwrap();
    let reader = stream.try_clone().unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        lease.stand_in()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let piece = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    // The broker stops reading after the 64th.
    for _ in 0..66 {
        if std::io::Write::write_all(&mut stream, &piece).is_err() {
            break;
        }
    }
    assert_eq!(answer(reader).status(), "413");
}

#[test]
fn an_api_that_cannot_be_reached_is_an_error_of_its_shape() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = Broker::start(&format!("http://{nobody}"));
    let answer = answer(post(&broker.open(None)));
    assert_eq!(answer.status(), "502");
    let why = answer.error("api_error");
    assert!(why.contains("refused") && !why.contains(KEY), "{why}");
}

#[test]
fn an_answer_that_breaks_off_breaks_off() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(None);
    let stream = post(&lease);
    let mut asked = api.asked();
    asked.begin_events();
    asked.send(start(100).as_bytes());
    asked.cut();
    let answer = answer(stream);
    assert!(!answer.is_whole);
    assert_eq!(answer.body, start(100).into_bytes());
    assert_eq!(final_usage(&mut lease).input_tokens, 100);
}

#[test]
fn a_host_of_no_proxy_is_reached_directly() {
    let (proxy, direct) = (Api::start(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let broker = Broker::with(&[
        ("ANTHROPIC_BASE_URL", &format!("https://{}", direct.local_addr().unwrap())),
        ("ANTHROPIC_API_KEY", KEY),
        ("HTTPS_PROXY", &proxy.url()),
        ("NO_PROXY", "other.example,127.0.0.1"),
    ]);
    let lease = broker.open(None);
    let _stream = post(&lease);
    let (mut stream, _) = direct.accept().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(first, [22], "a handshake of TLS");
    assert!(proxy.is_unasked());
}

#[test]
fn https_goes_through_a_proxy() {
    let proxy = Api::start();
    let broker = Broker::with(&[
        ("ANTHROPIC_BASE_URL", "https://api.example"),
        ("ANTHROPIC_API_KEY", KEY),
        ("HTTPS_PROXY", &proxy.url().replace("http://", "http://user:pass@")),
    ]);
    let lease = broker.open(None);
    let stream = post(&lease);
    let mut asked = proxy.asked();
    assert!(asked.head.starts_with("CONNECT api.example:443 HTTP/1.1\n"), "{}", asked.head);
    assert_eq!(asked.header("proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
    asked.answer("407 Proxy Authentication Required", "", "");
    let answer = answer(stream);
    assert_eq!(answer.status(), "502");
    assert!(!answer.error("api_error").contains("pass@"));
}

/// Names of sockets are listed by the kernel: whoever finds another run's has not its stand-in.
#[test]
fn a_socket_takes_its_own_runs_stand_in_alone() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let (own, other) = (broker.open(None), broker.open(None));
    for key in [own.stand_in(), KEY, ""] {
        let refused = answer(send_as(key, other.socket(), "POST /v1/messages", "", "{}"));
        assert_eq!(refused.status(), "401", "{}", refused.head);
    }
    assert_eq!(broker.audit("refused").len(), 3);
    // As a bearer, too.
    let headers = format!("Authorization: Bearer {}\r\n", other.stand_in());
    let _stream = send_as("of-the-agent", other.socket(), "POST /v1/messages", &headers, "{}");
    assert_eq!(api.asked().header("x-api-key"), Some(KEY));
}
