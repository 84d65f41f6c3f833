//! Who the bot is, and what is for it.

use std::sync::{Arc, OnceLock};

use super::chat_settings::ChatSettings;
use super::command::{self, Command};
use super::gather::{Part, Sort};
use super::incoming::{Author, Me, Message};
use super::settings::Groups;

/// Tells what is for the bot, once it is known who that is.
#[derive(Clone)]
pub(super) struct Addressing {
    pub(super) me: Arc<OnceLock<Me>>,
    pub(super) settings: ChatSettings,
}

impl Addressing {
    fn command_in(&self, text: &str) -> Option<Command> {
        command::parse(text, self.me.get().map_or("", |me| me.username.as_str()))
    }

    /// The command in a message. What was said by somebody else commands nothing here, whoever hands it on.
    pub(super) fn command(&self, message: &Message) -> Option<Command> {
        let own = message.file.is_none() && message.forwarded.is_none();
        self.command_in(&message.text).filter(|_| own)
    }

    /// A message as part of a thought.
    pub(super) fn part(&self, update: i64, closed: bool, message: Message) -> Part {
        let sort = if self.command(&message).is_some() { Sort::Command } else { Sort::Prompt };
        Part { update, closed, sort, message }
    }

    /// Whether a message's command is obeyed at once: it stops something, or shows what the order does not change.
    pub(super) fn is_urgent(&self, message: &Message) -> bool {
        self.is_for_bot([message]) && self.command(message).is_some_and(|command| command.is_urgent())
    }

    /// Whether any of these is for the bot, in a group where not all messages are.
    pub(super) fn is_for_bot<'part>(&self, messages: impl IntoIterator<Item = &'part Message>) -> bool {
        messages.into_iter().any(|message| {
            !message.group
                || message.addressed
                || message.by == Author::LinkedChannel
                || self.settings.of(message.chat).groups == Groups::All
        })
    }

    /// Whether a message is a command for another bot.
    pub(super) fn is_for_another(&self, message: &Message) -> bool {
        message.text.starts_with('/')
            && self.command_in(&message.text).is_none()
            && message.text.split_whitespace().next().is_some_and(|word| word.contains('@'))
    }
}
