//! What one run of the CLI is asked to do, and the arguments that say so.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cli_options;
use super::schema;

/// Wins over `--permission-mode`, so the two are never given together.
const SKIP_PERMISSIONS: &str = "--dangerously-skip-permissions";

/// What the CLI is asked to do differently: its options, and what claudebox makes of its own. What each means to whoever says
/// it, and what it may be, is in `desk::options`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[serde(default)]
pub struct Options {
    /// The model's alias or full name.
    pub model: Option<String>,
    /// Replaces the system prompt.
    pub system_prompt: Option<String>,
    /// Is added to the system prompt.
    pub append_system_prompt: Option<String>,
    /// JSON Schema of the answer, as text.
    pub json_schema: Option<String>,
    /// How hard the model thinks.
    pub effort: Option<Effort>,
    /// The session to resume.
    pub resume: Option<String>,
    /// Whether the run goes on in a copy of the session.
    pub fork_session: bool,
    /// Whether the workspace's last session is left alone.
    pub no_continue: bool,
    /// Whether a prompt goes on with the terminal's session.
    #[serde(skip_serializing_if = "is_false")]
    pub continue_interactive: bool,
    /// Whether the terminal goes on with the prompts' session.
    #[serde(skip_serializing_if = "is_false")]
    pub continue_scripts: bool,
    /// Most it may cost, US dollars.
    pub max_budget_usd: Option<f64>,
    /// Most turns.
    pub max_turns: Option<u32>,
    /// Longest it may take.
    pub timeout: Option<Duration>,
    /// Whether the stream has the pieces of messages.
    pub include_partial_messages: bool,
    /// More settings for the CLI, a file or JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
    /// Options that the CLI gets as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cli: Vec<String>,
    /// What has the CLI on a terminal ask for the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picks: Option<Vec<String>>,
}

/// What a door says of a run besides its options: the CLI has no option for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FromDoor {
    /// The door's name for a conversation: the run continues the session that the conversation was last in, whatever
    /// else has happened in the workspace, and is found by it the next time. Which session that is shows when the run
    /// begins, so those that wait behind each other continue each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Whether the prompt is text and nothing else: no slash command in it is carried out, no file named with `@` is read.
    #[serde(skip_serializing_if = "is_false")]
    pub literal: bool,
    /// Whether the result is to have every event of the run.
    #[serde(skip_serializing_if = "is_false")]
    pub all_events: bool,
    /// Content blocks of the Messages API that go before the prompt: images, documents, an earlier conversation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Value>,
}

impl FromDoor {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the CLI reads on standard input for this prompt: one message of stream-json.
    pub fn input(&self, prompt: &str) -> String {
        let mut content = self.attachments.clone();
        content.push(json!({"type": "text", "text": prompt}));
        let message = json!({
            "type": "user",
            "message": {"role": "user", "content": content},
            "parent_tool_use_id": null,
            "session_id": "",
            "client_composed": self.literal,
        });
        format!("{message}\n")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// How hard the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the CLI's own levels")]
pub enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// What is printed of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    /// The answer's text.
    #[default]
    Text,
    /// One JSON object: the result with its cost, usage and session.
    Json,
    /// The same with every turn: tool calls, tool results, messages.
    JsonVerbose,
    /// One JSON event per line, as they come.
    StreamJson,
}

/// Which conversation a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// A new one.
    Fresh,
    /// The one that a person chooses, whom the CLI asks with these arguments.
    Picked(Vec<String>),
    /// A new one with this id.
    Begin(String),
    /// This one; whoever asked named it.
    Resume(String),
    /// The workspace's last one. Should it have gone, a new one does as well.
    Continue(String),
    /// A copy of a session, which stays as it is.
    Fork {
        /// The session.
        from: String,
        /// The copy's id.
        into: String,
        /// Whether whoever asked named it.
        is_named: bool,
    },
}

impl Session {
    /// A new session, its id made up here.
    #[must_use]
    pub fn begin() -> Self {
        Self::Begin(Uuid::now_v7().to_string())
    }

    /// A copy of session `from`, its id made up here.
    #[must_use]
    pub fn fork(from: String, is_named: bool) -> Self {
        Self::Fork { from, into: Uuid::now_v7().to_string(), is_named }
    }

    /// The id of the session whose file is written to, if it is known before the CLI has started.
    pub fn writes(&self) -> Option<&str> {
        match self {
            Self::Fresh | Self::Picked(_) => None,
            Self::Begin(id) | Self::Resume(id) | Self::Continue(id) | Self::Fork { into: id, .. } => Some(id),
        }
    }

    /// Whether a new session does as well, should there be no such session.
    pub const fn is_replaceable(&self) -> bool {
        matches!(self, Self::Continue(_) | Self::Fork { is_named: false, .. })
    }

    fn arguments(&self) -> Vec<&str> {
        match self {
            Self::Fresh => Vec::new(),
            Self::Picked(arguments) => arguments.iter().map(String::as_str).collect(),
            Self::Begin(id) => vec!["--session-id", id],
            Self::Resume(id) | Self::Continue(id) => vec!["--resume", id],
            Self::Fork { from, into, .. } => vec!["--resume", from, "--fork-session", "--session-id", into],
        }
    }
}

/// Arguments of a one-shot run with these standing instructions and settings. The prompt is not among them: it goes
/// through standard input, because one argument holds at most 131,071 bytes.
pub fn one_shot(options: &Options, session: &Session, standing: Option<&Path>, settings: &str) -> Vec<OsString> {
    let mode: &[&str] = if cli_options::sets_permissions(&options.cli) { &[] } else { &[SKIP_PERMISSIONS] };
    let stream = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];
    let mut args: Vec<OsString> = stream.map(Into::into).to_vec();
    args.extend(common(mode, options, session, standing, settings));
    if let Some(schema) = &options.json_schema {
        args.extend(["--json-schema".into(), schema::for_cli(schema).into()]);
    }
    if let Some(budget) = options.max_budget_usd {
        args.extend(["--max-budget-usd".into(), budget.to_string().into()]);
    }
    if options.include_partial_messages {
        args.push("--include-partial-messages".into());
    }
    if let Some(turns) = options.max_turns {
        args.extend(["--max-turns".into(), turns.to_string().into()]);
    }
    args.extend(options.cli.iter().map(Into::into));
    args
}

/// Arguments of the interactive CLI.
pub fn interactive(options: &Options, session: &Session, standing: Option<&Path>, settings: &str) -> Vec<OsString> {
    let is_restricted = options.cli.iter().any(|word| word == "--restricted");
    let mode: &[&str] = match (cli_options::sets_permissions(&options.cli), is_restricted) {
        (false, _) => &[SKIP_PERMISSIONS],
        // So that a plan can be carried out as everything else is.
        (true, false) => &["--allow-dangerously-skip-permissions"],
        (true, true) => &[],
    };
    let mut args = common(mode, options, session, standing, settings);
    args.extend(options.cli.iter().map(Into::into));
    args
}

fn common(
    mode: &[&str],
    options: &Options,
    session: &Session,
    standing: Option<&Path>,
    settings: &str,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = mode.iter().map(Into::into).collect();
    args.extend(["--settings".into(), settings.into()]);
    if let Some(file) = standing {
        args.extend(["--append-system-prompt-file".into(), file.into()]);
    }
    let pairs = [
        ("--model", options.model.as_deref()),
        ("--system-prompt", options.system_prompt.as_deref()),
        ("--append-system-prompt", options.append_system_prompt.as_deref()),
        ("--effort", options.effort.map(Effort::name)),
    ];
    for (flag, value) in pairs {
        if let Some(value) = value {
            args.extend([flag.into(), value.into()]);
        }
    }
    args.extend(session.arguments().into_iter().map(Into::into));
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[OsString]) -> Vec<&str> {
        args.iter().map(|arg| arg.to_str().unwrap()).collect()
    }

    #[test]
    fn a_plain_run_streams_json_and_takes_its_prompt_from_standard_input() {
        let args = one_shot(&Options::default(), &Session::Fresh, None, "{}");
        let streams = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];
        assert_eq!(strings(&args)[..6], streams);
        assert_eq!(strings(&args)[6..], ["--dangerously-skip-permissions", "--settings", "{}"]);
    }

    #[test]
    fn every_option_reaches_the_cli() {
        let options = Options {
            model: Some("sonnet[1m]".into()),
            system_prompt: Some("-x".into()),
            append_system_prompt: Some("b".into()),
            json_schema: Some(r#"{"type":"object","x-ui":1}"#.into()),
            effort: Some(Effort::Xhigh),
            max_budget_usd: Some(0.5),
            max_turns: Some(3),
            ..Options::default()
        };
        let args = one_shot(&options, &Session::Resume("id".into()), None, "{}");
        let tail = [
            "--model",
            "sonnet[1m]",
            "--system-prompt",
            "-x",
            "--append-system-prompt",
            "b",
            "--effort",
            "xhigh",
            "--resume",
            "id",
            "--json-schema",
            r#"{"type":"object"}"#,
            "--max-budget-usd",
            "0.5",
            "--max-turns",
            "3",
        ];
        assert_eq!(strings(&args)[9..], tail);
    }
}
