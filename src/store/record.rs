//! What is kept of a run: who asked for what, where it stands, and how it ended.
//!
//! Every implementation of the store keeps these, and everything above it speaks of them. Nothing here knows of the
//! engine, of a door or of a database.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::claude::arguments::{FromDoor, Options, OutputFormat};
use crate::claude::outcome::Outcome;

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DoorName {
    /// The HTTP API and its page.
    Http,
    /// The OpenAI-compatible API.
    OpenAi,
    /// The Model Context Protocol.
    Mcp,
    /// The Telegram bot.
    Telegram,
    /// Jobs by the clock.
    Cron,
    /// The socket of `claudebox run`.
    Local,
}

impl DoorName {
    /// Every door.
    pub const ALL: [Self; 6] = [Self::Http, Self::OpenAi, Self::Mcp, Self::Telegram, Self::Cron, Self::Local];

    /// Its name in the ledger, in answers and in the file of tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::OpenAi => "openai",
            Self::Mcp => "mcp",
            Self::Telegram => "telegram",
            Self::Cron => "cron",
            Self::Local => "local",
        }
    }

    /// The door of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.name() == name)
    }

    /// Whether prompts that come through it are text and nothing else. Where the box's own people write them, in a shell
    /// or in the file of jobs, the CLI's slash commands and `@file` work as in the CLI.
    pub const fn prompts_are_text(self) -> bool {
        !matches!(self, Self::Local | Self::Cron)
    }
}

impl fmt::Display for DoorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Who pays for a run and whose its idempotency key is. A job and a token may have the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Requester {
    /// A token of the web's doors, which have their tokens in common; its name.
    Token(String),
    /// A chat of Telegram; its id.
    Chat(i64),
    /// A job by the clock; its name.
    Job(String),
    /// A terminal of the box.
    Local,
}

impl Requester {
    /// What the ledger calls a terminal of the box.
    const LOCAL: &str = "local";
    /// What stands before a chat's id in the ledger.
    const CHAT: &str = "telegram:";

    /// Who has this name among those of this kind. `None`: no such kind, or not a name of it.
    pub fn of(kind: &str, name: String) -> Option<Self> {
        match kind {
            "token" => Some(Self::Token(name)),
            "telegram" => name.strip_prefix(Self::CHAT)?.parse().ok().map(Self::Chat),
            "cron" => Some(Self::Job(name)),
            Self::LOCAL => Some(Self::Local),
            _ => None,
        }
    }

    /// `token`, `telegram`, `cron` or `local`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Chat(_) => "telegram",
            Self::Job(_) => "cron",
            Self::Local => Self::LOCAL,
        }
    }

    /// Their name, as answers and the ledger have it. Unique within a kind.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Token(name) | Self::Job(name) => name.into(),
            Self::Chat(id) => format!("{}{id}", Self::CHAT).into(),
            Self::Local => Self::LOCAL.into(),
        }
    }
}

/// What a run's requester may do. Kept with the run, so that it holds for the next server too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terms {
    /// The session to resume does not exist, or its workspace is not one that the requester may use. The two look the
    /// same to the requester, so that ids of others' sessions cannot be tried out.
    pub session_hidden: bool,
    /// Most this requester's runs may cost on a day (UTC), US dollars.
    pub cost_per_day: Option<f64>,
    /// Most runs of this requester at once.
    pub max_runs: Option<usize>,
    /// The run has variables of its own, which only the server that accepted it knows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_variables: bool,
    /// The offline model answers: what the run says, and what it costs, is made up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
}

/// What a run is asked to do. Kept in the ledger as JSON, so a field that is added needs a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Kept")]
pub struct Request {
    /// The prompt.
    pub prompt: String,
    /// Options.
    pub options: Options,
    /// What its door says besides.
    #[serde(skip_serializing_if = "FromDoor::is_empty")]
    pub from_door: FromDoor,
    /// Form of the result.
    pub format: OutputFormat,
}

impl Request {
    /// A prompt without options.
    #[must_use]
    pub fn new(prompt: impl Into<String>, format: OutputFormat) -> Self {
        Self { prompt: prompt.into(), options: Options::default(), from_door: FromDoor::default(), format }
    }
}

/// A request as the ledger may have it: once the options held what a door says, too.
#[derive(Deserialize)]
struct Kept {
    prompt: String,
    options: Value,
    from_door: Option<FromDoor>,
    format: OutputFormat,
}

impl TryFrom<Kept> for Request {
    type Error = serde_json::Error;

    fn try_from(kept: Kept) -> Result<Self, Self::Error> {
        let Kept { prompt, options, from_door, format } = kept;
        let from_door = from_door.map_or_else(|| FromDoor::deserialize(&options), Ok)?;
        Ok(Self { prompt, options: Options::deserialize(&options)?, from_door, format })
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Queued,
    /// It runs.
    Running,
    /// Its answer is there.
    Succeeded,
    /// It ended without one; the outcome says why.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// The box or its server ended before it did.
    Interrupted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Interrupted];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing changes any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Why a run is ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Somebody asked for it.
    Asked,
    /// Its client went away.
    Disconnected,
    /// A newer run takes its place.
    Replaced,
    /// The server shuts down.
    Shutdown,
}

impl Cancel {
    /// Its name in a result.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Disconnected => "disconnected",
            Self::Replaced => "replaced",
            Self::Shutdown => "shutdown",
        }
    }

    /// The state of a run that was ended so.
    pub const fn state(self) -> State {
        match self {
            Self::Shutdown => State::Interrupted,
            _ => State::Cancelled,
        }
    }
}

/// A run as the ledger has it. Times are milliseconds since 1970 (UTC).
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id, a `UUIDv7`: ids sort by the time they were accepted.
    pub id: Uuid,
    /// The workspace's folder.
    pub workspace: PathBuf,
    /// The door it came through.
    pub door: DoorName,
    /// Who asked.
    pub requester: Requester,
    /// Where it stands.
    pub state: State,
    /// What was asked.
    pub request: Request,
    /// What its requester may do.
    pub terms: Terms,
    /// When it was accepted.
    pub created_at: i64,
    /// When the CLI was started for it.
    pub started_at: Option<i64>,
    /// How it ended, once it has.
    pub end: Option<End>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// When.
    pub at: i64,
    /// How it ended for the CLI; `None` for a run that never started. A run of a list has no signal and no cause of a hang.
    pub outcome: Option<Outcome>,
    /// What went wrong, one line.
    pub error: Option<String>,
    /// The result as one JSON object.
    pub result: Value,
    /// What it cost, US dollars, earlier turns of its session left out.
    pub cost_usd: Option<f64>,
    /// Whether the cost is worked out from what the run had used when it ended, because the CLI stated none.
    pub cost_estimated: bool,
    /// The session it was in.
    pub session_id: Option<String>,
    /// How many processes it had left behind; all of them are gone.
    pub reaped: u64,
}

/// Milliseconds since 1970 (UTC), now.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requester_is_told_from_its_kind_and_name() {
        let all = [Requester::Token("ci".into()), Requester::Chat(-100), Requester::Job("ci".into()), Requester::Local];
        for requester in &all {
            let again = Requester::of(requester.kind(), requester.name().into_owned());
            assert_eq!(again.as_ref(), Some(requester));
        }
        assert_eq!(Requester::of("telegram", "ci".into()), None);
        assert_eq!(Requester::of("mail", "ci".into()), None);
    }

    /// As earlier versions have kept it: all in the options.
    #[test]
    fn a_request_of_an_earlier_version_is_read() {
        let kept = r#"{"prompt":"p","options":{"model":"haiku","system_prompt":null,"append_system_prompt":null,
            "json_schema":null,"effort":"low","resume":null,"fork_session":false,"no_continue":true,"max_budget_usd":0.50,
            "max_turns":3,"timeout":{"secs":90,"nanos":500000000},"include_partial_messages":true,
            "conversation":"telegram:5:a","all_events":true,"attachments":[{"type":"text","text":"x"}]},"format":"json"}"#;
        let request: Request = serde_json::from_str(kept).unwrap();
        let from_door = FromDoor {
            conversation: Some("telegram:5:a".into()),
            literal: false,
            all_events: true,
            attachments: vec![serde_json::json!({"type": "text", "text": "x"})],
        };
        assert_eq!((&request.prompt, &request.from_door), (&"p".to_owned(), &from_door));
        let Options { model, max_budget_usd, max_turns, timeout, .. } = &request.options;
        assert_eq!((model.as_deref(), *max_budget_usd, *max_turns), (Some("haiku"), Some(0.5), Some(3)));
        assert_eq!(timeout.unwrap().as_millis(), 90_500);
        let again = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&again).unwrap(), request);
        assert!(!serde_json::to_string(&request.options).unwrap().contains("conversation"));
    }

    /// A key stands for what was asked with it, across versions too.
    #[test]
    fn a_request_without_a_doors_words_is_kept_as_before() {
        let kept = serde_json::to_value(Request::new("p", OutputFormat::Json)).unwrap();
        let keys: Vec<&str> = kept.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["prompt", "options", "format"]);
    }

    #[test]
    fn doors_have_their_names() {
        let named = DoorName::ALL.map(|door| DoorName::from_name(door.name()));
        assert_eq!(named, DoorName::ALL.map(Some));
        assert_eq!(DoorName::from_name("HTTP"), None);
    }
}
