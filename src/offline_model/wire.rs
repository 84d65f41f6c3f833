//! A message as the Messages API sends it: one JSON object, or the pieces of an event stream.

use std::time::Duration;

use serde_json::{Value, json};

use super::reply::{Block, Message, Pace};
use super::tokens::Tokens;

/// What the server does next with an open response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Send(String),
    Wait(Duration),
    /// Breaks the connection, so that the client sees no proper end.
    Cut,
}

/// What a message says about itself besides its content.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) model: String,
    /// Unique over all servers there ever were: a resumed session must not see a tool's id twice.
    pub(super) id: String,
    pub(super) tokens: Tokens,
}

/// A thinking block without a signature is refused when the CLI sends it back; nobody checks ours.
const SIGNATURE: &str = "b2ZmbGluZQ==";
/// An answer of megabytes comes in about this many deltas.
const DELTAS: usize = 400;
/// Lets what was sent reach the client before the cut; the two would be merged otherwise.
const BEFORE_CUT: Duration = Duration::from_millis(50);

/// The message for a client that did not ask for a stream.
pub(super) fn whole(message: &Message, envelope: &Envelope) -> Vec<Piece> {
    let content: Vec<Value> =
        message.blocks.iter().enumerate().map(|(index, block)| block_json(block, index, envelope)).collect();
    let body = message_json(envelope, &content, Some(message.stop_reason()), output_tokens(message)).to_string();
    match message.pace {
        Pace::AtOnce => vec![Piece::Send(body)],
        Pace::WordByWord(wait) | Pace::SilentFor(wait) => {
            vec![Piece::Wait(wait), Piece::Send(body)]
        }
        Pace::CutHalfway => {
            let half = body.chars().take(body.chars().count() / 2).collect();
            vec![Piece::Send(half), Piece::Wait(BEFORE_CUT), Piece::Cut]
        }
    }
}

/// The message as events, in the order the API sends them.
pub(super) fn stream(message: &Message, envelope: &Envelope) -> Vec<Piece> {
    let start = event("message_start", json!({"message": message_json(envelope, &[], None, 1)}));
    let mut pieces = vec![Piece::Send(start)];
    if let Pace::SilentFor(wait) = message.pace {
        pieces.push(Piece::Wait(wait));
    }
    for (index, block) in message.blocks.iter().enumerate() {
        pieces.extend(block_pieces(block, index, message.pace, envelope));
    }
    if message.pace == Pace::CutHalfway {
        pieces.truncate(pieces.len().div_ceil(2));
        pieces.extend([Piece::Wait(BEFORE_CUT), Piece::Cut]);
        return pieces;
    }
    let stop = json!({
        "delta": {"stop_reason": message.stop_reason(), "stop_sequence": null},
        "usage": {"output_tokens": output_tokens(message)},
    });
    pieces.push(Piece::Send(event("message_delta", stop)));
    pieces.push(Piece::Send(event("message_stop", json!({}))));
    pieces
}

fn block_pieces(block: &Block, index: usize, pace: Pace, envelope: &Envelope) -> Vec<Piece> {
    let opening = match block {
        Block::Thinking(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::Text(_) => json!({"type": "text", "text": ""}),
        Block::ToolUse { name, .. } => {
            json!({"type": "tool_use", "id": tool_id(envelope, index), "name": name, "input": {}})
        }
    };
    let send = |kind: &str, fields: Value| Piece::Send(event(kind, fields));
    let mut pieces = vec![send("content_block_start", json!({"index": index, "content_block": opening}))];
    let mut delta = |delta: Value| {
        pieces.push(send("content_block_delta", json!({"index": index, "delta": delta})));
    };
    match block {
        Block::Thinking(thought) => {
            delta(json!({"type": "thinking_delta", "thinking": thought}));
            delta(json!({"type": "signature_delta", "signature": SIGNATURE}));
        }
        Block::ToolUse { input, .. } => {
            for part in parts(&input.to_string()) {
                delta(json!({"type": "input_json_delta", "partial_json": part}));
            }
        }
        Block::Text(text) => {
            for part in parts(text) {
                delta(json!({"type": "text_delta", "text": part}));
            }
        }
    }
    if let (Pace::WordByWord(whole), Block::Text(_)) = (pace, block) {
        pieces = spread(pieces, whole);
    }
    pieces.push(send("content_block_stop", json!({"index": index})));
    pieces
}

/// A wait before every piece but the first; together they last `whole`.
fn spread(pieces: Vec<Piece>, whole: Duration) -> Vec<Piece> {
    let gaps = u32::try_from(pieces.len().saturating_sub(1)).unwrap_or(u32::MAX).max(1);
    let mut spread = Vec::with_capacity(pieces.len() * 2);
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 {
            spread.push(Piece::Wait(whole / gaps));
        }
        spread.push(piece);
    }
    spread
}

/// Words, in groups when there are very many.
fn parts(text: &str) -> Vec<String> {
    let shortest = text.len() / DELTAS;
    let mut parts = Vec::new();
    let mut part = String::new();
    for word in text.split_inclusive(' ') {
        part.push_str(word);
        if part.len() >= shortest {
            parts.push(std::mem::take(&mut part));
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

fn block_json(block: &Block, index: usize, envelope: &Envelope) -> Value {
    match block {
        Block::Thinking(thought) => {
            json!({"type": "thinking", "thinking": thought, "signature": SIGNATURE})
        }
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::ToolUse { name, input } => {
            json!({"type": "tool_use", "id": tool_id(envelope, index), "name": name, "input": input})
        }
    }
}

fn tool_id(envelope: &Envelope, index: usize) -> String {
    format!("toolu_{}_{index}", envelope.id)
}

fn message_json(envelope: &Envelope, content: &[Value], stop_reason: Option<&str>, output_tokens: usize) -> Value {
    json!({
        "id": format!("msg_{}", envelope.id),
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": envelope.tokens.fresh,
            "cache_creation_input_tokens": envelope.tokens.written,
            "cache_read_input_tokens": envelope.tokens.read,
            "output_tokens": output_tokens,
            "service_tier": "standard",
        },
    })
}

/// Four characters a token, roughly.
fn output_tokens(message: &Message) -> usize {
    let characters = message.blocks.iter().map(|block| match block {
        Block::Thinking(text) | Block::Text(text) => text.chars().count(),
        Block::ToolUse { input, .. } => input.to_string().chars().count(),
    });
    (characters.sum::<usize>() / 4).max(1)
}

fn event(kind: &str, fields: Value) -> String {
    let mut data = json!({"type": kind});
    if let (Value::Object(data), Value::Object(fields)) = (&mut data, fields) {
        data.extend(fields);
    }
    format!("event: {kind}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offline_model::LABEL;
    use proptest::prelude::*;
    use rstest::rstest;

    fn envelope() -> Envelope {
        Envelope {
            model: "claude-test".to_owned(),
            id: "1".to_owned(),
            tokens: Tokens { fresh: 7, written: 5, read: 3 },
        }
    }

    fn message(pace: Pace) -> Message {
        let blocks = vec![
            Block::Thinking("a thought".to_owned()),
            Block::Text(format!("{LABEL} three more words")),
            Block::ToolUse { name: "Bash", input: json!({"command": "echo a b"}) },
        ];
        Message { blocks, pace }
    }

    fn events(pieces: &[Piece]) -> Vec<Value> {
        let sent = pieces.iter().filter_map(|piece| match piece {
            Piece::Send(text) => Some(text),
            _ => None,
        });
        sent.map(|text| {
            let (kind, data) = text.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(kind, format!("event: {}", data["type"].as_str().unwrap()));
            data
        })
        .collect()
    }

    /// What a client makes of the events, as the non-streamed message says it.
    fn assembled(events: &[Value]) -> Vec<Value> {
        let mut blocks: Vec<Value> = Vec::new();
        let mut input = String::new();
        for event in events {
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert_eq!(event["index"], blocks.len());
                    blocks.push(event["content_block"].clone());
                }
                "content_block_delta" => {
                    let block = blocks.last_mut().unwrap();
                    for (key, part) in event["delta"].as_object().unwrap() {
                        match key.as_str() {
                            "type" => {}
                            "partial_json" => input.push_str(part.as_str().unwrap()),
                            key => {
                                block[key] =
                                    json!(format!("{}{}", block[key].as_str().unwrap(), part.as_str().unwrap()));
                            }
                        }
                    }
                }
                "content_block_stop" if !input.is_empty() => {
                    blocks.last_mut().unwrap()["input"] = serde_json::from_str(&input).unwrap();
                    input.clear();
                }
                _ => {}
            }
        }
        blocks
    }

    fn waited(pieces: &[Piece]) -> Duration {
        let waits = pieces.iter().map(|piece| match piece {
            Piece::Wait(time) => *time,
            _ => Duration::ZERO,
        });
        waits.sum()
    }

    #[test]
    fn the_events_come_in_the_apis_order() {
        let events = events(&stream(&message(Pace::AtOnce), &envelope()));
        let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        kinds.dedup();
        let block = ["content_block_start", "content_block_delta", "content_block_stop"];
        let expected = [&["message_start"][..], &block, &block, &block, &["message_delta", "message_stop"]].concat();
        assert_eq!(kinds, expected);
        let usage = &events[0]["message"]["usage"];
        let input = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"].map(|key| &usage[key]);
        assert_eq!(input, [7, 5, 3].map(Value::from).each_ref());
        assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
    }

    #[rstest]
    #[case(Pace::AtOnce)]
    #[case(Pace::WordByWord(Duration::from_secs(3)))]
    #[case(Pace::SilentFor(Duration::from_secs(3)))]
    fn streamed_and_whole_say_the_same(#[case] pace: Pace) {
        let streamed = assembled(&events(&stream(&message(pace), &envelope())));
        let pieces = whole(&message(pace), &envelope());
        let Some(Piece::Send(body)) = pieces.last() else { panic!("{pieces:?}") };
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["content"], Value::Array(streamed));
    }

    #[test]
    fn slow_words_take_the_time_asked_for() {
        let whole = Duration::from_secs(5);
        let pieces = stream(&message(Pace::WordByWord(whole)), &envelope());
        assert!(whole.abs_diff(waited(&pieces)) < Duration::from_millis(1), "{:?}", waited(&pieces));
    }

    #[test]
    fn silence_comes_right_after_the_start() {
        let silence = Duration::from_secs(9);
        let pieces = stream(&message(Pace::SilentFor(silence)), &envelope());
        assert!(matches!(&pieces[0], Piece::Send(start) if start.starts_with("event: message_start")));
        assert_eq!(pieces[1], Piece::Wait(silence));
    }

    #[rstest]
    #[case(stream(&message(Pace::CutHalfway), &envelope()))]
    #[case(whole(&message(Pace::CutHalfway), &envelope()))]
    fn a_cut_message_starts_and_never_ends(#[case] pieces: Vec<Piece>) {
        assert!(matches!(pieces.first(), Some(Piece::Send(_))));
        assert_eq!(pieces.last(), Some(&Piece::Cut));
        let ended = pieces.iter().any(|piece| matches!(piece, Piece::Send(text) if text.contains("message_stop")));
        assert!(!ended);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_text(text in ".{0,200}") {
            prop_assert_eq!(parts(&text).concat(), text);
        }

        #[test]
        fn a_large_text_comes_in_few_parts(words in 0_usize..20_000) {
            prop_assert!(parts(&"word ".repeat(words)).len() <= DELTAS * 5);
        }
    }
}
