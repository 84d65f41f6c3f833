//! Why a request is not carried out, whatever door it came through.
//!
//! A refusal knows no protocol. It says what kind of refusal it is, has a code for programs, and names fields and remedies
//! by types; the door that tells it gives them the names that its clients know ([`Words`]). So no text is patched.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::options::Field;
use super::options::form::Wrong;
use crate::runs::submission::SubmitError;
use crate::store::StoreError;
use crate::store::record::{End, now};
use crate::workspace::{ErrorKind, PathError};

/// When to try again where nothing says when, seconds.
pub const RETRY_SECONDS: u64 = 30;

/// Kinds of refusals: what a door has a status, an exit code or a tone for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be meant.
    Invalid,
    /// Something in it is larger than is possible.
    TooLarge,
    /// The caller may not; asking again changes nothing.
    Forbidden,
    /// There is nothing of that name.
    Missing,
    /// What is there stands against it.
    Conflict,
    /// The request's own condition does not hold.
    Precondition,
    /// Too much was asked; later it may go.
    TooMuch,
    /// Not now.
    Unavailable,
    /// No space is left.
    NoSpace,
    /// A fault of claudebox or of the system under it.
    Fault,
    /// A rule of the door's own protocol; the door knows which.
    Protocol,
}

/// What would help, in a door's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Have the workspace made.
    CreateWorkspace,
    /// Say that the run is to wait, or to take the place of the one that runs.
    WaitOrReplace,
    /// Say that the run is to wait, however long.
    Wait,
}

/// How a door's clients call fields and remedies.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The name of a field.
    pub field: fn(Field) -> &'static str,
    /// How to do what a remedy says, in the imperative.
    pub remedy: fn(Remedy) -> &'static str,
}

/// Why a request is not carried out. Boxed, because it is the other half of many results.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal(Box<Said>);

#[derive(Debug, Clone, PartialEq)]
struct Said {
    kind: Kind,
    code: &'static str,
    sentence: String,
    remedy: Option<Remedy>,
    about: About,
    facts: Vec<(&'static str, Value)>,
    retry_after: Option<u64>,
}

/// What is wrong, if it is one thing.
#[derive(Debug, Clone, PartialEq)]
enum About {
    Nothing,
    /// A field that every door has.
    Field(Field),
    /// Something that the door itself has named, and under which fact.
    Named(&'static str, String),
}

impl Refusal {
    /// A refusal of this kind with this code; `sentence` is for a person and says what is wrong and what is allowed.
    #[must_use]
    pub fn new(kind: Kind, code: &'static str, sentence: impl Into<String>) -> Self {
        let (sentence, about, facts) = (sentence.into(), About::Nothing, Vec::new());
        Self(Box::new(Said { kind, code, sentence, remedy: None, about, facts, retry_after: None }))
    }

    /// A field that cannot be so; `allowed` says what may.
    #[must_use]
    pub fn of_field(field: Field, allowed: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, "invalid_field", allowed).about(field)
    }

    /// An option whose value cannot be.
    #[must_use]
    pub fn of_option(field: Field, wrong: Wrong) -> Self {
        if wrong.is_too_long {
            return Self::new(Kind::TooLarge, "too_large", wrong.said).about(field);
        }
        Self::of_field(field, wrong.said)
    }

    /// Something that cannot be so, by the name that the door's client knows: `fact` is `field` or `parameter`.
    #[must_use]
    pub fn of_named(fact: &'static str, code: &'static str, name: &str, allowed: impl Into<String>) -> Self {
        let mut refusal = Self::new(Kind::Invalid, code, allowed);
        refusal.0.about = About::Named(fact, name.to_owned());
        refusal
    }

    /// A fault of claudebox or of the system under it. What exactly is for the log, not for the client.
    pub fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!("{what}: {error}");
        Self::new(Kind::Fault, "internal", format!("claudebox failed: {what}; its log says why"))
    }

    /// Says what would help. The sentence is to end so that the remedy can follow: with `; ` or `, or `.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.0.remedy = Some(remedy);
        self
    }

    /// Names the field that it is about.
    #[must_use]
    pub fn about(mut self, field: Field) -> Self {
        self.0.about = About::Field(field);
        self
    }

    /// Adds something for programs: the run that holds a workspace, the values that are allowed.
    #[must_use]
    pub fn with(mut self, fact: &'static str, value: impl Into<Value>) -> Self {
        self.0.facts.push((fact, value.into()));
        self
    }

    /// Says when to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The same with another code: a door may have its own for a kind of refusal.
    #[must_use]
    pub fn coded(mut self, code: &'static str) -> Self {
        self.0.code = code;
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its code: for programs, and never changed.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// When to try again, seconds.
    pub fn seconds(&self) -> Option<u64> {
        self.0.retry_after
    }

    /// What a person is told.
    pub fn detail(&self, words: &Words) -> String {
        let remedy = self.0.remedy.map_or("", words.remedy);
        match self.name(words) {
            Some((_, name)) => format!("{name}: {}{remedy}", self.0.sentence),
            None => format!("{}{remedy}", self.0.sentence),
        }
    }

    /// All that a client is told, as one object: `detail`, `code`, and what is for programs.
    pub fn json(&self, words: &Words) -> Value {
        let mut body = Map::new();
        body.insert("detail".into(), self.detail(words).into());
        body.insert("code".into(), self.0.code.into());
        let name = self.name(words).map(|(fact, name)| (fact.to_owned(), name.into()));
        body.extend(name);
        body.extend(self.0.facts.iter().map(|(fact, value)| ((*fact).to_owned(), value.clone())));
        Value::Object(body)
    }

    fn name<'refusal>(&'refusal self, words: &Words) -> Option<(&'static str, &'refusal str)> {
        match &self.0.about {
            About::Nothing => None,
            About::Field(field) => Some(("field", (words.field)(*field))),
            About::Named(fact, name) => Some((fact, name)),
        }
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Forbidden => Kind::Forbidden,
            ErrorKind::Unprocessable => Kind::Invalid,
            ErrorKind::Missing => Kind::Missing,
            ErrorKind::Conflict => Kind::Conflict,
            ErrorKind::Precondition => Kind::Precondition,
            ErrorKind::TooLarge => Kind::TooLarge,
            ErrorKind::Full => Kind::NoSpace,
            ErrorKind::Overloaded => Kind::Unavailable,
            ErrorKind::Fault => return Self::internal("a file operation", &error),
        };
        let refusal = Self::new(kind, error.code(), error.to_string());
        if kind == Kind::Unavailable { refusal.retry_after(1) } else { refusal }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => {
                tracing::error!("{error}");
                Self::new(Kind::NoSpace, "no_space", error.to_string())
            }
            StoreError::Failed { .. } => Self::internal("the ledger of runs", &error),
        }
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        let said = error.to_string();
        match error {
            SubmitError::Busy { holder } => {
                let advice = format!("{said}; wait for its end, cancel it, or ");
                let refusal = Self::new(Kind::Conflict, "workspace_busy", advice).remedy(Remedy::WaitOrReplace);
                refusal.with("runId", holder.to_string())
            }
            SubmitError::QueueFull { .. } | SubmitError::OverShare { .. } => {
                Self::new(Kind::TooMuch, "queue_full", said).retry_after(RETRY_SECONDS)
            }
            SubmitError::OverBudget(over) => {
                Self::new(Kind::TooMuch, "over_budget", said).retry_after(over.retry_after)
            }
            SubmitError::KeyReused { before } => {
                Self::new(Kind::Invalid, "key_reused", said).with("runId", before.to_string())
            }
            SubmitError::NotReady(_) => Self::new(Kind::Unavailable, "not_ready", said).retry_after(RETRY_SECONDS),
            SubmitError::Closed => Self::new(Kind::Unavailable, "shutting_down", said).retry_after(RETRY_SECONDS),
            SubmitError::Ledger(error) => error.into(),
        }
    }
}

/// The refusal of who asks about a run that there is not, or that they may not see: the two look the same.
pub fn unknown_run(id: &str) -> Refusal {
    let shown: String = id.chars().take(80).collect();
    Refusal::new(Kind::Missing, "run_not_found", format!("there is no run {shown:?}")).with("runId", shown)
}

/// The refusal of who waits for a run that still waits for its turn when the server stops: the run is not lost.
pub fn left_waiting(run: Uuid) -> Refusal {
    let said = "the server is shutting down; the run waits for the next one";
    Refusal::new(Kind::Unavailable, "shutting_down", said).with("runId", run.to_string())
}

/// What a run that has met a rate limit says, and when that resets.
pub fn rate_limited(end: Option<&End>, said: impl Into<String>) -> Refusal {
    let reset = end.and_then(|end| end.outcome?.resets_at()).and_then(|at| i64::try_from(at).ok());
    let wait = reset.map_or(RETRY_SECONDS, |at| u64::try_from(at - now() / 1000).unwrap_or(0).max(1));
    Refusal::new(Kind::TooMuch, "run_rate_limited", said).retry_after(wait)
}
