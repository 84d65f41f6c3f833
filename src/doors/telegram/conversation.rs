//! One chat, or one topic of it: its messages one after the other, albums as one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::api::Place;
use super::incoming::{Incoming, Message, What};
use super::sender::Backoff;
use super::settings::Groups;
use super::{Inside, Key, command};
use crate::runs::ledger::LedgerError;

/// How long the next part of an album may take. They come as messages of their own, and none says how many there are.
const ALBUM: Duration = Duration::from_millis(1200);

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
        let mut album: Vec<(i64, Message)> = Vec::new();
        loop {
            let next = if album.is_empty() {
                receiver.recv().await
            } else if let Ok(next) = timeout(ALBUM, receiver.recv()).await {
                next
            } else {
                self.take(key, std::mem::take(&mut album)).await;
                continue;
            };
            let Some(Incoming { update, what }) = next else { return };
            match what {
                What::Message(message) => {
                    let same = album.first().is_some_and(|(_, first)| first.album == message.album);
                    if !album.is_empty() && !same {
                        self.take(key, std::mem::take(&mut album)).await;
                    }
                    if message.album.is_some() {
                        album.push((update, *message));
                    } else {
                        self.take(key, vec![(update, *message)]).await;
                    }
                }
                What::Press(press) => {
                    self.press(&press).await;
                    self.forget(&[update]).await;
                }
                What::Nothing => self.forget(&[update]).await,
            }
        }
    }

    /// Deals with one message, or with the parts of an album.
    async fn take(self: &Arc<Self>, key: Key, messages: Vec<(i64, Message)>) {
        let (updates, messages): (Vec<i64>, Vec<Message>) = messages.into_iter().unzip();
        let (Some(&update), Some(first)) = (updates.first(), messages.first()) else { return };
        let groups = self.settings().chat(first.chat, &self.overrides.of(first.chat)).groups;
        if first.group && groups == Groups::Mention && !messages.iter().any(|message| message.addressed) {
            return self.forget(&updates).await;
        }
        let mut backoff = Backoff::default();
        loop {
            let command = command::parse(&first.text, self.bot_name()).filter(|_| first.file.is_none());
            let handled = match command {
                Some(command) => self.obey(update, key, first, command).await,
                None => self.ask(&messages).await,
            };
            match handled {
                Ok(Handled::Done) => return self.forget(&updates).await,
                Ok(Handled::Kept) => return,
                Err(error) => {
                    tracing::error!("a message of chat {} waits: {error}", first.chat);
                    backoff.wait().await;
                }
            }
        }
    }

    pub(super) async fn forget(&self, updates: &[i64]) {
        for &update in updates {
            if let Err(error) = self.notes.done(update).await {
                // It is dealt with again by the next server, which finds its run by its key.
                tracing::error!("a message is not crossed off: {error}");
            }
        }
    }
}

/// Where an answer to a message goes.
pub(super) const fn answer_to(message: &Message) -> Place {
    Place { chat: message.chat, thread: message.thread, reply_to: Some(message.id) }
}

/// What dealing with a message comes to; an error of the ledger's passes.
pub(super) type Outcome = Result<Handled, LedgerError>;
