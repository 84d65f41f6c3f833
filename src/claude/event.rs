//! One line of the CLI's stream-json output.
//!
//! The JSON is kept whole: types and fields that are not known here pass through unharmed.

use serde_json::Value;

use crate::json_text;

/// One event, as the CLI printed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event(Value);

/// What an event is. `type` need not be its first key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind<'event> {
    /// `system` / `init`: a turn begins. Comes again with every turn of a warm process.
    Init,
    /// `system` / `api_retry`: the API failed and is asked again.
    ApiRetry {
        /// Counted from 1.
        attempt: u64,
        /// HTTP status, if there was one.
        status: Option<u64>,
    },
    /// `system` with any other subtype.
    System(&'event str),
    /// `assistant`: one content block of a message.
    Assistant {
        /// The message's content blocks.
        content: &'event [Value],
        /// What failed, on a message the CLI made up to say so (`authentication_failed`, `rate_limit`...).
        error: Option<&'event str>,
    },
    /// `user`: tool results, or a notice the CLI put into the conversation.
    User(&'event [Value]),
    /// `stream_event`: a piece of a message, only with partial messages.
    StreamEvent,
    /// `rate_limit_event`.
    RateLimit {
        /// `allowed`, `allowed_warning` or `rejected`.
        status: &'event str,
        /// When the limit resets, in seconds since 1970.
        resets_at: Option<u64>,
    },
    /// `result`: the turn is over.
    Result,
    /// Any other type.
    Other(&'event str),
}

/// A line that is no event. It is kept in the log and counted; it does not end the run.
#[derive(Debug, thiserror::Error)]
pub enum MalformedLine {
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but not an object with a `type`.
    #[error("not an object with a \"type\"")]
    NotAnEvent,
}

impl Event {
    /// Parses one line, without its line feed.
    pub fn parse(line: &[u8]) -> Result<Self, MalformedLine> {
        let value: Value = json_text::parse(line)?;
        if value.get("type").is_some_and(Value::is_string) { Ok(Self(value)) } else { Err(MalformedLine::NotAnEvent) }
    }

    /// The event as JSON.
    pub const fn json(&self) -> &Value {
        &self.0
    }

    /// The event of a result that another one has followed, under a name that nobody takes for the run's result.
    #[must_use]
    pub fn interim(&self) -> Self {
        let mut value = self.0.clone();
        value["type"] = "system".into();
        value["subtype"] = "interim_result".into();
        Self(value)
    }

    /// The result `value`.
    #[must_use]
    pub const fn of_result(value: Value) -> Self {
        Self(value)
    }

    /// The same, to be changed.
    pub const fn json_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// The session it belongs to.
    pub fn session_id(&self) -> Option<&str> {
        self.text("session_id")
    }

    /// What it is.
    pub fn kind(&self) -> Kind<'_> {
        match (self.text("type").unwrap_or_default(), self.text("subtype").unwrap_or_default()) {
            ("system", "init") => Kind::Init,
            ("system", "api_retry") => {
                Kind::ApiRetry { attempt: self.number("attempt").unwrap_or(1), status: self.number("error_status") }
            }
            ("system", subtype) => Kind::System(subtype),
            ("assistant", _) => Kind::Assistant { content: self.content(), error: self.text("error") },
            ("user", _) => Kind::User(self.content()),
            ("stream_event", _) => Kind::StreamEvent,
            ("rate_limit_event", _) => {
                let info = &self.0["rate_limit_info"];
                Kind::RateLimit {
                    status: info["status"].as_str().unwrap_or_default(),
                    resets_at: info["resetsAt"].as_u64(),
                }
            }
            ("result", _) => Kind::Result,
            (other, _) => Kind::Other(other),
        }
    }

    /// The tool call it belongs to, if a sub-agent says it.
    pub fn parent_tool_use_id(&self) -> Option<&str> {
        self.text("parent_tool_use_id")
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    fn content(&self) -> &[Value] {
        self.0["message"]["content"].as_array().map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"{"subtype":"init","type":"system"}"#, Kind::Init)]
    #[case(r#"{"type":"system","subtype":"later"}"#, Kind::System("later"))]
    #[case(
        r#"{"type":"system","subtype":"api_retry","attempt":2,"error_status":529}"#,
        Kind::ApiRetry { attempt: 2, status: Some(529) }
    )]
    #[case(
        r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":7}}"#,
        Kind::RateLimit { status: "rejected", resets_at: Some(7) }
    )]
    #[case(r#"{"type":"tomorrow"}"#, Kind::Other("tomorrow"))]
    #[case(r#"{"type":"user","message":{"content":"plain"}}"#, Kind::User(&[]))]
    fn tells_what_it_is(#[case] line: &str, #[case] kind: Kind<'_>) {
        assert_eq!(Event::parse(line.as_bytes()).unwrap().kind(), kind);
    }

    #[rstest]
    #[case("")]
    #[case("{")]
    #[case("[]")]
    #[case("null")]
    #[case(r#"{"type":3}"#)]
    #[case("warning: something")]
    fn other_lines_are_malformed(#[case] line: &str) {
        assert!(Event::parse(line.as_bytes()).is_err());
    }

    /// The CLI is a JavaScript program: it prints half of an emoji, bytes of a file that is not text, and any nesting.
    #[rstest]
    #[case::lone_surrogate(br#"{"type":"result","result":"cut \ud83d"}"#.to_vec(), "cut \u{fffd}")]
    #[case::not_utf8(b"{\"type\":\"result\",\"result\":\"cut \xff\"}".to_vec(), "cut \u{fffd}")]
    #[case::deep(format!(r#"{{"type":"result","result":"x","structured_output":{}1{}}}"#, "[".repeat(200), "]".repeat(200)).into(), "x")]
    fn what_only_javascript_takes_is_an_event(#[case] line: Vec<u8>, #[case] text: &str) {
        let event = Event::parse(&line).unwrap();
        assert_eq!((event.kind(), event.json()["result"].as_str()), (Kind::Result, Some(text)));
    }

    #[test]
    fn an_unknown_event_passes_through_unharmed() {
        let line = r#"{"type":"new","big":123456789012345678901234567890,"small":1.10,"z":1,"a":null}"#;
        assert_eq!(Event::parse(line.as_bytes()).unwrap().json().to_string(), line);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(event) = Event::parse(&line) {
                let _ = event.kind();
            }
        }
    }
}
