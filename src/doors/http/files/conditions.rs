//! Conditional requests, as RFC 9110 section 13 orders them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, header};

use crate::workspace::{Precondition, Stat, Tags};

/// Seconds since 1970 of the year 10000, which no HTTP date can name.
const TOO_LATE: i64 = 253_402_300_800;

/// The conditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    tags: Precondition,
    modified_since: Option<SystemTime>,
    unmodified_since: Option<SystemTime>,
}

/// What the conditions mean for a file that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadDecision {
    Send,
    NotModified,
    Failed,
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let matches = tags(headers, &header::IF_MATCH, Comparison::Strong);
        let matches_none = tags(headers, &header::IF_NONE_MATCH, Comparison::Weak);
        // A date beside a tag says nothing the tag does not say better.
        let modified_since = date(headers, &header::IF_MODIFIED_SINCE).filter(|_| matches_none.is_none());
        let unmodified_since = date(headers, &header::IF_UNMODIFIED_SINCE).filter(|_| matches.is_none());
        Self { tags: Precondition { matches, matches_none }, modified_since, unmodified_since }
    }

    /// The conditions that count for a change. Dates are too coarse for that.
    pub(super) fn of_a_change(self) -> Precondition {
        self.tags
    }

    pub(super) fn decide(&self, there: &Stat) -> ReadDecision {
        let newer_than = |date: SystemTime| last_modified(there).is_none_or(|changed| changed > date);
        let matches = Precondition { matches: self.tags.matches.clone(), matches_none: None };
        if !matches.holds(Some(there)) || self.unmodified_since.is_some_and(newer_than) {
            ReadDecision::Failed
        } else if !self.tags.holds(Some(there)) || self.modified_since.is_some_and(|date| !newer_than(date)) {
            ReadDecision::NotModified
        } else {
            ReadDecision::Send
        }
    }
}

/// Whether a range counts: without the condition, or if the file is the one the client has part of.
pub(super) fn if_range_holds(headers: &HeaderMap, there: &Stat) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    value.trim() == there.tag() || httpdate::parse_http_date(value).is_ok_and(|date| last_modified(there) == Some(date))
}

/// When a file was changed, to the second, as HTTP tells it. None if HTTP cannot.
pub(super) fn last_modified(stat: &Stat) -> Option<SystemTime> {
    http_time(stat.mtime.0)
}

/// A time in seconds since 1970. Written as an HTTP date, one outside would be a panic.
fn http_time(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|_| seconds < TOO_LATE)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag fits nothing.
    Strong,
    /// A weak tag fits its strong one.
    Weak,
}

/// The tags of a header. Ours have no commas, so one that does is not ours.
fn tags(headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> Option<Tags> {
    let mut given = headers.get_all(name).iter().peekable();
    given.peek()?;
    let texts: Vec<&str> = given.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).collect();
    let mut found = Vec::new();
    for text in texts.into_iter().map(str::trim) {
        match (text.strip_prefix("W/"), comparison) {
            _ if text == "*" => return Some(Tags::Any),
            (None, _) => found.push(text.to_owned()),
            (Some(weak), Comparison::Weak) => found.push(weak.to_owned()),
            (Some(_), Comparison::Strong) => {}
        }
    }
    Some(Tags::These(found))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    headers.get(name).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case(i64::MIN, None)]
    #[case(-1, None)]
    #[case(0, Some("Thu, 01 Jan 1970 00:00:00 GMT"))]
    #[case(TOO_LATE - 1, Some("Fri, 31 Dec 9999 23:59:59 GMT"))]
    #[case(TOO_LATE, None)]
    #[case(i64::MAX, None)]
    fn a_time_http_cannot_name_is_not_told(#[case] seconds: i64, #[case] expected: Option<&str>) {
        assert_eq!(http_time(seconds).map(httpdate::fmt_http_date).as_deref(), expected);
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&["*"], Some(Tags::Any))]
    #[case(&[r#""a""#], Some(Tags::These(vec![r#""a""#.into()])))]
    #[case(&[r#""a" , W/"b""#, r#""c""#], Some(Tags::These(vec![r#""a""#.into(), r#""b""#.into(), r#""c""#.into()])))]
    #[case(&[""], Some(Tags::These(vec![String::new()])))]
    #[case(&["\u{e4}"], Some(Tags::These(vec![])))]
    fn tags_are_read(#[case] values: &[&str], #[case] expected: Option<Tags>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(tags(&headers, &header::IF_NONE_MATCH, Comparison::Weak), expected);
    }
}
