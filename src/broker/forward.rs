//! A run's requests: which go on, with whose credential, and what of the answers is read while they go by.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use reqwest::Client;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::account::{Account, Spending};
use super::audit::Audit;
use super::credential::{Credential, EnvironmentError, Upstream};
use super::protocol::FromBroker;
use super::refused::Refused;
use super::reply::{Bounded, Reply};
use super::usage::Reader;
use super::{headers, limits};
use crate::config::environment::Environment;

const MESSAGES: &str = "/v1/messages";
const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
/// The CLI asks for it with some credentials; that there is none is an answer.
const POLICY_LIMITS: &str = "/api/claude_code/policy_limits";
/// Largest body of a request, bytes.
const LARGEST_BODY: u64 = 64 << 20;
/// Requests of one run that are at the API at once; more wait.
const MOST_REQUESTS: usize = 64;
/// How long the API may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Least time between two estimates that the owner hears of.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How much of a path is in the audit log, characters.
const PATH_SHOWN: usize = 200;

/// What all runs share.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) client: Client,
    pub(super) upstream: Upstream,
    pub(super) credential: Credential,
    pub(super) audit: Audit,
}

/// Why nothing can go on.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The environment cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// There are no certificates, or a proxy that is none.
    #[error("the broker's HTTP client cannot be made: {0}")]
    Client(reqwest::Error),
}

impl Gate {
    /// What is made of these variables.
    pub(super) fn of(env: &impl Environment, audit: Audit) -> Result<Self, GateError> {
        let (credential, upstream) = (Credential::read(env)?, Upstream::read(env)?);
        let client = upstream.client(CONNECT_TIMEOUT).map_err(GateError::Client)?;
        Ok(Self { client, upstream, credential, audit })
    }
}

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    id: Uuid,
    gate: Arc<Gate>,
    pub(super) account: Account,
    /// What its CLI has in place of the credential.
    stand_in: String,
    /// The run is over: whatever goes on for it is cut.
    pub(super) ended: CancellationToken,
    places: Arc<Semaphore>,
}

impl Run {
    pub(super) fn new(id: Uuid, gate: Arc<Gate>, account: Account, stand_in: String, ended: CancellationToken) -> Self {
        Self { id, gate, account, stand_in, ended, places: Arc::new(Semaphore::new(MOST_REQUESTS)) }
    }

    /// Answers a request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
        let path = request.uri().path();
        let answer = match (request.method(), path) {
            (&Method::POST, _) if !headers::have(request.headers(), &self.stand_in) => {
                self.gate.audit.write("refused", json!({"run": self.id, "why": "another key"}));
                drain(request.into_body()).await;
                Err(Refused::another_key())
            }
            (&Method::POST, MESSAGES) => self.forward(request, MESSAGES).await,
            (&Method::POST, COUNT_TOKENS) => self.forward(request, COUNT_TOKENS).await,
            (&Method::GET, POLICY_LIMITS) => Err(Refused::not_found()),
            (&Method::HEAD, "/") => Ok(Response::new(Reply::Whole(None))),
            (method, path) => {
                let path: String = path.chars().take(PATH_SHOWN).collect();
                let refused = Refused::path(method, &path);
                let facts = json!({"run": self.id, "method": method.as_str(), "path": path});
                self.gate.audit.write("refused", facts);
                drain(request.into_body()).await;
                Err(refused)
            }
        };
        Ok(answer.unwrap_or_else(|refused| refused.response()))
    }

    async fn forward(
        self: Arc<Self>,
        request: Request<Incoming>,
        path: &'static str,
    ) -> Result<Response<Reply>, Refused> {
        if request.body().size_hint().lower() > LARGEST_BODY {
            return Err(Refused::too_large(LARGEST_BODY));
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let spending = match self.account.begin() {
            Ok(spending) => spending,
            Err(over) => {
                let refused = Refused::over_budget(over.to_string());
                self.gate.audit.write("refused", json!({"run": self.id, "path": path, "why": refused.why}));
                drain(request.into_body()).await;
                return Err(refused);
            }
        };
        let (answer, answered) = oneshot::channel();
        let errand = Errand { run: self, path, spending, status: None, bytes: 0 };
        // A task of its own: a client that hangs up as soon as it has asked is to pay for what it has asked.
        tokio::spawn(async move {
            let run = Arc::clone(&errand.run);
            tokio::select! {
                biased;
                () = run.ended.cancelled() => {}
                () = errand.carry_out(request, answer) => {}
            }
            drop(place);
        });
        answered.await.unwrap_or_else(|_| Err(Refused::unreachable("the run has ended")))
    }
}

/// Reads what nobody wants, up to the largest request: a client that is still sending when the connection closes sees that, and not
/// the answer.
async fn drain(body: Incoming) {
    let mut body = Limited::new(body, usize::try_from(LARGEST_BODY).unwrap_or(usize::MAX));
    while let Some(Ok(_)) = body.frame().await {}
}

/// A request on its way. Dropped, it is in the audit log.
struct Errand {
    run: Arc<Run>,
    path: &'static str,
    spending: Spending,
    status: Option<u16>,
    bytes: u64,
}

impl Drop for Errand {
    fn drop(&mut self) {
        let facts = json!({"run": self.run.id, "path": self.path, "status": self.status, "bytes": self.bytes});
        self.run.gate.audit.write("credential", facts);
    }
}

impl Errand {
    async fn carry_out(
        mut self,
        request: Request<Incoming>,
        answer: oneshot::Sender<Result<Response<Reply>, Refused>>,
    ) {
        let gate = Arc::clone(&self.run.gate);
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or(self.path, |target| target.as_str());
        let is_over = Arc::new(AtomicBool::new(false));
        let sent = gate
            .client
            .post(gate.upstream.url(target))
            .headers(headers::for_upstream(&head.headers, &gate.credential))
            .body(reqwest::Body::wrap(Bounded::new(body, LARGEST_BODY, Arc::clone(&is_over))))
            .send()
            .await;
        let upstream = match sent {
            Ok(upstream) => upstream,
            Err(_) if is_over.load(Ordering::Relaxed) => {
                return drop(answer.send(Err(Refused::too_large(LARGEST_BODY))));
            }
            Err(error) => {
                let why = chain(error);
                tracing::warn!("a request did not reach the API: {why}");
                return drop(answer.send(Err(Refused::unreachable(&why))));
            }
        };
        let (status, of_upstream) = (upstream.status(), upstream.headers());
        self.status = Some(status.as_u16());
        if let Some(limits) = limits::read(status.as_u16(), of_upstream, Utc::now().timestamp()) {
            self.run.account.tell(FromBroker::Limits(limits));
        }
        let reader = self.reader(status, of_upstream);
        let (pieces, body) = Reply::streamed();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers::for_cli(of_upstream);
        // It may have hung up; what it has asked for is read all the same, until it is known what that costs.
        let _ = answer.send(Ok(response));
        self.pass(upstream, reader, pieces).await;
    }

    /// Only an answer of a model has used anything.
    fn reader(&self, status: StatusCode, headers: &hyper::HeaderMap) -> Reader {
        if !status.is_success() || self.path != MESSAGES {
            return Reader::Nothing;
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(encoding) = text(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            tracing::warn!(encoding, "the API answered compressed, unasked: what this answer costs is not counted");
            return Reader::Nothing;
        }
        Reader::of(text(CONTENT_TYPE))
    }

    /// Hands the answer on as it comes, and reads it on the way.
    async fn pass(
        &mut self,
        mut upstream: reqwest::Response,
        mut reader: Reader,
        pieces: mpsc::Sender<io::Result<Bytes>>,
    ) {
        let mut told = None;
        loop {
            let bytes = match upstream.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return reader.end(&mut self.spending.message),
                Err(error) => return drop(pieces.send(Err(io::Error::other(chain(error)))).await),
            };
            let (length, is_over) = self.read(&mut reader, &bytes, &mut told);
            self.bytes += length as u64;
            let has_gone = pieces.send(Ok(bytes.slice(..length))).await.is_err();
            if is_over {
                return drop(pieces.send(Err(io::Error::other("the budget is used up"))).await);
            }
            let is_known = self.spending.message.has_begun() || matches!(reader, Reader::Nothing);
            if has_gone && is_known {
                return;
            }
        }
    }

    /// How much of `bytes` may be handed on, and whether the budget ends there.
    fn read(&mut self, reader: &mut Reader, bytes: &[u8], told: &mut Option<Instant>) -> (usize, bool) {
        let (mut at, mut has_changed) = (0, false);
        while at < bytes.len() {
            let (length, changed) = reader.take(&bytes[at..], &mut self.spending.message);
            at += length;
            has_changed |= changed;
            if changed && self.spending.enter().is_err() {
                return (at, true);
            }
        }
        if has_changed && told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            self.spending.tell(false);
        }
        (at, false)
    }
}

/// What went wrong, with its reasons; without the URL, which says nothing that matters to the client.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text = format!("{text}: {reason}");
        source = reason.source();
    }
    text
}
