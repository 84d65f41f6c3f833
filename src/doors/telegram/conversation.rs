//! One chat, or one topic of it: its prompts one after the other. What stops or only asks waits for none of them.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Inside;
use super::api::Key;
use super::command::{self, Command};
use super::errands::Kind;
use super::gather::{Gathering, Part, Sort, Thought, seam};
use super::incoming::{Author, Incoming, Message, What};
use super::sender::Backoff;
use super::settings::Groups;
use super::text::line;
use crate::store::StoreError;

/// What became of a message.
pub(super) enum Handled {
    /// It is dealt with.
    Done,
    /// It stays: for the next server, or until a command has ended.
    Kept,
}

impl Inside {
    /// Deals with a conversation's messages for ever.
    pub(super) async fn converse(self: Arc<Self>, key: Key, mut receiver: UnboundedReceiver<Incoming>) {
        let (lane, thoughts) = unbounded_channel();
        tokio::spawn(Arc::clone(&self).in_order(key, thoughts));
        let mut gathering = Gathering::default();
        loop {
            let next = match gathering.due() {
                None => Ok(receiver.recv().await),
                Some(due) => timeout_at(due, receiver.recv()).await,
            };
            let Ok(next) = next else {
                hand_on(&lane, gathering.take_due(Instant::now()));
                continue;
            };
            let Some(Incoming { update, what, closed }) = next else { return };
            match what {
                What::Message(message) if !self.is_urgent(&message) => {
                    let sort = self.sort(&message);
                    let part = Part { update, closed, sort, message: *message };
                    if !gathering.is_continued_by(&part) {
                        self.note_prompt(key, &part);
                    }
                    hand_on(&lane, gathering.add(part, Instant::now()));
                }
                what => drop(tokio::spawn(Arc::clone(&self).at_once(key, update, what))),
            }
        }
    }

    /// What a message is.
    pub(super) fn sort(&self, message: &Message) -> Sort {
        if self.command(message).is_some() { Sort::Command } else { Sort::Prompt }
    }

    /// The command in a message. What was said by somebody else commands nothing here, whoever hands it on.
    fn command(&self, message: &Message) -> Option<Command> {
        let own = message.file.is_none() && message.forwarded.is_none();
        command::parse(&message.text, self.bot_name()).filter(|_| own)
    }

    /// Whether it is dealt with at once: it stops something, or shows something that the order does not change.
    fn is_urgent(&self, message: &Message) -> bool {
        self.is_for_bot([message]) && self.command(message).is_some_and(|command| command.is_urgent())
    }

    /// Whether any of these is for the bot, in a group where not all messages are.
    fn is_for_bot<'part>(&self, messages: impl IntoIterator<Item = &'part Message>) -> bool {
        messages.into_iter().any(|message| {
            let groups = self.settings().chat(message.chat, &self.overrides.of(message.chat)).groups;
            !message.group || groups == Groups::All || message.addressed || message.by == Author::LinkedChannel
        })
    }

    /// From here on `/cancel` and `/status` know of a prompt.
    fn note_prompt(&self, key: Key, part: &Part) {
        if part.sort == Sort::Prompt && self.is_for_bot([&part.message]) {
            self.errands.begin(key, part.message.id, Kind::Prompt, line(&part.message.text, 80));
        }
    }

    /// Deals with a press, or with a command that waits for nothing.
    async fn at_once(self: Arc<Self>, key: Key, update: i64, what: What) {
        match what {
            What::Message(message) => {
                let part = Part { update, closed: true, sort: Sort::Command, message: *message };
                self.take(key, vec![part]).await;
            }
            What::Press(press) => {
                self.press(&press).await;
                self.notes.cross_off(&[update]).await;
            }
            What::Nothing => self.notes.cross_off(&[update]).await,
        }
    }

    async fn in_order(self: Arc<Self>, key: Key, mut thoughts: UnboundedReceiver<Thought>) {
        while let Some(thought) = thoughts.recv().await {
            let prompt = thought.first().filter(|part| part.sort == Sort::Prompt).map(|part| part.message.id);
            self.take(key, thought).await;
            if let Some(prompt) = prompt {
                self.errands.end(key, prompt);
            }
        }
    }

    /// Deals with a thought.
    async fn take(self: &Arc<Self>, key: Key, thought: Thought) {
        let updates: Vec<i64> = thought.iter().map(|part| part.update).collect();
        let (Some(&update), Some(first)) = (updates.first(), thought.first().map(|part| &part.message)) else { return };
        if !self.is_for_bot(thought.iter().map(|part| &part.message)) {
            return self.notes.cross_off(&updates).await;
        }
        let cancel = self.errands.token(key, first.id).unwrap_or_default();
        let mut backoff = Backoff::default();
        loop {
            let handled = match self.whole_command(&thought) {
                Some(command) => self.obey(update, key, first, command).await,
                None => self.ask_whole(&thought, &cancel).await,
            };
            match handled {
                Ok(Handled::Done) => return self.notes.cross_off(&updates).await,
                Ok(Handled::Kept) => return,
                Err(error) => {
                    tracing::error!("a message of chat {} waits: {error}", first.chat);
                    backoff.wait().await;
                }
            }
        }
    }

    /// The command of a thought, with all of its text.
    fn whole_command(&self, thought: &[Part]) -> Option<Command> {
        let (first, rest) = thought.split_first()?;
        let mut message = first.message.clone();
        let mut before = &first.message;
        for part in rest.iter().filter(|_| first.sort == Sort::Command) {
            message.text.extend([seam(before), part.message.text.as_str()]);
            before = &part.message;
        }
        self.command(&message).filter(|_| first.sort == Sort::Command)
    }

    async fn ask_whole(self: &Arc<Self>, thought: &[Part], cancel: &CancellationToken) -> Outcome {
        if let Some(last) = thought.last().filter(|last| !last.closed) {
            let what = What::Message(Box::new(last.message.clone()));
            self.notes.keep(&Incoming { update: last.update, what, closed: true }).await?;
        }
        let messages: Vec<Message> = thought.iter().map(|part| part.message.clone()).collect();
        self.ask(&messages, cancel).await
    }
}

fn hand_on(lane: &UnboundedSender<Thought>, thoughts: Vec<Thought>) {
    for thought in thoughts {
        // Its receiver lives as long as this process.
        let _ = lane.send(thought);
    }
}

/// What dealing with a message comes to; an error of the ledger's passes.
pub(super) type Outcome = Result<Handled, StoreError>;
