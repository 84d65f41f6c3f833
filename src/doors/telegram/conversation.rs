//! One chat, or one topic of it: its prompts one after the other. What stops or only asks waits for none of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::addressing::Addressing;
use super::command::Command;
use super::commands::Commands;
use super::errands::{Errands, Kind};
use super::gather::{Gathering, Part, Sort, Thought, seam};
use super::handled::{Handled, Outcome};
use super::incoming::{Incoming, Key, Message, What};
use super::notes::Notes;
use super::prompt::Prompts;
use super::sender::Backoff;
use super::text::line;

/// Deals with each conversation's messages in order, a task for each.
pub(super) struct Conversations {
    pub(super) addressing: Addressing,
    pub(super) notes: Notes,
    pub(super) errands: Errands,
    pub(super) commands: Commands,
    pub(super) prompts: Prompts,
    /// Where each takes its updates from.
    pub(super) lanes: Mutex<HashMap<Key, UnboundedSender<Incoming>>>,
}

impl Conversations {
    /// Gives an update to the conversation it belongs to.
    pub(super) fn hand_over(self: &Arc<Self>, incoming: Incoming) {
        let key = match &incoming.what {
            What::Message(message) => message.key(),
            What::Press(press) => (press.chat, press.thread),
            What::Nothing => return,
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(key).or_insert_with(|| {
            let (lane, updates) = unbounded_channel();
            tokio::spawn(Arc::clone(self).converse(key, updates));
            lane
        });
        // Its receiver lives as long as this process.
        let _ = lane.send(incoming);
    }

    /// Deals with a conversation's messages for ever.
    async fn converse(self: Arc<Self>, key: Key, mut receiver: UnboundedReceiver<Incoming>) {
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
                What::Message(message) if !self.addressing.is_urgent(&message) => {
                    let part = self.addressing.part(update, closed, *message);
                    if !gathering.is_continued_by(&part) {
                        self.note_prompt(key, &part);
                    }
                    hand_on(&lane, gathering.add(part, Instant::now()));
                }
                what => drop(tokio::spawn(Arc::clone(&self).at_once(update, what))),
            }
        }
    }

    /// From here on `/cancel` and `/status` know of a prompt.
    fn note_prompt(&self, key: Key, part: &Part) {
        if part.sort == Sort::Prompt && self.addressing.is_for_bot([&part.message]) {
            self.errands.begin(key, part.message.id, Kind::Prompt, line(&part.message.text, 80));
        }
    }

    /// Deals with a press, or with a command that waits for nothing.
    async fn at_once(self: Arc<Self>, update: i64, what: What) {
        match what {
            What::Message(message) => {
                let part = self.addressing.part(update, true, *message);
                self.take(vec![part]).await;
            }
            What::Press(press) => {
                self.commands.press(&press).await;
                self.notes.cross_off(&[update]).await;
            }
            What::Nothing => self.notes.cross_off(&[update]).await,
        }
    }

    async fn in_order(self: Arc<Self>, key: Key, mut thoughts: UnboundedReceiver<Thought>) {
        while let Some(thought) = thoughts.recv().await {
            let prompt = thought.first().filter(|part| part.sort == Sort::Prompt).map(|part| part.message.id);
            self.take(thought).await;
            if let Some(prompt) = prompt {
                self.errands.end(key, prompt);
            }
        }
    }

    async fn take(&self, thought: Thought) {
        let updates: Vec<i64> = thought.iter().map(|part| part.update).collect();
        let (Some(&update), Some(first)) = (updates.first(), thought.first().map(|part| &part.message)) else { return };
        if !self.addressing.is_for_bot(thought.iter().map(|part| &part.message)) {
            return self.notes.cross_off(&updates).await;
        }
        let cancel = self.errands.token(first.key(), first.id).unwrap_or_default();
        let mut backoff = Backoff::default();
        loop {
            let handled = match self.whole_command(&thought) {
                Some(command) => self.commands.obey(update, first, command).await,
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
        self.addressing.command(&message).filter(|_| first.sort == Sort::Command)
    }

    async fn ask_whole(&self, thought: &[Part], cancel: &CancellationToken) -> Outcome {
        if let Some(last) = thought.last().filter(|last| !last.closed) {
            let what = What::Message(Box::new(last.message.clone()));
            self.notes.keep(&Incoming { update: last.update, what, closed: true }).await?;
        }
        let messages: Vec<Message> = thought.iter().map(|part| part.message.clone()).collect();
        self.prompts.ask(&messages, cancel).await
    }
}

fn hand_on(lane: &UnboundedSender<Thought>, thoughts: Vec<Thought>) {
    for thought in thoughts {
        // Its receiver lives as long as this process.
        let _ = lane.send(thought);
    }
}
