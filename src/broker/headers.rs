//! Which headers go on to the API, and which come back. Pure.
//!
//! A request's are an allow-list: what is not known might carry a credential of the agent's own, and with it what the agent
//! knows into somebody else's account. An answer's are kept, but for those that belong to one connection.

use hyper::header::{self, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq as _;

use super::credential::Credential;

/// Headers of the CLI's requests that go on.
const PASSED: [&str; 11] = [
    "accept",
    "accept-language",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "content-type",
    "idempotency-key",
    "user-agent",
    "x-app",
    "x-client-request-id",
    "x-claude-code-session-id",
];
/// And those that begin so.
const PASSED_PREFIXES: [&str; 2] = ["x-stainless-", "x-claude-"];

/// Headers that belong to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers for the API: those of the CLI's that go on, and the credential.
pub(super) fn for_upstream(of_cli: &HeaderMap, credential: &Credential) -> HeaderMap {
    let named = named_by_connection(of_cli);
    let mut headers = HeaderMap::with_capacity(of_cli.len() + 4);
    for (name, value) in of_cli {
        if is_passed(name) && !named.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    // Nothing is compressed on the way: the broker reads usage from what goes by, and hands on the bytes that it reads.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    credential.add_to(&mut headers);
    headers
}

/// Headers for the CLI: the API's, but for those of the connection.
pub(super) fn for_cli(of_upstream: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(of_upstream);
    let mut headers = HeaderMap::with_capacity(of_upstream.len());
    for (name, value) in of_upstream {
        if !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

fn is_passed(name: &HeaderName) -> bool {
    let name = name.as_str();
    PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Whether a request's headers have this in place of a credential.
pub(super) fn have(headers: &HeaderMap, stand_in: &str) -> bool {
    let key = headers.get("x-api-key").map(HeaderValue::as_bytes);
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    [key, bearer].into_iter().flatten().any(|given| given.ct_eq(stand_in.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::super::credential::tests::of;
    use super::*;
    use proptest::prelude::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn text(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_agents_own_credentials_stay_here() {
        let of_cli = map(&[
            ("x-api-key", "agent"),
            ("authorization", "Bearer agent"),
            ("proxy-authorization", "Basic agent"),
            ("cookie", "agent"),
            ("host", "agent"),
            ("connection", "keep-alive, x-app"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("x-goog-api-key", "agent"),
            ("x-forwarded-for", "agent"),
            ("accept-encoding", "gzip, br"),
            ("content-length", "12"),
            ("x-app", "named by connection"),
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
            ("x-stainless-lang", "js"),
            ("x-claude-code-session-id", "id"),
        ]);
        let expected = [
            "accept-encoding: identity",
            "anthropic-version: 2023-06-01",
            "content-type: application/json",
            "x-api-key: real",
            "x-claude-code-session-id: id",
            "x-stainless-lang: js",
        ];
        assert_eq!(text(&for_upstream(&of_cli, &of(&[("ANTHROPIC_API_KEY", "real")]))), expected);
    }

    #[test]
    fn what_the_api_says_is_kept() {
        let of_upstream = map(&[
            ("request-id", "req_1"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/event-stream"),
            ("anthropic-ratelimit-requests-limit", "5"),
            ("vary", "a"),
            ("vary", "b"),
        ]);
        let expected = [
            "anthropic-ratelimit-requests-limit: 5",
            "content-type: text/event-stream",
            "request-id: req_1",
            "vary: a",
            "vary: b",
        ];
        assert_eq!(text(&for_cli(&of_upstream)), expected);
    }

    proptest! {
        /// Whatever a header is called, its value reaches the API only under a name of the list.
        #[test]
        fn no_other_name_goes_on(name in "[a-z][a-z-]{0,30}") {
            let mut of_cli = HeaderMap::new();
            let name = HeaderName::try_from(name).unwrap();
            of_cli.insert(name.clone(), HeaderValue::from_static("smuggled"));
            let passed = for_upstream(&of_cli, &of(&[("ANTHROPIC_API_KEY", "real")]));
            let went = passed.values().any(|value| value == "smuggled");
            prop_assert_eq!(went, is_passed(&name));
            prop_assert!(!name.as_str().contains("key") || name == "idempotency-key" || !went || name.as_str().starts_with("x-"));
        }
    }
}
