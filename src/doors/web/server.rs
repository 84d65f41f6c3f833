//! The HTTP server under every door that speaks HTTP: connections, their limits and their end.
//!
//! What it guards against: a flood of connections (a limit, so that descriptors are left for runs, and at the limit
//! whoever asks for nothing makes room: `crowd`), clients that send or read slowly or not at all (`connection`, `body`), a handler that panics (500, the others go on), and a shutdown
//! that an open event stream would hold up (bounded drain).

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::Shape;
use super::body::{Sent, StoodStill, Watched};
use super::connection::{Bounded, InFlight, Waits};
use super::crowd::{ConnectionSlot, Crowd};
use super::normal::addressed;
use super::problem::Problem;
use crate::backoff::Backoff;
use crate::config::name::{MODE_API_BIND, MODE_API_MAX_CONNECTIONS, MODE_API_PORT};

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1024;
/// Longest head of a request, bytes; also what a connection may hold in memory of a body.
const LARGEST_HEAD: usize = 64 << 10;
/// Minimum interval between log lines about the connection limit.
const SAY_EVERY: Duration = Duration::from_mins(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// How much, and how long, clients may ask of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. At more, those that ask for nothing end; if there are none, new ones wait.
    pub connections: usize,
    /// For the whole head of a request.
    pub head: Duration,
    /// For the next request on a connection that is kept open.
    pub idle: Duration,
    /// For the next piece of a request's body.
    pub body: Duration,
    /// For a client to read any of what is written.
    pub write: Duration,
    /// For what is being answered when the server stops.
    pub drain: Duration,
}

impl Limits {
    /// The usual times, with this many connections.
    #[must_use]
    pub const fn new(connections: usize) -> Self {
        Self {
            connections,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            write: Duration::from_mins(1),
            drain: Duration::from_secs(3),
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({MODE_API_BIND}, {MODE_API_PORT}): {source}; {}", hint(.source.kind()))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

const fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "something else listens there: choose another port, or stop it",
        io::ErrorKind::AddrNotAvailable => {
            "this box does not have that address: 0.0.0.0 is every IPv4 address, :: every one"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: choose a higher one and publish it as you like"
        }
        _ => "choose another address or port",
    }
}

/// Listens on `address`. Needs a runtime.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart must not wait for the connections of the server before it to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| BindError { address, source })
}

/// Says that the server is stopping. An extension of every request: a stream that has no end of its own ends here, so
/// that its client is told instead of cut off.
#[derive(Debug, Clone)]
pub struct Stopping(CancellationToken);

impl Stopping {
    /// Comes when the server stops.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Cancelled when the server stops.
    pub const fn token(&self) -> &CancellationToken {
        &self.0
    }
}

/// Serves `router` on `listener` until `shutdown` is done. What is being answered then has [`Limits::drain`] to end,
/// and is dropped after that.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shape: Shape,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let crowd = Crowd::new();
    let mut accepting = Accepting::new(listener, limits.connections, crowd.clone());
    let mut server =
        Server { router, limits, shape, crowd, stopping: CancellationToken::new(), connections: JoinSet::new() };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, peer, permit) = accepting.next() => server.start(stream, peer, permit),
            Some(ended) = server.connections.join_next() => report(ended),
        }
    }
    // The port is free from here on: a successor can bind it while this one drains.
    drop(accepting);
    server.drain().await;
    Ok(())
}

struct Server {
    router: Router,
    limits: Limits,
    shape: Shape,
    crowd: Crowd,
    stopping: CancellationToken,
    connections: JoinSet<()>,
}

impl Server {
    fn start(&mut self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        // An event sent alone must not wait for the next one.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused; a stream may come in lumps");
        }
        let place = self.crowd.enter(peer.ip());
        let answers = (self.router.clone(), self.shape);
        let connection = connection(stream, peer, place, answers, self.limits, self.stopping.clone());
        self.connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }

    async fn drain(mut self) {
        self.stopping.cancel();
        let all = async {
            while let Some(ended) = self.connections.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(self.limits.drain, all).await.is_err() {
            tracing::info!(connections = self.connections.len(), "the last connections were cut off: the server stops");
            self.connections.shutdown().await;
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    // A handler's panic is caught before it gets here; this is one in the body of an answer.
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        tracing::error!("an answer panicked and was cut off: {}", words(&*panic));
    }
}

/// Accepts connections as long as there is room for them.
struct Accepting {
    listener: TcpListener,
    room: Arc<Semaphore>,
    crowd: Crowd,
    limit: usize,
    /// One that has no place yet.
    accepted: Option<(TcpStream, SocketAddr)>,
    /// Another connection has been told to end for it, and has not ended yet.
    made_room: bool,
    said: Option<Instant>,
    backoff: Backoff,
}

impl Accepting {
    fn new(listener: TcpListener, limit: usize, crowd: Crowd) -> Self {
        let room = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let (accepted, made_room, said) = (None, false, None);
        Self {
            listener,
            room,
            crowd,
            limit,
            accepted,
            made_room,
            said,
            backoff: Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF),
        }
    }

    /// The next connection. Dropping the future loses none.
    async fn next(&mut self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            if self.accepted.is_none() {
                self.accepted = Some(self.accept().await);
            }
            let permit = self.permit().await;
            if let Some((stream, peer)) = self.accepted.take() {
                return (stream, peer, permit);
            }
        }
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.backoff.reset();
                    return accepted;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: they come back when something ends, not by trying at once.
                    tracing::error!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(self.backoff.next_delay()).await;
                }
            }
        }
    }

    /// A place for a connection that is there. If all are in use, one that waits for its client makes room.
    async fn permit(&mut self) -> OwnedSemaphorePermit {
        loop {
            match Arc::clone(&self.room).try_acquire_owned() {
                Ok(permit) => {
                    self.made_room = false;
                    self.crowd.has_room();
                    return permit;
                }
                Err(_) if self.made_room => {}
                Err(_) => {
                    self.say_full();
                    self.made_room = self.crowd.make_room();
                }
            }
            tokio::select! {
                // Given back at once and taken above: the semaphore is never closed, but the type does not know that.
                permit = self.room.acquire() => drop(permit),
                () = self.crowd.changed(), if !self.made_room => {}
            }
        }
    }

    fn say_full(&mut self) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            self.said = Some(now);
            tracing::warn!(
                "all {} connections are in use ({MODE_API_MAX_CONNECTIONS}); those that ask for nothing end, new ones wait \
                 for the others",
                self.limit
            );
        }
    }
}

/// Whether an accept failed because of the connection that it would have given.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    place: ConnectionSlot,
    (router, shape): (Router, Shape),
    limits: Limits,
    stopping: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (in_flight, place) = (InFlight::default(), Arc::new(place));
    let (requests, makes_room) = (in_flight.clone(), place.ends());
    let waits = Waits { head: limits.head, idle: limits.idle, write: limits.write };
    let stream = TokioIo::new(Bounded::new(stream, waits, in_flight.clone()).at(Arc::clone(&place)));
    let extension = Stopping(stopping.clone());
    let service = service_fn(move |request| {
        let (router, stopping, answering) = (router.clone(), extension.clone(), in_flight.begin());
        place.is_answered();
        let still = StoodStill::after(limits.body);
        async move {
            let mut request = addressed::<Incoming>(request);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(stopping);
            let address = request.uri().clone();
            let request = request.map(|body| Body::new(Watched::new(body, still.clone())));
            let response = catch_panic(router.oneshot(request)).await;
            let mut response = still.get().map_or(response, |slow| shape(address.path(), closing(slow.problem())));
            if response.status() == StatusCode::NOT_MODIFIED {
                // It would be that of the file, not of this answer, which has no body.
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            Ok::<_, Infallible>(response.map(|body| Sent::new(body, answering)))
        }
    });
    let mut builder = http1::Builder::new();
    // hyper's own limit for heads also ends connections that are merely idle.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(LARGEST_HEAD);
    let mut connection = pin!(builder.serve_connection(stream, service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = makes_room.cancelled() => {
            if !requests.any() {
                return tracing::debug!(%peer, "a connection that asked for nothing made room for another");
            }
            // A request has come in the last moment: it is answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// The answer of `handler`, or 500 if it panics.
pub(super) async fn catch_panic(handler: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => Problem::internal("answering this request", &words(&*panic)).into_response(),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without words").to_owned()
}

fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
