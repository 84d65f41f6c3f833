//! Why something was not fetched.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use super::address::reserved_for;
use crate::config::name::FETCH_ALLOW;

/// Why something was not fetched. No message holds the URL: its query may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FetchError {
    #[error("this is no URL: {0}; allowed are URLs such as https://example.com/hook")]
    NotAUrl(String),
    #[error("the scheme {0:?} is not allowed; allowed are http and https")]
    Scheme(String),
    #[error("a URL with a user or a password in it is not allowed; use a token in the path or the query")]
    Userinfo,
    #[error(transparent)]
    Refused(#[from] PrivateAddress),
    #[error(
        "the answer is a redirect (status {status}{}), and {}; name the URL that answers itself",
        to.as_ref().map(|to| format!(" to {to:?}")).unwrap_or_default(),
        if *allowed == 0 { "redirects are not followed".to_owned() } else { format!("no more than {allowed} are followed") }
    )]
    Redirect {
        /// 300 to 399.
        status: u16,
        /// Where to, cut to a length that a log can take.
        to: Option<String>,
        /// How many would have been followed.
        allowed: usize,
    },
    #[error("the answer has status {0}, expected 200 to 299")]
    Status(u16),
    #[error("the body is longer than the {0} bytes that are allowed")]
    TooLarge(usize),
    #[error("there was no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("the name {host:?} has no address: {reason}")]
    Name { host: String, reason: String },
    #[error("the HTTP client cannot be set up (are the system's TLS certificates readable?): {0}")]
    NoClient(String),
    #[error("the connection failed: {0}")]
    Connection(String),
}

/// An address that nothing connects to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} {}; only public addresses are fetched from, and what {FETCH_ALLOW} lists ({FETCH_ALLOW}={host} would allow it)",
    self.says()
)]
pub struct PrivateAddress {
    /// The host as the URL has it.
    pub host: String,
    /// Its address; of several, the first.
    pub address: IpAddr,
}

impl PrivateAddress {
    fn says(&self) -> String {
        let kind = reserved_for(self.address).unwrap_or("public");
        if self.host.parse() == Ok(self.address) {
            format!("is {kind}")
        } else {
            format!("has the address {}, which is {kind}", self.address)
        }
    }
}

/// A name that no address was found for. It travels through the HTTP client as an error's source.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the name {host:?} has no address: {reason}")]
pub(super) struct NoAddress {
    pub(super) host: String,
    pub(super) reason: String,
}

impl FetchError {
    /// What `error` of the client means; `timeout` is what the request was allowed.
    pub(super) fn from_client(error: &reqwest::Error, timeout: Duration) -> Self {
        let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
        if let Some(refusal) = causes().find_map(|cause| cause.downcast_ref::<PrivateAddress>()) {
            return Self::Refused(refusal.clone());
        }
        if let Some(NoAddress { host, reason }) = causes().find_map(|cause| cause.downcast_ref()) {
            return Self::Name { host: host.clone(), reason: reason.clone() };
        }
        if error.is_timeout() {
            return Self::Timeout(timeout);
        }
        // The last cause is the kernel's or TLS's own sentence; those before it only say where.
        Self::Connection(causes().last().map_or_else(|| "no reason is known".into(), ToString::to_string))
    }
}
