//! How much of a request is new, and how much a cache would have.
//!
//! As the Messages API does it: tools, system and messages are one text in this order, and all of it up to the last
//! `cache_control` goes through the cache. Nothing is remembered here: what was there when the assistant last spoke
//! counts as read from the cache, the rest as written to it.

use serde_json::Value;

use super::blocks::{blocks, items};

/// Characters per token, roughly, in English prose.
const CHARS_PER_TOKEN: usize = 4;

/// Tokens that go in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Past the cache; never 0.
    pub(super) fresh: usize,
    /// Into the cache.
    pub(super) written: usize,
    /// Out of the cache.
    pub(super) read: usize,
}

impl Tokens {
    /// Those of a request.
    pub(super) fn of(body: &Value) -> Self {
        let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let spoken = messages.iter().rposition(|message| message["role"] == "assistant");
        let before = items(&body["tools"]).chain(items(&body["system"])).map(|block| (block, spoken.is_some()));
        let said = messages.iter().enumerate().flat_map(|(index, message)| {
            let known = spoken.is_some_and(|spoken| index <= spoken);
            blocks(message).map(move |block| (block, known))
        });
        let all: Vec<(&Value, bool)> = before.chain(said).collect();
        let cached = all.iter().rposition(|(block, _)| block["cache_control"].is_object()).map_or(0, |last| last + 1);
        let mut characters_of = Self::default();
        for (index, (block, known)) in all.into_iter().enumerate() {
            let kind = match (index < cached, known) {
                (false, _) => &mut characters_of.fresh,
                (true, false) => &mut characters_of.written,
                (true, true) => &mut characters_of.read,
            };
            *kind += characters(block);
        }
        Self {
            fresh: (characters_of.fresh / CHARS_PER_TOKEN).max(1),
            written: characters_of.written / CHARS_PER_TOKEN,
            read: characters_of.read / CHARS_PER_TOKEN,
        }
    }

    /// All of them.
    pub(super) const fn total(self) -> usize {
        self.fresh + self.written + self.read
    }
}

/// Characters in all strings but the data of images and files.
fn characters(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(fields) => {
            fields.iter().filter(|(key, _)| *key != "data").map(|(_, field)| characters(field)).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn text(tokens: usize, cached: bool) -> Value {
        let text = "x".repeat(tokens * CHARS_PER_TOKEN);
        if cached { json!({"text": text, "cache_control": {"ttl": 1}}) } else { json!({"text": text}) }
    }

    fn message(role: &str, content: &Value) -> Value {
        json!({"role": role, "content": content})
    }

    #[rstest]
    #[case::nothing_cached(json!({
        "tools": [text(1, false)], "system": "y".repeat(8), "messages": [message("user", &json!("z".repeat(16)))],
    }), Tokens { fresh: 7, written: 0, read: 0 })]
    #[case::the_first_request_writes(json!({
        "tools": [text(1, false)], "system": [text(2, true)],
        "messages": [message("user", &json!([text(4, true), text(8, false)]))],
    }), Tokens { fresh: 8, written: 7, read: 0 })]
    #[case::the_next_reads_what_was_there(json!({
        "tools": [text(1, false)], "system": [text(2, true)],
        "messages": [
            message("user", &json!([text(4, false)])), message("assistant", &json!([text(8, false)])),
            message("user", &json!([text(16, true)])),
        ],
    }), Tokens { fresh: 1, written: 16, read: 15 })]
    #[case::only_up_to_the_mark(json!({
        "system": [text(2, true)],
        "messages": [message("user", &json!("z".repeat(16))), message("assistant", &json!("a")), message("user", &json!("b"))],
    }), Tokens { fresh: 4, written: 0, read: 2 })]
    #[case::data_is_no_text(json!({"messages": [message("user", &json!([{"source": {"data": "A".repeat(4000)}}]))]}),
        Tokens { fresh: 1, written: 0, read: 0 })]
    fn a_request_goes_through_the_cache_up_to_its_last_mark(#[case] body: Value, #[case] expected: Tokens) {
        let tokens = Tokens::of(&body);
        assert_eq!(tokens, expected);
        assert_eq!(tokens.total(), expected.fresh + expected.written + expected.read);
    }
}
