use super::*;
use std::sync::Mutex;
use std::task::Poll;

use axum::body::Bytes;
use axum::extract::Extension;
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// No test waits that long; one that does has failed.
const DEADLINE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_hours(1);

const fn limits() -> Limits {
    Limits { connections: 16, head: LONG, idle: LONG, body: LONG, write: LONG, drain: LONG }
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<io::Result<()>>,
}

fn start(router: Router, limits: Limits) -> Running {
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(serve(listener, router, limits, crate::doors::openai::error::shape, async move {
        let _ = stopped.await;
    }));
    Running { address, stop, done }
}

impl Running {
    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stopped(self) {
        let _ = self.stop.send(());
        in_time(self.done).await.unwrap().unwrap();
    }
}

async fn in_time<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event).await.expect("nothing happened")
}

async fn send(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

/// Everything until the server closes. A reset is a close too.
async fn rest(client: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = in_time(client.read_to_end(&mut read)).await;
    String::from_utf8(read).unwrap()
}

async fn until(client: &mut TcpStream, end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        let byte = in_time(client.read_u8()).await.unwrap_or_else(|error| panic!("{error} after {read:?}"));
        read.push(byte.into());
    }
    read
}

const GET: &str = "GET / HTTP/1.1\r\nHost: box\r\n\r\n";

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = start(Router::new(), Limits { head: SHORT, ..limits() });
    let mut client = server.client().await;
    send(&mut client, "GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_not_for_ever() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let server = start(router, Limits { idle: SHORT * 20, ..limits() });
    let mut client = server.client().await;
    for _ in 0..2 {
        send(&mut client, GET).await;
        assert!(until(&mut client, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    assert_eq!(rest(&mut client).await, "");
}

#[rstest]
#[case::read_by_the_handler("Content-Length: 9\r\n\r\nabc")]
#[case::chunked("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")]
#[tokio::test]
async fn a_body_that_stands_still_is_answered_408(#[case] body: &str) {
    // The handler's own answer to a broken body is 400.
    let router = Router::new().route("/", post(|body: Bytes| async move { body }));
    let server = start(router, Limits { body: SHORT, ..limits() });
    let mut client = server.client().await;
    send(&mut client, &format!("POST / HTTP/1.1\r\nHost: box\r\n{body}")).await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"slow_client\""), "{answer}");
}

#[tokio::test]
async fn a_body_that_stands_still_is_told_in_the_shape_of_its_door() {
    let router = Router::new().route("/openai/v1/x", post(|body: Bytes| async move { body }));
    let server = start(router, Limits { body: SHORT, ..limits() });
    let mut client = server.client().await;
    send(&mut client, "POST /openai/v1/x HTTP/1.1\r\nHost: box\r\nContent-Length: 9\r\n\r\nabc").await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("{\"error\":{\"message\":"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn at_the_limit_new_connections_wait_for_those_that_are_answered() {
    let (entered, mut entries) = tokio::sync::mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        let (entered, gate) = (entered.clone(), Arc::clone(&gate));
        async move {
            entered.send(peer).unwrap();
            gate.acquire().await.unwrap().forget();
            "hello"
        }
    };
    let server = start(Router::new().route("/", get(handler)), Limits { connections: 1, ..limits() });
    let mut first = server.client().await;
    send(&mut first, GET).await;
    assert_eq!(in_time(entries.recv()).await.unwrap(), first.local_addr().unwrap());
    let mut second = server.client().await;
    send(&mut second, GET).await;
    go.add_permits(1);
    until(&mut first, "hello").await;
    // Now it waits for its next request, and makes room.
    assert_eq!(in_time(entries.recv()).await.unwrap(), second.local_addr().unwrap());
    assert_eq!(rest(&mut first).await, "");
    go.add_permits(1);
    until(&mut second, "hello").await;
}

#[tokio::test]
async fn half_a_head_keeps_nobody_waiting() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let server = start(router, Limits { connections: 4, ..limits() });
    let mut halves = Vec::new();
    for _ in 0..40 {
        let mut half = server.client().await;
        send(&mut half, "GET / HTTP/1.1\r\nHost:").await;
        halves.push(half);
    }
    for _ in 0..4 {
        let mut client = server.client().await;
        send(&mut client, GET).await;
        assert!(until(&mut client, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    // The first that came are the first that went.
    for mut half in halves.drain(..36) {
        assert_eq!(rest(&mut half).await, "");
    }
}

#[tokio::test]
async fn what_has_not_changed_has_no_length() {
    let router = Router::new().route("/", get(|| async { StatusCode::NOT_MODIFIED }));
    let server = start(router, limits());
    for method in ["GET", "HEAD"] {
        let mut client = server.client().await;
        send(&mut client, &format!("{method} / HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")).await;
        let answer = rest(&mut client).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 304 ") && !answer.contains("content-length"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn a_panic_is_answered_500_and_the_server_goes_on() {
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/panic", get(|| async { "x".parse::<u8>().expect("as asked").to_string() }));
    let server = start(router, limits());
    let mut client = server.client().await;
    send(&mut client, "GET /panic HTTP/1.1\r\nHost: box\r\n\r\n").await;
    let answer = until(&mut client, "}").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("\"code\":\"internal\""), "{answer}");
    assert!(!answer.contains("as asked"), "the client is told a panic's words: {answer}");
    send(&mut client, GET).await;
    until(&mut client, "hello").await;
}

#[tokio::test]
async fn a_panic_in_a_body_ends_its_connection_alone() {
    let body = || async {
        Body::from_stream(stream::poll_fn(|_| -> Poll<Option<Result<Bytes, Infallible>>> { panic!("as asked") }))
    };
    let server = start(Router::new().route("/", get(body)).route("/ok", get(|| async { "hello" })), limits());
    let mut client = server.client().await;
    send(&mut client, GET).await;
    let _ = rest(&mut client).await;
    let mut other = server.client().await;
    send(&mut other, "GET /ok HTTP/1.1\r\nHost: box\r\n\r\n").await;
    until(&mut other, "hello").await;
    server.stopped().await;
}

fn endless(first: &'static str) -> Body {
    let first = stream::once(async move { Ok::<_, Infallible>(Bytes::from_static(first.as_bytes())) });
    Body::from_stream(first.chain(stream::pending()))
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_shutdown() {
    let router = Router::new().route("/", get(|| async { endless("data: 1\n\n") }));
    let server = start(router, Limits { drain: SHORT, ..limits() });
    let mut client = server.client().await;
    send(&mut client, GET).await;
    until(&mut client, "data: 1\n\n").await;
    server.stopped().await;
    assert!(!rest(&mut client).await.contains("0\r\n\r\n"), "a cut stream looks whole");
}

#[tokio::test]
async fn a_stream_that_listens_for_the_end_is_ended_whole() {
    let handler = |Extension(stopping): Extension<Stopping>| async move {
        let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"one")) });
        let last = stream::once(async move {
            stopping.wait().await;
            Ok(Bytes::from_static(b"bye"))
        });
        Body::from_stream(first.chain(last))
    };
    let server = start(Router::new().route("/", get(handler)), limits());
    let mut client = server.client().await;
    send(&mut client, GET).await;
    until(&mut client, "one\r\n").await;
    server.stopped().await;
    assert_eq!(rest(&mut client).await, "3\r\nbye\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_at_once_and_lets_answers_end() {
    let (entered, was_entered) = oneshot::channel::<()>();
    let (go, gone) = oneshot::channel::<()>();
    let once = Mutex::new(Some((entered, gone)));
    let once = Arc::new(once);
    let handler = move || {
        let (entered, gone) = once.lock().unwrap().take().unwrap();
        async move {
            entered.send(()).unwrap();
            gone.await.unwrap();
            "answered"
        }
    };
    let server = start(Router::new().route("/", get(handler)).route("/ok", get(|| async { "hello" })), limits());
    let mut idle = server.client().await;
    send(&mut idle, "GET /ok HTTP/1.1\r\nHost: box\r\n\r\n").await;
    until(&mut idle, "hello").await;
    let mut busy = server.client().await;
    send(&mut busy, GET).await;
    in_time(was_entered).await.unwrap();
    let mut fresh = server.client().await;
    let address = server.address;
    let stopped = tokio::spawn(server.stopped());
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut fresh).await, "");
    assert!(TcpStream::connect(address).await.is_err(), "the port is still open");
    go.send(()).unwrap();
    assert!(rest(&mut busy).await.ends_with("answered"));
    in_time(stopped).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_with_its_stream() {
    struct Gone(Option<oneshot::Sender<()>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let (gone, is_gone) = oneshot::channel();
    let gone = Arc::new(Mutex::new(Some(Gone(Some(gone)))));
    let handler = move || {
        let gone = gone.lock().unwrap().take();
        async move {
            Body::from_stream(stream::repeat_with(move || {
                let _held = &gone;
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 8 << 10]))
            }))
        }
    };
    let server = start(Router::new().route("/", get(handler)), Limits { write: SHORT, ..limits() });
    let mut client = server.client().await;
    send(&mut client, GET).await;
    in_time(is_gone).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_handler() {
    let (waiting, is_waiting) = oneshot::channel();
    let token = CancellationToken::new();
    let guard = Arc::new(Mutex::new(Some((waiting, token.clone().drop_guard()))));
    let handler = move || {
        let (waiting, guard) = guard.lock().unwrap().take().unwrap();
        async move {
            let _guard = guard;
            waiting.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let server = start(Router::new().route("/", get(handler)), limits());
    let mut client = server.client().await;
    send(&mut client, GET).await;
    in_time(is_waiting).await.unwrap();
    drop(client);
    in_time(token.cancelled()).await;
}

#[tokio::test]
async fn an_address_in_use_is_said_with_what_to_do() {
    let first = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = first.local_addr().unwrap();
    let message = bind(address).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot listen on {address} (CLAUDEBOX_MODE_API_BIND, ")), "{message}");
    assert!(message.ends_with("something else listens there: choose another port, or stop it"), "{message}");
}

#[rstest]
#[case(libc::ECONNABORTED, true)]
#[case(libc::EINTR, true)]
#[case(libc::EMFILE, false)]
#[case(libc::ENFILE, false)]
#[case(libc::ENOBUFS, false)]
#[case(libc::ENOMEM, false)]
fn only_a_failed_connection_is_tried_again_at_once(#[case] errno: i32, #[case] at_once: bool) {
    assert_eq!(is_of_one_connection(&io::Error::from_raw_os_error(errno)), at_once);
}
