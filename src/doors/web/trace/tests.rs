use super::*;
use std::sync::{Arc, Mutex};

use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use rstest::rstest;
use tower::ServiceExt as _;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Takes what this thread logs.
    fn start(level: tracing::Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(log.clone());
        let guard = tracing::subscriber::set_default(subscriber.finish());
        (log, guard)
    }

    /// The lines so far, without those of others.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("request ")).map(str::to_owned).collect()
    }
}

fn router() -> Router {
    let run = || async { (Extension(RunId("r1".into())), Extension(Caller::unrestricted("ci")), "hello") };
    Router::new()
        .route("/run", get(run))
        .route("/health", get(|| async { "ok" }))
        .route("/json", get(|Extension(RequestId(id)): Extension<RequestId>| async { Json(id) }))
        .route("/panic", get(|| async { "x".parse::<u8>().expect("as asked").to_string() }))
        .route("/never", get(std::future::pending::<()>))
        .route(
            "/stream",
            get(|| async { Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>()) }),
        )
        .layer(from_fn(trace))
}

fn request(target: &str) -> Request {
    Request::get(target).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_is_one_line_without_its_query() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let answer = router().oneshot(request("/run?apiToken=s3cret")).await.unwrap();
    assert!(log.lines().is_empty(), "it is written at the end");
    answer.into_body().collect().await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["method=GET", "path=\"/run\"", "status=200", "ms=", "caller=\"ci\"", "bytes=5", "run=\"r1\"", "id=\""]
    {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    assert!(!lines[0].contains("s3cret") && !lines[0].contains("cut="), "{}", lines[0]);
}

#[tokio::test]
async fn what_looks_after_the_container_is_not_logged() {
    let (log, guard) = Log::start(tracing::Level::INFO);
    router().oneshot(request("/health")).await.unwrap().into_body().collect().await.unwrap();
    assert!(log.lines().is_empty());
    drop(guard);
    let (log, _guard) = Log::start(tracing::Level::DEBUG);
    router().oneshot(request("/health")).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_is_logged_too() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    // Before the answer has begun: one poll, and the connection is gone.
    assert!(router().oneshot(request("/never")).now_or_never().is_none());
    // In the middle of it.
    drop(router().oneshot(request("/stream")).await.unwrap());
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("path=\"/never\"") && !lines[0].contains("status=") && lines[0].contains("cut=true"));
    assert!(lines[1].contains("status=200") && lines[1].contains("cut=true"), "{}", lines[1]);
}

#[tokio::test]
async fn a_panic_is_answered_and_logged_with_its_id() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let answer = router().oneshot(request("/panic")).await.unwrap();
    assert_eq!(answer.status(), 500);
    let id = answer.headers()[REQUEST_ID].to_str().unwrap().to_owned();
    answer.into_body().collect().await.unwrap();
    let lines = log.lines();
    assert!(lines.last().unwrap().contains("status=500") && lines.last().unwrap().contains(&id), "{lines:?}");
}

#[tokio::test]
async fn a_head_is_not_cut() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let head = Request::head("/run").body(Body::empty()).unwrap();
    drop(router().oneshot(head).await.unwrap());
    assert!(!log.lines()[0].contains("cut="), "{:?}", log.lines());
}

#[tokio::test]
async fn an_answer_of_known_length_is_whole_when_that_much_was_sent() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    for (declared, cut) in [(5, false), (6, true)] {
        // As a download: nothing in the body itself says that this was all.
        let file = move || async move {
            let pieces = futures_util::stream::iter([Ok::<_, axum::Error>("hello")]);
            let body = Body::from_stream(pieces.chain(futures_util::stream::pending()));
            ([(header::CONTENT_LENGTH, declared.to_string())], body)
        };
        let router = Router::new().route("/file", get(file)).layer(from_fn(trace));
        let mut answer = router.oneshot(request("/file")).await.unwrap().into_body();
        answer.frame().await.unwrap().unwrap();
        drop(answer);
        assert_eq!(log.lines().last().unwrap().contains("cut=true"), cut, "{:?}", log.lines());
    }
}

#[tokio::test]
async fn json_is_neither_stored_nor_guessed_at() {
    let answer = router().oneshot(request("/json")).await.unwrap();
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let text = router().oneshot(request("/run")).await.unwrap();
    assert!(!text.headers().contains_key(header::CACHE_CONTROL));
    assert_eq!(text.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}

#[rstest]
#[case("abc-1", true)]
#[case("x", true)]
#[case("", false)]
#[case("a b", false)]
#[case("a\tb", false)]
#[case("caf\u{e9}", false)]
#[tokio::test]
async fn a_sane_request_id_is_kept(#[case] sent: &str, #[case] kept: bool) {
    for (sent, kept) in [(sent.to_owned(), kept), (sent.repeat(129), false)] {
        let request = Request::get("/json").header(REQUEST_ID, HeaderValue::from_bytes(sent.as_bytes()).unwrap());
        let answer = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let id = answer.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        if kept {
            assert_eq!(id, sent);
        } else {
            assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);
        }
        let seen: String = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(seen, id, "the handler sees the same");
    }
}
