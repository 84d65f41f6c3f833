//! One line in the log for every request, and the headers that every answer has.
//!
//! The line is written when the answer was sent whole or its client is gone, so it knows how long that took and how
//! much was sent. It never holds the query, which may hold a token.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use uuid::Uuid;

use super::server::catch_panic;
use crate::desk::caller::Caller;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;
/// Asked every few seconds by whatever looks after the container.
const QUIET: [&str; 4] = ["/health", "/healthz", "/ready", "/metrics"];

/// A request's id: an extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// The run that a request was about: an extension of its response, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(pub String);

/// Logs a request and completes its answer. For `middleware::from_fn`, around everything else.
pub async fn trace(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut record = Record::new(request.method().clone(), request.uri().path().to_owned(), id);
    let mut response = catch_panic(async { Ok(next.run(request).await) }).await;
    record.status = Some(response.status().as_u16());
    record.caller = response.extensions().get().map(|caller: &Caller| caller.name.clone());
    record.run = response.extensions().get().map(|RunId(run)| run.clone());
    complete(response.headers_mut(), &record.id);
    let length = response.headers().get(header::CONTENT_LENGTH);
    record.declared = length.and_then(|length| length.to_str().ok()?.parse().ok());
    record.whole = record.method == Method::HEAD || response.body().is_end_stream();
    response.map(|body| Body::new(Recorded { body, record }))
}

/// The client's own id if it is one line of plain characters, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let sane = sent.filter(|id| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    sane.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn complete(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let is_json =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// What the line will say; it is written when this is dropped, however the request ended.
#[derive(Debug)]
struct Record {
    method: Method,
    path: String,
    id: String,
    start: Instant,
    /// `None` if the client was gone before there was an answer.
    status: Option<u16>,
    caller: Option<String>,
    run: Option<String>,
    bytes: u64,
    /// The length that the answer's head promised.
    declared: Option<u64>,
    whole: bool,
}

impl Record {
    fn new(method: Method, path: String, id: String) -> Self {
        let start = Instant::now();
        Self { method, path, id, start, status: None, caller: None, run: None, bytes: 0, declared: None, whole: false }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self { method, path, id, status, caller, run, bytes, declared, .. } = self;
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (caller, run) = (caller.as_deref(), run.as_deref());
        // hyper does not ask a body for its end once all promised bytes were sent.
        let cut = (!self.whole && *declared != Some(*bytes)).then_some(true);
        if QUIET.contains(&path.as_str()) {
            tracing::debug!(%method, path, status, ms, caller, bytes, run, cut, id, "request");
        } else {
            tracing::info!(%method, path, status, ms, caller, bytes, run, cut, id, "request");
        }
    }
}

/// A body that counts what is sent of it.
struct Recorded {
    body: Body,
    record: Record,
}

impl hyper::body::Body for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.record.bytes += u64::try_from(length).unwrap_or(u64::MAX);
                self.record.whole = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.record.whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
