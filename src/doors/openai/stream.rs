//! A run's answer as server-sent events, in the words of a protocol.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error;
use super::turn::{Answer, Following, Step};
use crate::desk::narrate::Delta;
use crate::doors::web::RUN_ID;
use crate::doors::web::problem::Problem;
use crate::doors::web::trace::RunId;

/// A proxy that hears nothing for a minute cuts the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long the head of the answer waits for the run's first word: a run that fails before it is answered with a
/// status, which every client understands better than an error in a stream.
const LEAD: Duration = Duration::from_secs(10);

/// Puts a run's steps into a protocol's events.
pub(super) trait Protocol: Send + 'static {
    /// The stream begins.
    fn begin(&mut self, out: &mut Out);
    /// A piece of the answer.
    fn delta(&mut self, delta: &Delta, out: &mut Out);
    /// The answer is whole.
    fn end(&mut self, answer: &Answer, out: &mut Out);
    /// There will be no answer.
    fn fail(&mut self, problem: &Problem, out: &mut Out);
}

/// Server-sent events in the making.
#[derive(Default)]
pub(super) struct Out(BytesMut);

impl Out {
    /// An event without a name.
    pub(super) fn data(&mut self, data: &Value) {
        self.line("data: ", &data.to_string());
        self.0.put_u8(b'\n');
    }

    /// An event with a name.
    pub(super) fn event(&mut self, name: &str, data: &Value) {
        self.line("event: ", name);
        self.data(data);
    }

    /// The last event of Chat Completions.
    pub(super) fn done(&mut self) {
        self.0.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// A comment, which clients drop.
    pub(super) fn comment(&mut self, text: &str) {
        for line in text.lines() {
            self.line(": ", line);
        }
        self.0.put_u8(b'\n');
    }

    fn line(&mut self, start: &str, text: &str) {
        self.0.extend_from_slice(start.as_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self.0.put_u8(b'\n');
    }

    fn take(&mut self) -> Bytes {
        self.0.split().freeze()
    }
}

/// Where a stream stands.
enum At<P> {
    Running { following: Box<Following>, protocol: P, out: Out },
    End,
}

/// How a run has ended, as a stream.
pub(super) fn replay<P: Protocol>(ended: Result<&Answer, &Problem>, run: Uuid, mut protocol: P) -> Response {
    let mut out = Out::default();
    protocol.begin(&mut out);
    match ended {
        Ok(answer) => end(&mut protocol, answer, &mut out),
        Err(problem) => protocol.fail(problem, &mut out),
    }
    response(Body::from(out.take()), run.to_string())
}

/// The run's answer as a stream; or why there is none, if that shows before its first word.
pub(super) async fn answer<P: Protocol>(
    mut following: Following,
    protocol: impl FnOnce(&Following) -> P,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + LEAD;
    let mut first = Vec::new();
    let mut whole = None;
    while first.is_empty() && whole.is_none() {
        match timeout_at(deadline, following.next()).await {
            Ok(Step::Deltas(deltas)) => first = deltas,
            Ok(Step::Answer(answer)) => whole = Some(answer),
            Ok(Step::Failed(problem)) => return Err(problem),
            Err(_) => break,
        }
    }
    let run = following.run.to_string();
    let mut protocol = protocol(&following);
    let mut out = Out::default();
    protocol.begin(&mut out);
    for delta in &first {
        protocol.delta(delta, &mut out);
    }
    let begin = match whole {
        Some(answer) => {
            end(&mut protocol, &answer, &mut out);
            (out.take(), At::End)
        }
        None => (out.take(), At::Running { following: Box::new(following), protocol, out }),
    };
    let body = stream::unfold((Some(begin.0), begin.1), |(begin, at)| async move {
        if let Some(begin) = begin {
            return Some((Ok::<_, Infallible>(begin), (None, at)));
        }
        let At::Running { following, protocol, out } = at else { return None };
        let (bytes, at) = go_on(following, protocol, out).await;
        Some((Ok(bytes), (None, at)))
    });
    Ok(response(Body::from_stream(body), run))
}

fn response(body: Body, run: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx would keep the events until it has a buffer full of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.extend(HeaderValue::from_str(&run).ok().map(|run| (RUN_ID, run)));
    response.extensions_mut().insert(RunId(run));
    response
}

/// What is sent next, and where the stream stands then.
async fn go_on<P: Protocol>(mut following: Box<Following>, mut protocol: P, mut out: Out) -> (Bytes, At<P>) {
    loop {
        match timeout_at(Instant::now() + HEARTBEAT, following.next()).await {
            Err(_) => out.comment("keep-alive"),
            Ok(Step::Deltas(deltas)) => {
                for delta in &deltas {
                    protocol.delta(delta, &mut out);
                }
            }
            Ok(Step::Answer(answer)) => {
                end(&mut protocol, &answer, &mut out);
                return (out.take(), At::End);
            }
            Ok(Step::Failed(problem)) => {
                protocol.fail(&problem, &mut out);
                return (out.take(), At::End);
            }
        }
        let bytes = out.take();
        if !bytes.is_empty() {
            return (bytes, At::Running { following, protocol, out });
        }
    }
}

fn end<P: Protocol>(protocol: &mut P, answer: &Answer, out: &mut Out) {
    // A form, or a CLI that gives no pieces: then the whole is one. A call has events of its own.
    if answer.call.is_none() && !answer.rest.is_empty() {
        protocol.delta(&Delta::Text(answer.rest.clone()), out);
    }
    protocol.end(answer, out);
}

/// An error inside a stream.
pub(super) fn error_event(problem: &Problem) -> Value {
    error::json(problem)
}
