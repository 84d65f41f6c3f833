//! Which pages may call: Host and Origin checks.
//!
//! A page in a browser of this network can point a name of its own at this server (DNS rebinding) or simply post to
//! it. So a request must name this server by a name that no stranger can own, and a page of another origin is answered
//! only if it is listed. Programs send no Origin and are not concerned.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::config::name::{MODE_API_HOSTS, MODE_API_ORIGINS, MODE_API_TOKEN};
use crate::config::server::HttpConfig;

/// What a health check may ask by any name: whatever looks after the container calls it as it likes.
const ANY_HOST: [&str; 2] = ["/health", "/healthz"];
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// Whatever a library adds (OpenAI's has a dozen of its own); only `Authorization` has to be named.
const HEADERS: &str = "Authorization, *";
const EXPOSED: &str = "ETag, Location, Retry-After, Content-Range, X-Request-Id, X-Run-Id, X-Claude-Session, \
                       X-Should-Retry, X-Litellm-Response-Cost, Mcp-Session-Id";
/// How long a browser may remember a preflight, seconds.
const REMEMBER: &str = "600";

/// A setting of names or origins that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not a host name.
    #[error("{MODE_API_HOSTS}: {0:?} is no host name: allowed are names such as box.example.com and *.example.com")]
    Host(String),
    /// Not an origin.
    #[error("{MODE_API_ORIGINS}: {0:?} is no origin: allowed are https://app.example.com, http://localhost:3000 and *")]
    Origin(String),
    /// Every page of the world, and no token.
    #[error(
        "{MODE_API_ORIGINS}: * needs a token ({MODE_API_TOKEN}): without one every web page could run commands here"
    )]
    AnyWithoutToken,
}

/// The names and origins that are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins {
    /// Lower case; `*.` in front stands for every name below.
    hosts: Vec<String>,
    listed: Vec<String>,
    any_origin: bool,
    any_host: bool,
    machine: String,
}

impl Origins {
    /// Takes the settings, and this machine's own name.
    pub fn from_config(config: &HttpConfig) -> Result<Self, OriginError> {
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::new(config, machine.trim())
    }

    fn new(config: &HttpConfig, machine: &str) -> Result<Self, OriginError> {
        let has_token = config.token.is_some() || config.tokens_file.is_some();
        let hosts = config.hosts.iter().map(|host| allowed_host(host)).collect::<Result<Vec<_>, _>>()?;
        let (any, listed): (Vec<_>, Vec<_>) = config.origins.iter().partition(|origin| *origin == "*");
        if !any.is_empty() && !has_token {
            return Err(OriginError::AnyWithoutToken);
        }
        let listed = listed.into_iter().map(|origin| allowed_origin(origin)).collect::<Result<Vec<_>, _>>()?;
        // A page that calls by a name of its own has no token.
        let any_host = has_token && hosts.is_empty();
        Ok(Self { hosts, listed, any_origin: !any.is_empty(), any_host, machine: machine.to_ascii_lowercase() })
    }

    /// Refuses a request that does not name this server.
    fn check_host(&self, request: &Request) -> Result<(), Problem> {
        let any = ANY_HOST.contains(&request.uri().path());
        // Before version 1.1 of HTTP a request needs to name no host.
        if any && request.version() < Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
            return Ok(());
        }
        let host = host(request)?;
        if any || self.any_host || self.is_ours(&host) {
            return Ok(());
        }
        let detail = format!("this server does not answer to the name {host:?}: list it in {MODE_API_HOSTS}");
        Err(Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", detail))
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        is_address(host)
            || host == "localhost"
            || host.ends_with(".localhost")
            || host == "host.docker.internal"
            || host == self.machine
            || self.hosts.iter().any(|allowed| match allowed.strip_prefix('*') {
                Some(below) => host.ends_with(below),
                None => host == allowed,
            })
            // A name without a dot is a neighbour's: the service names of a compose file.
            || (self.hosts.is_empty() && is_label(host))
    }

    /// Whether a page of this origin may call.
    fn allows(&self, origin: &str) -> bool {
        self.any_origin || self.listed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

/// Checks Host and Origin, and answers a browser's questions. For `middleware::from_fn_with_state`, around everything
/// that asks for a token: a browser sends none with its questions, and must be able to read a refusal.
pub async fn check_origin(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    if let Err(problem) = origins.check_host(&request) {
        return refuse(&request, &problem);
    }
    let mut from = request.headers().get_all(header::ORIGIN).iter();
    let Some(origin) = from.next().cloned() else { return next.run(request).await };
    let text = origin.to_str().unwrap_or_default();
    if from.next().is_none() && same_origin(text, request.headers()) {
        return next.run(request).await;
    }
    if from.next().is_some() || text.is_empty() || !origins.allows(text) {
        let detail = format!("pages of the origin {text:?} may not call: list it in {MODE_API_ORIGINS}");
        return refuse(&request, &Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail));
    }
    let asks = request.method() == Method::OPTIONS;
    let mut response = match request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD) {
        Some(_) if asks => preflight(request.headers()),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

fn refuse(request: &Request, problem: &Problem) -> Response {
    tracing::debug!(path = request.uri().path(), code = problem.code(), "refused: {}", problem.detail());
    problem.clone().into_response()
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBER));
    // A public page that calls into a private network: its origin is listed, so it may.
    if asked.contains_key("access-control-request-private-network") {
        headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
    }
    response
}

/// The host a request is for, without port and in lower case.
fn host(request: &Request) -> Result<String, Problem> {
    let wrong = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_host", detail);
    let mut values = request.headers().get_all(header::HOST).iter();
    let value = values.next().ok_or_else(|| wrong("the request has no Host header"))?;
    if values.next().is_some() {
        return Err(wrong("the Host header was sent more than once"));
    }
    let authority = authority(value).ok_or_else(|| wrong("the Host header is not a host with a port or without"))?;
    // `GET http://one/ HTTP/1.1` with `Host: two`: whom of the two a proxy checked is not known.
    if request.uri().authority().is_some_and(|target| target.as_str() != authority.as_str()) {
        return Err(wrong("the Host header and the request's target name different hosts"));
    }
    Ok(authority.host().to_ascii_lowercase())
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    let host = authority.host();
    // `user@host` is no Host, nor is `[::1]x`, which the parser takes for an address.
    let port = authority.as_str().strip_prefix(host)?;
    let is_port = port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    (!host.is_empty() && (port.is_empty() || is_port)).then_some(authority)
}

/// Whether a page's origin is this server itself, as the page addresses it.
fn same_origin(origin: &str, headers: &HeaderMap) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let standard = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (Ok(page), Some(us)) = (rest.parse::<Authority>(), headers.get(header::HOST).and_then(authority)) else {
        return false;
    };
    page.host().eq_ignore_ascii_case(us.host())
        && page.port_u16().unwrap_or(standard) == us.port_u16().unwrap_or(standard)
}

fn is_address(host: &str) -> bool {
    let six = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    six.is_some_and(|six| six.parse::<Ipv6Addr>().is_ok()) || host.parse::<Ipv4Addr>().is_ok()
}

fn is_label(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn allowed_host(text: &str) -> Result<String, OriginError> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_host = name.split('.').all(is_label) || is_address(name);
    if is_host { Ok(text.to_ascii_lowercase()) } else { Err(OriginError::Host(text.to_owned())) }
}

fn allowed_origin(text: &str) -> Result<String, OriginError> {
    let origin = text.strip_suffix('/').unwrap_or(text);
    let is_origin = origin
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.contains('@') && rest.parse::<Authority>().is_ok());
    if is_origin { Ok(origin.to_owned()) } else { Err(OriginError::Origin(text.to_owned())) }
}

#[cfg(test)]
mod tests;
