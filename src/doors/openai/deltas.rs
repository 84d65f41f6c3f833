//! The CLI's events -> pieces of an answer.
//!
//! Only what the run itself says counts: what a subagent says (`parentToolUseId`) is a tool's matter.

use std::borrow::Cow;

use serde::Deserialize;

/// How much of a tool's input, or of what a run says, is shown in a line.
pub(in crate::doors) const LONGEST_LINE_CHARS: usize = 200;
/// The type of an event with a piece of a message.
const PIECE: &[u8] = br#""stream_event""#;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delta {
    /// Text of the answer.
    Text(String),
    /// Thinking.
    Thinking(String),
    /// A tool is used: its name and its input, one line.
    Tool(String),
    /// This text, the last that came, does not count: the model's answer was cut and is asked for again.
    Void(String),
}

/// Reads events, remembering what is open.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Whether any text was read.
    spoken: bool,
    /// Whether any was before the message that is being written.
    spoken_before: bool,
    /// The text of the message that is being written.
    message: String,
    /// Where in it each content block begins, by its index.
    blocks: Vec<(u64, usize)>,
    /// A tool call whose input is being written: its name and the input so far.
    tool: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'line> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'line, str>,
    #[serde(borrow)]
    parent_tool_use_id: Option<Cow<'line, str>>,
    #[serde(borrow)]
    event: Option<Event<'line>>,
    abandoned_blocks: Option<Abandoned>,
}

/// The blocks of a message that do not count: this one and those after it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Abandoned {
    #[serde(default)]
    from_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'line> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'line, str>,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    delta: Option<Piece<'line>>,
    #[serde(borrow)]
    content_block: Option<Block<'line>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece<'line> {
    #[serde(borrow)]
    text: Option<Cow<'line, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'line, str>>,
    #[serde(borrow)]
    partial_json: Option<Cow<'line, str>>,
}

#[derive(Deserialize)]
struct Block<'line> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'line, str>,
    #[serde(borrow)]
    name: Option<Cow<'line, str>>,
}

impl Reader {
    /// What whole lines of events add to the answer.
    pub(super) fn read(&mut self, lines: &[u8]) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for line in lines.split(|&byte| byte == b'\n') {
            // Far cheaper than parsing the others, which can be long: a tool's result is in one.
            if !line.windows(PIECE.len()).any(|part| part == PIECE) {
                continue;
            }
            match serde_json::from_slice::<Line<'_>>(line) {
                Ok(Line {
                    kind: Cow::Borrowed("stream_event"),
                    parent_tool_use_id: None,
                    event: Some(event),
                    abandoned_blocks,
                }) => {
                    self.take(event, &mut deltas);
                    if let Some(abandoned) = abandoned_blocks {
                        deltas.extend(self.abandon(&abandoned));
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::debug!("an event of the CLI is none that is known: {error}"),
            }
        }
        deltas
    }

    fn abandon(&mut self, abandoned: &Abandoned) -> Option<Delta> {
        let from = self.blocks.iter().find(|(index, _)| *index >= abandoned.from_block_index).map(|(_, at)| *at)?;
        let void = self.message.split_off(from);
        self.blocks.retain(|(index, _)| *index < abandoned.from_block_index);
        self.spoken = self.spoken_before || !self.message.is_empty();
        self.tool = None;
        (!void.is_empty()).then_some(Delta::Void(void))
    }

    fn say(&mut self, text: String, deltas: &mut Vec<Delta>) {
        self.message.push_str(&text);
        deltas.push(Delta::Text(text));
    }

    fn take(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) {
        match event.kind.as_ref() {
            "message_start" => {
                self.spoken_before = self.spoken;
                self.message.clear();
                self.blocks.clear();
            }
            "content_block_start" => self.blocks.push((event.index, self.message.len())),
            _ => {}
        }
        match (event.kind.as_ref(), event.content_block, event.delta) {
            ("content_block_start", Some(block), _) => match block.kind.as_ref() {
                // What was said before a tool was used is a paragraph of its own.
                "text" if self.spoken => self.say("\n\n".into(), deltas),
                "tool_use" => self.tool = Some((block.name.unwrap_or_default().into_owned(), String::new())),
                _ => {}
            },
            ("content_block_delta", _, Some(piece)) => {
                if let Some(text) = piece.text.filter(|text| !text.is_empty()) {
                    self.spoken = true;
                    self.say(text.into_owned(), deltas);
                } else if let Some(thought) = piece.thinking.filter(|thought| !thought.is_empty()) {
                    deltas.push(Delta::Thinking(thought.into_owned()));
                } else if let (Some((_, input)), Some(part)) = (&mut self.tool, piece.partial_json) {
                    input.push_str(&part);
                }
            }
            ("content_block_stop", ..) => {
                if let Some((name, input)) = self.tool.take() {
                    deltas.push(Delta::Tool(tool_line(&name, &input)));
                }
            }
            _ => {}
        }
    }
}

/// `Bash: ls -la`: what a person would call the call.
pub(in crate::doors) fn tool_line(name: &str, input: &str) -> String {
    let input: serde_json::Value = serde_json::from_str(input).unwrap_or_default();
    let telling = ["command", "file_path", "path", "pattern", "url", "query", "description", "prompt"];
    let shown = telling.iter().find_map(|key| input[*key].as_str());
    shown.map_or_else(|| name.to_owned(), |shown| format!("{name}: {}", one_line(shown)))
}

/// A text in a line, cut at [`LONGEST_LINE_CHARS`].
pub(in crate::doors) fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST_LINE_CHARS) {
        line.truncate(end);
        line.push('\u{2026}');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str) -> String {
        format!("{{\"type\":\"stream_event\",\"event\":{event},\"sessionId\":\"s\",\"parentToolUseId\":null}}\n")
    }

    #[test]
    fn text_thinking_and_tools_are_told_apart() {
        let lines = [
            event(r#"{"type":"content_block_start","index":0,"contentBlock":{"type":"thinking","thinking":""}}"#),
            event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#),
            event(r#"{"type":"content_block_start","index":1,"contentBlock":{"type":"text","text":""}}"#),
            event(r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I \"look\""}}"#),
            event(r#"{"type":"content_block_start","index":2,"contentBlock":{"type":"tool_use","name":"Bash","input":{}}}"#),
            event(r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partialJson":"{\"command\":"}}"#),
            event(r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partialJson":"\"ls\\n -la\"}"}}"#),
            event(r#"{"type":"content_block_stop","index":2}"#),
            r#"{"type":"user","message":{"content":"text_delta"}}"#.to_owned() + "\n",
            r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"text":"sub"}},"parentToolUseId":"t"}"#.to_owned() + "\n",
            event(r#"{"type":"content_block_start","index":0,"contentBlock":{"type":"text","text":""}}"#),
            event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"done"}}"#),
        ];
        let expected = vec![
            Delta::Thinking("hm".into()),
            Delta::Text("I \"look\"".into()),
            Delta::Tool("Bash: ls -la".into()),
            Delta::Text("\n\n".into()),
            Delta::Text("done".into()),
        ];
        assert_eq!(Reader::default().read(lines.concat().as_bytes()), expected);
        // The same, whatever the chunks are.
        let mut reader = Reader::default();
        let one_by_one: Vec<Delta> = lines.iter().flat_map(|line| reader.read(line.as_bytes())).collect();
        assert_eq!(one_by_one, expected);
    }

    #[test]
    fn what_a_cut_attempt_said_does_not_count() {
        let text = |text: &str| {
            [
                event(r#"{"type":"content_block_start","index":0,"contentBlock":{"type":"text","text":""}}"#),
                event(&format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
                )),
            ]
            .concat()
        };
        let start = event(r#"{"type":"message_start"}"#);
        let cut = r#"{"type":"stream_event","event":{"type":"message_stop"},"parentToolUseId":null,"abandonedBlocks":{"apiMessageId":"m","fromBlockIndex":0}}"#.to_owned() + "\n";
        let lines = [start.clone(), text("first"), start.clone(), text("half"), cut.clone(), start, text("whole")];
        let says = |text: &str| Delta::Text(text.into());
        let void = Delta::Void("\n\nhalf".into());
        let expected = [says("first"), says("\n\n"), says("half"), void, says("\n\n"), says("whole")];
        assert_eq!(Reader::default().read(lines.concat().as_bytes()), expected);
        assert_eq!(Reader::default().read([text("a"), cut, text("b")].concat().as_bytes())[2], says("b"));
    }

    #[test]
    fn a_long_input_is_cut_and_an_unknown_one_left_out() {
        let long = format!(r#"{{"command":"{}"}}"#, "é".repeat(300));
        assert_eq!(tool_line("Bash", &long).chars().count(), "Bash: ".len() + LONGEST_LINE_CHARS + 1);
        assert_eq!(tool_line("Todo", r#"{"todos":[]}"#), "Todo");
        assert_eq!(tool_line("Todo", "{"), "Todo");
    }
}
