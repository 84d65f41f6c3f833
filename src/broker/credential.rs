//! The true credential, and where it is sent: read from the broker's environment once.

use std::collections::HashMap;
use std::ffi::OsString;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;

use super::protocol::{self, CredentialKind};
use crate::config::environment::Environment;
use crate::config::secret::Secret;

const API_KEY: &str = "ANTHROPIC_API_KEY";
const AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const OAUTH_TOKEN: &str = "CLAUDE_CODE_OAUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const CUSTOM_HEADERS: &str = "ANTHROPIC_CUSTOM_HEADERS";
const PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

const DEFAULT_BASE_URL: &str = "https://api.anthropic.com";
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What the API asks of a request with an OAuth token.
const OAUTH_BETA: &str = "oauth-2025-04-20";

/// What is wrong with the broker's environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// None of the three is set.
    #[error("the broker has no credential: set {API_KEY}, {AUTH_TOKEN} or {OAUTH_TOKEN}")]
    NoCredential,
    /// It cannot stand in a header.
    #[error("{0} is not usable: it must be printable ASCII text without a line feed")]
    NotAHeader(&'static str),
    /// The lines are no headers.
    #[error("{CUSTOM_HEADERS} is not usable in line {0}: it must be NAME: VALUE")]
    CustomHeaders(usize),
    /// No URL, or one that names more than a place.
    #[error(
        "{BASE_URL} is not usable: it must be http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH], without user, query or fragment"
    )]
    BaseUrl,
    /// No URL of a proxy.
    #[error("{0} is not usable: it must be http://[USER:PASSWORD@]HOST[:PORT] or https://[USER:PASSWORD@]HOST[:PORT]")]
    Proxy(&'static str),
}

/// Those of `env` that are set.
pub(super) fn variables(env: &impl Environment) -> HashMap<String, OsString> {
    protocol::VARIABLES.iter().filter_map(|&name| Some((name.to_owned(), env.get(name)?))).collect()
}

/// What is added to each request.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    api_key: Option<Secret>,
    bearer: Option<Secret>,
    custom: Vec<(HeaderName, Secret)>,
    kind: CredentialKind,
}

impl Credential {
    /// Reads it as the CLI does: an API key beside an OAuth token stands alone, beside `ANTHROPIC_AUTH_TOKEN` both are sent.
    pub(super) fn read(env: &impl Environment) -> Result<Self, EnvironmentError> {
        let api_key = secret(env, API_KEY)?;
        let auth_token = secret(env, AUTH_TOKEN)?;
        let oauth_token = secret(env, OAUTH_TOKEN)?;
        let custom = custom_headers(env)?;
        let (kind, bearer) = match (&api_key, auth_token, oauth_token) {
            (Some(_), auth_token, _) => (CredentialKind::ApiKey, auth_token),
            (None, Some(token), _) => (CredentialKind::AuthToken, Some(token)),
            (None, None, Some(token)) => (CredentialKind::OauthToken, Some(token)),
            (None, None, None) => return Err(EnvironmentError::NoCredential),
        };
        Ok(Self { api_key, bearer, custom, kind })
    }

    pub(super) const fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// Puts it into a request's headers.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.custom {
            insert(headers, name, value.reveal());
        }
        if let Some(key) = &self.api_key {
            insert(headers, &X_API_KEY, key.reveal());
        }
        if let Some(token) = &self.bearer {
            insert(headers, &AUTHORIZATION, &format!("Bearer {}", token.reveal()));
        }
        if self.kind == CredentialKind::OauthToken {
            with_oauth_beta(headers);
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    // Looked at when it was read.
    if let Ok(mut value) = HeaderValue::try_from(value) {
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
}

fn with_oauth_beta(headers: &mut HeaderMap) {
    let sent: Vec<&str> = headers.get_all(&BETA).iter().filter_map(|value| value.to_str().ok()).collect();
    if sent.iter().flat_map(|value| value.split(',')).any(|beta| beta.trim() == OAUTH_BETA) {
        return;
    }
    let all = sent.iter().copied().chain([OAUTH_BETA]).collect::<Vec<_>>().join(",");
    if let Ok(value) = HeaderValue::try_from(all) {
        headers.insert(BETA, value);
    }
}

/// An empty variable counts as none, as the CLI has it.
fn text(env: &impl Environment, name: &str) -> Option<Result<String, ()>> {
    let value = env.get(name).filter(|value| !value.is_empty())?;
    Some(value.into_string().map_err(|_| ()))
}

fn secret(env: &impl Environment, name: &'static str) -> Result<Option<Secret>, EnvironmentError> {
    let Some(value) = text(env, name) else { return Ok(None) };
    let value = value.map_err(|()| EnvironmentError::NotAHeader(name))?;
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(EnvironmentError::NotAHeader(name));
    }
    Ok(Some(Secret::new(value.to_owned())))
}

fn custom_headers(env: &impl Environment) -> Result<Vec<(HeaderName, Secret)>, EnvironmentError> {
    let Some(lines) = text(env, CUSTOM_HEADERS) else { return Ok(Vec::new()) };
    let lines = lines.map_err(|()| EnvironmentError::NotAHeader(CUSTOM_HEADERS))?;
    let header = |(at, line): (usize, &str)| {
        let wrong = EnvironmentError::CustomHeaders(at + 1);
        let (name, value) = line.split_once(':').ok_or(wrong.clone())?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong.clone())?;
        HeaderValue::try_from(value.trim()).map_err(|_| wrong)?;
        Ok((name, Secret::new(value.trim().to_owned())))
    };
    lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(header).collect()
}

/// Where requests go, and through which proxy.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    /// Without a slash at its end.
    base: String,
    /// For https alone. It may hold a password.
    proxy: Option<Secret>,
    no_proxy: Option<String>,
    is_https: bool,
}

impl Upstream {
    pub(super) fn read(env: &impl Environment) -> Result<Self, EnvironmentError> {
        let base = text(env, BASE_URL).unwrap_or_else(|| Ok(DEFAULT_BASE_URL.to_owned()));
        let base = base.ok().and_then(|base| Url::parse(base.trim()).ok()).ok_or(EnvironmentError::BaseUrl)?;
        let is_plain = base.username().is_empty() && base.password().is_none();
        let is_plain = is_plain && base.query().is_none() && base.fragment().is_none() && base.host().is_some();
        if !is_plain || !["http", "https"].contains(&base.scheme()) {
            return Err(EnvironmentError::BaseUrl);
        }
        let proxy = PROXY.into_iter().find_map(|name| text(env, name).map(|value| (name, value)));
        let proxy = proxy.map(|(name, value)| proxy_url(name, value)).transpose()?;
        Ok(Self {
            is_https: base.scheme() == "https",
            base: base.as_str().trim_end_matches('/').to_owned(),
            proxy,
            no_proxy: NO_PROXY.into_iter().find_map(|name| text(env, name)?.ok()),
        })
    }

    /// The URL of a path with its query, which begins with a slash.
    pub(super) fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    /// The client for it. Reads the system's certificates if they are needed.
    pub(super) fn client(&self, connect_timeout: std::time::Duration) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .no_proxy();
        if !self.is_https {
            builder = builder.tls_built_in_root_certs(false);
        } else if let Some(proxy) = &self.proxy {
            let except = self.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            builder = builder.proxy(reqwest::Proxy::https(proxy.reveal())?.no_proxy(except));
        }
        builder.build()
    }
}

fn proxy_url(name: &'static str, value: Result<String, ()>) -> Result<Secret, EnvironmentError> {
    let value = value.map_err(|()| EnvironmentError::Proxy(name))?;
    let value = value.trim();
    let value = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&value).map_err(|_| EnvironmentError::Proxy(name))?;
    if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
        return Err(EnvironmentError::Proxy(name));
    }
    Ok(Secret::new(value))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn environment(values: &[(&str, &str)]) -> HashMap<String, OsString> {
        values.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
    }

    pub(in super::super) fn of(values: &[(&str, &str)]) -> Credential {
        Credential::read(&environment(values)).unwrap()
    }

    #[rstest]
    #[case(&[("ANTHROPIC_API_KEY", "k")], CredentialKind::ApiKey, Some("k"), None)]
    #[case(&[("ANTHROPIC_AUTH_TOKEN", "t")], CredentialKind::AuthToken, None, Some("Bearer t"))]
    #[case(&[("CLAUDE_CODE_OAUTH_TOKEN", "o")], CredentialKind::OauthToken, None, Some("Bearer o"))]
    #[case(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_AUTH_TOKEN", "t")], CredentialKind::ApiKey, Some("k"), Some("Bearer t"))]
    #[case(&[("ANTHROPIC_API_KEY", "k"), ("CLAUDE_CODE_OAUTH_TOKEN", "o")], CredentialKind::ApiKey, Some("k"), None)]
    #[case(&[("ANTHROPIC_API_KEY", ""), ("CLAUDE_CODE_OAUTH_TOKEN", "o")], CredentialKind::OauthToken, None, Some("Bearer o"))]
    fn what_is_sent(
        #[case] env: &[(&str, &str)],
        #[case] kind: CredentialKind,
        #[case] key: Option<&str>,
        #[case] bearer: Option<&str>,
    ) {
        let credential = of(env);
        let mut headers = HeaderMap::new();
        credential.add_to(&mut headers);
        let sent = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(credential.kind(), kind);
        assert_eq!(sent(X_API_KEY).as_deref(), key);
        assert_eq!(sent(AUTHORIZATION).as_deref(), bearer);
        assert_eq!(sent(BETA).is_some(), kind == CredentialKind::OauthToken);
        assert!(headers.iter().filter(|(name, _)| **name != BETA).all(|(_, value)| value.is_sensitive()));
    }

    #[rstest]
    #[case(&[], "oauth-2025-04-20")]
    #[case(&["a,b"], "a,b,oauth-2025-04-20")]
    #[case(&["a", "b"], "a,b,oauth-2025-04-20")]
    #[case(&["a, oauth-2025-04-20"], "a, oauth-2025-04-20")]
    fn the_oauth_beta_is_there_once(#[case] sent: &[&'static str], #[case] expected: &str) {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(BETA, HeaderValue::from_static(value));
        }
        of(&[("CLAUDE_CODE_OAUTH_TOKEN", "o")]).add_to(&mut headers);
        let values: Vec<&str> = headers.get_all(BETA).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(values, [expected]);
    }

    #[rstest]
    #[case(&[], EnvironmentError::NoCredential)]
    #[case(&[("ANTHROPIC_API_KEY", "a\nb")], EnvironmentError::NotAHeader("ANTHROPIC_API_KEY"))]
    #[case(&[("ANTHROPIC_AUTH_TOKEN", "a b")], EnvironmentError::NotAHeader("ANTHROPIC_AUTH_TOKEN"))]
    #[case(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_CUSTOM_HEADERS", "a: b\nnone")], EnvironmentError::CustomHeaders(2))]
    fn what_cannot_be_sent_is_named_and_not_shown(#[case] env: &[(&str, &str)], #[case] error: EnvironmentError) {
        assert_eq!(Credential::read(&environment(env)).unwrap_err(), error);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let env = environment(&[
            ("ANTHROPIC_API_KEY", "tell-nobody"),
            ("ANTHROPIC_AUTH_TOKEN", "tell-nobody"),
            ("ANTHROPIC_CUSTOM_HEADERS", "X-Gateway: tell-nobody"),
            ("HTTPS_PROXY", "http://user:tell-nobody@proxy:1"),
        ]);
        let credential = Credential::read(&env).unwrap();
        let mut headers = HeaderMap::new();
        credential.add_to(&mut headers);
        let shown = format!("{credential:?} {headers:?} {:?}", Upstream::read(&env).unwrap());
        assert!(!shown.contains("tell-nobody"), "{shown}");
        assert_eq!(headers["x-gateway"], "tell-nobody");
    }

    #[rstest]
    #[case("http://127.0.0.1:9", "http://127.0.0.1:9/v1/messages?beta=true")]
    #[case("https://gateway/anthropic/", "https://gateway/anthropic/v1/messages?beta=true")]
    fn a_prefix_is_kept(#[case] base: &str, #[case] url: &str) {
        let upstream = Upstream::read(&environment(&[("ANTHROPIC_BASE_URL", base)])).unwrap();
        assert_eq!(upstream.url("/v1/messages?beta=true"), url);
    }

    #[test]
    fn without_a_base_it_is_the_api() {
        assert_eq!(Upstream::read(&environment(&[])).unwrap().url("/x"), "https://api.anthropic.com/x");
    }

    #[rstest]
    #[case("ftp://host")]
    #[case("host")]
    #[case("https://user:password@host")]
    #[case("https://host?query")]
    #[case("https://host#fragment")]
    fn a_base_that_is_more_than_a_place_is_refused(#[case] base: &str) {
        let error = Upstream::read(&environment(&[("ANTHROPIC_BASE_URL", base)])).unwrap_err();
        assert_eq!(error, EnvironmentError::BaseUrl);
    }

    #[rstest]
    #[case("http://proxy:3128", true)]
    #[case("proxy:3128", true)]
    #[case("socks5://proxy:1", false)]
    #[case("http://", false)]
    fn a_proxy_is_one_of_http(#[case] proxy: &str, #[case] is_usable: bool) {
        let upstream = Upstream::read(&environment(&[("https_proxy", proxy)]));
        assert_eq!(upstream.is_ok(), is_usable, "{upstream:?}");
        assert!(is_usable || upstream.unwrap_err() == EnvironmentError::Proxy("https_proxy"));
    }
}
