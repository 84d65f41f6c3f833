//! A chat completion, whole.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::doors::openai::answer::Answer;
use crate::doors::openai::usage::TokenUsage;

/// The completion of an answer. `older`: a call is told as clients of `functions` know it.
pub(super) fn completion(answer: &Answer, model: &str, older: bool) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null, "annotations": []});
    if let Some(name) = &answer.call {
        message["content"] = Value::Null;
        let function = json!({"name": name, "arguments": answer.text});
        if older {
            message["function_call"] = function;
        } else {
            message["tool_calls"] = json!([{"id": answer.call_id(), "type": "function", "function": function}]);
        }
    }
    json!({
        "id": id(&answer.run.id),
        "object": "chat.completion",
        "created": answer.run.created_at / 1000,
        "model": model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(answer, older),
        }],
        "usage": TokenUsage::of(answer).chat(),
        "claudebox": answer.about(),
    })
}

/// The id of the completion.
pub(super) fn id(run: &Uuid) -> String {
    format!("chatcmpl-{}", run.simple())
}

/// Why the answer ends, in OpenAI's words.
pub(super) fn finish_reason(answer: &Answer, older: bool) -> &'static str {
    match (&answer.call, older) {
        (Some(_), true) => "function_call",
        (Some(_), false) => "tool_calls",
        (None, _) => reason_of(answer.result()),
    }
}

fn reason_of(result: &Value) -> &'static str {
    match result["stopReason"].as_str() {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("refusal") => "content_filter",
        _ => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openais_reasons_come_out() {
        for (stop, reason) in
            [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter"), ("x", "stop")]
        {
            assert_eq!(reason_of(&json!({"stopReason": stop})), reason);
        }
        assert_eq!(reason_of(&json!({})), "stop");
    }
}
