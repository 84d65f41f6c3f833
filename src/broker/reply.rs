//! Bodies on their way: a request's, counted, and an answer's, which can be cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// Pieces of an answer that wait for a slow client.
const MOST_WAITING: usize = 4;

/// An answer's body.
#[derive(Debug)]
pub(super) enum Reply {
    /// One piece, or none.
    Whole(Option<Bytes>),
    /// What comes.
    Streamed {
        /// The pieces; an error cuts the connection.
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        /// The error that is given next time.
        cut: Option<io::Error>,
    },
}

impl Reply {
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }

    pub(super) fn streamed() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, pieces) = mpsc::channel(MOST_WAITING);
        (sender, Self::Streamed { pieces, cut: None })
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let (pieces, cut) = match &mut *self {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed { pieces, cut } => (pieces, cut),
        };
        if let Some(error) = cut.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match pieces.poll_recv(context) {
            Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(Some(Err(error))) => {
                // The server drops what it has not written when a body fails: this gives it the time to write.
                *cut = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed { .. } => SizeHint::default(),
        }
    }
}

/// A request's body: its data, up to a limit. Trailers stay here, as headers do.
#[derive(Debug)]
pub(super) struct Bounded {
    body: Incoming,
    left: u64,
    is_over: Arc<AtomicBool>,
}

impl Bounded {
    /// `is_over` is set when more than `most` bytes have come.
    pub(super) const fn new(body: Incoming, most: u64, is_over: Arc<AtomicBool>) -> Self {
        Self { body, left: most, is_over }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
                self.is_over.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(io::Error::other("the request is too large"))));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
