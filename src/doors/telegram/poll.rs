//! Asking for updates, and handing each to its conversation once the ledger has it.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use super::addressing::Addressing;
use super::api::{Answer, ApiError, BotApi};
use super::chat_settings::ChatSettings;
use super::command::MENU;
use super::conversation::Conversations;
use super::follow::Followers;
use super::gather::{self, Part};
use super::incoming::{Author, Incoming, Key, Message, What};
use super::notes::Notes;
use super::sender::Backoff;
use super::settings::{Access, Groups};
use crate::store::StoreError;

/// Numbers that far below the next one are not old: Telegram has begun to count anew.
const OLDEST: i64 = 100_000;

/// Why the door has closed by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClosedBecause {
    #[error(
        "Telegram does not know the token in CLAUDEBOX_TELEGRAM_BOT_TOKEN: give the one that @BotFather shows for the bot"
    )]
    Token,
    #[error("the Telegram door: {0}")]
    Ledger(#[from] StoreError),
}

/// Takes updates in.
pub(super) struct Intake {
    pub(super) api: Arc<dyn BotApi>,
    pub(super) addressing: Addressing,
    pub(super) settings: ChatSettings,
    pub(super) notes: Notes,
    pub(super) followers: Followers,
    pub(super) conversations: Arc<Conversations>,
    /// Each conversation's last message for the bot: what goes on with it is for the bot as well.
    pub(super) latest: Mutex<HashMap<Key, Part>>,
    /// Chats that were turned away, so that the log names each once.
    pub(super) strangers: Mutex<HashSet<i64>>,
}

impl Intake {
    /// Takes up what an earlier server has left, and answers chats for ever.
    pub(super) async fn answer_chats(&self) -> Result<Infallible, ClosedBecause> {
        let me = insist("who the bot is", || self.api.me()).await?;
        let me = self.addressing.me.get_or_init(|| me);
        insist("removing a webhook", || self.api.delete_webhook()).await?;
        let menu: Vec<(&str, &str)> = MENU.iter().copied().filter(|(name, _)| *name != "queue").collect();
        if let Err(error) = self.api.set_commands(&menu).await {
            tracing::warn!("the bot's menu is not set: {error}");
        }
        self.greet(&me.username);
        let mut offset = self.take_up().await?;
        let mut backoff = Backoff::default();
        loop {
            let updates = match self.api.updates(offset, me).await {
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
                self.conversations.hand_over(incoming);
            }
        }
    }

    fn greet(&self, name: &str) {
        let settings = self.settings.file();
        if settings.lets_everyone_in() {
            tracing::warn!("the Telegram bot @{name} answers EVERYBODY, with a shell: allow_everyone is true");
        } else if settings.shut_out_all() {
            tracing::warn!(
                "the Telegram bot @{name} answers nobody: allowed_chats is empty in {}",
                self.settings.path().display()
            );
        } else {
            tracing::info!("the Telegram bot @{name} answers in {} chats", settings.allowed());
        }
    }

    /// Goes on with what an earlier server was told and had not dealt with; the number of the next update.
    async fn take_up(&self) -> Result<i64, StoreError> {
        let (kept, mut offset) = (self.notes.kept().await?, self.notes.offset().await?);
        // It was killed before it had written down where Telegram's updates go on.
        if let Some(last) = kept.last().map(|incoming| incoming.update).filter(|last| *last >= offset) {
            offset = last + 1;
            self.notes.set_offset(offset).await?;
        }
        for (run, owed) in self.notes.owed().await? {
            self.followers.begin(run, owed);
        }
        for incoming in kept {
            if let What::Message(message) = &incoming.what {
                self.note_latest(incoming.update, message);
            }
            self.conversations.hand_over(incoming);
        }
        Ok(offset)
    }

    /// Keeps updates, then where they go on; returns once the ledger has it all: Telegram forgets only what is kept.
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
        let settings = self.settings.file();
        match settings.access(chat, user) {
            Access::Allowed => match &incoming.what {
                What::Message(message) => self.is_meant(incoming.update, message),
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

    /// Whether a message is for the bot. An empty one is for nobody; of an album it is known when all of it is there.
    fn is_meant(&self, update: i64, message: &Message) -> bool {
        let chat = self.settings.of(message.chat);
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
        let all = chat.groups == Groups::All || is_post || message.album.is_some();
        !self.addressing.is_for_another(message) && (all || message.addressed || self.goes_on(update, message)) && {
            self.note_latest(update, message);
            true
        }
    }

    /// Whether it is the rest of a message for the bot.
    fn goes_on(&self, update: i64, message: &Message) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let part = self.addressing.part(update, false, message.clone());
        latest.get(&message.key()).is_some_and(|before| gather::follows(before, &part))
    }

    fn note_latest(&self, update: i64, message: &Message) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.insert(message.key(), self.addressing.part(update, false, message.clone()));
    }
}

/// Makes a call until it works; a wrong token is the only thing that ends it.
async fn insist<'a, T>(what: &str, mut call: impl FnMut() -> Answer<'a, T>) -> Result<T, ClosedBecause> {
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
