//! What may be asked of a run, checked field by field, and how it gets to the engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::Desk;
use super::field::Field;
use super::refusal::{Kind, RETRY_SECONDS, Refusal, Remedy};
use crate::claude::arguments::{Effort, Options, OutputFormat};
use crate::claude::limits::{LONGEST_ARGUMENT_BYTES, LONGEST_PROMPT_BYTES};
use crate::claude::schema::Schema;
use crate::config::call::Variables;
use crate::runs::engine::Engine;
use crate::runs::engine::Submitted;
use crate::runs::submission::SubmitError;
use crate::runs::submission::{Busy, NewRun, Origin};
use crate::store::record::Request;

/// Longest name of a model, bytes.
const LONGEST_MODEL_BYTES: usize = 200;
/// Longest time that a run may be given, seconds.
const LONGEST_TIMEOUT: f64 = 30.0 * 86_400.0;
/// Runs that may be before one in its workspace, the running one counted, if its client did not ask to wait.
pub const MOST_AHEAD: usize = 16;

/// What a client wants of a run, as it says so. An empty text counts as left out.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are the predecessor's")]
pub struct Wish {
    /// The prompt.
    pub prompt: String,
    /// The model's alias or full name.
    pub model: Option<String>,
    /// Replaces the system prompt.
    pub system_prompt: Option<String>,
    /// Is added to the system prompt.
    pub append_system_prompt: Option<String>,
    /// JSON Schema of the answer: an object, or its text.
    pub json_schema: Option<Value>,
    /// Reasoning effort.
    pub effort: Option<Effort>,
    /// The session to resume, a UUID.
    pub resume: Option<String>,
    /// Whether it is resumed in a copy.
    pub fork_session: bool,
    /// Whether the workspace's last session is left alone.
    pub no_continue: bool,
    /// Most it may cost, US dollars.
    pub max_budget_usd: Option<f64>,
    /// Most turns.
    pub max_turns: Option<u32>,
    /// Longest it may take, seconds.
    pub timeout_seconds: Option<f64>,
    /// Whether pieces of messages are streamed.
    pub include_partial_messages: bool,
    /// Whether the result is to have every event.
    pub all_events: bool,
    /// Form of the result.
    pub format: OutputFormat,
}

impl Wish {
    /// The request, if every field of it can be carried out.
    pub fn check(self) -> Result<Request, Refusal> {
        check_prompt(&self.prompt)?;
        let options = Options {
            model: model(self.model)?,
            system_prompt: system_text(Field::SystemPrompt, self.system_prompt)?,
            append_system_prompt: system_text(Field::AppendSystemPrompt, self.append_system_prompt)?,
            json_schema: self.json_schema.and_then(schema_text).map(schema).transpose()?,
            effort: self.effort,
            resume: session(self.resume, self.fork_session)?,
            fork_session: self.fork_session,
            no_continue: self.no_continue,
            max_budget_usd: positive(Field::MaxBudgetUsd, self.max_budget_usd, f64::MAX)?,
            max_turns: match self.max_turns {
                Some(0) => return Err(Refusal::of_field(Field::MaxTurns, "it must be a whole number of at least 1")),
                turns => turns,
            },
            timeout: positive(Field::TimeoutSeconds, self.timeout_seconds, LONGEST_TIMEOUT)?
                .map(Duration::from_secs_f64),
            include_partial_messages: self.include_partial_messages || self.all_events,
            all_events: self.all_events,
            ..Options::default()
        };
        Ok(Request { prompt: self.prompt, options, format: self.format })
    }
}

/// Whether a prompt can be asked at all.
pub fn check_prompt(prompt: &str) -> Result<(), Refusal> {
    if prompt.trim().is_empty() {
        return Err(Refusal::of_field(Field::Prompt, "the prompt is empty"));
    }
    if prompt.len() > LONGEST_PROMPT_BYTES {
        let said = format!(
            "it has {} bytes, the CLI takes {LONGEST_PROMPT_BYTES}: put the material into a file of the workspace and name \
             it in the prompt",
            prompt.len()
        );
        return Err(Refusal::new(Kind::TooLarge, "too_large", said).about(Field::Prompt));
    }
    Ok(())
}

/// A model's name, if it is set and can be one.
fn model(name: Option<String>) -> Result<Option<String>, Refusal> {
    let allowed = "an alias (opus, sonnet, haiku, opusplan, sonnet[1m]) or a full model name is allowed";
    let name = argument(Field::Model, name)?;
    let is_none =
        |name: &String| name.len() > LONGEST_MODEL_BYTES || name.starts_with('-') || name.contains(char::is_control);
    if name.as_ref().is_some_and(is_none) { Err(Refusal::of_field(Field::Model, allowed)) } else { Ok(name) }
}

/// A schema as text; `None`: it is left out.
fn schema_text(schema: Value) -> Option<String> {
    match schema {
        Value::Null => None,
        Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        schema => Some(schema.to_string()),
    }
}

fn schema(text: String) -> Result<String, Refusal> {
    let wrong = |fault| format!("a JSON Schema is needed, an object or its text: {fault}");
    Schema::parse(&text).map_err(|fault| Refusal::of_field(Field::JsonSchema, wrong(fault)))?;
    Ok(text)
}

fn session(id: Option<String>, fork: bool) -> Result<Option<String>, Refusal> {
    match id.filter(|id| !id.is_empty()) {
        None if fork => Err(Refusal::of_field(Field::ForkSession, "there is no session to fork: name one in resume")),
        None => Ok(None),
        Some(id) => match Uuid::try_parse(&id) {
            Ok(id) => Ok(Some(id.to_string())),
            Err(_) => Err(Refusal::of_field(Field::Resume, "it must be a session's id, the UUID that a result has")),
        },
    }
}

/// A text of the system prompt; an empty one counts as left out.
fn system_text(field: Field, text: Option<String>) -> Result<Option<String>, Refusal> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.len() > LONGEST_PROMPT_BYTES => {
            let said = format!("it has {} bytes, {LONGEST_PROMPT_BYTES} are allowed", text.len());
            Err(Refusal::new(Kind::TooLarge, "too_large", said).about(field))
        }
        Some(text) if text.contains('\0') => {
            Err(Refusal::of_field(field, "it holds a NUL character, which no text may"))
        }
        text => Ok(text),
    }
}

/// A text that becomes an argument of the CLI; an empty one counts as left out.
fn argument(field: Field, text: Option<String>) -> Result<Option<String>, Refusal> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if text.len() > LONGEST_ARGUMENT_BYTES => {
            let allowed = format!("it has {} bytes, {LONGEST_ARGUMENT_BYTES} are allowed", text.len());
            Err(Refusal::of_field(field, allowed))
        }
        Some(text) if text.contains('\0') => {
            Err(Refusal::of_field(field, "it holds a NUL character, which no argument can"))
        }
        text => Ok(text),
    }
}

fn positive(field: Field, number: Option<f64>, most: f64) -> Result<Option<f64>, Refusal> {
    match number {
        Some(number) if !(number.is_finite() && number > 0.0 && number <= most) => {
            let limit = if most < f64::MAX { format!(", at most {most}") } else { String::new() };
            Err(Refusal::of_field(field, format!("it must be a number above 0{limit}")))
        }
        number => Ok(number),
    }
}

/// A run that a door asks for: who asks, where, and what.
#[derive(Debug, Clone)]
pub struct Ask {
    new: NewRun,
    variables: Variables,
}

impl Ask {
    /// A run for `origin` in `workspace`, an absolute path without links. It is refused if the workspace is busy, and
    /// cancelled if who asked goes away.
    #[must_use]
    pub fn new(origin: Origin, workspace: PathBuf, request: Request) -> Self {
        let (busy, idempotency_key, webhook_url, stays) = (Busy::Reject, None, None, false);
        let new = NewRun { origin, workspace, request, busy, idempotency_key, webhook_url, stays };
        Self { new, variables: Variables::default() }
    }

    /// What to do if the workspace is busy.
    #[must_use]
    pub const fn busy(mut self, busy: Busy) -> Self {
        self.new.busy = busy;
        self
    }

    /// The same key of the same requester is the same run.
    #[must_use]
    pub fn key(mut self, key: Option<String>) -> Self {
        self.new.idempotency_key = key;
        self
    }

    /// Where the result is posted to.
    #[must_use]
    pub fn webhook(mut self, url: Option<String>) -> Self {
        self.new.webhook_url = url;
        self
    }

    /// Whether it goes on when who asked goes away.
    #[must_use]
    pub const fn stays(mut self, stays: bool) -> Self {
        self.new.stays = stays;
        self
    }

    /// Variables of its environment that are its own. They are never kept.
    #[must_use]
    pub fn variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// Where it works.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.new.workspace
    }

    /// The same for another request; `key` makes a new key of the one it had, which stands for the run before.
    #[must_use]
    pub fn again(mut self, request: Request, key: impl FnOnce(String) -> String) -> Self {
        self.new.request = request;
        self.new.idempotency_key = self.new.idempotency_key.map(key);
        self
    }

    /// Hands it to the engine: when this returns, the run is in the ledger and will run, whatever happens to this process.
    pub async fn submit(self, engine: &Engine) -> Result<Submitted, SubmitError> {
        engine.submit(self.new, self.variables).await
    }
}

impl Desk {
    /// Whether a run may wait in `workspace` whose client has not asked to wait; else when to try again.
    ///
    /// Clients of OpenAI's API and of MCP send several requests at once as a matter of course: a batch, the title of a chat
    /// beside its first message. So their runs wait for each other unless the client says otherwise. The wait has a bound: a
    /// client that waits behind many runs gives up before its turn comes, and had better be told at once.
    pub fn room(&self, workspace: &Path) -> Result<(), Refusal> {
        if self.engine.holding(workspace) <= MOST_AHEAD {
            return Ok(());
        }
        let said = format!(
            "{MOST_AHEAD} runs wait in this workspace already: try again in {RETRY_SECONDS} s, use another workspace, or "
        );
        let refusal = Refusal::new(Kind::TooMuch, "queue_full", said).remedy(Remedy::Wait);
        Err(refusal.retry_after(RETRY_SECONDS))
    }
}
