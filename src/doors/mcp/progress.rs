//! The CLI's events -> progress: a line for each thing the run says or does.

use serde_json::Value;

use crate::doors::openai::{one_line, tool_line};

/// The type of an event with a whole message of the model.
const MESSAGE: &[u8] = br#""assistant""#;

/// What whole lines of events tell. What a subagent does is its tool's matter.
pub(super) fn lines(events: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    for line in events.split(|&byte| byte == b'\n') {
        // Far cheaper than parsing the others, which can be long: a tool's result is in one.
        if !line.windows(MESSAGE.len()).any(|part| part == MESSAGE) {
            continue;
        }
        let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
        if event["type"] != "assistant" || !event["parentToolUseId"].is_null() {
            continue;
        }
        told.extend(event["message"]["content"].as_array().into_iter().flatten().filter_map(block));
    }
    told
}

fn block(block: &Value) -> Option<String> {
    match block["type"].as_str()? {
        "text" => Some(one_line(block["text"].as_str()?)).filter(|line| !line.is_empty()),
        "tool_use" => Some(tool_line(block["name"].as_str()?, &block["input"].to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::openai::LONGEST_LINE_CHARS;

    #[test]
    fn what_the_run_itself_says_and_does() {
        let events = [
            r#"{"type":"system","subtype":"init"}"#,
            r#"{"type":"assistant","parentToolUseId":null,"message":{"content":[{"type":"text","text":" Let me\n look. "}]}}"#,
            r#"{"message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","name":"Bash","input":{"command":"ls"}}]},"type":"assistant"}"#,
            r#"{"type":"assistant","parentToolUseId":"t","message":{"content":[{"type":"text","text":"a subagent"}]}}"#,
            r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"\"assistant\""}]}}"#,
            r#"{"type":"assistant","message":{"content":"#,
        ];
        assert_eq!(lines(events.join("\n").as_bytes()), ["Let me look.", "Bash: ls"]);
    }

    #[test]
    fn a_long_one_is_cut_at_a_character() {
        let said = |text: &str| block(&serde_json::json!({"type": "text", "text": text}));
        let line = said(&"ü".repeat(500)).unwrap();
        assert_eq!(line.chars().count(), LONGEST_LINE_CHARS + 1);
        assert_eq!(said(" \n "), None);
    }
}
