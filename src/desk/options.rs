//! Every option of a run, defined once: its name, what it means, what it may be, and where it can be said.
//!
//! The command line and its help, the fields of `POST /run` and of MCP's `claude_run`, the keys of the cron and Telegram files,
//! and the host command's list of what takes a value are made from the table below, or held against it by tests where they
//! stand. What a value may be is checked by one function for each form (`form`).
//!
//! A comment on an entry is its meaning.

pub mod form;

use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};

use self::form::Form;

/// An option of a run.
#[derive(Debug, Clone, Copy)]
pub struct RunOption {
    /// Which one.
    pub field: Field,
    /// Its name in `snake_case`.
    pub name: &'static str,
    camel: &'static str,
    meaning: &'static str,
    /// What it may be.
    pub form: Form,
    /// Where it can be said, with its name there.
    at: &'static [(Place, &'static str)],
    /// What there is to say of it in one place.
    more: &'static [(Place, &'static str)],
}

/// Where an option can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The command line of a prompt or a session: `--kebab-case`. The host command hands it on.
    Terminal,
    /// `POST /run`: `camelCase`, and `snake_case` too.
    Http,
    /// `claude_run` of MCP: `snake_case`.
    Mcp,
    /// Requests of OpenAI's clients: their fields, and headers of ours.
    OpenAi,
    /// The file of jobs: `snake_case`.
    Cron,
    /// The file of chats: `snake_case`.
    Telegram,
}

impl RunOption {
    /// Its name at `place`; `None`: it cannot be said there. On the command line without the dashes before it.
    pub fn name_at(&self, place: Place) -> Option<&'static str> {
        self.at.iter().find(|(at, _)| *at == place).map(|(_, name)| *name)
    }

    /// What it means, for who reads it at `place`.
    pub fn meaning_at(&self, place: Place) -> String {
        let more = self.more.iter().filter(|(at, _)| *at == place).map(|(_, more)| *more);
        std::iter::once(self.meaning).chain(more).collect::<Vec<_>>().join(" ")
    }
}

/// The options that can be said at `place`, each with its name there.
pub fn at(place: Place) -> impl Iterator<Item = (&'static str, &'static RunOption)> {
    ALL.iter().filter_map(move |option| Some((option.name_at(place)?, option)))
}

/// The value of this name, of a type whose names are those of a [`Form::Name`].
pub fn named<T: DeserializeOwned>(name: &str) -> Option<T> {
    T::deserialize(StrDeserializer::<Error>::new(name)).ok()
}

impl Field {
    /// Its entry.
    pub const fn option(self) -> &'static RunOption {
        &ALL[self as usize]
    }

    /// Its name where fields are written in `camelCase`.
    pub const fn camel(self) -> &'static str {
        self.option().camel
    }

    /// Its name where fields are written in `snake_case`.
    pub const fn snake(self) -> &'static str {
        self.option().name
    }
}

/// Declares the options: their enum, and the table.
macro_rules! options {
    ($(
        #[doc = $meaning:literal]
        $field:ident = $name:literal {
            $form:expr, [$($place:ident $(as $own:literal)?),+] $(, $($at:ident: $more:literal),+)?
        }
    )+) => {
        /// Something that is asked of a run: what a refusal can be about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $(
                #[doc = $meaning]
                $field,
            )+
        }

        /// Every option.
        pub const ALL: &[RunOption] = &[$(
            RunOption {
                field: Field::$field,
                name: $name,
                camel: options!(@camel $name),
                meaning: $meaning.trim_ascii(),
                form: $form,
                at: &[$((Place::$place, options!(@name $place $name $($own)?))),+],
                more: &[$($((Place::$at, $more)),+)?],
            },
        )+];
    };
    (@camel $name:literal) => {{
        const NAME: [u8; camel_length($name)] = camel($name);
        text(&NAME)
    }};
    (@kebab $name:literal) => {{
        const NAME: [u8; $name.len()] = kebab($name);
        text(&NAME)
    }};
    // With two names the second one is that of the place.
    (@name $place:ident $name:literal $own:literal) => { options!(@name $place $own) };
    (@name Terminal $name:literal) => { options!(@kebab $name) };
    (@name Http $name:literal) => { options!(@camel $name) };
    (@name $place:ident $name:literal) => { $name };
}

options! {
    /// What Claude Code is to do.
    Prompt = "prompt" {
        Form::Prompt, [Http, Mcp, Cron as "instruction"],
        Mcp: "It works in the workspace with all of its tools. Put large material into files there (`write_file`) and name them."
    }
    /// Folder below the workspaces folder to work in.
    Workspace = "workspace" {
        Form::Text, [Http, Mcp, OpenAi as "X-Claude-Workspace", Cron, Telegram],
        Http: "The workspaces folder itself if it is left out.",
        Mcp: "Such as \"myproject\"; the workspaces folder itself if it is left out."
    }
    /// Make the workspace if it is not there.
    CreateWorkspace = "create_workspace" { Form::Switch, [Http, Mcp, OpenAi as "X-Claude-Create-Workspace"] }
    /// Work in a folder of its own, which is deleted with all in it after the run.
    Ephemeral = "ephemeral" { Form::Switch, [Http] }
    /// Model alias (opus, sonnet, haiku, opusplan, sonnet[1m]) or full model name.
    Model = "model" { Form::Model, [Terminal, Http, Mcp, OpenAi, Cron, Telegram] }
    /// Reasoning effort.
    Effort = "effort" { Form::Name(form::EFFORTS), [Terminal, Http, Mcp, OpenAi as "reasoning_effort", Cron, Telegram] }
    /// Replace the system prompt.
    SystemPrompt = "system_prompt" { Form::Text, [Terminal, Http, Mcp, Cron, Telegram] }
    /// Add to the system prompt.
    AppendSystemPrompt = "append_system_prompt" {
        Form::Text, [Terminal, Http, Mcp, OpenAi as "X-Claude-Append-System-Prompt", Cron, Telegram]
    }
    /// JSON Schema that the answer must follow.
    JsonSchema = "json_schema" {
        Form::Schema, [Terminal, Http, Mcp],
        Http: "An object, or its text.",
        Mcp: "An object, or its text. The answer is then in `structured_output`."
    }
    /// Resume the session with this id.
    Resume = "resume" {
        Form::Session, [Terminal, Http, Mcp, OpenAi as "X-Claude-Session"],
        Mcp: "It is the `session_id` of an earlier answer."
    }
    /// Go on in a copy of the resumed session, and leave that one as it is.
    ForkSession = "fork_session" { Form::Switch, [Terminal, Http, Mcp] }
    /// Start a fresh session instead of continuing the workspace's last one.
    NoContinue = "no_continue" { Form::Switch, [Terminal, Http, Mcp, Cron] }
    /// Go on with the workspace's last session.
    Continue = "continue" { Form::Switch, [Terminal, OpenAi as "X-Claude-Continue", Telegram] }
    /// Go on with the session of the terminal in this workspace, instead of the prompts' own.
    ContinueInteractive = "continue_interactive" { Form::Switch, [Terminal] }
    /// On a terminal: go on with the session of the prompts in this workspace, instead of the terminal's own.
    ContinueScripts = "continue_scripts" { Form::Switch, [Terminal] }
    /// Stop the run when it has cost this much, US dollars.
    MaxBudgetUsd = "max_budget_usd" { Form::Dollars, [Terminal, Http, Mcp, Cron, Telegram] }
    /// Stop the run after this many turns.
    MaxTurns = "max_turns" { Form::Count, [Terminal, Http, Mcp] }
    /// Stop the run after this many seconds.
    TimeoutSeconds = "timeout_seconds" { Form::Seconds, [Terminal as "timeout", Http, Mcp, Cron as "timeout"] }
    /// What to do if another run works in the workspace.
    Busy = "busy" {
        Form::Name(form::BUSY), [Terminal, Http, Mcp, OpenAi as "X-Claude-Busy", Telegram],
        Terminal: "[default: queue]",
        Mcp: "Wait for its turn (queue), refuse this one (reject), or cancel the other one (replace)."
    }
    /// Form of the result.
    OutputFormat = "output_format" { Form::Name(form::FORMATS), [Terminal, Http] }
    /// Which events of the run the result has.
    EventMode = "event_mode" { Form::Name(form::EVENT_MODES), [Http] }
    /// Let the stream have the pieces of messages as they are written.
    IncludePartialMessages = "include_partial_messages" { Form::Switch, [Terminal, Http] }
    /// Answer with the run's events as they come: NDJSON, or server-sent events if the Accept header asks for them.
    Stream = "stream" { Form::Switch, [Http] }
    /// Answer at once; `GET /run/result` has the result later.
    Async = "async" { Form::Switch, [Http] }
    /// Answer at once with `run_id`; the run goes on without this client, and `run_result` has its answer.
    Background = "background" { Form::Switch, [Mcp] }
    /// Go on with the run when the client goes away.
    FireAndForget = "fire_and_forget" { Form::Switch, [Http] }
    /// Address that the result is posted to.
    WebhookUrl = "webhook_url" { Form::Address, [Http, Cron as "webhook"] }
    /// More settings for the CLI; claudebox's own win.
    Settings = "settings" { Form::FileOrJson, [Terminal] }
}

const fn text(name: &'static [u8]) -> &'static str {
    match str::from_utf8(name) {
        Ok(name) => name,
        Err(_) => panic!("a name is ASCII"),
    }
}

const fn camel_length(snake: &str) -> usize {
    let (bytes, mut length, mut at) = (snake.as_bytes(), 0, 0);
    while at < bytes.len() {
        length += (bytes[at] != b'_') as usize;
        at += 1;
    }
    length
}

/// `snake_case` as `camelCase`.
const fn camel<const LENGTH: usize>(snake: &str) -> [u8; LENGTH] {
    let (bytes, mut camel, mut at, mut length) = (snake.as_bytes(), [0; LENGTH], 0, 0);
    while at < bytes.len() {
        if bytes[at] != b'_' {
            let begins = at > 0 && bytes[at - 1] == b'_';
            camel[length] = if begins { bytes[at].to_ascii_uppercase() } else { bytes[at] };
            length += 1;
        }
        at += 1;
    }
    camel
}

/// `snake_case` as `kebab-case`.
const fn kebab<const LENGTH: usize>(snake: &str) -> [u8; LENGTH] {
    let (mut kebab, mut at) = ([0; LENGTH], 0);
    while at < LENGTH {
        kebab[at] = if snake.as_bytes()[at] == b'_' { b'-' } else { snake.as_bytes()[at] };
        at += 1;
    }
    kebab
}

#[cfg(test)]
mod tests;
