//! Bodies with a watch on them: a request body that may not stand still, and a response body that says when it is over.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use hyper::body::{Body, Frame, SizeHint};

use super::connection::{Answering, Timer};
use super::problem::Problem;

/// The client sent nothing of a body it still owes for too long.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the request's body stood still for {} s", .0.as_secs())]
pub struct SlowClient(Duration);

impl SlowClient {
    /// What the client is told.
    pub fn problem(self) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_client", format!("{self}; send it again"))
    }

    /// Finds it below an error that a body gave.
    pub fn within<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(slow) = error.downcast_ref() {
                return Some(slow);
            }
            next = error.source();
        }
        None
    }
}

/// Whether a request's body stood still. Whatever its handler then answered, the client is told that.
#[derive(Debug, Clone)]
pub(super) struct StoodStill {
    flag: Arc<AtomicBool>,
    after: Duration,
}

impl StoodStill {
    pub(super) fn after(after: Duration) -> Self {
        Self { flag: Arc::default(), after }
    }

    pub(super) fn get(&self) -> Option<SlowClient> {
        self.flag.load(Ordering::Relaxed).then_some(SlowClient(self.after))
    }
}

/// A request body that ends in [`SlowClient`] when nothing comes for a while. Only waiting for the client counts, not
/// a handler that does something else in between.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    timer: Timer,
    still: StoodStill,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, still: StoodStill) -> Self {
        Self { body, timer: Timer::default(), still }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.timer.stop();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !this.timer.is_running() {
            this.timer.start(this.still.after);
        }
        if this.timer.is_over(context) {
            this.still.flag.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(SlowClient(this.still.after).into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that keeps `_until_sent` until it was sent whole, or its client is gone.
#[derive(Debug)]
pub(super) struct Sent {
    body: axum::body::Body,
    _until_sent: Answering,
}

impl Sent {
    pub(super) fn new(body: axum::body::Body, until_sent: Answering) -> Self {
        Self { body, _until_sent: until_sent }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use http_body_util::BodyExt as _;
    use std::convert::Infallible;
    use tokio::time::{Instant, sleep};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Pieces that come after so many seconds each, watched.
    fn watched(pauses: &'static [u64]) -> (Watched<axum::body::Body>, StoodStill) {
        let pieces = futures_util::stream::iter(pauses).then(|pause| async {
            sleep(Duration::from_secs(*pause)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        });
        let still = StoodStill::after(PATIENCE);
        (Watched::new(axum::body::Body::from_stream(pieces), still.clone()), still)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_long_as_long_as_it_moves() {
        let (body, still) = watched(&[29, 29, 0, 29]);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "xxxx");
        assert!(still.get().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_an_error_that_can_be_told_from_others() {
        let (body, still) = watched(&[20, 31]);
        let start = Instant::now();
        let error = body.collect().await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 50);
        assert!(still.get().is_some() && SlowClient::within(&*error).is_some());
        assert!(SlowClient::within(&axum::Error::new(error)).is_some(), "below another error");
        assert!(SlowClient::within(&std::io::Error::other("else")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_does_something_else_is_no_slow_client() {
        let (mut body, still) = watched(&[1, 1]);
        body.frame().await.unwrap().unwrap();
        sleep(Duration::from_hours(1)).await;
        body.frame().await.unwrap().unwrap();
        assert!(still.get().is_none());
    }
}
