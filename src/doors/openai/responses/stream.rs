//! The events of a streamed response.

use serde_json::{Value, json};
use uuid::Uuid;

use super::echo::Echo;
use super::items::{call_item, call_item_id, message_id, message_item, text_part};
use crate::desk::narrate::{Delta, tool_line};
use crate::doors::openai::answer::Answer;
use crate::doors::openai::headers::ProgressStyle;
use crate::doors::openai::stream::{Out, Protocol};
use crate::doors::openai::turn::follow::Following;
use crate::doors::web::problem::Problem;
use crate::store::record::{Run, now};

/// One response's events, numbered.
pub(super) struct ResponseEvents {
    echo: Echo,
    run: Uuid,
    created_at: i64,
    progress: ProgressStyle,
    next: u64,
    /// The answer's text so far, once it has begun.
    text: Option<String>,
}

impl ResponseEvents {
    pub(super) fn new(following: &Following, echo: Echo) -> Self {
        let progress = following.progress();
        Self { echo, run: following.run, created_at: now() / 1000, progress, next: 0, text: None }
    }

    /// Of a run that has ended.
    pub(super) fn again(run: &Run, echo: Echo) -> Self {
        let created_at = run.created_at / 1000;
        Self { echo, run: run.id, created_at, progress: ProgressStyle::Off, next: 0, text: None }
    }

    /// The answer as a call.
    fn call(&mut self, answer: &Answer, name: &str, out: &mut Out) {
        let item = call_item(answer, name, "in_progress", "");
        self.send("response.output_item.added", json!({"output_index": 0, "item": item}), out);
        let id = call_item_id(self.run);
        let delta = json!({"item_id": id, "output_index": 0, "delta": answer.text});
        self.send("response.function_call_arguments.delta", delta, out);
        let done = json!({"item_id": id, "output_index": 0, "name": name, "arguments": answer.text});
        self.send("response.function_call_arguments.done", done, out);
        let item = call_item(answer, name, "completed", &answer.text);
        self.send("response.output_item.done", json!({"output_index": 0, "item": item}), out);
    }

    fn send(&mut self, kind: &str, mut fields: Value, out: &mut Out) {
        let mut event = json!({"type": kind, "sequence_number": self.next});
        self.next += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, &mut fields) {
            event.append(fields);
        }
        out.event(kind, &event);
    }

    fn open(&mut self, out: &mut Out) {
        let item = message_item(self.run, "in_progress", &json!([]));
        self.send("response.output_item.added", json!({"output_index": 0, "item": item}), out);
        let part =
            json!({"item_id": message_id(self.run), "output_index": 0, "content_index": 0, "part": text_part("")});
        self.send("response.content_part.added", part, out);
        self.text = Some(String::new());
    }

    fn close(&mut self, out: &mut Out) {
        let Some(text) = self.text.take() else { return };
        let at = |mut fields: Value| {
            fields["item_id"] = message_id(self.run).into();
            fields["output_index"] = 0.into();
            fields["content_index"] = 0.into();
            fields
        };
        let (done, part) = (at(json!({"text": text, "logprobs": []})), at(json!({"part": text_part(&text)})));
        self.send("response.output_text.done", done, out);
        self.send("response.content_part.done", part, out);
        let item = message_item(self.run, "completed", &json!([text_part(&text)]));
        self.send("response.output_item.done", json!({"output_index": 0, "item": item}), out);
    }
}

impl Protocol for ResponseEvents {
    fn begin(&mut self, out: &mut Out) {
        for kind in ["response.created", "response.in_progress"] {
            let response = self.echo.response(self.run, self.created_at, "in_progress", &json!([]), &Value::Null);
            self.send(kind, json!({"response": response}), out);
        }
    }

    fn delta(&mut self, delta: &Delta, out: &mut Out) {
        let text = match (delta, self.progress) {
            (Delta::Text(text), _) => text,
            (Delta::Tool { name, input }, ProgressStyle::Comments) => {
                return out.comment(&format!("tool {}", tool_line(name, input)));
            }
            _ => return,
        };
        if self.text.is_none() {
            self.open(out);
        }
        self.text.get_or_insert_default().push_str(text);
        let delta = json!({
            "item_id": message_id(self.run), "output_index": 0, "content_index": 0, "delta": text, "logprobs": [],
        });
        self.send("response.output_text.delta", delta, out);
    }

    fn end(&mut self, answer: &Answer, out: &mut Out) {
        if let Some(name) = &answer.call {
            self.call(answer, name, out);
        } else {
            if self.text.is_none() {
                self.open(out);
            }
            // What counts: an attempt that was cut may have said more.
            self.text = Some(answer.text.clone());
            self.close(out);
        }
        let response = self.echo.completed(answer);
        let kind = if response["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
        self.send(kind, json!({"response": response}), out);
    }

    fn fail(&mut self, problem: &Problem, out: &mut Out) {
        let response = self.echo.failed(self.run, self.created_at, problem);
        self.send("response.failed", json!({"response": response}), out);
    }
}
