//! The CLI's events -> what a run says and does: their one reader.
//!
//! Only what the run itself says counts: what a sub-agent says (`parentToolUseId`) is a tool's matter. A message may come in
//! pieces and then whole, or only whole; a reader tells each thing once, whichever way it came.

use std::collections::HashSet;

use serde_json::Value;

use crate::claude::stored::{Abandoned, Block, Message, Piece, Stored};

/// How much of a tool's input, or of what a run says, is shown in a line.
pub const LONGEST_LINE_CHARS: usize = 200;

/// Something that a run says or does.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// The answer grows by this text. It begins with an empty line where it is a paragraph of its own.
    Text(String),
    /// A passage of the answer is complete; its text, which has come before in one `Text` or several.
    Said(String),
    /// This text, the last that came, does not count: the model's answer was cut and is asked for again.
    Void(String),
    /// Thinking; empty where it begins.
    Thinking(String),
    /// A tool is about to be called; its input is not known yet.
    ToolBegins(String),
    /// A tool is called.
    Tool {
        /// Its name.
        name: String,
        /// Its input; null if that cannot be read.
        input: Value,
    },
    /// The API has failed and will be asked again.
    Retry {
        /// Which attempt is to come.
        attempt: u64,
    },
}

/// Reads a run's events from the first on, remembering what is open.
#[derive(Debug, Default)]
pub struct Reader {
    /// Whether any text was read.
    spoken: bool,
    /// Whether any was before the message that is being written.
    spoken_before: bool,
    /// The text of the message that is being written.
    message: String,
    /// Where in it each content block begins, by its index.
    blocks: Vec<(u64, usize)>,
    /// The block of text that is being written, its beginning in the message.
    passage: Option<usize>,
    /// Whether text of the message came in pieces.
    in_pieces: bool,
    /// A tool call whose input is being written.
    call: Option<Call>,
    /// Ids of the calls of this message that came in pieces.
    told: HashSet<String>,
}

#[derive(Debug)]
struct Call {
    id: Option<String>,
    name: String,
    input: String,
}

impl Reader {
    /// What whole lines of events add.
    pub fn read(&mut self, lines: &[u8]) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for event in Stored::of_lines(lines).filter(|event| event.parent_tool_use_id.is_none()) {
            match (event.kind.as_ref(), event.event, event.message) {
                ("stream_event", Some(piece), _) => {
                    self.piece(piece, &mut deltas);
                    deltas.extend(event.abandoned_blocks.and_then(|abandoned| self.abandon(abandoned)));
                }
                ("assistant", _, Some(message)) => self.whole(message, &mut deltas),
                ("system", ..) if event.subtype.as_deref() == Some("api_retry") => {
                    deltas.push(Delta::Retry { attempt: event.attempt.unwrap_or(1) });
                }
                _ => {}
            }
        }
        deltas
    }

    fn piece(&mut self, piece: Piece<'_>, deltas: &mut Vec<Delta>) {
        match (piece.kind.as_ref(), piece.content_block, piece.delta) {
            ("message_start", ..) => self.begin_message(),
            ("content_block_start", Some(block), _) => self.begin_block(piece.index, block, deltas),
            ("content_block_delta", _, Some(delta)) => {
                if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
                    self.say(text.into_owned(), deltas);
                } else if let Some(thought) = delta.thinking.filter(|thought| !thought.is_empty()) {
                    deltas.push(Delta::Thinking(thought.into_owned()));
                } else if let (Some(call), Some(part)) = (&mut self.call, delta.partial_json) {
                    call.input.push_str(&part);
                }
            }
            ("content_block_stop", ..) => self.end_block(deltas),
            _ => {}
        }
    }

    fn begin_message(&mut self) {
        self.spoken_before = self.spoken;
        self.message.clear();
        self.blocks.clear();
        self.told.clear();
        (self.passage, self.call, self.in_pieces) = (None, None, false);
    }

    fn begin_block(&mut self, index: u64, block: Block<'_>, deltas: &mut Vec<Delta>) {
        self.blocks.push((index, self.message.len()));
        match block.kind.as_ref() {
            "text" => {
                self.in_pieces = true;
                self.begin_passage(deltas);
            }
            "thinking" => deltas.push(Delta::Thinking(String::new())),
            "tool_use" => {
                let name = block.name.unwrap_or_default().into_owned();
                deltas.push(Delta::ToolBegins(name.clone()));
                self.call = Some(Call { id: block.id.map(Into::into), name, input: String::new() });
            }
            _ => {}
        }
    }

    fn end_block(&mut self, deltas: &mut Vec<Delta>) {
        if let Some(begin) = self.passage.take() {
            deltas
                .extend(self.message.get(begin..).filter(|text| !text.is_empty()).map(|text| Delta::Said(text.into())));
        }
        if let Some(call) = self.call.take() {
            self.told.extend(call.id);
            deltas.push(Delta::Tool { name: call.name, input: serde_json::from_str(&call.input).unwrap_or_default() });
        }
    }

    /// A message, or one block of it, in one piece.
    fn whole(&mut self, message: Message<'_>, deltas: &mut Vec<Delta>) {
        // What the CLI says in the model's place, an error of the API for one, is no answer; its result has it.
        if message.model.starts_with('<') {
            return;
        }
        for block in message.content {
            match (block.kind.as_ref(), block.text, block.name) {
                ("text", Some(text), _) if !self.in_pieces && !text.is_empty() => {
                    self.begin_passage(deltas);
                    self.say(text.clone().into_owned(), deltas);
                    self.passage = None;
                    deltas.push(Delta::Said(text.into_owned()));
                }
                ("tool_use", _, name) if !self.came_in_pieces(block.id.as_deref()) => {
                    let name = name.unwrap_or_default().into_owned();
                    deltas.push(Delta::Tool { name, input: block.input.unwrap_or_default() });
                }
                _ => {}
            }
        }
    }

    /// Whether the call of this id has come in pieces, or is coming.
    fn came_in_pieces(&self, id: Option<&str>) -> bool {
        let comes = self.call.as_ref().and_then(|call| call.id.as_deref());
        id.is_some_and(|id| self.told.contains(id) || comes == Some(id))
    }

    /// What was said before is a paragraph of its own.
    fn begin_passage(&mut self, deltas: &mut Vec<Delta>) {
        if self.spoken {
            self.say("\n\n".into(), deltas);
        }
        self.passage = Some(self.message.len());
    }

    fn say(&mut self, text: String, deltas: &mut Vec<Delta>) {
        self.spoken = true;
        self.message.push_str(&text);
        deltas.push(Delta::Text(text));
    }

    fn abandon(&mut self, abandoned: Abandoned) -> Option<Delta> {
        let from = self.blocks.iter().find(|(index, _)| *index >= abandoned.from_block_index).map(|(_, at)| *at)?;
        let void = self.message.split_off(from);
        self.blocks.retain(|(index, _)| *index < abandoned.from_block_index);
        self.spoken = self.spoken_before || !self.message.is_empty();
        (self.call, self.passage) = (None, None);
        (!void.is_empty()).then_some(Delta::Void(void))
    }
}

/// `Bash: ls -la`: what a person would call the call.
pub fn tool_line(name: &str, input: &Value) -> String {
    let telling = ["command", "file_path", "path", "pattern", "url", "query", "description", "prompt", "skill"];
    let shown = telling.iter().find_map(|key| input[*key].as_str());
    shown.map_or_else(|| name.to_owned(), |shown| format!("{name}: {}", one_line(shown)))
}

/// A text in a line, cut at [`LONGEST_LINE_CHARS`].
pub fn one_line(text: &str) -> String {
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
    use serde_json::json;

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
            Delta::Thinking(String::new()),
            Delta::Thinking("hm".into()),
            Delta::Text("I \"look\"".into()),
            Delta::ToolBegins("Bash".into()),
            Delta::Said("I \"look\"".into()),
            Delta::Tool { name: "Bash".into(), input: json!({"command": "ls\n -la"}) },
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
        let long = json!({"command": "é".repeat(300)});
        assert_eq!(tool_line("Bash", &long).chars().count(), "Bash: ".len() + LONGEST_LINE_CHARS + 1);
        assert_eq!(tool_line("Todo", &json!({"todos": []})), "Todo");
        assert_eq!(tool_line("Todo", &Value::Null), "Todo");
    }

    #[test]
    fn a_message_in_one_piece_is_told_as_one_in_many() {
        let events = [
            r#"{"type":"system","subtype":"init"}"#,
            r#"{"type":"assistant","parentToolUseId":null,"message":{"content":[{"type":"text","text":"Let me look."}]}}"#,
            r#"{"message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls"}}]},"type":"assistant"}"#,
            r#"{"type":"assistant","parentToolUseId":"t","message":{"content":[{"type":"text","text":"a sub-agent"}]}}"#,
            r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"\"assistant\""}]}}"#,
            r#"{"type":"system","subtype":"api_retry","attempt":2}"#,
            r#"{"type":"assistant","message":{"model":"<synthetic>","content":[{"type":"text","text":"API Error: 500"}]}}"#,
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"Done."}]}}"#,
            r#"{"type":"assistant","message":{"content":"#,
        ];
        let expected = [
            Delta::Text("Let me look.".into()),
            Delta::Said("Let me look.".into()),
            Delta::Tool { name: "Bash".into(), input: json!({"command": "ls"}) },
            Delta::Retry { attempt: 2 },
            Delta::Text("\n\n".into()),
            Delta::Text("Done.".into()),
            Delta::Said("Done.".into()),
        ];
        assert_eq!(Reader::default().read(events.join("\n").as_bytes()), expected);
    }

    /// The CLI repeats each block whole, before its pieces' end or after it.
    #[test]
    fn what_came_in_pieces_is_not_told_again() {
        let begin = event(r#"{"type":"content_block_start","index":0,"contentBlock":{"type":"text","text":""}}"#);
        let piece = event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#);
        let call = event(
            r#"{"type":"content_block_start","index":1,"contentBlock":{"type":"tool_use","id":"t1","name":"Read","input":{}}}"#,
        );
        let stop = |index: u64| event(&format!(r#"{{"type":"content_block_stop","index":{index}}}"#));
        let whole = |block: &str| {
            format!("{{\"type\":\"assistant\",\"parentToolUseId\":null,\"message\":{{\"content\":[{block}]}}}}\n")
        };
        let text = whole(r#"{"type":"text","text":"hi"}"#);
        let tool = whole(r#"{"type":"tool_use","id":"t1","name":"Read","input":{}}"#);
        let start = event(r#"{"type":"message_start"}"#);
        let first = [&start, &begin, &piece, &text, &stop(0), &call, &tool, &stop(1)].map(String::as_str).concat();
        let after = [&start, &begin, &piece, &stop(0), &text, &call, &stop(1), &tool].map(String::as_str).concat();
        let expected = [
            Delta::Text("hi".into()),
            Delta::Said("hi".into()),
            Delta::ToolBegins("Read".into()),
            Delta::Tool { name: "Read".into(), input: Value::Null },
        ];
        for lines in [first, after] {
            assert_eq!(Reader::default().read(lines.as_bytes()), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(one_line(&"ü".repeat(500)).chars().count(), LONGEST_LINE_CHARS + 1);
        assert_eq!(one_line(" \n "), "");
    }
}
