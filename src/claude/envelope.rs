//! JSON as claudebox prints it: the keys of the CLI's envelope in camelCase, the user's own JSON untouched.
//!
//! The predecessor renamed every key it met, so `user_name` in somebody's structured output became `userName`.

use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Tool results with more characters than this are cut in the verbose format.
pub const LONGEST_TOOL_RESULT_CHARS: usize = 2000;

/// Values that belong to the user or to a tool: nothing below them is renamed.
const OPAQUE: [&str; 6] =
    ["input", "tool_input", "structured_output", "rejected_output", "tool_use_result", "input_schema"];
/// Objects whose keys are data (model and agent names): their keys stay, what is below is ours again.
const KEYED_BY_DATA: [&str; 3] = ["modelUsage", "model_usage_since_last_result", "by_type"];

/// An event or result of the CLI with our keys in camelCase.
pub fn camel_case(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(camel_case_object(object)),
        Value::Array(items) => items.iter().map(camel_case).collect(),
        other => other.clone(),
    }
}

fn camel_case_object(object: &Map<String, Value>) -> Map<String, Value> {
    let is_tool_result = object.get("type").and_then(Value::as_str) == Some("tool_result");
    let convert = |(key, value): (&String, &Value)| {
        let value = match key.as_str() {
            key if OPAQUE.contains(&key) => value.clone(),
            "content" if is_tool_result => value.clone(),
            key if KEYED_BY_DATA.contains(&key) => camel_case_values(value),
            _ => camel_case(value),
        };
        (camel_case_key(key), value)
    };
    object.iter().map(convert).collect()
}

fn camel_case_values(value: &Value) -> Value {
    match value {
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), camel_case(value))).collect(),
        other => camel_case(other),
    }
}

/// `total_cost_usd` to `totalCostUsd`. Leading underscores and keys without any stay as they are.
fn camel_case_key(key: &str) -> String {
    let body = key.trim_start_matches('_');
    let mut name = key[..key.len() - body.len()].to_owned();
    let mut words = body.split('_').filter(|word| !word.is_empty());
    name.push_str(words.next().unwrap_or_default());
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    name
}

/// The result of a run that has none of the CLI's: `outcome` and `why` say how it ended instead.
pub fn without_result(run: Uuid, workspace: &Path, outcome: &str, why: &str) -> Value {
    serde_json::json!({
        "type": "result", "subtype": "error_no_result", "isError": true, "outcome": outcome, "result": null,
        "errors": [why], "sessionId": null, "runId": run, "workspace": workspace, "leftoverProcesses": 0,
    })
}

/// One assistant message's turn in the verbose format: its texts and tool calls, the calls' input as it came.
pub fn assistant_turn(content: &[Value]) -> Option<Value> {
    let pick = |kind: &str, keys: &[&str]| -> Vec<Value> {
        let blocks = content.iter().filter(|block| block["type"] == kind);
        blocks.map(|block| keys.iter().map(|&key| (key.to_owned(), block[key].clone())).collect()).collect()
    };
    let mut parts = pick("text", &["type", "text"]);
    parts.extend(pick("tool_use", &["type", "id", "name", "input"]));
    (!parts.is_empty()).then(|| serde_json::json!({"role": "assistant", "content": parts}))
}

/// One tool results' turn in the verbose format; long results are cut and say how long they were.
pub fn tool_result_turn(content: &[Value]) -> Option<Value> {
    let results = content.iter().filter(|block| block["type"] == "tool_result");
    let parts: Vec<Value> = results.map(tool_result).collect();
    (!parts.is_empty()).then(|| serde_json::json!({"role": "tool_result", "content": parts}))
}

fn tool_result(block: &Value) -> Value {
    let text = result_text(&block["content"]);
    let total_length = text.chars().count();
    let mut part = serde_json::json!({
        "type": "tool_result",
        "toolUseId": block["tool_use_id"],
        "isError": block["is_error"].as_bool().unwrap_or(false),
    });
    if total_length > LONGEST_TOOL_RESULT_CHARS {
        part["content"] = text.chars().take(LONGEST_TOOL_RESULT_CHARS).collect::<String>().into();
        part["truncated"] = true.into();
        part["totalLength"] = total_length.into();
        part["sha256"] = hex(&Sha256::digest(text.as_bytes())).into();
    } else {
        part["content"] = text.into();
    }
    part
}

/// A tool result's text: the string itself, or the text blocks of a list; a list without text (an image) as JSON.
fn result_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(blocks) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
            if texts.is_empty() { content.to_string() } else { texts.join("\n") }
        }
        other => other.to_string(),
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("session_id", "sessionId")]
    #[case("ephemeral_1h_input_tokens", "ephemeral1hInputTokens")]
    #[case("modelUsage", "modelUsage")]
    #[case("costUSD", "costUSD")]
    #[case("_private_key", "_privateKey")]
    #[case("__", "__")]
    #[case("", "")]
    fn renames_keys(#[case] key: &str, #[case] expected: &str) {
        assert_eq!(camel_case_key(key), expected);
    }

    #[test]
    fn the_users_own_json_is_untouched() {
        let theirs = json!({"user_name": "x", "nested_list": [{"a_b": 1}]});
        let result = json!({
            "session_id": "s",
            "structured_output": theirs,
            "permission_denials": [{"tool_name": "Bash", "tool_input": theirs}],
            "modelUsage": {"vendor_model_x": {"input_tokens": 1}},
            "tool_use_result": theirs,
            "message": {"content": [
                {"type": "tool_use", "input": theirs},
                {"type": "tool_result", "tool_use_id": "t", "content": [theirs]},
            ]},
        });
        let expected = json!({
            "sessionId": "s",
            "structuredOutput": theirs,
            "permissionDenials": [{"toolName": "Bash", "toolInput": theirs}],
            "modelUsage": {"vendor_model_x": {"inputTokens": 1}},
            "toolUseResult": theirs,
            "message": {"content": [
                {"type": "tool_use", "input": theirs},
                {"type": "tool_result", "toolUseId": "t", "content": [theirs]},
            ]},
        });
        assert_eq!(camel_case(&result), expected);
    }

    #[test]
    fn a_long_tool_result_is_cut_and_says_so() {
        let long = "é".repeat(LONGEST_TOOL_RESULT_CHARS + 1);
        let turn = tool_result_turn(&[json!({"type": "tool_result", "tool_use_id": "t", "content": long})]).unwrap();
        let part = &turn["content"][0];
        assert_eq!(part["content"].as_str().unwrap().chars().count(), LONGEST_TOOL_RESULT_CHARS);
        assert_eq!(part["totalLength"], 2001);
        assert_eq!(part["truncated"], true);
        // What sha256sum says of 2001 times U+00E9 in UTF-8.
        assert_eq!(part["sha256"], "a8a45856ee9ad9fc1eb6f5dd6883ba5b81719e88b2e40ca1913ea7f246898a80");
    }

    #[test]
    fn a_tool_result_of_just_the_limit_is_whole() {
        let text = "x".repeat(LONGEST_TOOL_RESULT_CHARS);
        let turn = tool_result_turn(&[json!({"type": "tool_result", "content": text, "is_error": true})]).unwrap();
        assert_eq!(
            turn["content"][0],
            json!({"type": "tool_result", "toolUseId": null, "isError": true, "content": text})
        );
    }

    #[test]
    fn text_blocks_of_a_result_are_joined() {
        let content = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(result_text(&content), "a\nb");
        assert_eq!(hex(&Sha256::digest(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    proptest! {
        /// Renaming twice is renaming once: a consumer that feeds our output back gets it unchanged.
        #[test]
        fn renaming_keys_is_idempotent(key in "[a-zA-Z0-9_]{0,20}") {
            let once = camel_case_key(&key);
            prop_assert_eq!(camel_case_key(&once), once);
        }
    }
}
