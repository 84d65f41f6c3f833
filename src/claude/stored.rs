//! The CLI's events as they are stored and told: one JSON object a line, keys in camelCase. Here is what of them is read again.
//!
//! The CLI's own dialect, as a worker reads it, is `event`'s matter. Everything is optional, because the CLI adds kinds and fields
//! with every version; what is not known is not read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// An event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored<'line> {
    /// Its type: `assistant`, `stream_event`, `system` and others.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'line, str>,
    /// Of `system`: what it is about.
    #[serde(borrow)]
    pub subtype: Option<Cow<'line, str>>,
    /// The tool call that it is a part of: what a sub-agent says has one.
    #[serde(borrow)]
    pub parent_tool_use_id: Option<Cow<'line, str>>,
    /// Of `stream_event`: what the Messages API has streamed.
    #[serde(borrow)]
    pub event: Option<Piece<'line>>,
    /// Of `assistant`: the message, one of its blocks at a time.
    #[serde(borrow)]
    pub message: Option<Message<'line>>,
    /// Of `stream_event`: blocks of the message that do not count.
    pub abandoned_blocks: Option<Abandoned>,
    /// Of `system`/`api_retry`: which attempt is to come.
    pub attempt: Option<u64>,
}

/// The blocks of a message that do not count: this one and those after it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// The index of the first.
    #[serde(default)]
    pub from_block_index: u64,
}

/// An event of the Messages API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece<'line> {
    /// Its type: `message_start`, `content_block_delta` and others.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'line, str>,
    /// The content block that it is about.
    #[serde(default)]
    pub index: u64,
    /// Of `content_block_delta`: what is added.
    #[serde(borrow)]
    pub delta: Option<Delta<'line>>,
    /// Of `content_block_start`: the block.
    #[serde(borrow)]
    pub content_block: Option<Block<'line>>,
    /// Of `message_start`: the message.
    #[serde(borrow)]
    pub message: Option<Message<'line>>,
    /// Of `message_delta`: what it has used so far.
    pub usage: Option<Usage>,
}

/// What is added to a content block.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delta<'line> {
    /// Text of the answer.
    #[serde(borrow)]
    pub text: Option<Cow<'line, str>>,
    /// Thinking.
    #[serde(borrow)]
    pub thinking: Option<Cow<'line, str>>,
    /// Text of a tool's input.
    #[serde(borrow)]
    pub partial_json: Option<Cow<'line, str>>,
}

/// A message of the model.
#[derive(Debug, Default, Deserialize)]
pub struct Message<'line> {
    /// Its id.
    #[serde(borrow, default)]
    pub id: Cow<'line, str>,
    /// The model's name.
    #[serde(borrow, default)]
    pub model: Cow<'line, str>,
    /// Content blocks.
    #[serde(borrow, default)]
    pub content: Vec<Block<'line>>,
    /// What it has used.
    pub usage: Option<Usage>,
}

/// A content block.
#[derive(Debug, Deserialize)]
pub struct Block<'line> {
    /// Its type: `text`, `thinking`, `tool_use` and others.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'line, str>,
    /// Text of the answer.
    #[serde(borrow)]
    pub text: Option<Cow<'line, str>>,
    /// Thinking.
    #[serde(borrow)]
    pub thinking: Option<Cow<'line, str>>,
    /// Of a tool call: its id.
    #[serde(borrow)]
    pub id: Option<Cow<'line, str>>,
    /// Of a tool call: the tool's name.
    #[serde(borrow)]
    pub name: Option<Cow<'line, str>>,
    /// Of a tool call: its input.
    pub input: Option<Value>,
}

/// What a message has used, in tokens.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Read, and not from the cache.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Read and put into the cache.
    pub cache_creation_input_tokens: u64,
    /// Read from the cache.
    pub cache_read_input_tokens: u64,
    /// For how long what was put into the cache is kept.
    pub cache_creation: CacheCreation,
}

/// What was put into the cache.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheCreation {
    /// Tokens that are kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
}

impl<'line> Stored<'line> {
    /// The event of a line, if it can be one of those that are read again: most lines are none, and some are long.
    pub fn of_line(line: &'line [u8]) -> Option<Self> {
        // In a text, quotes are escaped: these words stand in a type's place.
        const TYPES: [&[u8]; 3] = [br#""stream_event""#, br#""assistant""#, br#""api_retry""#];
        if !TYPES.iter().any(|kind| line.windows(kind.len()).any(|part| part == *kind)) {
            return None;
        }
        let read = serde_json::from_slice(line);
        read.inspect_err(|error| tracing::debug!("an event of the CLI is none that is known: {error}")).ok()
    }

    /// The events of whole lines that are read again.
    pub fn of_lines(lines: &'line [u8]) -> impl Iterator<Item = Self> {
        lines.split(|&byte| byte == b'\n').filter_map(Self::of_line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::envelope;

    /// What every version says: none of it is missed because a field has another form than was thought.
    #[test]
    fn every_message_of_the_recordings_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claude-cli");
        let mut read = 0;
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|kind| kind != "jsonl") {
                continue;
            }
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
                let stored = envelope::camel_case(&event).to_string();
                let wanted = matches!(event["type"].as_str(), Some("assistant" | "stream_event"))
                    || event["subtype"] == "api_retry";
                let found = Stored::of_line(stored.as_bytes());
                assert!(!wanted || found.is_some(), "{}: {stored}", path.display());
                read += usize::from(wanted);
            }
        }
        assert!(read > 50, "only {read} events");
    }
}
