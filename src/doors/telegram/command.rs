//! Commands: `/word` at the beginning of a message.

use uuid::Uuid;

use crate::claude::arguments::Effort;
use crate::desk::options::form::{self, MODELS};
use crate::desk::options::{self, Field};

/// The bot's menu: each command and what it does.
pub(super) const MENU: [(&str, &str); 18] = [
    ("help", "What this bot can do"),
    ("new", "Begin a fresh session"),
    ("cancel", "Stop what is running here"),
    ("status", "What is running and waiting"),
    ("model", "Show or choose the model"),
    ("effort", "Show or choose the effort"),
    ("sessions", "List sessions and switch to one"),
    ("runs", "The last runs of this chat"),
    ("cost", "What this chat has cost"),
    ("fetch", "Send a file of the workspace: /fetch PATH"),
    ("bash", "Run a shell command: /bash COMMAND"),
    ("system_prompt", "Show, set or reset the system prompt"),
    ("append_system_prompt", "Show, set or reset the added system prompt"),
    ("config", "This chat's settings"),
    ("reload", "Read the settings file again"),
    ("start", "Say hello"),
    ("id", "This chat's id and yours"),
    ("queue", "Same as /status"),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Start,
    Status,
    Cancel {
        all: bool,
    },
    CancelRun(Uuid),
    Config,
    Reload,
    Model(Change<String>),
    Effort(Change<Effort>),
    SystemPrompt(Change<String>),
    AppendSystemPrompt(Change<String>),
    Bash(String),
    Fetch(String),
    New,
    Sessions,
    Cost,
    Runs,
    Id,
    /// A known command with something that makes no sense after it: what to say.
    Misused(String),
    /// No command of this bot's.
    Unknown(String),
}

impl Command {
    /// Whether it is obeyed at once: it stops something, or shows what no prompt or setting on its way will change.
    pub(super) const fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Help
                | Self::Start
                | Self::Id
                | Self::Status
                | Self::Cancel { .. }
                | Self::CancelRun(_)
                | Self::Cost
                | Self::Runs
                | Self::Misused(_)
                | Self::Unknown(_)
        )
    }
}

/// What is to become of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change<T> {
    Show,
    Reset,
    Set(T),
}

/// The command in a text; `None`: it is a prompt, or a command for another bot.
pub(super) fn parse(text: &str, bot: &str) -> Option<Command> {
    let rest = text.strip_prefix('/')?;
    let (word, argument) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    // A path, such as /etc/hosts, is part of a prompt. Commands and skills of the CLI may have hyphens and colons.
    let names = |letter: char| letter.is_alphanumeric() || "_@-:".contains(letter);
    if !word.starts_with(|first: char| first.is_alphanumeric() || first == '_') || !word.chars().all(names) {
        return None;
    }
    let argument = argument.trim();
    let (name, addressee) = word.split_once('@').map_or((word, None), |(name, bot)| (name, Some(bot)));
    if addressee.is_some_and(|addressee| !addressee.eq_ignore_ascii_case(bot)) {
        return None;
    }
    let needs = |what: &str, example: &str| Command::Misused(format!("/{name} needs {what}: {example}"));
    Some(match name.to_ascii_lowercase().as_str() {
        "help" => Command::Help,
        "start" => Command::Start,
        "status" | "queue" => Command::Status,
        "cancel" | "stop" => match argument {
            "" => Command::Cancel { all: false },
            all if all.eq_ignore_ascii_case("all") => Command::Cancel { all: true },
            run => Uuid::try_parse(run).map_or_else(
                |_| Command::Misused("/cancel stands alone, or before all, or before a run's id from /status.".into()),
                Command::CancelRun,
            ),
        },
        "config" => Command::Config,
        "reload" => Command::Reload,
        "model" => model_change(argument),
        "effort" => effort_change(argument),
        "system_prompt" => Command::SystemPrompt(text_change(argument)),
        "append_system_prompt" => Command::AppendSystemPrompt(text_change(argument)),
        "bash" if argument.is_empty() => needs("a command", "/bash git status"),
        "bash" => Command::Bash(argument.to_owned()),
        "fetch" if argument.is_empty() => needs("the path of a file in the workspace", "/fetch report.pdf"),
        "fetch" => Command::Fetch(argument.to_owned()),
        "new" | "clear" => Command::New,
        "sessions" => Command::Sessions,
        "cost" => Command::Cost,
        "runs" => Command::Runs,
        "id" => Command::Id,
        other => of_terminal(other).map_or_else(|| Command::Unknown(other.to_owned()), Command::Misused),
    })
}

/// What to say of a command that Claude Code has in a terminal and that goes by another name here.
fn of_terminal(name: &str) -> Option<String> {
    let instead = match name {
        "compact" | "context" => "A session is compacted by itself when it gets long; /new begins a fresh one",
        "resume" | "continue" | "rewind" => "/sessions goes back to an earlier session",
        "usage" | "stats" => "/cost shows what this chat has cost",
        "settings" | "permissions" => "/config shows this chat's settings, which the settings file holds",
        "exit" | "quit" | "logout" => "Nothing has to be closed; /cancel stops what runs",
        "login" | "mcp" | "plugin" | "agents" | "hooks" => "That is set up on the box's host",
        _ => return None,
    };
    Some(format!("/{name} is a command of Claude Code's terminal. {instead}."))
}

/// What `/model ARGUMENT` asks for.
pub(super) fn model_change(argument: &str) -> Command {
    match argument {
        "" => Command::Model(Change::Show),
        "reset" | "clear" | "default" => Command::Model(Change::Reset),
        name if form::model(name).is_err() => {
            Command::Misused(format!("A model's name is one word, such as {}.", MODELS.join(", ")))
        }
        name => Command::Model(Change::Set(name.to_owned())),
    }
}

/// What `/effort ARGUMENT` asks for.
pub(super) fn effort_change(argument: &str) -> Command {
    match argument {
        "" => Command::Effort(Change::Show),
        "reset" | "clear" | "default" => Command::Effort(Change::Reset),
        level => options::named(&level.to_ascii_lowercase()).map_or_else(
            || Command::Misused(format!("{level:?} is no effort. There are: {}, reset.", efforts().join(", "))),
            |level| Command::Effort(Change::Set(level)),
        ),
    }
}

fn text_change(argument: &str) -> Change<String> {
    match argument {
        "" => Change::Show,
        "reset" | "clear" => Change::Reset,
        text => Change::Set(text.to_owned()),
    }
}

pub(super) fn efforts() -> Vec<&'static str> {
    Field::Effort.option().form.names()
}

/// The command that is nearly this word.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    let near = MENU.iter().map(|(name, _)| (strsim::damerau_levenshtein(word, name), *name)).min()?;
    (near.0 <= 2).then_some(near.1)
}

#[cfg(test)]
mod tests;
