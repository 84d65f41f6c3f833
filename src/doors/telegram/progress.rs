//! What the growing message shows of a run that goes on.

use serde_json::Value;

use super::markdown;
use super::text::{LONGEST_MESSAGE, Text, line};
use crate::desk::narrate::Delta;

/// Longest description of a tool's use.
const LONGEST_LINE: usize = 120;

/// A run's text and what it is doing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    text: String,
    line: Option<String>,
}

impl Progress {
    /// Takes something that the run says or does. Whether there is anything new to show.
    pub(super) fn take(&mut self, delta: Delta) -> bool {
        match delta {
            Delta::Text(text) => {
                self.text.push_str(&text);
                self.line = None;
                true
            }
            Delta::Void(text) => {
                let kept = self.text.len().saturating_sub(text.len());
                self.text.truncate(self.text.floor_char_boundary(kept));
                true
            }
            Delta::Thinking(thought) if thought.is_empty() => self.show("💭 thinking".into()),
            Delta::ToolBegins(name) => self.show(tool(&name, &Value::Null)),
            Delta::Tool { name, input } => self.show(tool(&name, &input)),
            Delta::Retry { attempt } => self.show(format!("⏳ the API does not answer, attempt {attempt}")),
            Delta::Thinking(_) | Delta::Said(_) => false,
        }
    }

    fn show(&mut self, line: String) -> bool {
        let news = self.line.as_ref() != Some(&line);
        self.line = Some(line);
        news
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The growing message: the end of the text, and what is being done. Empty: nothing yet.
    pub(super) fn message_text(&self) -> Text {
        let line = self.line.as_deref().map(Text::italic);
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

/// A tool's use in a line: its name and what it is about.
fn tool(name: &str, input: &Value) -> String {
    let about = ["description", "command", "file_path", "path", "pattern", "query", "url", "prompt", "skill"];
    let about = about.iter().find_map(|key| input[*key].as_str()).unwrap_or_default();
    let about = line(about, LONGEST_LINE);
    if about.is_empty() { format!("🔧 {name}") } else { format!("🔧 {name}: {about}") }
}

#[cfg(test)]
mod tests;
