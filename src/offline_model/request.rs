//! What of a Messages API request the offline model goes by.
//!
//! Read from loose JSON rather than into a full model of the API: the CLI's requests gain fields with every version,
//! and none of the new ones may stop an answer.

use serde_json::Value;

use super::blocks::blocks;
use super::tokens::Tokens;

/// The tool the CLI offers for `--json-schema`.
pub(super) const SCHEMA_TOOL: &str = "StructuredOutput";

/// How the CLI's reminder to call [`SCHEMA_TOOL`] starts; it comes as if the user had typed it.
const NUDGE: &str = "[structured-output-enforce]";

/// How the CLI's line about an image starts.
const IMAGE_NOTE: &str = "[Image: ";

const REMINDER: (&str, &str) = ("<system-reminder>", "</system-reminder>");

#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct MessagesRequest {
    pub(super) model: String,
    pub(super) stream: bool,
    /// What the user said last, without the CLI's additions. Empty when there were only images, and when the CLI
    /// asked for the turn itself: it does when a background task ends.
    pub(super) prompt: String,
    /// The index of the message that holds the prompt: with the session, it names one turn of one conversation.
    pub(super) prompt_at: usize,
    /// Images in the last message of the user.
    pub(super) images: usize,
    /// The tools' results newer than the prompt, oldest first.
    pub(super) outcomes: Vec<ToolResult>,
    /// The CLI has reminded us to call [`SCHEMA_TOOL`].
    pub(super) nudged: bool,
    pub(super) offers_bash: bool,
    pub(super) offers_wakeups: bool,
    /// The name of the tool that starts sub-agents, if it is offered: it has changed between versions of the CLI.
    pub(super) agent_tool: Option<&'static str>,
    /// What the CLI said of background work that has ended, since the prompt, oldest first.
    pub(super) notices: Vec<Notice>,
    pub(super) wanted: Option<Wanted>,
    pub(super) tokens: Tokens,
}

/// What became of background work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// The CLI's line about it.
    pub(super) summary: String,
    /// A sub-agent's report; empty for a shell.
    pub(super) report: String,
}

/// What a tool call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolResult {
    /// Empty when the conversation does not hold the call.
    pub(super) tool: String,
    pub(super) text: String,
    pub(super) failed: bool,
}

/// The form the answer must have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// A call of [`SCHEMA_TOOL`] with an instance of this schema.
    ToolCall(Value),
    /// A text that is an instance of this schema.
    JsonText(Value),
}

/// The request is not one that the Messages API would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("messages: a list with at least one message of the user is required")]
    NoUserMessage,
}

impl MessagesRequest {
    pub(super) fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
        Self::from_value(&body)
    }

    pub(super) fn from_value(body: &Value) -> Result<Self, Malformed> {
        let messages = body["messages"].as_array().ok_or(Malformed::NoUserMessage)?;
        let last = messages.iter().rposition(is_users).ok_or(Malformed::NoUserMessage)?;
        let mut turn = Turn::read(messages, last);
        if notices(&messages[last]).next().is_some() {
            // The CLI began this turn to report. Results in the same message are of the turn before.
            turn = Turn { prompt_at: last, ..Turn::default() };
        }
        Ok(Self {
            model: body["model"].as_str().unwrap_or("claude-offline").to_owned(),
            stream: body["stream"].as_bool().unwrap_or(false),
            prompt: turn.prompt,
            prompt_at: turn.prompt_at,
            images: blocks(&messages[last]).filter(|block| block["type"] == "image").count(),
            outcomes: turn.outcomes,
            nudged: turn.nudged,
            offers_bash: tool(body, "Bash").is_some(),
            offers_wakeups: tool(body, "ScheduleWakeup").is_some(),
            agent_tool: ["Agent", "Task"].into_iter().find(|name| tool(body, name).is_some()),
            notices: since_prompt(messages).iter().filter(|message| is_users(message)).flat_map(notices).collect(),
            wanted: wanted(body),
            tokens: Tokens::of(body),
        })
    }
}

/// The newest prompt, and what has come since.
#[derive(Default)]
struct Turn {
    prompt: String,
    prompt_at: usize,
    outcomes: Vec<ToolResult>,
    nudged: bool,
}

impl Turn {
    fn read(messages: &[Value], last: usize) -> Self {
        let mut turn = Self { prompt_at: last, ..Self::default() };
        let newest_first: Vec<&Value> = blocks(&messages[last]).collect();
        for block in newest_first.into_iter().rev() {
            match prompt_text(block) {
                Some(text) if text.starts_with(NUDGE) => turn.nudged = true,
                Some(text) => {
                    // Text after a tool's result is a new prompt: the user interrupted the tool and went on.
                    turn.prompt = text;
                    break;
                }
                None if block["type"] == "tool_result" => {
                    turn.outcomes.insert(0, outcome(block, messages));
                }
                None => {}
            }
        }
        if turn.prompt.is_empty() && (turn.nudged || !turn.outcomes.is_empty()) {
            turn.look_back(&messages[..last]);
        }
        turn
    }

    fn look_back(&mut self, earlier: &[Value]) {
        let prompts = earlier.iter().enumerate().rev().filter(|(_, message)| is_users(message));
        for (index, message) in prompts {
            let texts = blocks(message).filter_map(prompt_text);
            if let Some(text) = texts.filter(|text| !text.starts_with(NUDGE)).last() {
                self.prompt = text;
                self.prompt_at = index;
                return;
            }
        }
    }
}

/// The messages from the one on that holds the newest prompt.
fn since_prompt(messages: &[Value]) -> &[Value] {
    let is_prompt = |message: &Value| is_users(message) && blocks(message).any(|block| prompt_text(block).is_some());
    &messages[messages.iter().rposition(is_prompt).unwrap_or_default()..]
}

/// The notices in a message: the CLI puts each into a reminder of its own.
fn notices(message: &Value) -> impl Iterator<Item = Notice> {
    let texts = blocks(message).filter_map(|block| block.as_str().or_else(|| block["text"].as_str()));
    let notice = |text: &str| {
        let body = between(text, "<task-notification>", "</task-notification>")?;
        Some(Notice {
            summary: between(body, "<summary>", "</summary>")?.to_owned(),
            report: between(body, "<result>", "</result>").unwrap_or_default().to_owned(),
        })
    };
    texts.filter(|text| text.contains(REMINDER.0)).filter_map(notice)
}

fn between<'text>(text: &'text str, open: &str, close: &str) -> Option<&'text str> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0.trim())
}

fn is_users(message: &Value) -> bool {
    message["role"] == "user"
}

/// The text the user typed in a block, if there is any.
fn prompt_text(block: &Value) -> Option<String> {
    let text = match block {
        Value::String(text) => text,
        _ if block["type"] == "text" => block["text"].as_str()?,
        _ => return None,
    };
    let text = without_reminders(text);
    let text = text.trim();
    // The CLI's own words about where it has put an image.
    if text.lines().all(|line| line.starts_with(IMAGE_NOTE)) {
        return None;
    }
    (!text.is_empty()).then(|| text.to_owned())
}

/// An opening tag without its closing one is the user's own text and stays.
fn without_reminders(text: &str) -> String {
    let (open, close) = REMINDER;
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        let Some(length) = rest[start..].find(close) else {
            break;
        };
        kept.push_str(&rest[..start]);
        rest = &rest[start + length + close.len()..];
    }
    kept.push_str(rest);
    kept
}

fn outcome(result: &Value, messages: &[Value]) -> ToolResult {
    let text = match &result["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    };
    ToolResult {
        tool: called_tool(messages, &result["tool_use_id"]).unwrap_or_default().to_owned(),
        text: without_reminders(&text).trim().to_owned(),
        failed: result["is_error"].as_bool().unwrap_or(false),
    }
}

fn called_tool<'a>(messages: &'a [Value], id: &Value) -> Option<&'a str> {
    let mut calls = messages.iter().rev().flat_map(blocks);
    let call = calls.find(|block| block["type"] == "tool_use" && block["id"] == *id)?;
    call["name"].as_str()
}

fn tool<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body["tools"].as_array()?.iter().find(|tool| tool["name"] == name)
}

fn wanted(body: &Value) -> Option<Wanted> {
    if let Some(tool) = tool(body, SCHEMA_TOOL) {
        return Some(Wanted::ToolCall(tool["input_schema"].clone()));
    }
    let formats = [&body["output_config"]["format"], &body["output_format"]];
    let format = formats.into_iter().find(|format| format["type"] == "json_schema")?;
    Some(Wanted::JsonText(format["schema"].clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    fn read(messages: &Value) -> MessagesRequest {
        MessagesRequest::from_value(&json!({ "messages": messages })).unwrap()
    }

    #[rstest]
    #[case::plain_string(json!([{"role": "user", "content": " hello\n"}]), "hello")]
    #[case::last_block(json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]), "b")]
    #[case::reminder_after(json!([{"role": "user", "content": [
        {"type": "text", "text": "typed"}, {"type": "text", "text": "<system-reminder>x</system-reminder>\n"}]}]), "typed")]
    #[case::reminder_inside(json!([{"role": "user", "content": "a <system-reminder>x</system-reminder>b"}]), "a b")]
    #[case::unclosed_stays(json!([{"role": "user", "content": "a <system-reminder> b"}]), "a <system-reminder> b")]
    #[case::system_message_after(json!([
        {"role": "user", "content": "typed"}, {"role": "system", "content": "# Environment"}]), "typed")]
    #[case::image_only(json!([
        {"role": "user", "content": "older"}, {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "image", "source": {}}]}]), "")]
    fn the_prompt_is_what_was_typed_last(#[case] messages: Value, #[case] prompt: &str) {
        assert_eq!(read(&messages).prompt, prompt);
    }

    fn tool_turn(after: &Value) -> Value {
        let mut content =
            vec![json!({"type": "tool_result", "tool_use_id": "t1", "content": "hi\n", "is_error": false})];
        content.extend(after.as_array().unwrap().iter().cloned());
        json!([
            {"role": "user", "content": "offline:tool echo hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]},
            {"role": "user", "content": content},
        ])
    }

    #[test]
    fn a_tool_result_belongs_to_the_prompt_before_it() {
        let request = read(&tool_turn(&json!([])));
        assert_eq!((request.prompt.as_str(), request.prompt_at), ("offline:tool echo hi", 0));
        let outcome = ToolResult { tool: "Bash".into(), text: "hi".into(), failed: false };
        assert_eq!(request.outcomes, [outcome]);
    }

    #[test]
    fn text_after_a_tool_result_is_a_new_prompt() {
        let request = read(&tool_turn(&json!([{"type": "text", "text": "something else"}])));
        assert_eq!((request.prompt.as_str(), request.prompt_at), ("something else", 2));
        assert_eq!(request.outcomes, []);
    }

    #[test]
    fn the_nudge_is_not_the_users_prompt() {
        let request = read(&json!([
            {"role": "user", "content": "offline:no-schema hi"},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": [{"type": "text", "text": "[structured-output-enforce] You MUST call it."}]},
        ]));
        assert_eq!((request.prompt.as_str(), request.nudged), ("offline:no-schema hi", true));
    }

    #[rstest]
    #[case::tool(json!({"tools": [{"name": "StructuredOutput", "input_schema": {"type": "object"}}]}),
        Some(Wanted::ToolCall(json!({"type": "object"}))))]
    #[case::text(json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}), Some(Wanted::JsonText(json!({}))))]
    #[case::other_tools(json!({"tools": [{"name": "Bash"}], "output_config": {"effort": "medium"}}), None)]
    fn the_wanted_form_is_read(#[case] fields: Value, #[case] wanted: Option<Wanted>) {
        let mut body = fields;
        body["messages"] = json!([{"role": "user", "content": "x"}]);
        assert_eq!(MessagesRequest::from_value(&body).unwrap().wanted, wanted);
    }

    #[rstest]
    #[case(json!({}))]
    #[case(json!([]))]
    #[case(json!({"messages": []}))]
    #[case(json!({"messages": [{"role": "assistant", "content": "x"}]}))]
    fn a_request_without_a_user_is_refused(#[case] body: Value) {
        assert_eq!(MessagesRequest::from_value(&body), Err(Malformed::NoUserMessage));
    }

    #[test]
    fn a_notice_about_background_work_is_read_and_is_no_prompt() {
        let notice = "<system-reminder>\nNOT USER INPUT\n<task-notification>\n<task-id>a</task-id>\n\
                      <summary>Agent \"x\" finished</summary>\n<result>done</result>\n</task-notification>\n\
                      </system-reminder>";
        let request = read(&json!([
            {"role": "user", "content": "offline:agent x"},
            {"role": "assistant", "content": "started"},
            {"role": "user", "content": [{"type": "tool_result", "content": "old"}, {"type": "text", "text": notice}]},
        ]));
        assert_eq!((request.prompt.as_str(), request.outcomes.as_slice()), ("", [].as_slice()));
        assert_eq!(request.notices, [Notice { summary: "Agent \"x\" finished".into(), report: "done".into() }]);
    }

    #[test]
    fn images_do_not_count_as_text() {
        let image = json!({"type": "image", "source": {"type": "base64", "data": "A".repeat(4000)}});
        let request = read(&json!([{"role": "user", "content": [image]}]));
        assert_eq!(request.images, 1);
        assert!(request.tokens.total() < 20, "{:?}", request.tokens);
    }

    proptest! {
        #[test]
        fn stripping_reminders_keeps_everything_else(before in "[a-z<> ]{0,20}", inside in "[a-z]{0,20}", after in "[a-z ]{0,20}") {
            let text = format!("{before}<system-reminder>{inside}</system-reminder>{after}");
            prop_assert_eq!(without_reminders(&text), format!("{before}{after}"));
        }
    }
}
