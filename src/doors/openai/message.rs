//! JSON of messages -> messages: both protocols' ways to say who said what.

use serde_json::Value;

use crate::desk::refusal::Refusal;
use crate::doors::web::problem::Problem;

/// Longest text of a field of an item that is told as it is: a longer one is an image, or a result of a search.
const LONGEST_TOLD_BYTES: usize = 100_000;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Whoever set the conversation up: `system`, `developer`, or `instructions`.
    System,
    User,
    Assistant,
    /// A tool of the client's.
    Tool,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) role: Role,
    /// Which of several participants of this role it is.
    pub(super) name: Option<String>,
    pub(super) parts: Vec<Part>,
    /// Where it stood in the request, for errors: `messages[2]`.
    pub(super) at: String,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// An image.
    Image {
        /// Its URL: `data:`, `http:` or `https:`.
        url: String,
        /// Where it stood in the request, for errors.
        at: String,
    },
    /// A file.
    File {
        name: Option<String>,
        /// Its contents as a data URL, or the address they are at.
        data: String,
        /// Where it stood in the request, for errors.
        at: String,
    },
    /// A content block that an earlier run was given.
    Block(Value),
}

impl Message {
    /// A message of one text.
    pub(super) fn text(role: Role, text: impl Into<String>, at: &str) -> Self {
        Self { role, name: None, parts: vec![Part::Text(text.into())], at: at.to_owned() }
    }
}

/// The messages of a `messages` list.
pub(super) fn of_chat(messages: &[Value]) -> Result<Vec<Message>, Problem> {
    messages.iter().enumerate().map(|(index, message)| chat_message(message, &format!("messages[{index}]"))).collect()
}

fn chat_message(message: &Value, at: &str) -> Result<Message, Problem> {
    let role = match message["role"].as_str() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => Role::Tool,
        _ => {
            let allowed = ["system", "developer", "user", "assistant", "tool"];
            let why = format!("{} is not allowed, only {}", shown(&message["role"]), allowed.join(", "));
            return Err(invalid(&format!("{at}.role"), &why).with("allowed", allowed.to_vec()));
        }
    };
    let mut parts = content(&message["content"], &format!("{at}.content"))?;
    if let (Role::Assistant, Some(refusal)) = (role, message["refusal"].as_str()) {
        parts.push(Part::Text(refusal.to_owned()));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten().chain(message.get("function_call")) {
        let function = if call["function"].is_object() { &call["function"] } else { call };
        if function.is_object() {
            parts.push(Part::Text(tool_call(&call["id"], &function["name"], &function["arguments"])));
        }
    }
    let mut name = message["name"].as_str().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    if role == Role::Tool {
        parts = tool_result(message["tool_call_id"].as_str().or(name.as_deref()), parts);
        name = None;
    }
    Ok(Message { role, name, parts, at: at.to_owned() })
}

/// The messages of an `input`: a text, or a list of items.
pub(super) fn of_responses(input: &Value) -> Result<Vec<Message>, Problem> {
    match input {
        Value::String(text) => Ok(vec![Message::text(Role::User, text, "input")]),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let messages = items.map(|(index, item)| item_message(item, &format!("input[{index}]")));
            Ok(messages.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        other => Err(invalid("input", &format!("a text or a list of items is allowed, not {}", shown(other)))),
    }
}

/// What an item says. What is only there for a client or for OpenAI's own servers says nothing here.
fn item_message(item: &Value, at: &str) -> Result<Option<Message>, Problem> {
    let said = |role, text: String| Ok(Some(Message::text(role, text, at)));
    let Some(kind) = item["type"].as_str() else { return chat_message(item, at).map(Some) };
    match kind {
        "message" => chat_message(item, at).map(Some),
        "function_call" | "custom_tool_call" => {
            let arguments = if item["arguments"].is_null() { &item["input"] } else { &item["arguments"] };
            said(Role::Assistant, tool_call(&item["call_id"], &item["name"], arguments))
        }
        "function_call_output" | "custom_tool_call_output" => {
            let parts = content(&item["output"], &format!("{at}.output"))?;
            let parts = tool_result(item["call_id"].as_str(), parts);
            Ok(Some(Message { role: Role::Tool, name: None, parts, at: at.to_owned() }))
        }
        // What a model thought is not said again, and what is encrypted cannot be read.
        "reasoning" | "compaction" | "compaction_trigger" | "item_reference" => Ok(None),
        // Calls and outputs of other tools, lists of tools, approvals: whatever OpenAI adds next is one of them.
        kind => {
            let role = if kind.ends_with("_output") { Role::Tool } else { Role::Assistant };
            said(role, format!("<item type={kind:?}>\n{}\n</item>", without_data(item)))
        }
    }
}

/// An item's fields, those left out that no model reads as text.
fn without_data(item: &Value) -> Value {
    match item {
        Value::Object(fields) => {
            let left_out = ["type", "id", "status", "encrypted_content"];
            let told = fields.iter().filter(|(key, value)| !left_out.contains(&key.as_str()) && !value.is_null());
            told.filter(|(_, value)| !is_data(value)).map(|(key, value)| (key.clone(), without_data(value))).collect()
        }
        Value::Array(items) => items.iter().filter(|value| !is_data(value)).map(without_data).collect(),
        other => other.clone(),
    }
}

fn is_data(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() > LONGEST_TOLD_BYTES || text.starts_with("data:"))
}

fn content(content: &Value, at: &str) -> Result<Vec<Part>, Problem> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Part::Text(text.clone())]),
        Value::Array(parts) => {
            parts.iter().enumerate().map(|(index, item)| part(item, &format!("{at}[{index}]"))).collect()
        }
        other => Err(invalid(at, &format!("a text, a list of parts or null is allowed, not {}", shown(other)))),
    }
}

fn part(part: &Value, at: &str) -> Result<Part, Problem> {
    let text = |key: &str| {
        let text = part[key].as_str().map(str::to_owned);
        text.ok_or_else(|| invalid(&format!("{at}.{key}"), &format!("a text is needed, not {}", shown(&part[key]))))
    };
    match part["type"].as_str() {
        Some("text" | "input_text" | "output_text") => text("text").map(Part::Text),
        Some("refusal") => text("refusal").map(Part::Text),
        Some("image_url" | "input_image") => {
            // Chat Completions has {"image_url": {"url"}}, Responses {"image_url": "..."}; clients mix them up.
            let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str());
            let why = "the image's URL is needed: data:image/png;base64,..., http:// or https://";
            let at = format!("{at}.image_url");
            let url = url.ok_or_else(|| invalid(&at, why))?;
            Ok(Part::Image { url: url.to_owned(), at })
        }
        Some("file" | "input_file") => {
            let file = if part["file"].is_object() { &part["file"] } else { part };
            let data = file["file_data"].as_str().or(file["file_url"].as_str());
            let name = file["filename"].as_str().map(str::to_owned);
            let why = "the file's contents are needed as file_data, a data URL, or their address as file_url; files \
                       that were uploaded to OpenAI (file_id) are not there";
            let nested = if part["file"].is_object() { ".file" } else { "" };
            let field = if data.is_some() && file["file_data"].is_null() { "file_url" } else { "file_data" };
            let at = format!("{at}{nested}.{field}");
            let data = data.ok_or_else(|| invalid(&at, why))?;
            Ok(Part::File { name, data: data.to_owned(), at })
        }
        other => {
            let allowed = ["text", "image_url", "file", "input_text", "output_text", "input_image", "input_file"];
            let what = other.map_or_else(|| shown(&part["type"]), |kind| format!("{kind:?}"));
            let why = format!("{what} is not allowed, only {}", allowed.join(", "));
            Err(invalid(&format!("{at}.type"), &why).with("allowed", allowed.to_vec()))
        }
    }
}

pub(super) fn tool_call(id: &Value, name: &Value, arguments: &Value) -> String {
    let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
    let (id, name) = (id.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
    format!("<tool_call id={id:?} name={name:?}>\n{arguments}\n</tool_call>")
}

fn tool_result(id: Option<&str>, parts: Vec<Part>) -> Vec<Part> {
    let opening = Part::Text(format!("<tool_result id={:?}>", id.unwrap_or_default()));
    let closing = Part::Text("</tool_result>".into());
    std::iter::once(opening).chain(parts).chain(std::iter::once(closing)).collect()
}

/// A value in an error: short.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string().chars().take(80).collect(),
    }
}

pub(super) fn invalid(field: &str, why: &str) -> Problem {
    Refusal::of_named("field", "invalid_field", field, why).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn every_kind_of_message_is_read() {
        let messages = of_chat(&[
            json!({"role": "developer", "content": "be brief"}),
            json!({"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}},
            ]}),
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            ]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": "42"}),
        ])
        .unwrap();
        let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
        let image =
            Part::Image { url: "data:image/png;base64,AA==".into(), at: "messages[1].content[1].image_url".into() };
        assert_eq!(messages[1].parts[1], image);
        assert_eq!(messages[2].parts, [Part::Text("<tool_call id=\"c1\" name=\"f\">\n{\"a\":1}\n</tool_call>".into())]);
        assert_eq!(messages[3].parts.len(), 3);
    }

    #[test]
    fn items_of_responses_are_the_same() {
        let items = json!([
            {"role": "user", "content": [
                {"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "https://e.example/i.png"},
            ]},
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ho", "annotations": []}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ]);
        let messages = of_responses(&items).unwrap();
        let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::Assistant, Role::Tool]);
        assert_eq!(of_responses(&json!("hi")).unwrap(), [Message::text(Role::User, "hi", "input")]);
    }

    #[rstest]
    #[case::search(json!({"type": "web_search_call", "id": "ws", "status": "completed", "action": {"query": "x"}}), Some("{\"action\":{\"query\":\"x\"}}"))]
    #[case::tools(json!({"type": "mcp_list_tools", "id": "m", "server_label": "s", "tools": []}), Some("{\"server_label\":\"s\",\"tools\":[]}"))]
    #[case::image(json!({"type": "image_generation_call", "id": "i", "result": "A".repeat(200_000)}), Some("{}"))]
    #[case::output(json!({"type": "local_shell_call_output", "id": "l", "output": "ok"}), Some("{\"output\":\"ok\"}"))]
    #[case::next_year(json!({"type": "telepathy_call", "thought": 1}), Some("{\"thought\":1}"))]
    #[case::compaction(json!({"type": "compaction", "encrypted_content": "x"}), None)]
    #[case::reasoning(json!({"type": "reasoning", "summary": []}), None)]
    fn no_item_is_refused_for_its_type(#[case] item: Value, #[case] told: Option<&str>) {
        let messages = of_responses(&json!([item])).unwrap();
        let expected = told.map(|told| format!("<item type={:?}>\n{told}\n</item>", item["type"].as_str().unwrap()));
        let said = messages.first().map(|message| message.parts.clone());
        assert_eq!(said, expected.map(|text| vec![Part::Text(text)]));
    }

    #[rstest]
    #[case(json!({"role": "robot", "content": "x"}), "messages[0].role")]
    #[case(json!({"content": "x"}), "messages[0].role")]
    #[case(json!({"role": "user", "content": 5}), "messages[0].content")]
    #[case(json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}), "messages[0].content[0].type")]
    #[case(json!({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text")]
    #[case(json!({"role": "user", "content": [{"type": "image_url"}]}), "messages[0].content[0].image_url")]
    #[case(json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}), "messages[0].content[0].file.file_data")]
    #[case(json!(5), "messages[0].role")]
    fn a_fault_is_named(#[case] message: Value, #[case] field: &str) {
        let problem = of_chat(&[message]).unwrap_err();
        assert!(problem.detail().starts_with(&format!("{field}: ")), "{}", problem.detail());
    }
}
