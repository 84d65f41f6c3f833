//! A run's events to a client, as they come: server-sent events, or one JSON object per line.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::RunView;
use crate::doors::web::server::Stopping;
use crate::runs::engine::Engine;
use crate::runs::engine::Hold;
use crate::runs::events::{Chunk, Events};

/// A proxy that hears nothing for a minute cuts the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_COMMENT: &[u8] = b": keep-alive\n\n";

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// `text/event-stream`.
    ServerSentEvents,
    /// `application/x-ndjson`.
    Lines,
}

impl Framing {
    /// What the client accepts; `otherwise` if it says nothing of either.
    pub(super) fn accepted(headers: &HeaderMap, otherwise: Self) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kinds: Vec<&str> =
            accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim()).collect();
        if kinds.contains(&"text/event-stream") {
            Self::ServerSentEvents
        } else if kinds
            .iter()
            .any(|kind| ["application/x-ndjson", "application/jsonl", "application/ndjson"].contains(kind))
        {
            Self::Lines
        } else {
            otherwise
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::ServerSentEvents => HeaderValue::from_static("text/event-stream"),
            Self::Lines => HeaderValue::from_static("application/x-ndjson"),
        }
    }
}

/// One event of a stream, for the API's description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) struct ServerSentEvent {
    /// `run` first where one is started, `event` for each event of the CLI, `end` with the run; or `error`, `shutdown`.
    event: String,
    /// For `Last-Event-ID`; only an `event` has one.
    id: Option<String>,
    /// A line of JSON.
    data: String,
}

/// What a stream is made of.
pub(super) struct Source {
    pub(super) engine: Engine,
    pub(super) run: Uuid,
    pub(super) events: Events,
    pub(super) stopping: Option<Stopping>,
    pub(super) hold: Hold,
}

/// The answer: `first` (a line of JSON), the events, and the run itself at its end.
pub(super) fn answer(source: Source, framing: Framing, first: Option<String>) -> Response {
    let begin = first.map(|line| frame(framing, "run", None, line.as_bytes()));
    let state = Some((source, begin, Instant::now() + HEARTBEAT));
    let body = stream::unfold(state, move |state| async move {
        let (mut source, begin, heartbeat) = state?;
        if let Some(begin) = begin {
            return Some((Ok::<_, Infallible>(begin), Some((source, None, Instant::now() + HEARTBEAT))));
        }
        let stopped = async {
            match &source.stopping {
                Some(stopping) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            chunk = source.events.next() => Next::Events(chunk),
            () = sleep_until(heartbeat), if framing == Framing::ServerSentEvents => Next::Heartbeat,
            // A run that is ended by the stop says so itself; one that waits goes on waiting without us.
            () = stopped, if source.is_waiting() => Next::Stopped,
        };
        match next {
            Next::Heartbeat => {
                let again = Instant::now() + HEARTBEAT;
                Some((Ok(Bytes::from_static(HEARTBEAT_COMMENT)), Some((source, None, again))))
            }
            Next::Events(Ok(Some(chunk))) => {
                let framed = frame_chunk(framing, &chunk);
                Some((Ok(framed), Some((source, None, Instant::now() + HEARTBEAT))))
            }
            Next::Events(Ok(None)) => Some((Ok(source.last(framing).await), None)),
            Next::Events(Err(error)) => {
                tracing::error!("run {}: its event log cannot be read: {error}", source.run);
                Some((Ok(frame(framing, "error", None, br#"{"type":"error","code":"internal"}"#)), None))
            }
            Next::Stopped => {
                source.hold.release();
                let notice = br#"{"type":"shutdown","detail":"the server stops; the run waits for the next one"}"#;
                Some((Ok(frame(framing, "shutdown", None, notice)), None))
            }
        }
    });
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, framing.content_type());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx would keep the events until it has a buffer full of them.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

enum Next {
    Events(io::Result<Option<Chunk>>),
    Heartbeat,
    Stopped,
}

impl Source {
    fn is_waiting(&self) -> bool {
        self.events.is_waiting()
    }

    /// The run, as the last event.
    async fn last(&mut self, framing: Framing) -> Bytes {
        let run = self.engine.wait(self.run).await;
        self.hold.release();
        match run {
            Ok(Some(run)) => {
                let view = serde_json::to_value(RunView::whole(&run, None)).unwrap_or_default();
                match framing {
                    Framing::ServerSentEvents => frame(framing, "end", None, view.to_string().as_bytes()),
                    Framing::Lines => frame(
                        framing,
                        "end",
                        None,
                        serde_json::json!({"type": "end", "run": view}).to_string().as_bytes(),
                    ),
                }
            }
            Ok(None) | Err(_) => frame(framing, "error", None, br#"{"type":"error","code":"internal"}"#),
        }
    }
}

fn frame_chunk(framing: Framing, chunk: &Chunk) -> Bytes {
    if framing == Framing::Lines {
        return chunk.lines.clone();
    }
    let mut framed = BytesMut::with_capacity(chunk.lines.len() * 5 / 4);
    let mut offset = chunk.offset;
    for line in chunk.lines.split_inclusive(|&byte| byte == b'\n') {
        offset += line.len() as u64;
        framed.extend_from_slice(&frame(framing, "event", Some(offset), line.trim_ascii_end()));
    }
    framed.freeze()
}

/// One event. Its id is where the next one begins in the log: who comes back with it goes on there.
fn frame(framing: Framing, event: &str, id: Option<u64>, data: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(data.len() + 64);
    match framing {
        Framing::Lines => {
            framed.extend_from_slice(data);
            framed.put_u8(b'\n');
        }
        Framing::ServerSentEvents => {
            framed.extend_from_slice(format!("event: {event}\n").as_bytes());
            if let Some(id) = id {
                framed.extend_from_slice(format!("id: {id}\n").as_bytes());
            }
            framed.extend_from_slice(b"data: ");
            framed.extend_from_slice(data);
            framed.extend_from_slice(b"\n\n");
        }
    }
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use futures_util::StreamExt as _;
    use prometheus_client::registry::Registry;
    use tokio::time::{pause, timeout};

    use super::*;
    use crate::claude::arguments::{Options, OutputFormat};
    use crate::claude::sessions::Sessions;
    use crate::config::server::EngineConfig;
    use crate::desk::ask::Ask;
    use crate::runs::child::{EndTree, Workers};
    use crate::runs::metrics::Metrics;
    use crate::runs::submission::Origin;
    use crate::store::record::{DoorName, Request, Requester};

    /// An engine in which every run waits for ever, and a run in it.
    async fn waiting(state_dir: &Path) -> (Engine, Uuid) {
        let config = EngineConfig {
            runs: 0,
            queue: 1,
            run_timeout: None,
            run_silence: None,
            cost_per_run: None,
            cost_per_day: None,
            keep: Duration::from_secs(1),
            keep_bytes: 1,
            offline: false,
        };
        let end_tree: EndTree = Arc::new(|_, _| Box::pin(async { 0 }));
        let sessions = Sessions { config_dir: state_dir.to_owned(), state_dir: state_dir.to_owned() };
        let workers = Workers::new("/nowhere".into(), Vec::new(), end_tree);
        let metrics = Metrics::register(&mut Registry::default());
        let engine = Engine::start(config, sessions, workers, metrics).await.unwrap();
        let request = Request { prompt: "hi".into(), options: Options::default(), format: OutputFormat::Json };
        let origin = Origin::unlimited(DoorName::Http, Requester::Token("me".into()));
        let id = Ask::new(origin, "/w".into(), request).stays(true).submit(&engine).await.unwrap().id;
        (engine, id)
    }

    #[tokio::test]
    async fn a_stream_of_events_without_events_has_a_heartbeat_and_lines_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, run) = waiting(folder.path()).await;
        let body = async |framing| {
            let events = engine.events(run, 0).await.unwrap().unwrap();
            let hold = Hold::nothing(engine.clone());
            let source = Source { engine: engine.clone(), run, events, stopping: None, hold };
            answer(source, framing, None).into_body().into_data_stream()
        };
        let (mut events, mut lines) = (body(Framing::ServerSentEvents).await, body(Framing::Lines).await);
        pause();
        let began = Instant::now();
        for beat in 1..=3 {
            assert_eq!(events.next().await.unwrap().unwrap(), HEARTBEAT_COMMENT);
            assert_eq!(began.elapsed().as_secs(), beat * HEARTBEAT.as_secs());
        }
        assert!(timeout(HEARTBEAT * 100, lines.next()).await.is_err());
    }

    #[test]
    fn an_id_is_where_the_next_event_begins() {
        let chunk = Chunk { lines: Bytes::from_static(b"{\"a\":1}\n{}\n"), offset: 100 };
        let framed = frame_chunk(Framing::ServerSentEvents, &chunk);
        assert_eq!(framed, "event: event\nid: 108\ndata: {\"a\":1}\n\nevent: event\nid: 111\ndata: {}\n\n");
        assert_eq!(frame_chunk(Framing::Lines, &chunk), chunk.lines);
    }

    #[test]
    fn the_accept_header_decides() {
        let framing = |accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            Framing::accepted(&headers, Framing::Lines)
        };
        assert_eq!(framing("text/html, text/event-stream;q=0.9"), Framing::ServerSentEvents);
        assert_eq!(framing("application/x-ndjson"), Framing::Lines);
        assert_eq!(framing("*/*"), Framing::Lines);
    }
}
