//! Reading what a message has used from the API's answer, while the answer goes by. Pure, and bounded in memory.
//!
//! An event that is longer than [`LONGEST`], or that is no JSON, goes by unread: nothing here can break a stream.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::claude::price::{LETTERS_PER_TOKEN, Tokens};

/// Longest event, and longest answer that is one JSON object, that is read; bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// How an answer is read.
#[derive(Debug)]
pub(super) enum Reader {
    /// Server-sent events.
    Events(Events),
    /// One JSON object, read at its end.
    Whole(Vec<u8>),
    /// Not at all: it is neither, or too long.
    Nothing,
}

impl Reader {
    /// For an answer of this type.
    pub(super) fn of(content_type: Option<&str>) -> Self {
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("text/event-stream") {
            Self::Events(Events::default())
        } else if kind.eq_ignore_ascii_case("application/json") {
            Self::Whole(Vec::new())
        } else {
            Self::Nothing
        }
    }

    /// Reads to the end of the next event in `bytes`, or to theirs: how many bytes that were, and whether what the message
    /// has used has changed.
    pub(super) fn take(&mut self, bytes: &[u8], message: &mut Message) -> (usize, bool) {
        match self {
            Self::Events(events) => {
                let (length, event) = events.next(bytes);
                (length, event.is_some_and(|event| message.event(event)))
            }
            Self::Whole(body) if body.len() + bytes.len() <= LONGEST => {
                body.extend_from_slice(bytes);
                (bytes.len(), false)
            }
            Self::Whole(_) => {
                *self = Self::Nothing;
                (bytes.len(), false)
            }
            Self::Nothing => (bytes.len(), false),
        }
    }

    /// The answer has ended.
    pub(super) fn end(&mut self, message: &mut Message) {
        if let Self::Whole(body) = self {
            message.whole(body);
        }
    }
}

/// Takes server-sent events out of bytes that come in any pieces.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is not over yet.
    line: Vec<u8>,
    /// The data of the event that is not over yet.
    data: Vec<u8>,
    /// It is over, and `data` with it.
    is_over: bool,
    /// It is too long, and goes by unread.
    is_unread: bool,
    /// The last byte was a carriage return: a line feed belongs to it.
    after_return: bool,
}

impl Events {
    /// How many of `bytes` belong to the next event, and its data, if it is over with them and was short enough.
    fn next(&mut self, bytes: &[u8]) -> (usize, Option<&[u8]>) {
        if std::mem::take(&mut self.is_over) {
            self.data.clear();
        }
        let mut at = 0;
        while at < bytes.len() {
            if std::mem::take(&mut self.after_return) && bytes[at] == b'\n' {
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.keep(rest);
                return (bytes.len(), None);
            };
            self.keep(&rest[..end]);
            self.after_return = rest[end] == b'\r';
            at += end + 1;
            // The blank line's own line feed goes with it, or an event would be cut between the two.
            if self.after_return && bytes.get(at) == Some(&b'\n') {
                self.after_return = false;
                at += 1;
            }
            if self.line_ends() {
                return (at, Some(&self.data));
            }
        }
        (at, None)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.is_unread |= self.line.len() + self.data.len() + bytes.len() > LONGEST;
        if self.is_unread {
            (self.data, self.line) = (Vec::new(), vec![0; usize::from(!self.line.is_empty() || !bytes.is_empty())]);
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    /// `true`: an event has ended that was read.
    fn line_ends(&mut self) -> bool {
        if self.line.is_empty() {
            self.is_over = !std::mem::take(&mut self.is_unread) && !self.data.is_empty();
            return self.is_over;
        }
        if let Some(data) = self.line.strip_prefix(b"data:") {
            self.data.extend_from_slice(data);
        }
        self.line.clear();
        false
    }
}

/// What one message has used so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Empty: nothing has been said yet.
    pub(super) model: String,
    tokens: Tokens,
    /// Whether the API has said how much was written in all.
    is_exact: bool,
    /// Text that came, bytes.
    letters: u64,
}

impl Message {
    /// What it has used; what was written is estimated until the API has said it.
    pub(super) fn tokens(&self) -> Tokens {
        let mut tokens = self.tokens;
        if !self.is_exact {
            tokens.written = tokens.written.max(self.letters / LETTERS_PER_TOKEN);
        }
        tokens
    }

    /// What it has cost, US dollars.
    pub(super) fn usd(&self) -> f64 {
        self.tokens().usd(&self.model)
    }

    /// Whether the API has said anything of it.
    pub(super) fn has_begun(&self) -> bool {
        !self.model.is_empty()
    }

    /// `true`: something has changed.
    fn event(&mut self, data: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return false };
        match (event.kind.as_ref(), event.message, event.usage) {
            ("message_start", Some(start), _) => self.begin(&start),
            ("message_delta", _, Some(usage)) => {
                self.read(&usage);
                // Cumulative, says the API.
                if let Some(written) = usage.output_tokens {
                    (self.tokens.written, self.is_exact) = (written, true);
                }
            }
            ("content_block_delta", ..) => self.letters += event.delta.map_or(0, |delta| delta.letters()),
            ("content_block_start", ..) => self.letters += event.content_block.map_or(0, |block| block.letters()),
            _ => return false,
        }
        true
    }

    /// An answer that is not streamed.
    fn whole(&mut self, body: &[u8]) {
        if let Ok(start) = serde_json::from_slice::<Start<'_>>(body)
            && start.usage.is_some()
        {
            self.begin(&start);
            self.is_exact = true;
        }
    }

    fn begin(&mut self, start: &Start<'_>) {
        // Without a name it is priced as an unknown model, and has begun all the same.
        start.model.as_deref().unwrap_or("unknown").clone_into(&mut self.model);
        if let Some(usage) = &start.usage {
            self.read(usage);
            self.tokens.written = self.tokens.written.max(usage.output_tokens.unwrap_or(0));
        }
    }

    /// What the model has read is said at the start, and may be said again.
    fn read(&mut self, usage: &Usage) {
        let tokens = &mut self.tokens;
        tokens.read = tokens.read.max(usage.input_tokens.unwrap_or(0));
        tokens.from_cache = tokens.from_cache.max(usage.cache_read_input_tokens.unwrap_or(0));
        tokens.to_cache = tokens.to_cache.max(usage.cache_creation_input_tokens.unwrap_or(0));
        let hour = usage.cache_creation.as_ref().map_or(0, |kinds| kinds.ephemeral_1h_input_tokens.unwrap_or(0));
        tokens.to_cache_hour = tokens.to_cache_hour.max(hour);
    }
}

#[derive(Debug, Deserialize)]
struct Event<'data> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'data, str>,
    #[serde(borrow)]
    message: Option<Start<'data>>,
    usage: Option<Usage>,
    #[serde(borrow)]
    delta: Option<Added<'data>>,
    #[serde(borrow)]
    content_block: Option<Added<'data>>,
}

#[derive(Debug, Deserialize)]
struct Start<'data> {
    #[serde(borrow)]
    model: Option<Cow<'data, str>>,
    usage: Option<Usage>,
}

/// The API writes null where it has nothing to say.
#[derive(Debug, Default, Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Kinds>,
}

#[derive(Debug, Deserialize)]
struct Kinds {
    ephemeral_1h_input_tokens: Option<u64>,
}

/// What a piece adds to the message: any of these.
#[derive(Debug, Deserialize)]
struct Added<'data> {
    #[serde(borrow)]
    text: Option<Cow<'data, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'data, str>>,
    #[serde(borrow)]
    partial_json: Option<Cow<'data, str>>,
    input: Option<Value>,
}

impl Added<'_> {
    fn letters(&self) -> u64 {
        let text = [&self.text, &self.thinking, &self.partial_json].into_iter().flatten().map(|text| text.len());
        let input = self.input.as_ref().filter(|input| input.as_object().is_none_or(|object| !object.is_empty()));
        (text.sum::<usize>() + input.map_or(0, |input| input.to_string().len())) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const START: &str = r#"{"type":"message_start","message":{"id":"m","model":"claude-sonnet-4-5","usage":{"input_tokens":100,"cache_creation_input_tokens":30,"cache_read_input_tokens":20,"cache_creation":{"ephemeral_1h_input_tokens":10},"output_tokens":1}}}"#;
    const TEXT: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"12345678"}}"#;
    const DELTA: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#;

    fn stream(line_end: &str) -> String {
        let event = |name: &str, data: &str| format!("event: {name}{line_end}data: {data}{line_end}{line_end}");
        [
            event("message_start", START),
            event("ping", r#"{"type":"ping"}"#),
            event("content_block_delta", TEXT),
            event("message_delta", DELTA),
            event("message_stop", r#"{"type":"message_stop"}"#),
        ]
        .concat()
    }

    fn read(pieces: &[&[u8]]) -> Message {
        let (mut reader, mut message) = (Reader::of(Some("text/event-stream; charset=utf-8")), Message::default());
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() {
                at += reader.take(&piece[at..], &mut message).0;
            }
        }
        reader.end(&mut message);
        message
    }

    fn expected() -> Message {
        let tokens = Tokens { read: 100, from_cache: 20, to_cache: 30, to_cache_hour: 10, written: 7 };
        Message { model: "claude-sonnet-4-5".into(), tokens, is_exact: true, letters: 8 }
    }

    #[rstest]
    #[case("\n")]
    #[case("\r\n")]
    #[case("\r")]
    fn a_stream_says_what_was_used(#[case] line_end: &str) {
        assert_eq!(read(&[stream(line_end).as_bytes()]), expected());
    }

    #[test]
    fn what_was_written_is_estimated_until_it_is_said() {
        let (mut reader, mut message) = (Reader::of(Some("text/event-stream")), Message::default());
        let mut written = Vec::new();
        let text = stream("\n");
        let mut at = 0;
        while at < text.len() {
            at += reader.take(&text.as_bytes()[at..], &mut message).0;
            written.push(message.tokens().written);
        }
        assert_eq!(written, [1, 1, 2, 7, 7]);
    }

    #[test]
    fn a_figure_that_is_not_said_leaves_the_estimate() {
        let silent = r#"{"type":"message_delta","usage":{"input_tokens":null}}"#;
        let stream = format!("data: {START}\n\ndata: {TEXT}\n\ndata: {silent}\n\n");
        assert_eq!(read(&[stream.as_bytes()]).tokens().written, 2);
    }

    #[test]
    fn an_event_ends_where_its_blank_line_ends() {
        for line_end in ["\n", "\r\n"] {
            let (mut reader, mut message) = (Reader::of(Some("text/event-stream")), Message::default());
            let text = stream(line_end);
            let (length, changed) = reader.take(text.as_bytes(), &mut message);
            assert!(changed);
            assert_eq!(text[..length], text[..text.find("event: ping").unwrap()]);
        }
    }

    #[test]
    fn a_long_event_goes_by_unread_and_the_next_is_read() {
        let long = format!("data: {{\"type\":\"{}\"}}\n\n", "x".repeat(LONGEST));
        let mut events = Events::default();
        for piece in long.as_bytes().chunks(65_536) {
            assert!(events.next(piece).1.is_none());
            assert!(events.line.len() + events.data.len() <= LONGEST);
        }
        assert_eq!(read(&[long.as_bytes(), stream("\n").as_bytes()]), expected());
    }

    #[test]
    fn an_answer_that_is_not_streamed() {
        let body = br#"{"type":"message","model":"claude-haiku-4-5","content":[],"usage":{"input_tokens":3,"output_tokens":4,"cache_creation":null}}"#;
        let (mut reader, mut message) = (Reader::of(Some("application/json")), Message::default());
        assert_eq!(reader.take(&body[..20], &mut message), (20, false));
        reader.take(&body[20..], &mut message);
        reader.end(&mut message);
        assert_eq!(message.tokens(), Tokens { read: 3, written: 4, ..Tokens::default() });
        assert!((message.usd() - 23e-6).abs() < 1e-12);
    }

    #[rstest]
    #[case(r#"{"type":"error","error":{"type":"overloaded_error"}}"#)]
    #[case(r#"{"input_tokens":12}"#)]
    #[case("<html>")]
    fn what_is_no_message_has_used_nothing(#[case] body: &str) {
        let (mut reader, mut message) = (Reader::of(Some("application/json")), Message::default());
        reader.take(body.as_bytes(), &mut message);
        reader.end(&mut message);
        assert!(!message.has_begun());
        assert_eq!(message, Message::default());
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_makes_no_difference(cuts in proptest::collection::vec(0usize..1000, 0..20)) {
            for line_end in ["\n", "\r\n", "\r"] {
                let text = stream(line_end);
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % text.len()).chain([0, text.len()]).collect();
                cuts.sort_unstable();
                let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
                prop_assert_eq!(read(&pieces), expected());
            }
        }

        #[test]
        fn any_bytes_are_taken_whole(bytes in proptest::collection::vec(any::<u8>(), 1..2000)) {
            let (mut reader, mut message) = (Reader::of(Some("text/event-stream")), Message::default());
            let mut at = 0;
            while at < bytes.len() {
                let (length, _) = reader.take(&bytes[at..], &mut message);
                prop_assert!(length > 0);
                at += length;
            }
            prop_assert_eq!(at, bytes.len());
        }
    }
}
