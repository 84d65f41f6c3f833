//! What a run has said so far: its events, boiled down to what the outcome and the output formats need.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::envelope;
use super::event::{Event, Kind};
use super::outcome::{Evidence, Intervention, Outcome, Refusal, error_texts};
use crate::process::status::ChildStatus;

/// Collects a run's events.
#[derive(Debug, Default)]
pub struct Transcript {
    session_id: Option<String>,
    system: Option<Value>,
    turns: Vec<Value>,
    result: Option<Value>,
    error: Option<String>,
    refusal: Option<Refusal>,
    interrupted: bool,
    malformed: u64,
    /// Tool calls without a result yet, by id.
    open_calls: HashSet<String>,
}

/// How the CLI's process ended, and what was asked of it.
#[derive(Debug, Clone, Copy)]
pub struct End<'run> {
    /// Its wait status.
    pub status: ChildStatus,
    /// What it wrote to standard error.
    pub stderr: &'run str,
    /// Why claudebox ended it, if it did.
    pub intervention: Option<Intervention>,
    /// Whether the answer had to follow a JSON Schema.
    pub schema: bool,
}

impl Transcript {
    /// Adds one event.
    pub fn add(&mut self, event: &Event) {
        if let Some(session) = event.session_id() {
            self.session_id = Some(session.to_owned());
        }
        match event.kind() {
            Kind::Init => {
                let init = event.json();
                self.system = Some(json!({
                    "sessionId": init["session_id"], "model": init["model"], "cwd": init["cwd"], "tools": init["tools"],
                }));
            }
            Kind::Assistant { content, error } => {
                self.open_calls.extend(ids(content, "tool_use", "id").map(str::to_owned));
                self.turns.extend(envelope::assistant_turn(content));
                self.error = error.map(str::to_owned).or(self.error.take());
            }
            Kind::User(content) => {
                for id in ids(content, "tool_result", "tool_use_id") {
                    self.open_calls.remove(id);
                }
                self.turns.extend(envelope::tool_result_turn(content));
                let note =
                    |block: &Value| block["text"].as_str().is_some_and(|t| t.starts_with("[Request interrupted"));
                self.interrupted |= content.iter().any(note);
            }
            Kind::RateLimit { status: "rejected", resets_at } => self.refusal = Some(Refusal { resets_at }),
            Kind::Result => self.result = Some(event.json().clone()),
            _ => {}
        }
    }

    /// Counts a line that was no event.
    pub const fn add_malformed(&mut self) {
        self.malformed += 1;
    }

    /// The session the run belongs to, once it is known.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Whether the turn is over.
    #[must_use]
    pub const fn has_result(&self) -> bool {
        self.result.is_some()
    }

    /// Whether a tool was called that has not answered yet.
    #[must_use]
    pub fn waits_for_a_tool(&self) -> bool {
        !self.open_calls.is_empty()
    }

    /// How the run ended.
    #[must_use]
    pub fn outcome(&self, end: &End<'_>) -> Outcome {
        Outcome::decide(&Evidence {
            result: self.result.as_ref(),
            schema: end.schema,
            error: self.error.as_deref(),
            refusal: self.refusal,
            interrupted: self.interrupted,
            status: end.status,
            stderr: end.stderr,
            intervention: end.intervention,
        })
    }

    /// The answer's text.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        self.result.as_ref()?["result"].as_str()
    }

    /// What went wrong, in the CLI's own words: the result's errors, else its standard error.
    #[must_use]
    pub fn error_text(&self, stderr: &str) -> String {
        let errors: Vec<&str> = self.result.iter().flat_map(error_texts).collect();
        if errors.is_empty() { stderr.trim().to_owned() } else { errors.join("; ") }
    }

    /// The result as one JSON object, our keys in camelCase. A run without a result gets one that says so.
    #[must_use]
    pub fn envelope(&self, outcome: &Outcome, end: &End<'_>) -> Value {
        // What people read first, first.
        let mut envelope = json!({"type": null, "subtype": null, "isError": null, "outcome": null, "result": null});
        let result = self.result.as_ref().map_or_else(
            || {
                json!({
                    "type": "result", "subtype": "error_no_result", "isError": true,
                    "errors": [self.error_text(end.stderr)], "sessionId": self.session_id,
                })
            },
            envelope::camel_case,
        );
        for (key, value) in result.as_object().into_iter().flatten() {
            envelope[key] = value.clone();
        }
        // A result that missed its schema says "no error"; this object may not.
        if *outcome != Outcome::Ok {
            envelope["isError"] = true.into();
        }
        envelope["outcome"] = outcome.name().into();
        match outcome {
            Outcome::RateLimited { resets_at: Some(at) } => envelope["resetsAt"] = (*at).into(),
            Outcome::Killed { signal: Some(signal) } => envelope["signal"] = (*signal).into(),
            Outcome::Hung { silent } => envelope["hungBecause"] = if *silent { "silence" } else { "timeout" }.into(),
            _ => {}
        }
        if self.malformed > 0 {
            envelope["malformedLines"] = self.malformed.into();
        }
        envelope
    }

    /// Adds what the verbose format has on top: every turn, and the session's set-up.
    pub fn add_details(&self, envelope: &mut Value) {
        envelope["turns"] = self.turns.clone().into();
        if let Some(system) = &self.system {
            envelope["system"] = system.clone();
        }
    }
}

/// The ids under `key` of the content blocks of one type.
fn ids<'event>(content: &'event [Value], kind: &'static str, key: &'static str) -> impl Iterator<Item = &'event str> {
    content.iter().filter(move |block| block["type"] == kind).filter_map(move |block| block[key].as_str())
}
