//! A run's answer as server-sent events, in the words of a protocol.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::answer::Answer;
use super::error;
use super::turn::follow::{Following, NextEvent};
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
pub(super) struct Out(Vec<Event>);

impl Out {
    /// An event without a name.
    pub(super) fn data(&mut self, data: &Value) {
        self.0.push(Event::default().data(data.to_string()));
    }

    /// An event with a name.
    pub(super) fn event(&mut self, name: &str, data: &Value) {
        self.0.push(Event::default().event(name).data(data.to_string()));
    }

    /// The last event of Chat Completions.
    pub(super) fn done(&mut self) {
        self.0.push(Event::default().data("[DONE]"));
    }

    /// A comment, which clients drop.
    pub(super) fn comment(&mut self, text: &str) {
        self.0.push(text.split(['\r', '\n']).fold(Event::default(), Event::comment));
    }

    fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.0)
    }
}

/// Where a stream stands.
enum At<P> {
    Running { following: Box<Following>, protocol: P },
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
    response(stream::iter(out.take()), run.to_string())
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
            Ok(NextEvent::Deltas(deltas)) => first = deltas,
            Ok(NextEvent::Answer(answer)) => whole = Some(answer),
            Ok(NextEvent::Failed(problem)) => return Err(problem),
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
    let at = match whole {
        Some(answer) => {
            end(&mut protocol, &answer, &mut out);
            At::End
        }
        None => At::Running { following: Box::new(following), protocol },
    };
    let rest = stream::unfold(at, |at| async move {
        let At::Running { following, protocol } = at else { return None };
        Some(go_on(following, protocol).await)
    });
    let events = stream::iter([out.take()]).chain(rest).flat_map(stream::iter);
    Ok(response(events, run))
}

fn response(events: impl Stream<Item = Event> + Send + 'static, run: String) -> Response {
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("keep-alive");
    let mut response = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(heartbeat).into_response();
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
async fn go_on<P: Protocol>(mut following: Box<Following>, mut protocol: P) -> (Vec<Event>, At<P>) {
    let mut out = Out::default();
    match following.next().await {
        NextEvent::Deltas(deltas) => {
            for delta in &deltas {
                protocol.delta(delta, &mut out);
            }
            return (out.take(), At::Running { following, protocol });
        }
        NextEvent::Answer(answer) => end(&mut protocol, &answer, &mut out),
        NextEvent::Failed(problem) => protocol.fail(&problem, &mut out),
    }
    (out.take(), At::End)
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
