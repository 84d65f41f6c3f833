//! Bearer tokens, checked from the headers before a byte of the body is read.
//!
//! A token is compared as its SHA-256, in constant time, with every accepted one: how long a refusal takes says nothing
//! about how close a guess was. No token set at all means an open server, which is said loudly at the start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::problem::Problem;
use super::rate::{Bucket, seconds};
use super::tokens::{self, Stamp, Token, TokensError};
use crate::config::name::{MODE_API_BIND, MODE_API_TOKEN, MODE_API_TOKENS_FILE};
use crate::config::server::HttpConfig;
use crate::desk::caller::{self, Caller};
use crate::store::record::DoorName;

/// Parameter that holds a token where a client can set no header.
const QUERY_TOKEN: &str = "apiToken";
/// The tokens file is looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Refusals that are logged in a minute; the others are counted.
const LOGGED_PER_MINUTE: u32 = 30;

/// Asks for a token of every request to the door's protected routes. Its [`Caller`] is an extension of the request.
///
/// A token is taken from the header; from the query (`?apiToken=`) as well where clients are configured by a URL alone.
pub fn protect(routes: Router, authenticator: &Arc<Authenticator>, door: DoorName, token_in_query: bool) -> Router {
    let gate = Gate { authenticator: Arc::clone(authenticator), door, token_in_query };
    routes.route_layer(middleware::from_fn_with_state(gate, authenticate))
}

/// Knows the accepted tokens.
#[derive(Debug)]
pub struct Authenticator {
    single: Option<Token>,
    file: Option<PathBuf>,
    state: Mutex<Reloadable>,
}

#[derive(Debug)]
struct Reloadable {
    /// Tokens from the tokens file.
    tokens: Vec<Token>,
    stamp: Option<Stamp>,
    looked: Instant,
    buckets: HashMap<String, Bucket>,
    log: Bucket,
    unlogged: u64,
}

impl Authenticator {
    /// Reads the tokens file if there is one, and warns if the server is open.
    pub fn from_config(config: &HttpConfig) -> Result<Self, TokensError> {
        let now = Instant::now();
        let single = config.token.as_ref().map(|token| Token {
            digest: tokens::digest(token.reveal().as_bytes()),
            caller: Arc::new(Caller::unrestricted(caller::DEFAULT)),
            requests_per_minute: None,
        });
        let file = config.tokens_file.clone();
        // Before it is read: a change in between is then seen as one.
        let stamp = file.as_deref().and_then(tokens::stamp);
        let accepted = file.as_deref().map(tokens::read).transpose()?.unwrap_or_default();
        if single.is_none() && file.is_none() {
            let address = SocketAddr::new(config.bind, config.port);
            let whose = if config.bind.is_loopback() {
                format!(
                    "whoever is in this box's network can run commands in it. Set {MODE_API_TOKEN} or {MODE_API_TOKENS_FILE}"
                )
            } else {
                format!(
                    "whoever reaches that address can run commands in this box. Set {MODE_API_TOKEN} or \
                     {MODE_API_TOKENS_FILE}, or bind it to loopback with {MODE_API_BIND}=127.0.0.1"
                )
            };
            tracing::warn!("the HTTP door on {address} is open: {whose}");
        }
        let log = Bucket::full(LOGGED_PER_MINUTE, now);
        let state = Reloadable { tokens: accepted, stamp, looked: now, buckets: HashMap::new(), log, unlogged: 0 };
        Ok(Self { single, file, state: Mutex::new(state) })
    }

    /// Whether everybody may call.
    pub const fn is_open(&self) -> bool {
        self.single.is_none() && self.file.is_none()
    }

    /// The caller whose token this is, if the token may be used at this door.
    fn admit(&self, token: Result<&[u8], &'static str>, door: DoorName, now: Instant) -> Result<Arc<Caller>, Problem> {
        if self.is_open() {
            return Ok(Arc::new(Caller::unrestricted(caller::ANONYMOUS)));
        }
        let token = token.map_err(unauthorized)?;
        let mut state = self.lock();
        if let Some(file) = &self.file {
            state.look(file, now);
        }
        let accepted = state.tokens.iter().chain(&self.single);
        let Some(found) = find(accepted, &tokens::digest(token)).cloned() else {
            return Err(unauthorized("this token is not accepted"));
        };
        let caller = found.caller;
        if !caller.may_use_door(door) {
            let allowed: Vec<&str> = caller.doors.iter().flatten().map(|door| door.name()).collect();
            let detail = format!(
                "the token {:?} may not be used at the door {door}; it may at: {}",
                caller.name,
                allowed.join(", ")
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "door_not_allowed", detail).with("allowed", allowed));
        }
        if let Some(per_minute) = found.requests_per_minute {
            state.count(&caller.name, per_minute, now)?;
        }
        Ok(caller)
    }

    fn lock(&self) -> MutexGuard<'_, Reloadable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a refusal, unless a flood of them would drown everything else.
    fn log_refusal(&self, peer: Option<SocketAddr>, path: &str, problem: &Problem, now: Instant) {
        let mut state = self.lock();
        if state.log.take(LOGGED_PER_MINUTE, now).is_err() {
            state.unlogged += 1;
            return;
        }
        let unlogged = std::mem::take(&mut state.unlogged);
        drop(state);
        let peer = peer.map(tracing::field::display);
        tracing::warn!(peer, path, code = problem.code(), unlogged, "refused: {}", problem.detail());
    }
}

impl Reloadable {
    /// Takes over a changed tokens file. A broken one is reported once, and the tokens of the last good one stay.
    fn look(&mut self, file: &std::path::Path, now: Instant) {
        if now.saturating_duration_since(self.looked) < LOOK_EVERY {
            return;
        }
        self.looked = now;
        let stamp = tokens::stamp(file);
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        match tokens::read(file) {
            Ok(tokens) => {
                tracing::info!(tokens = tokens.len(), "the tokens file has changed and was read again");
                self.buckets.retain(|name, _| tokens.iter().any(|token| token.caller.name == *name));
                self.tokens = tokens;
            }
            Err(error) => tracing::error!("{error}; the tokens read before it stay valid"),
        }
    }

    fn count(&mut self, name: &str, per_minute: u32, now: Instant) -> Result<(), Problem> {
        let bucket = self.buckets.entry(name.to_owned()).or_insert_with(|| Bucket::full(per_minute, now));
        bucket.take(per_minute, now).map_err(|wait| {
            let detail = format!("the token {name:?} is good for {per_minute} requests per minute");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds(wait))
        })
    }
}

/// Compares with every token, whichever matches: the time it takes does not say which. The last of several wins.
fn find<'a>(tokens: impl Iterator<Item = &'a Token>, digest: &[u8; 32]) -> Option<&'a Token> {
    let tokens: Vec<&Token> = tokens.collect();
    let mut place = u64::MAX;
    for (index, token) in (0..).zip(&tokens) {
        place.conditional_assign(&index, token.digest.ct_eq(digest));
    }
    usize::try_from(place).ok().and_then(|place| tokens.get(place).copied())
}

#[derive(Debug, Clone)]
struct Gate {
    authenticator: Arc<Authenticator>,
    door: DoorName,
    token_in_query: bool,
}

async fn authenticate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let now = Instant::now();
    let in_query = if gate.token_in_query { query_token(request.uri()) } else { None };
    let token = match (&in_query, request.headers().contains_key(header::AUTHORIZATION)) {
        (Some(token), false) => Ok(token.as_bytes()),
        _ => bearer(request.headers()),
    };
    match gate.authenticator.admit(token, gate.door, now) {
        Ok(caller) => {
            if in_query.is_some() {
                // What comes after this may log or show the address.
                *request.uri_mut() = without_token(request.uri());
            }
            request.extensions_mut().insert(Caller::clone(&caller));
            let mut response = next.run(request).await;
            response.extensions_mut().insert(Caller::clone(&caller));
            response
        }
        Err(problem) => {
            let peer = request.extensions().get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| *peer);
            gate.authenticator.log_refusal(peer, request.uri().path(), &problem, now);
            problem.into_response()
        }
    }
}

/// The token of the header, or what is wrong with the header.
fn bearer(headers: &HeaderMap) -> Result<&[u8], &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or("a token is needed: send the header Authorization: Bearer TOKEN")?.as_bytes();
    if values.next().is_some() {
        return Err("the Authorization header was sent more than once");
    }
    let (scheme, token) = match value.iter().position(|&byte| byte == b' ') {
        Some(space) => (&value[..space], value[space..].trim_ascii()),
        None => (value, &b""[..]),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err("the Authorization header has another scheme than Bearer: send Authorization: Bearer TOKEN");
    }
    if token.is_empty() {
        return Err("the Authorization header has no token after Bearer");
    }
    Ok(token)
}

/// The token of the query, if there is exactly one.
fn query_token(uri: &Uri) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    let mut found = pairs.filter(|(name, _)| name == QUERY_TOKEN).map(|(_, value)| value.into_owned());
    let token = found.next()?;
    found.next().is_none().then_some(token)
}

/// The same address without a token.
fn without_token(uri: &Uri) -> Uri {
    let names_token = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| name == QUERY_TOKEN);
    let rest: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(|pair| !names_token(pair)).collect();
    let target = if rest.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), rest.join("&")) };
    let mut parts = uri.clone().into_parts();
    // Parts of what was parsed before: this cannot fail. If it did, nothing of the query would be left.
    parts.path_and_query = Some(target.parse().unwrap_or_else(|_| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

#[cfg(test)]
mod tests;
