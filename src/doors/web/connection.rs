//! A connection that does not wait for ever for its client.
//!
//! Three waits are bounded, each on the socket itself, where it cannot be mistaken for something else: for the head of
//! a request once it has begun (slowloris), for the next request of an idle connection, and for a client to read what
//! was written. A quiet event stream writes nothing and so is never stalled, and a download may take as long as it
//! makes progress.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::crowd::ConnectionSlot;

/// How long a connection waits for its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For the whole head of a request, from the accept or from its first byte.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the client to read anything of what is written.
    pub(super) write: Duration,
}

/// How many requests of a connection are being answered: 0 or 1. While one is, reading is not bounded here; the body
/// of a request has a limit of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    now: AtomicUsize,
    begun: AtomicUsize,
    reader: AtomicWaker,
}

impl InFlight {
    /// Counts one until the value is dropped.
    pub(super) fn begin(&self) -> Answering {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.now.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    pub(super) fn any(&self) -> bool {
        self.0.now.load(Ordering::Acquire) > 0
    }

    /// How many have begun so far.
    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }
}

/// A request that is being answered; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Answering(InFlight);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.now.fetch_sub(1, Ordering::AcqRel);
        // hyper has asked for the next request already, and would not ask again before something comes.
        self.0.0.reader.wake();
    }
}

/// A stream with bounded waits; hyper reads it only on one task.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    waits: Waits,
    in_flight: InFlight,
    begun: usize,
    reading: Reading,
    reader: Timer,
    writer: Timer,
    place: Option<Arc<ConnectionSlot>>,
}

/// What a read waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The first byte of the next request.
    Next,
    /// The rest of a head.
    Head,
    /// A request is being answered.
    Answering,
}

impl<S> Bounded<S> {
    /// Bounds the waits of `stream`, whose first request is expected now.
    pub(super) fn new(stream: S, waits: Waits, in_flight: InFlight) -> Self {
        let mut reader = Timer::default();
        reader.start(waits.head);
        let writer = Timer::default();
        Self { stream, waits, in_flight, begun: 0, reading: Reading::Head, reader, writer, place: None }
    }

    /// Says at `place` when the client is waited for.
    pub(super) fn at(mut self, place: Arc<ConnectionSlot>) -> Self {
        self.place = Some(place);
        self
    }

    fn waits(&self, used: bool) {
        if let Some(place) = &self.place {
            place.waits(used);
        }
    }

    /// Whether the client has kept us waiting too long; arms the timer that says so.
    fn read_is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.follow();
        self.in_flight.0.reader.register(context.waker());
        if self.reading == Reading::Answering && !self.in_flight.any() {
            self.reading = Reading::Next;
            self.waits(true);
            self.reader.start(self.waits.idle);
        }
        self.reader.is_over(context)
    }

    /// Bytes have come.
    fn has_read(&mut self) {
        self.follow();
        // The head as a whole has a limit, not each of its bytes.
        if self.reading == Reading::Next || (self.reading == Reading::Answering && !self.in_flight.any()) {
            self.reading = Reading::Head;
            self.waits(false);
            self.reader.start(self.waits.head);
        }
    }

    /// Notices that a head is complete. A short request is answered between two reads, so its start is counted and not
    /// only looked for.
    fn follow(&mut self) {
        let begun = self.in_flight.begun();
        if begun != self.begun {
            self.begun = begun;
            self.reading = Reading::Answering;
            self.reader.stop();
        }
    }

    fn has_written(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.writer.stop();
            return written;
        }
        if !self.writer.is_running() {
            self.writer.start(self.waits.write);
        }
        if self.writer.is_over(context) {
            return Poll::Ready(Err(late("the client did not read")));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Ready(result) => {
                if into.filled().len() > before {
                    self.has_read();
                }
                Poll::Ready(result)
            }
            Poll::Pending if self.read_is_late(context) => Poll::Ready(Err(late("the client sent no request"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.has_written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.has_written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} in time"))
}

/// A deadline that can be moved without allocating again.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    /// Ends `after` from now.
    pub(super) fn start(&mut self, after: Duration) {
        self.running = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + after),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(after))),
        }
    }

    /// Never ends.
    pub(super) const fn stop(&mut self) {
        self.running = false;
    }

    /// Whether it was started.
    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    /// Whether it has ended; if not, the task is woken when it does.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.running && self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready())
    }
}

#[cfg(test)]
mod tests;
