//! A response, which says again what of its request it has.

use serde_json::{Value, json};
use uuid::Uuid;

use super::items::{call_item, message_item, response_id, text_part};
use crate::doors::openai::answer::Answer;
use crate::doors::openai::usage::TokenUsage;
use crate::doors::web::problem::Problem;

/// What of a request its response says again.
pub(super) struct Echo {
    pub(super) model: String,
    pub(super) instructions: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) format: Value,
    pub(super) effort: Option<String>,
    pub(super) metadata: Value,
    pub(super) store: bool,
}

impl Echo {
    /// A response that stands at `status`.
    pub(super) fn response(&self, run: Uuid, created_at: i64, status: &str, output: &Value, usage: &Value) -> Value {
        json!({
            "id": response_id(run),
            "object": "response",
            "created_at": created_at,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": self.instructions,
            "max_output_tokens": null,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": self.previous,
            "reasoning": {"effort": self.effort, "summary": null},
            "store": self.store,
            "temperature": null,
            "text": {"format": self.format},
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": usage,
            "metadata": self.metadata,
        })
    }

    /// The response of an answer.
    pub(super) fn completed(&self, answer: &Answer) -> Value {
        let result = answer.result();
        let output = match &answer.call {
            Some(name) => json!([call_item(answer, name, "completed", &answer.text)]),
            None => json!([message_item(answer.run.id, "completed", &json!([text_part(&answer.text)]))]),
        };
        let usage = TokenUsage::of(answer).responses();
        let created_at = answer.run.created_at / 1000;
        let mut response = self.response(answer.run.id, created_at, "completed", &output, &usage);
        let reason = match result["stopReason"].as_str() {
            Some("max_tokens" | "model_context_window_exceeded") => Some("max_output_tokens"),
            Some("refusal") => Some("content_filter"),
            _ => None,
        };
        if let Some(reason) = reason {
            response["status"] = "incomplete".into();
            response["incomplete_details"] = json!({"reason": reason});
        }
        response["claudebox"] = answer.about();
        response
    }

    /// The response of a run without an answer.
    pub(super) fn failed(&self, run: Uuid, created_at: i64, problem: &Problem) -> Value {
        let mut response = self.response(run, created_at, "failed", &json!([]), &Value::Null);
        response["error"] = json!({"code": problem.code(), "message": problem.detail()});
        response
    }
}
