//! What the growing message shows of a run that goes on.

use serde_json::Value;
use teloxide::types::{MessageEntity, MessageEntityKind};

use super::markdown;
use super::text::{LONGEST_MESSAGE, Text, line};

/// Longest description of a tool's use.
const LONGEST_LINE: usize = 120;

/// A run's text and what it is doing, from its events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    text: String,
    line: Option<String>,
    /// Whether the text of the message that is being written came in pieces.
    in_pieces: bool,
}

impl Progress {
    /// Takes an event as `serve` has it. Whether there is anything new to show.
    pub(super) fn take(&mut self, event: &Value) -> bool {
        // What a helper of Claude's says is not the answer.
        if event["parentToolUseId"].is_string() {
            return false;
        }
        match event["type"].as_str() {
            Some("stream_event") => self.piece(&event["event"]),
            Some("assistant") => self.message(&event["message"]["content"]),
            Some("system") if event["subtype"] == "api_retry" => {
                let attempt = event["attempt"].as_u64().unwrap_or(1);
                self.show(format!("⏳ the API does not answer, attempt {attempt}"))
            }
            _ => false,
        }
    }

    fn piece(&mut self, piece: &Value) -> bool {
        match piece["type"].as_str() {
            Some("message_start") => {
                self.in_pieces = false;
                false
            }
            Some("content_block_start") => match piece["contentBlock"]["type"].as_str() {
                Some("text") => {
                    self.in_pieces = true;
                    self.begin_paragraph();
                    self.line = None;
                    false
                }
                Some("thinking") => self.show("💭 thinking".into()),
                Some("tool_use") => self.show(tool(piece["contentBlock"]["name"].as_str(), &Value::Null)),
                _ => false,
            },
            Some("content_block_delta") => {
                let text = piece["delta"]["text"].as_str().unwrap_or_default();
                self.text.push_str(text);
                !text.is_empty()
            }
            _ => false,
        }
    }

    fn message(&mut self, content: &Value) -> bool {
        let mut news = false;
        for block in content.as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some("text") if !self.in_pieces => {
                    self.begin_paragraph();
                    self.text.push_str(block["text"].as_str().unwrap_or_default());
                    self.line = None;
                    news = true;
                }
                Some("tool_use") => news |= self.show(tool(block["name"].as_str(), &block["input"])),
                _ => {}
            }
        }
        news
    }

    fn begin_paragraph(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
    }

    fn show(&mut self, line: String) -> bool {
        let news = self.line.as_ref() != Some(&line);
        self.line = Some(line);
        news
    }

    /// What has been written so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The growing message: the end of the text, and what is being done. Empty: nothing yet.
    pub(super) fn message_text(&self) -> Text {
        let line = self.line.as_deref().map(italic);
        let room = LONGEST_MESSAGE - line.as_ref().map_or(0, |line| line.units() + 2) - 8;
        let mut shown = markdown::to_text(&self.text).tail(room);
        if let Some(line) = line {
            if !shown.text.is_empty() {
                shown.append(&Text::plain("\n\n"));
            }
            shown.append(&line);
        }
        shown
    }
}

/// A line in italics.
pub(super) fn italic(line: &str) -> Text {
    let mut text = Text::plain(line);
    let length = text.units();
    text.entities.push(MessageEntity { kind: MessageEntityKind::Italic, offset: 0, length });
    text
}

/// A tool's use in a line: its name and what it is about.
fn tool(name: Option<&str>, input: &Value) -> String {
    let name = name.unwrap_or("tool");
    let about = ["description", "command", "file_path", "path", "pattern", "query", "url", "prompt", "skill"];
    let about = about.iter().find_map(|key| input[*key].as_str()).unwrap_or_default();
    let about = line(about, LONGEST_LINE);
    if about.is_empty() { format!("🔧 {name}") } else { format!("🔧 {name}: {about}") }
}

#[cfg(test)]
mod tests;
