//! Chunks of a chat completion.

use serde_json::{Value, json};

use super::completion::{finish_reason, id};
use crate::desk::narrate::{Delta, tool_line};
use crate::doors::openai::answer::Answer;
use crate::doors::openai::headers::ProgressStyle;
use crate::doors::openai::stream::{Out, Protocol, error_event};
use crate::doors::openai::turn::follow::Following;
use crate::doors::openai::usage::TokenUsage;
use crate::doors::web::problem::Problem;
use crate::store::record::now;

/// The chunks of one answer: one id, one model, one time through all of them.
pub(super) struct Chunks {
    id: String,
    model: String,
    created: i64,
    with_usage: bool,
    progress: ProgressStyle,
    /// A call is told as clients of `functions` know it.
    older: bool,
}

impl Chunks {
    pub(super) fn new(following: &Following, with_usage: bool, older: bool) -> Self {
        Self {
            id: id(&following.run),
            model: following.model().to_owned(),
            created: now() / 1000,
            with_usage,
            progress: following.progress(),
            older,
        }
    }

    fn chunk(&self, choices: &Value) -> Value {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        });
        if self.with_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn choice(&self, delta: &Value, finish_reason: Option<&str>, out: &mut Out) {
        let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        out.data(&self.chunk(&choice));
    }
}

impl Protocol for Chunks {
    fn begin(&mut self, out: &mut Out) {
        self.choice(&json!({"role": "assistant", "content": ""}), None, out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut Out) {
        match (delta, self.progress) {
            (Delta::Text(text), _) => self.choice(&json!({"content": text}), None, out),
            (Delta::Thinking(text), ProgressStyle::Reasoning) => {
                self.choice(&json!({"reasoning_content": text}), None, out);
            }
            (Delta::Tool { name, input }, ProgressStyle::Reasoning) => {
                let line = tool_line(name, input);
                self.choice(&json!({"reasoning_content": format!("\n[{line}]\n")}), None, out);
            }
            (Delta::Tool { name, input }, ProgressStyle::Comments) => {
                out.comment(&format!("tool {}", tool_line(name, input)));
            }
            _ => {}
        }
    }

    fn end(&mut self, answer: &Answer, out: &mut Out) {
        if let Some(name) = &answer.call {
            let function = json!({"name": name, "arguments": answer.text});
            let call = if self.older {
                json!({"function_call": function})
            } else {
                json!({"tool_calls": [{"index": 0, "id": answer.call_id(), "type": "function", "function": function}]})
            };
            self.choice(&call, None, out);
        }
        self.choice(&json!({}), Some(finish_reason(answer, self.older)), out);
        if self.with_usage {
            let mut last = self.chunk(&json!([]));
            last["usage"] = TokenUsage::of(answer).chat();
            last["claudebox"] = answer.about();
            out.data(&last);
        }
        out.done();
    }

    fn fail(&mut self, problem: &Problem, out: &mut Out) {
        out.data(&error_event(problem));
        out.done();
    }
}
