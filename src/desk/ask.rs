//! What may be asked of a run, checked field by field, and how it gets to the engine.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Desk;
use super::options::Field;
use super::options::form::{self, Wrong};
use super::refusal::{Kind, RETRY_SECONDS, Refusal, Remedy};
use crate::claude::arguments::{Effort, FromDoor, Options, OutputFormat};
use crate::config::call::Variables;
use crate::runs::engine::{Engine, Submitted};
use crate::runs::submission::{Busy, NewRun, Origin, SubmitError};
use crate::store::record::Request;

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
        let fault = |field| move |wrong| Refusal::of_option(field, wrong);
        form::prompt(&self.prompt).map_err(fault(Field::Prompt))?;
        let options = Options {
            model: text(Field::Model, self.model, form::model)?,
            system_prompt: text(Field::SystemPrompt, self.system_prompt, form::text)?,
            append_system_prompt: text(Field::AppendSystemPrompt, self.append_system_prompt, form::text)?,
            json_schema: text(Field::JsonSchema, self.json_schema.and_then(schema_text), form::schema)?,
            effort: self.effort,
            resume: session(self.resume, self.fork_session)?,
            fork_session: self.fork_session,
            no_continue: self.no_continue,
            max_budget_usd: self.max_budget_usd.map(form::dollars).transpose().map_err(fault(Field::MaxBudgetUsd))?,
            max_turns: self.max_turns.map(form::count).transpose().map_err(fault(Field::MaxTurns))?,
            timeout: self.timeout_seconds.map(form::seconds).transpose().map_err(fault(Field::TimeoutSeconds))?,
            include_partial_messages: self.include_partial_messages || self.all_events,
            ..Options::default()
        };
        let from_door = FromDoor { all_events: self.all_events, ..FromDoor::default() };
        Ok(Request { options, from_door, ..Request::new(self.prompt, self.format) })
    }
}

/// A text that `check` allows; an empty one counts as left out.
fn text(field: Field, text: Option<String>, check: fn(&str) -> Result<(), Wrong>) -> Result<Option<String>, Refusal> {
    let text = text.filter(|text| !text.is_empty());
    text.as_deref().map_or(Ok(()), check).map_err(|wrong| Refusal::of_option(field, wrong))?;
    Ok(text)
}

/// A schema as text; `None`: it is left out.
fn schema_text(schema: Value) -> Option<String> {
    match schema {
        Value::Null => None,
        Value::String(text) => Some(text),
        schema => Some(schema.to_string()),
    }
}

fn session(id: Option<String>, fork: bool) -> Result<Option<String>, Refusal> {
    match id.filter(|id| !id.is_empty()) {
        None if fork => Err(Refusal::of_field(Field::ForkSession, "there is no session to fork: name one in resume")),
        None => Ok(None),
        Some(id) => form::session(&id).map(Some).map_err(|wrong| Refusal::of_option(Field::Resume, wrong)),
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
