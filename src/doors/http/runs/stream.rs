//! A run's events to a client, as they come: server-sent events, or one JSON object per line.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::RunView;
use crate::doors::web::server::Stopping;
use crate::runs::engine::{Engine, Hold};
use crate::runs::events::{Chunk, Events};

/// A proxy that hears nothing for a minute cuts the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

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
    let first = first.map(|line| Piece::Told("run", line));
    let pieces = stream::iter(first).chain(stream::unfold(Some(source), next));
    let mut response = match framing {
        Framing::ServerSentEvents => {
            let events = pieces.flat_map(|piece| stream::iter(piece.events())).map(Ok::<_, Infallible>);
            let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("keep-alive");
            Sse::new(events).keep_alive(heartbeat).into_response()
        }
        Framing::Lines => {
            let lines = Body::from_stream(pieces.map(|piece| Ok::<_, Infallible>(piece.lines())));
            ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx would keep the events until it has a buffer full of them.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The next piece of a run's stream, and who knows the one after it.
async fn next(source: Option<Source>) -> Option<(Piece, Option<Source>)> {
    let mut source = source?;
    let stopped = async {
        match &source.stopping {
            Some(stopping) => stopping.wait().await,
            None => std::future::pending().await,
        }
    };
    let chunk = tokio::select! {
        biased;
        chunk = source.events.next() => Some(chunk),
        // A run that is ended by the stop says so itself; one that waits goes on waiting without us.
        () = stopped, if source.events.is_waiting() => None,
    };
    match chunk {
        Some(Ok(Some(chunk))) => Some((Piece::Events(chunk), Some(source))),
        Some(Ok(None)) => Some((source.last().await, None)),
        Some(Err(error)) => {
            tracing::error!("run {}: its event log cannot be read: {error}", source.run);
            Some((Piece::fault(), None))
        }
        None => {
            source.hold.release();
            let notice = r#"{"type":"shutdown","detail":"the server stops; the run waits for the next one"}"#;
            Some((Piece::Told("shutdown", notice.to_owned()), None))
        }
    }
}

/// What is sent at once.
enum Piece {
    /// A line of ours, and what it is.
    Told(&'static str, String),
    /// Lines of the CLI.
    Events(Chunk),
    /// The run, at its end.
    End(Value),
}

impl Piece {
    fn fault() -> Self {
        Self::Told("error", r#"{"type":"error","code":"internal"}"#.to_owned())
    }

    fn lines(self) -> Bytes {
        match self {
            Self::Told(_, line) => format!("{line}\n").into(),
            Self::Events(chunk) => chunk.lines,
            Self::End(run) => format!("{}\n", json!({"type": "end", "run": run})).into(),
        }
    }

    fn events(self) -> Vec<Event> {
        match self {
            Self::Told(kind, line) => vec![Event::default().event(kind).data(line)],
            Self::End(run) => vec![Event::default().event("end").data(run.to_string())],
            Self::Events(Chunk { lines, mut offset }) => {
                let event = |line: &[u8]| {
                    // Where the next event begins in the log: who comes back with this id goes on there.
                    offset += line.len() as u64;
                    let data = String::from_utf8_lossy(line.trim_ascii_end());
                    Event::default().event("event").id(offset.to_string()).data(data)
                };
                lines.split_inclusive(|&byte| byte == b'\n').map(event).collect()
            }
        }
    }
}

impl Source {
    /// The run, as the last piece.
    async fn last(&mut self) -> Piece {
        let run = self.engine.wait(self.run).await;
        self.hold.release();
        match run {
            Ok(Some(run)) => Piece::End(json!(RunView::whole(&run, None))),
            Ok(None) | Err(_) => Piece::fault(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use prometheus_client::registry::Registry;
    use tokio::time::{Instant, pause, timeout};

    use super::*;
    use crate::claude::arguments::OutputFormat;
    use crate::claude::sessions::Sessions;
    use crate::config::server::EngineConfig;
    use crate::desk::ask::Ask;
    use crate::runs::child::{EndTree, Workers};
    use crate::runs::log::Logs;
    use crate::runs::metrics::Metrics;
    use crate::runs::submission::Origin;
    use crate::store::record::{DoorName, Request, Requester};
    use crate::store::sqlite::Sqlite;

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
        let store = Arc::new(Sqlite::open(state_dir).unwrap());
        let sessions = Sessions { config_dir: state_dir.to_owned(), state_dir: state_dir.to_owned() };
        let workers = Workers::new("/nowhere".into(), Vec::new(), end_tree);
        let metrics = Metrics::register(&mut Registry::default());
        let logs = Logs::open(state_dir.join(Logs::FOLDER), config.keep_bytes).unwrap();
        let engine = Engine::start(store, logs, config, sessions, workers, metrics, None).await.unwrap();
        let request = Request::new("hi", OutputFormat::Json);
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
            assert_eq!(events.next().await.unwrap().unwrap(), ": keep-alive\n\n");
            assert_eq!(began.elapsed().as_secs(), beat * HEARTBEAT.as_secs());
        }
        assert!(timeout(HEARTBEAT * 100, lines.next()).await.is_err());
    }

    #[tokio::test]
    async fn an_id_is_where_the_next_event_begins() {
        let piece = || Piece::Events(Chunk { lines: Bytes::from_static(b"{\"a\":1}\n{}\n"), offset: 100 });
        let events = Sse::new(stream::iter(piece().events()).map(Ok::<_, Infallible>)).into_response();
        let framed = axum::body::to_bytes(events.into_body(), usize::MAX).await.unwrap();
        assert_eq!(framed, "event: event\nid: 108\ndata: {\"a\":1}\n\nevent: event\nid: 111\ndata: {}\n\n");
        assert_eq!(piece().lines(), "{\"a\":1}\n{}\n");
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
