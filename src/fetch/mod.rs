//! Requests to addresses that a client names: never to private ones, also not along a redirect.
//!
//! The box stands inside somebody's network. A URL that a client names (a webhook, an image) must not make it speak to
//! what only that network can reach: other containers, the machine itself, a cloud's credentials. So the URL's own
//! address is checked, names are looked up by a resolver that hands out public addresses only ([`resolve`]), a redirect
//! is followed only where that is asked for and judged like a URL of the client, and no proxy is used even if the environment names one: a proxy would look the name up for us, where no
//! rule of ours holds.

pub mod address;
mod error;
mod resolve;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::config::fetch_allow::Allow;
use address::is_public;
pub use error::{FetchError, PrivateAddress};

/// How long a connection may take to open, whatever the whole request may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a redirect's target is shown.
const LONGEST_TARGET: usize = 200;

/// Fetches from the public internet and from what the setting allows. Cheap to clone.
///
/// Its client, with the system's TLS roots, is made at the first request: reading them takes as long as the rest of a
/// server's start, and most servers never fetch anything.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Arc<OnceCell<Client>>,
    allow: Arc<Allow>,
}

/// A body and what it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The body.
    pub body: Bytes,
    /// `Content-Type`, if there is a readable one.
    pub content_type: Option<String>,
}

/// The answer to a post; its body is not read.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Never a redirect.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

impl Fetcher {
    /// A fetcher that also reaches what `allow` lists.
    #[must_use]
    pub fn new(allow: Allow) -> Self {
        Self { client: Arc::default(), allow: Arc::new(allow) }
    }

    /// Checks what can be told from the URL's text, without looking its host up. An address as host is judged here,
    /// and only here: the client resolves no addresses.
    pub fn check(&self, url: &str) -> Result<Url, FetchError> {
        let url = Url::parse(url).map_err(|error| FetchError::NotAUrl(error.to_string()))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(FetchError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Userinfo);
        }
        let host = url.host_str().ok_or_else(|| FetchError::NotAUrl("it names no host".into()))?;
        // `Url` has turned every spelling of an address (2130706433, 0x7f.1) into the usual one.
        let host = host.trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>()
            && !is_public(address)
            && !self.allow.permits(host, address)
        {
            return Err(PrivateAddress { host: host.to_owned(), address }.into());
        }
        Ok(url)
    }

    /// Reads at most `max_bytes` from `url` within `timeout`.
    pub async fn get(&self, url: &str, max_bytes: usize, timeout: Duration) -> Result<Fetched, FetchError> {
        self.get_following(url, max_bytes, timeout, 0).await
    }

    /// As [`Self::get`], along at most `redirects` redirects, each of which is judged as if the client had named it.
    pub async fn get_following(
        &self,
        url: &str,
        max_bytes: usize,
        timeout: Duration,
        redirects: usize,
    ) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let mut url = self.check(url)?;
        let mut left = redirects;
        let mut response = loop {
            let rest = timeout.saturating_sub(started.elapsed());
            let request = self.client().await?.get(url.clone()).timeout(rest);
            let response = request.send().await.map_err(|error| FetchError::from_client(&error, timeout))?;
            if !response.status().is_redirection() {
                break response;
            }
            match text(response.headers(), &header::LOCATION) {
                Some(to) if left > 0 => {
                    left -= 1;
                    let to = url.join(&to).map_err(|error| FetchError::NotAUrl(error.to_string()))?;
                    url = self.check(to.as_str())?;
                }
                to => return Err(redirected(response.status(), to, redirects)),
            }
        };
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        if response.content_length().is_some_and(|length| length > max_bytes as u64) {
            return Err(FetchError::TooLarge(max_bytes));
        }
        let content_type = text(response.headers(), &header::CONTENT_TYPE);
        let mut body = Vec::new();
        // The client's own time-out covers the body as well; this one holds even if that should change.
        let read = tokio::time::timeout_at(started + timeout, async {
            while let Some(piece) = response.chunk().await.map_err(|error| FetchError::from_client(&error, timeout))? {
                if body.len() + piece.len() > max_bytes {
                    return Err(FetchError::TooLarge(max_bytes));
                }
                body.extend_from_slice(&piece);
            }
            Ok(())
        });
        read.await.map_err(|_| FetchError::Timeout(timeout))??;
        Ok(Fetched { body: body.into(), content_type })
    }

    /// Posts `body` to `url` and waits at most `timeout` for the answer's head.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Posted, FetchError> {
        let url = self.check(url)?;
        let request = self.client().await?.post(url).headers(headers).body(body);
        let response = send(request, timeout).await?;
        Ok(Posted { status: response.status(), headers: response.headers().clone() })
    }

    async fn client(&self) -> Result<&Client, FetchError> {
        let make = || async {
            let allow = Arc::clone(&self.allow);
            let made = tokio::task::spawn_blocking(move || client(allow)).await;
            match made {
                Ok(made) => made.map_err(|error| FetchError::NoClient(error.to_string())),
                Err(error) => Err(FetchError::NoClient(error.to_string())),
            }
        };
        self.client.get_or_try_init(make).await
    }
}

/// Reads files: the system's certificates.
fn client(allow: Arc<Allow>) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("claudebox/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        // Each request is judged anew; a kept connection would be one that was judged before.
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(resolve::Guarded(allow)))
        .build()
}

async fn send(request: RequestBuilder, timeout: Duration) -> Result<Response, FetchError> {
    let sent = request.timeout(timeout).send().await;
    let response = sent.map_err(|error| FetchError::from_client(&error, timeout))?;
    if response.status().is_redirection() {
        return Err(redirected(response.status(), text(response.headers(), &header::LOCATION), 0));
    }
    Ok(response)
}

fn redirected(status: StatusCode, to: Option<String>, allowed: usize) -> FetchError {
    let to = to.map(|to| to.chars().take(LONGEST_TARGET).collect());
    FetchError::Redirect { status: status.as_u16(), to, allowed }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
