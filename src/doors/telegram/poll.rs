//! Asking for updates, and handing each to its conversation once the ledger has it.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};

use super::api::{Answer, ApiError, Key};
use super::command::MENU;
use super::gather::{self, Part};
use super::incoming::{Author, Incoming, Message, What};
use super::sender::Backoff;
use super::settings::{Access, Chat, Groups};
use super::{ClosedBecause, Inside, command, follow};
use crate::store::StoreError;

/// Numbers that far below the next one are not old: Telegram has begun to count anew.
const OLDEST: i64 = 100_000;

impl Inside {
    /// Takes up what an earlier server has left, and answers chats for ever.
    pub(super) async fn answer_chats(self: Arc<Self>) -> Result<Infallible, ClosedBecause> {
        let me = insist("who the bot is", || self.api.me()).await?;
        let me = self.me.get_or_init(|| me).clone();
        insist("removing a webhook", || self.api.delete_webhook()).await?;
        let menu: Vec<(&str, &str)> = MENU.iter().copied().filter(|(name, _)| *name != "queue").collect();
        if let Err(error) = self.api.set_commands(&menu).await {
            tracing::warn!("the bot's menu is not set: {error}");
        }
        self.greet(&me.username);
        let mut offset = self.take_up().await?;
        let mut backoff = Backoff::default();
        loop {
            let updates = match self.api.updates(offset, &me).await {
                Ok(updates) => updates,
                Err(ApiError::Token) => return Err(ClosedBecause::Token),
                Err(ApiError::Wait(pause)) => {
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!("Telegram gives no updates: {error}; asking again");
                    backoff.wait().await;
                    continue;
                }
            };
            backoff = Backoff::default();
            let Some(last) = updates.iter().map(|incoming| incoming.update).max() else { continue };
            let news = updates.into_iter().filter(|incoming| {
                let seen = incoming.update < offset && offset - incoming.update < OLDEST;
                !seen && self.is_welcome(incoming)
            });
            let news: Vec<Incoming> = news.collect();
            self.keep(&news, last + 1).await;
            offset = last + 1;
            for incoming in news {
                self.hand_over(incoming);
            }
        }
    }

    fn greet(&self, name: &str) {
        let settings = self.settings();
        if settings.lets_everyone_in() {
            tracing::warn!("the Telegram bot @{name} answers EVERYBODY, with a shell: allow_everyone is true");
        } else if settings.shut_out_all() {
            tracing::warn!(
                "the Telegram bot @{name} answers nobody: allowed_chats is empty in {}",
                self.settings_file.display()
            );
        } else {
            tracing::info!("the Telegram bot @{name} answers in {} chats", settings.allowed());
        }
    }

    /// Goes on with what an earlier server was told and had not dealt with; the number of the next update.
    async fn take_up(self: &Arc<Self>) -> Result<i64, StoreError> {
        let (kept, mut offset) = (self.notes.kept().await?, self.notes.offset().await?);
        // It was killed before it had written down where Telegram's updates go on.
        if let Some(last) = kept.last().map(|incoming| incoming.update).filter(|last| *last >= offset) {
            offset = last + 1;
            self.notes.set_offset(offset).await?;
        }
        for (run, owed) in self.notes.owed().await? {
            follow::begin(self, run, owed, None);
        }
        for incoming in kept {
            if let What::Message(message) = &incoming.what {
                self.note_latest(incoming.update, message);
            }
            self.hand_over(incoming);
        }
        Ok(offset)
    }

    /// Keeps updates, and then where they go on. Returns only when the ledger has it all: what Telegram is told to
    /// forget is not lost, and what has been dealt with never comes again.
    async fn keep(&self, updates: &[Incoming], offset: i64) {
        let mut backoff = Backoff::default();
        for incoming in updates {
            while let Err(error) = self.notes.keep(incoming).await {
                tracing::error!("a message is not written down: {error}; trying again");
                backoff.wait().await;
            }
        }
        while let Err(error) = self.notes.set_offset(offset).await {
            tracing::error!("where Telegram's updates go on is not written down: {error}; trying again");
            backoff.wait().await;
        }
    }

    fn is_welcome(&self, incoming: &Incoming) -> bool {
        let (chat, user) = match &incoming.what {
            What::Message(message) => (message.chat, message.user),
            What::Press(press) => (press.chat, Some(press.user)),
            What::Nothing => return false,
        };
        let settings = self.settings();
        match settings.access(chat, user) {
            Access::Allowed => match &incoming.what {
                What::Message(message) => {
                    self.is_meant(incoming.update, message, &settings.chat(chat, &self.overrides.of(chat)))
                }
                _ => true,
            },
            Access::ForeignChat => {
                let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
                // A line for each, not for each of their messages; and no more than can be read.
                if strangers.len() < 1000 && strangers.insert(chat) {
                    tracing::warn!("chat {chat} is not in allowed_chats: what comes from there is ignored");
                }
                false
            }
            Access::ForeignUser => {
                tracing::debug!("user {user:?} is not in allowed_users of chat {chat}");
                false
            }
        }
    }

    /// Whether a message is for the bot. One without anything in it is for nobody; of an album it is known when all of it
    /// is there.
    fn is_meant(&self, update: i64, message: &Message, chat: &Chat) -> bool {
        // Two bots that answer each other never end, and a channel does not talk to its group's bot.
        let is_post = message.by == Author::LinkedChannel;
        if message.by == Author::Bot || (is_post && !chat.channel_posts) {
            return false;
        }
        let empty = message.text.trim().is_empty() && message.file.is_none() && message.useless.is_none();
        if empty {
            return message.addressed && message.group && message.reply.is_some();
        }
        if !message.group {
            return true;
        }
        let for_another = message.text.starts_with('/')
            && command::parse(&message.text, self.bot_name()).is_none()
            && message.text.split_whitespace().next().is_some_and(|word| word.contains('@'));
        let all = chat.groups == Groups::All || is_post || message.album.is_some();
        !for_another && (all || message.addressed || self.goes_on(update, message)) && {
            self.note_latest(update, message);
            true
        }
    }

    /// Whether it is the rest of a message for the bot.
    fn goes_on(&self, update: i64, message: &Message) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let part = self.part(update, message);
        latest.get(&(message.chat, message.thread)).is_some_and(|before| gather::follows(before, &part))
    }

    fn note_latest(&self, update: i64, message: &Message) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert((message.chat, message.thread), self.part(update, message));
    }

    fn part(&self, update: i64, message: &Message) -> Part {
        Part { update, closed: false, sort: self.sort(message), message: message.clone() }
    }

    /// Gives an update to the conversation it belongs to.
    fn hand_over(self: &Arc<Self>, incoming: Incoming) {
        let key: Key = match &incoming.what {
            What::Message(message) => (message.chat, message.thread),
            What::Press(press) => (press.chat, press.thread),
            What::Nothing => return,
        };
        let mut conversations = self.conversations.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = conversations.entry(key).or_insert_with(|| {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            tokio::spawn(Arc::clone(self).converse(key, receiver));
            sender
        });
        // Its receiver lives as long as this process.
        let _ = sender.send(incoming);
    }
}

/// Makes a call until it works; a wrong token is the only thing that ends it.
async fn insist<'call, T>(what: &str, mut call: impl FnMut() -> Answer<'call, T>) -> Result<T, ClosedBecause> {
    let mut backoff = Backoff::default();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(ApiError::Token) => return Err(ClosedBecause::Token),
            Err(ApiError::Wait(pause)) => tokio::time::sleep(pause).await,
            Err(error) => {
                tracing::warn!("Telegram cannot be asked ({what}): {error}; trying again");
                backoff.wait().await;
            }
        }
    }
}
