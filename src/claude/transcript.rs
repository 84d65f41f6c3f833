//! What a run has said so far: its events, boiled down to what the outcome and the output formats need.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::background::Background;
use super::envelope;
use super::event::{Event, Kind};
use super::outcome::{Evidence, Intervention, Outcome, RateLimitHit, error_texts};
use crate::process::status::ChildStatus;

/// Collects a run's events.
#[derive(Debug, Default)]
pub struct Transcript {
    session_id: Option<String>,
    system: Option<Value>,
    turns: Turns,
    /// In the order they came. The last one is the answer, once nothing is left to do.
    results: Vec<Value>,
    /// Whether a turn has begun that has no result yet.
    turn_open: bool,
    /// What the CLI last said of itself, if it says so: whether it has nothing to do.
    idle: Option<bool>,
    background: Background,
    /// Whether background work has ended, or a wake-up has come, that a turn will follow.
    turn_due: bool,
    /// What was left in the background when the CLI was ended, and whether the answer was there.
    cut: Option<Cut>,
    error: Option<String>,
    refusal: Option<RateLimitHit>,
    interrupted: bool,
    malformed: u64,
    dropped: u64,
    /// Tool calls without a result yet, by id.
    open_calls: HashSet<String>,
}

/// What a CLI that was ended had left.
#[derive(Debug)]
struct Cut {
    settled: bool,
    background: Value,
}

/// What the CLI has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// A turn, or a sub-agent whose report makes one.
    Work,
    /// The answer is there; background shells or wake-ups may make another one.
    Background,
    /// Nothing.
    Nothing,
}

/// How the CLI's process ended, and what was asked of it.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnd<'run> {
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
        self.background.add(event, Instant::now());
        match event.kind() {
            Kind::Init => {
                self.turn_open = true;
                self.turn_due = false;
                let init = event.json();
                self.system = Some(json!({
                    "sessionId": init["session_id"], "model": init["model"], "cwd": init["cwd"], "tools": init["tools"],
                }));
            }
            Kind::Assistant { content, error } => {
                self.open_calls.extend(ids(content, "tool_use", "id").map(str::to_owned));
                self.turns.add(envelope::assistant_turn(content), event);
                self.error = error.map(str::to_owned).or(self.error.take());
            }
            Kind::User(content) => {
                for id in ids(content, "tool_result", "tool_use_id") {
                    self.open_calls.remove(id);
                }
                self.turns.add(envelope::tool_result_turn(content), event);
                let note =
                    |block: &Value| block["text"].as_str().is_some_and(|t| t.starts_with("[Request interrupted"));
                self.interrupted |= content.iter().any(note);
            }
            Kind::RateLimit { status: "rejected", resets_at } => self.refusal = Some(RateLimitHit { resets_at }),
            // One that comes in the middle of a turn is a matter of that turn.
            Kind::System("task_notification") | Kind::Other("command_lifecycle") if begins_turn(event.json()) => {
                self.turn_due = !self.turn_open;
            }
            Kind::System("session_state_changed") => self.idle = Some(event.json()["state"] == "idle"),
            // The answer stood when the CLI was ended: what its end makes of the rest does not replace it.
            Kind::Result if self.cut.as_ref().is_some_and(|cut| cut.settled) => {}
            Kind::Result => {
                self.turn_open = false;
                self.results.push(event.json().clone());
            }
            _ => {}
        }
    }

    /// Notes that the CLI is about to be ended, with what it has left to do.
    pub fn note_cut(&mut self) {
        let settled = self.settled();
        let background = self.background.to_json(Instant::now());
        self.cut.get_or_insert(Cut { settled, background });
    }

    /// What is left to do.
    pub fn rest(&self) -> Rest {
        match self.results.last() {
            None => Rest::Work,
            Some(_) if self.turn_open || self.background.has_reporters() => Rest::Work,
            // After an error nothing that is left makes an answer of it.
            Some(result) if result["is_error"] == true => Rest::Nothing,
            // Some versions of the CLI do not say when they are idle, and with its input open it is that beside a shell.
            Some(_) if self.idle != Some(false) && self.background.is_empty() && !self.turn_due => Rest::Nothing,
            Some(_) => Rest::Background,
        }
    }

    /// Whether the CLI has said that it has nothing to do, and has nothing left: no other result can follow.
    pub fn is_over(&self) -> bool {
        self.idle == Some(true) && self.rest() == Rest::Nothing
    }

    /// Whether the last result is the answer: nothing that was to change it is left, or was left when the CLI was ended.
    pub fn settled(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.settled) || self.rest() != Rest::Work
    }

    /// The run's result: the last one, with the usage and the turns of all of them. `None`: there is none, or it is not
    /// the answer.
    pub fn result(&self) -> Option<Value> {
        self.sum().filter(|_| self.settled())
    }

    /// The last result as the CLI printed it, if it is the answer.
    fn answer(&self) -> Option<&Value> {
        self.results.last().filter(|_| self.settled())
    }

    /// The last result with what all of them add up to. Cost and usage by model are sums in each one already.
    fn sum(&self) -> Option<Value> {
        let (last, earlier) = self.results.split_last()?;
        let mut sum = last.clone();
        for result in earlier {
            for key in ["usage", "num_turns", "duration_ms", "permission_denials"] {
                add_up(&mut sum[key], &result[key]);
            }
        }
        if let Some(own) = own_cost(&self.results) {
            sum["cost_usd"] = own.into();
        }
        if let Some(total) = sum.get("total_cost_usd").cloned() {
            sum["session_cost_usd"] = total;
        }
        Some(sum)
    }

    /// The texts of results that were not the answer.
    fn interim(&self) -> Vec<&str> {
        let answers = usize::from(self.settled());
        let interim = &self.results[..self.results.len().saturating_sub(answers)];
        interim.iter().filter_map(|result| result["result"].as_str()).filter(|text| !text.is_empty()).collect()
    }

    /// Counts a line that was no event.
    pub const fn add_malformed(&mut self) {
        self.malformed += 1;
    }

    /// Counts a line that was too long to be read.
    pub const fn add_dropped(&mut self) {
        self.dropped += 1;
    }

    /// The session the run belongs to, once it is known.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Whether a tool was called that has not answered yet.
    pub fn waits_for_a_tool(&self) -> bool {
        !self.open_calls.is_empty()
    }

    /// How the run ended.
    pub fn outcome(&self, end: &ProcessEnd<'_>) -> Outcome {
        Outcome::decide(&Evidence {
            result: self.answer(),
            schema: end.schema,
            error: self.error.as_deref(),
            refusal: self.refusal,
            interrupted: self.interrupted,
            status: end.status,
            stderr: end.stderr,
            intervention: end.intervention,
        })
    }

    /// What went wrong, in the CLI's own words: the result's errors, else its standard error.
    pub fn error_text(&self, stderr: &str) -> String {
        let errors: Vec<&str> = self.answer().into_iter().flat_map(error_texts).collect();
        if errors.is_empty() { stderr.trim().to_owned() } else { errors.join("; ") }
    }

    /// Why the answer was rejected, if it missed its schema.
    pub fn schema_errors(&self) -> String {
        let errors = self.results.last().and_then(|result| result["errors"].as_array());
        errors.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    }

    /// The result as one JSON object, our keys in camelCase. A run without a result gets one that says so.
    pub fn envelope(&self, outcome: &Outcome, end: &ProcessEnd<'_>) -> Value {
        // What people read first, first.
        let mut envelope = json!({"type": null, "subtype": null, "isError": null, "outcome": null, "result": null});
        let result = self.result().map_or_else(|| self.no_result(end), |result| envelope::camel_case(&result));
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
        let interim = self.interim();
        if !interim.is_empty() {
            envelope["interimResults"] = interim.into();
        }
        if let Some(ended) = self.background_ended() {
            envelope["backgroundEnded"] = ended.clone();
        }
        if self.malformed > 0 {
            envelope["malformedLines"] = self.malformed.into();
        }
        if self.dropped > 0 {
            envelope["droppedLines"] = self.dropped.into();
        }
        envelope
    }

    /// What stands in for a result. What earlier results of the run have cost is known.
    fn no_result(&self, end: &ProcessEnd<'_>) -> Value {
        let mut result = json!({
            "type": "result", "subtype": "error_no_result", "isError": true,
            "errors": [self.error_text(end.stderr)], "sessionId": self.session_id,
        });
        if let Some(sum) = self.sum() {
            let spent = [
                "total_cost_usd",
                "cost_usd",
                "session_cost_usd",
                "usage",
                "modelUsage",
                "num_turns",
                "duration_ms",
                "permission_denials",
            ];
            let spent: Map<String, Value> =
                spent.iter().filter_map(|&key| Some((key.to_owned(), sum.get(key)?.clone()))).collect();
            for (key, value) in envelope::camel_case(&spent.into()).as_object().into_iter().flatten() {
                result[key] = value.clone();
            }
        }
        result
    }

    /// The background work that was ended with the CLI: `[{id, kind, command, seconds}]`. `None`: there was none.
    pub fn background_ended(&self) -> Option<&Value> {
        let ended = &self.cut.as_ref()?.background;
        ended.as_array().is_some_and(|work| !work.is_empty()).then_some(ended)
    }

    /// Adds what the verbose format has on top: every turn, and the session's set-up.
    pub fn add_details(&self, envelope: &mut Value) {
        envelope["turns"] = self.turns.list.iter().cloned().collect();
        if self.turns.dropped > 0 {
            envelope["turnsDropped"] = self.turns.dropped.into();
        }
        if let Some(system) = &self.system {
            envelope["system"] = system.clone();
        }
    }
}

/// Whether an event tells of something that the CLI begins a turn for.
fn begins_turn(event: &Value) -> bool {
    event["subtype"] == "task_notification" || (event["state"] == "started" && !event["wakeup_source"].is_null())
}

/// The ids under `key` of the content blocks of one type.
fn ids<'event>(content: &'event [Value], kind: &'static str, key: &'static str) -> impl Iterator<Item = &'event str> {
    content.iter().filter(move |block| block["type"] == kind).filter_map(move |block| block[key].as_str())
}

/// Adds `more` to `sum`: numbers as numbers, lists end to end, objects key by key. Anything else stays as it is.
fn add_up(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            for (key, value) in more {
                add_up(sum.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(sum), Value::Array(more)) => {
            sum.splice(0..0, more.iter().cloned());
        }
        (sum @ Value::Number(_), Value::Number(more)) => {
            let whole = sum.as_u64().zip(more.as_u64()).and_then(|(sum, more)| sum.checked_add(more));
            *sum =
                whole.map_or_else(|| (sum.as_f64().unwrap_or(0.0) + more.as_f64().unwrap_or(0.0)).into(), Value::from);
        }
        (sum @ Value::Null, more) => *sum = more.clone(),
        _ => {}
    }
}

/// What the run of these results has cost, US dollars. Their totals are those of the session, earlier runs of it and what it was
/// forked from included; what each says of itself is what has come since the one before, the first of them since its start.
fn own_cost(results: &[Value]) -> Option<f64> {
    let of_each = results.iter().filter_map(|result| result["model_usage_since_last_result"].as_object());
    of_each.fold(None, |sum, models| {
        let cost: f64 = models.values().filter_map(|usage| usage["costUSD"].as_f64()).sum();
        Some(sum.unwrap_or_default() + cost)
    })
}

/// The most bytes of JSON of turns that are kept, of the newest ones.
const LONGEST_TURNS_BYTES: usize = 32 * 1024 * 1024;

/// The turns of a run, oldest first.
#[derive(Debug, Default)]
struct Turns {
    list: VecDeque<Value>,
    bytes: usize,
    /// How many were dropped for newer ones.
    dropped: u64,
}

impl Turns {
    /// Adds the turn that `event` holds. One of a sub-agent says which call it belongs to.
    fn add(&mut self, turn: Option<Value>, event: &Event) {
        let Some(mut turn) = turn else { return };
        if let Some(parent) = event.parent_tool_use_id() {
            turn["parentToolUseId"] = parent.into();
        }
        self.bytes += size(&turn);
        self.list.push_back(turn);
        while self.bytes > LONGEST_TURNS_BYTES
            && let Some(oldest) = self.list.pop_front()
        {
            self.bytes -= size(&oldest);
            self.dropped += 1;
        }
    }
}

/// About how much memory a value takes, bytes.
fn size(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(object) => object.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    };
    inside + size_of::<Value>()
}
