//! Items of a response, and ids.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::doors::openai::answer::Answer;

/// How the id of a response begins, that of a message, and that of a call.
pub(super) const RESPONSE: &str = "resp_";
pub(super) const MESSAGE: &str = "msg_";
pub(super) const CALL: &str = "fc_";

pub(super) fn response_id(run: Uuid) -> String {
    format!("{RESPONSE}{}", run.simple())
}

pub(super) fn message_id(run: Uuid) -> String {
    format!("{MESSAGE}{}", run.simple())
}

pub(super) fn message_item(run: Uuid, status: &str, content: &Value) -> Value {
    json!({"type": "message", "id": message_id(run), "status": status, "role": "assistant", "content": content})
}

pub(super) fn call_item(answer: &Answer, name: &str, status: &str, arguments: &str) -> Value {
    json!({
        "type": "function_call", "id": call_item_id(answer.run.id), "call_id": answer.call_id(), "name": name,
        "arguments": arguments, "status": status,
    })
}

pub(super) fn call_item_id(run: Uuid) -> String {
    format!("{CALL}{}", run.simple())
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
