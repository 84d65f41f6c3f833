//! What an answer's headers say of limits. Pure.

use chrono::DateTime;
use hyper::header::{HeaderMap, RETRY_AFTER};

use super::protocol::{Limits, Window};

const PREFIX: &str = "anthropic-ratelimit-";
const UNIFIED: &str = "unified-";

/// `None`: they say nothing. `now`, seconds since 1970, is what a date of `retry-after` is counted from.
pub(super) fn read(http_status: u16, headers: &HeaderMap, now: i64) -> Option<Limits> {
    let mut limits = Limits { http_status, ..Limits::default() };
    for (name, value) in headers {
        let (Some(name), Ok(value)) = (name.as_str().strip_prefix(PREFIX), value.to_str()) else { continue };
        let value = value.trim();
        match name.strip_prefix(UNIFIED) {
            Some("status") => limits.status = Some(value.to_owned()),
            Some("reset") => limits.resets_at = time(value),
            Some("representative-claim") => limits.claim = Some(value.to_owned()),
            Some(window) => of_window(&mut limits.windows, window, value),
            None => of_window(&mut limits.windows, name, value),
        }
    }
    for window in &mut limits.windows {
        window.utilization = window.utilization.or_else(|| used(headers, &window.name));
    }
    limits.windows.sort_by(|one, other| one.name.cmp(&other.name));
    limits.retry_after_seconds =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| wait(value.trim(), now));
    let says_nothing = Limits { http_status, ..Limits::default() } == limits;
    (!says_nothing).then_some(limits)
}

/// `5h-reset`: the window is what stands before the last hyphen.
fn of_window(windows: &mut Vec<Window>, name: &str, value: &str) {
    let Some((name, fact)) = name.rsplit_once('-') else { return };
    if !["status", "reset", "utilization", "limit", "remaining"].contains(&fact) {
        return;
    }
    let at = windows.iter().position(|window| window.name == name).unwrap_or_else(|| {
        windows.push(Window { name: name.to_owned(), ..Window::default() });
        windows.len() - 1
    });
    let window = &mut windows[at];
    match fact {
        "status" => window.status = Some(value.to_owned()),
        "reset" => window.resets_at = time(value),
        "utilization" => window.utilization = value.parse().ok().filter(|part: &f64| part.is_finite()),
        _ => {}
    }
}

/// How much of a limit is used that says how much there is and how much is left.
fn used(headers: &HeaderMap, window: &str) -> Option<f64> {
    let number = |fact: &str| -> Option<f64> {
        let value = headers.get(format!("{PREFIX}{window}-{fact}"))?.to_str().ok()?.trim();
        value.parse().ok().filter(|number: &f64| number.is_finite())
    };
    let (limit, remaining) = (number("limit")?, number("remaining")?);
    (limit > 0.0).then(|| (1.0 - remaining / limit).clamp(0.0, 1.0))
}

/// Seconds since 1970, or a time as RFC 3339 has it.
fn time(value: &str) -> Option<i64> {
    value.parse().ok().or_else(|| Some(DateTime::parse_from_rfc3339(value).ok()?.timestamp()))
}

/// Seconds, or a date of HTTP.
fn wait(value: &str, now: i64) -> Option<u64> {
    let until = || DateTime::parse_from_rfc2822(value).ok().map(|at| (at.timestamp() - now).max(0).unsigned_abs());
    value.parse().ok().or_else(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use rstest::rstest;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<Limits> {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        read(429, &headers.iter().map(header).collect(), 1_700_000_000)
    }

    #[test]
    fn an_answer_without_limits_says_nothing() {
        assert_eq!(of(&[("request-id", "x"), ("anthropic-ratelimit-new", "x")]), None);
    }

    #[test]
    fn a_subscriptions_limits() {
        let limits = of(&[
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-reset", "1700003600"),
            ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
            ("anthropic-ratelimit-unified-5h-status", "rejected"),
            ("anthropic-ratelimit-unified-5h-reset", "1700003600"),
            ("anthropic-ratelimit-unified-5h-utilization", "1.02"),
            ("anthropic-ratelimit-unified-7d-utilization", "0.4"),
            ("anthropic-ratelimit-unified-fallback-percentage", "0.5"),
            ("retry-after", "3600"),
        ]);
        let window = |name: &str, status: Option<&str>, resets_at, utilization| Window {
            name: name.into(),
            status: status.map(Into::into),
            resets_at,
            utilization: Some(utilization),
        };
        let expected = Limits {
            http_status: 429,
            status: Some("rejected".into()),
            resets_at: Some(1_700_003_600),
            claim: Some("five_hour".into()),
            retry_after_seconds: Some(3600),
            windows: vec![window("5h", Some("rejected"), Some(1_700_003_600), 1.02), window("7d", None, None, 0.4)],
        };
        assert_eq!(limits, Some(expected));
    }

    #[test]
    fn an_api_keys_limits() {
        let limits = of(&[
            ("anthropic-ratelimit-input-tokens-limit", "1000"),
            ("anthropic-ratelimit-input-tokens-remaining", "250"),
            ("anthropic-ratelimit-input-tokens-reset", "2023-11-14T22:13:21Z"),
        ]);
        let window = limits.unwrap().windows.remove(0);
        assert_eq!((window.name.as_str(), window.resets_at), ("input-tokens", Some(1_700_000_001)));
        assert_eq!(window.utilization, Some(0.75));
    }

    #[rstest]
    #[case("5", Some(5))]
    #[case("Tue, 14 Nov 2023 22:13:30 GMT", Some(10))]
    #[case("Tue, 14 Nov 2023 22:13:10 GMT", Some(0))]
    #[case("soon", None)]
    fn retry_after_is_seconds_or_a_date(#[case] value: &'static str, #[case] seconds: Option<u64>) {
        assert_eq!(of(&[("retry-after", value)]).and_then(|limits| limits.retry_after_seconds), seconds);
    }
}
