//! What a run that has no result has cost, from what its events say. An estimate.
//!
//! The CLI states a cost only in its result. Each of its messages carries what it read; what it wrote is known only where
//! the pieces of messages are streamed, and is taken from the length of the text otherwise.

use std::collections::HashMap;

use crate::claude::price::{LETTERS_PER_TOKEN, Tokens};
use crate::claude::stored::{self, Block, Piece, Stored};

/// Adds up what a run's messages have cost.
#[derive(Debug, Default)]
pub(super) struct Meter {
    messages: HashMap<String, Message>,
    /// The message whose pieces come.
    current: String,
}

#[derive(Debug, Default)]
struct Message {
    model: String,
    tokens: Tokens,
    /// Whether what was written is the final figure.
    exact: bool,
    letters: u64,
}

impl Meter {
    /// Takes in whole lines of events, as they are logged. `true`: the cost may have changed.
    pub(super) fn take(&mut self, lines: &[u8]) -> bool {
        const USAGE: &[u8] = b"\"usage\"";
        let mut changed = false;
        // Most lines say nothing of usage; those are not parsed.
        let lines =
            lines.split(|&byte| byte == b'\n').filter(|line| line.windows(USAGE.len()).any(|part| part == USAGE));
        for event in lines.filter_map(Stored::of_line) {
            match (event.kind.as_ref(), event.message, event.event) {
                ("assistant", Some(message), _) => self.message(&message, true),
                ("stream_event", _, Some(piece)) => self.piece(&piece),
                _ => continue,
            }
            changed = true;
        }
        changed
    }

    /// US dollars so far. `None`: no message has come from a model.
    pub(super) fn usd(&self) -> Option<f64> {
        let cost = self.messages.values().map(Message::usd).sum();
        (cost > 0.0).then_some(cost)
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        match (piece.kind.as_ref(), &piece.message, piece.usage) {
            ("message_start", Some(message), _) => self.message(message, false),
            ("message_delta", _, Some(usage)) => {
                if let Some(message) = self.messages.get_mut(&self.current) {
                    (message.tokens.written, message.exact) = (usage.output_tokens, true);
                }
            }
            _ => {}
        }
    }

    /// One content block of a message, or its start. Its usage is that of the whole message each time.
    fn message(&mut self, said: &stored::Message<'_>, whole: bool) {
        // What the CLI says itself has cost nothing.
        if said.model.starts_with('<') {
            return;
        }
        said.id.as_ref().clone_into(&mut self.current);
        let message = self.messages.entry(self.current.clone()).or_default();
        let usage = said.usage.unwrap_or_default();
        said.model.as_ref().clone_into(&mut message.model);
        let tokens = &mut message.tokens;
        tokens.read = tokens.read.max(usage.input_tokens);
        tokens.from_cache = tokens.from_cache.max(usage.cache_read_input_tokens);
        tokens.to_cache = tokens.to_cache.max(usage.cache_creation_input_tokens);
        tokens.to_cache_hour = tokens.to_cache_hour.max(usage.cache_creation.ephemeral_1h_input_tokens);
        if !message.exact {
            tokens.written = tokens.written.max(usage.output_tokens);
        }
        if whole {
            message.letters += said.content.iter().map(letters).sum::<u64>();
        }
    }
}

impl Message {
    fn usd(&self) -> f64 {
        let mut tokens = self.tokens;
        if !self.exact {
            tokens.written = tokens.written.max(self.letters / LETTERS_PER_TOKEN);
        }
        tokens.usd(&self.model)
    }
}

/// How much a content block holds, bytes.
fn letters(block: &Block<'_>) -> u64 {
    let text = [&block.text, &block.thinking].into_iter().flatten().map(|text| text.len()).sum::<usize>();
    let input = block.input.as_ref().map_or(0, |input| input.to_string().len());
    (text + input) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::envelope;
    use serde_json::Value;

    fn meter(events: &str) -> Meter {
        let mut meter = Meter::default();
        for line in events.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            meter.take(format!("{}\n", envelope::camel_case(&event)).as_bytes());
        }
        meter
    }

    /// What the CLI said the same run has cost.
    fn stated(events: &str) -> f64 {
        let last = events.lines().rev().find(|line| line.contains("total_cost_usd")).unwrap();
        serde_json::from_str::<Value>(last).unwrap()["total_cost_usd"].as_f64().unwrap()
    }

    #[test]
    fn what_was_read_is_counted_once_for_each_message() {
        let events = include_str!("../../tests/fixtures/claude-cli/tool.jsonl");
        // Two messages, the first in two blocks: 200 tokens read; written, at least one each.
        let cost = meter(events).usd().unwrap();
        assert!((0.0008..=stated(events)).contains(&cost), "{cost}");
    }

    #[test]
    fn streamed_pieces_say_what_was_written() {
        let events = include_str!("../../tests/fixtures/claude-cli/partial.jsonl");
        let cost = meter(events).usd().unwrap();
        assert!((cost - stated(events)).abs() < 1e-9, "{cost} {}", stated(events));
    }

    #[test]
    fn an_error_of_the_clis_own_costs_nothing() {
        assert_eq!(meter(include_str!("../../tests/fixtures/claude-cli/err_401.jsonl")).usd(), None);
        assert_eq!(Meter::default().usd(), None);
    }

    #[test]
    fn caches_and_text_have_their_prices() {
        let usage = r#"{"input_tokens":0,"cache_creation_input_tokens":3000,"cache_read_input_tokens":10000,
            "cache_creation":{"ephemeral_1h_input_tokens":1000},"output_tokens":1}"#
            .replace('\n', "");
        let text = "x".repeat(4000);
        let event = format!(
            r#"{{"type":"assistant","message":{{"id":"m","model":"claude-sonnet-4-5","usage":{usage},"content":[{{"type":"text","text":"{text}"}}]}}}}"#
        );
        let cost = meter(&event).usd().unwrap();
        // 2,000 × 1.25 + 1,000 × 2 + 10,000 × 0.1 read, 1,000 written.
        assert!((cost - (5500.0 * 3.0 + 1000.0 * 15.0) / 1_000_000.0).abs() < 1e-12, "{cost}");
    }
}
