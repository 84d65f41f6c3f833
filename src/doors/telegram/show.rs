//! What commands show: their texts and buttons.

use std::fmt::Write as _;

use super::api::Buttons;
use super::command::{self, MENU};
use super::notes::ChatSessions;
use super::settings::{Chat, Groups, Overrides};
use super::text::{Text, cut, line};
use crate::claude::arguments::Effort;
use crate::desk::options::form::MODELS;
use crate::runs::submission::Busy;
use crate::store::record::{self as run, Run, State};

pub(super) const START: &str = "**Hello, this is Claude Code.**\n\nWrite what is to be done, or send a file and say \
                                what to do with it in its caption. Everything happens in this chat's own workspace.\n\n\
                                /help lists what else there is.";

pub(super) fn help() -> String {
    let mut text =
        "Write a prompt, or send files with a caption. While one runs, others wait their turn.\n\n**Commands**\n"
            .to_owned();
    for (name, about) in MENU.iter().filter(|(name, _)| !["start", "queue"].contains(name)) {
        let _ = write!(text, "\n/{} - {about}", name.replace('_', "\\_"));
    }
    text.push_str("\n\nReply to a message to ask about it. `[SEND_FILE: path]` in an answer sends that file.");
    text
}

/// The model, with buttons for a choice.
pub(super) fn models(chat: &Chat) -> (Text, Buttons) {
    choice("Model: ", "model", &MODELS, chat.model.as_deref())
}

/// The effort, with buttons for a choice.
pub(super) fn efforts(chat: &Chat) -> (Text, Buttons) {
    choice("Effort: ", "effort", &command::efforts(), chat.effort.map(Effort::name))
}

/// A setting's value in bold, and buttons, three in a row; the one that holds is marked.
fn choice(title: &str, what: &str, options: &[&str], now: Option<&str>) -> (Text, Buttons) {
    let mut text = Text::plain(title);
    text.append(&Text::bold(now.unwrap_or("the CLI's default")));
    let button = |option: &&str| {
        let label = if now == Some(option) { format!("✓ {option}") } else { (*option).to_owned() };
        (label, format!("{what}:{option}"))
    };
    let mut rows: Buttons = options.chunks(3).map(|row| row.iter().map(button).collect()).collect();
    rows.push(vec![("Reset".to_owned(), format!("{what}:reset"))]);
    (text, rows)
}

/// The conversation's sessions, a button each.
pub(super) fn sessions(sessions: &ChatSessions) -> (Text, Buttons) {
    let now = run::now();
    let rows = sessions.known.iter().map(|session| {
        let title = if session.title.is_empty() { "(nothing yet)" } else { &session.title };
        let mark = if session.name == sessions.current { "✓ " } else { "" };
        vec![(format!("{mark}{title} · {} ago", age(now - session.used_at)), format!("session:{}", session.name))]
    });
    (Text::plain("Sessions of this chat. Press one to go on with it; /new begins a fresh one."), rows.collect())
}

pub(super) fn config(chat: &Chat, overrides: &Overrides) -> String {
    let own = |set: bool| if set { " (set here)" } else { "" };
    let code = |text: &str| format!("`{}`", text.replace('`', "'"));
    let or_default = |value: Option<&str>| value.map_or_else(|| "the CLI's default".to_owned(), code);
    let prompt =
        |text: &Option<String>| text.as_deref().map_or_else(|| "none".to_owned(), |text| code(&cut(text, 300)));
    let lines = [
        format!("Workspace: {}", code(&chat.workspace)),
        format!("Model: {}{}", or_default(chat.model.as_deref()), own(overrides.model.is_some())),
        format!("Effort: {}{}", or_default(chat.effort.map(Effort::name)), own(overrides.effort.is_some())),
        format!("Continues its session: {}", if chat.continues { "yes" } else { "no" }),
        format!("System prompt: {}{}", prompt(&chat.system_prompt), own(overrides.system_prompt.is_some())),
        format!("Added: {}{}", prompt(&chat.append_system_prompt), own(overrides.append_system_prompt.is_some())),
        format!(
            "Budget of a run: {}",
            chat.max_budget_usd.map_or_else(|| "none".to_owned(), |budget| format!("${budget}"))
        ),
        format!("While busy: {}", if chat.busy == Busy::Queue { "prompts wait" } else { "prompts are refused" }),
        format!("In groups: {}", if chat.groups == Groups::All { "every message" } else { "when named or replied to" }),
        format!("Posts of the linked channel: {}", if chat.channel_posts { "prompts" } else { "ignored" }),
        format!("/bash: {}", if chat.bash { format!("at most {} s", chat.bash_timeout) } else { "off".to_owned() }),
    ];
    format!("**This chat's settings**\n\n- {}", lines.join("\n- "))
}

/// A run in a list, with its prompt.
pub(super) fn listed(run: &Run) -> String {
    let prompt = line(&run.request.prompt, 60);
    let made_up = if run.terms.offline { " (made up: the offline model)" } else { "" };
    let cost = run.end.as_ref().and_then(|end| end.cost_usd);
    let cost = cost.map_or_else(String::new, |cost| format!(", ${cost:.4}{made_up}"));
    let mark = match run.state {
        State::Succeeded => "✅",
        State::Failed => "❌",
        State::Cancelled => "✋",
        State::Interrupted => "⚠️",
        State::Queued => "🕒",
        State::Running => "▶️",
    };
    let (ago, state) = (age(run::now() - run.created_at), state_name(run.state));
    format!("{mark} {ago} ago, {state}{cost}\n{prompt}\n{}", run.id)
}

/// Where a run stands that has not ended.
pub(super) fn running_for(run: &Run, ahead: Option<usize>) -> String {
    match (run.state, ahead) {
        (State::Queued, Some(ahead)) => format!("🕒 waiting, {ahead} before it"),
        _ => format!("▶️ running for {}", age(run::now() - run.started_at.unwrap_or(run.created_at))),
    }
}

/// A state for a person.
pub(super) const fn state_name(state: State) -> &'static str {
    match state {
        State::Queued => "waiting",
        State::Running => "running",
        State::Succeeded => "done",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
        State::Interrupted => "interrupted",
    }
}

/// A span of time for a person.
fn age(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
