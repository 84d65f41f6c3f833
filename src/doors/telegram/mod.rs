//! The Telegram door: a bot that is Claude in a chat.
//!
//! What comes in is kept in the ledger before Telegram is told that it has been taken; a prompt is submitted under a key
//! of its message, and an answer that is owed is written down until it has gone out. So after any kill nothing is lost
//! and nothing is asked twice. Everything that speaks to Telegram stands behind a trait (`api`).

mod answer;
mod api;
mod bot;
mod command;
mod commands;
mod conversation;
mod errands;
mod files;
mod follow;
mod gather;
mod incoming;
mod markdown;
mod notes;
mod others;
mod overrides;
mod poll;
mod progress;
mod prompt;
mod reports;
mod sender;
mod settings;
mod shell;
mod show;
#[cfg(test)]
mod tests;
mod text;
mod wording;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::bot::UnusableBot;
pub use self::settings::SettingsError;

use self::api::{BotApi, Buttons, Key, Place};
use self::bot::TelegramBot;
use self::errands::Errands;
use self::gather::Part;
use self::incoming::{Incoming, Me};
use self::notes::{Notes, Owed};
use self::overrides::OverridesFile;
use self::sender::{Patience, Sender};
use self::settings::SettingsFile;
use self::text::Text;
use crate::config::server::TelegramConfig;
use crate::doors::{self, Door, Serving};
use crate::runs::engine::Engine;
use crate::store::StoreError;
use crate::workspace::Workspaces;

/// The settings file's name in the CLI's folder.
const FILE: &str = "telegram.yml";

/// The door. Clones are the same one.
#[derive(Clone)]
pub struct Telegram {
    inside: Arc<Inside>,
}

/// Why the door cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The settings file.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The bot.
    #[error(transparent)]
    Bot(#[from] UnusableBot),
}

/// Why the door has closed by itself.
#[derive(Debug, thiserror::Error)]
pub enum ClosedBecause {
    /// The token.
    #[error(
        "Telegram does not know the token in CLAUDEBOX_TELEGRAM_BOT_TOKEN: give the one that @BotFather shows for the bot"
    )]
    Token,
    /// The ledger.
    #[error("the Telegram door: {0}")]
    Ledger(#[from] StoreError),
}

struct Inside {
    engine: Engine,
    workspaces: Workspaces,
    notes: Notes,
    api: Arc<dyn BotApi>,
    sender: Sender,
    settings_file: PathBuf,
    settings: RwLock<Arc<SettingsFile>>,
    overrides: OverridesFile,
    me: OnceLock<Me>,
    /// Answers that are owed, by their runs.
    owed: Mutex<HashMap<Uuid, Owed>>,
    conversations: Mutex<HashMap<Key, UnboundedSender<Incoming>>>,
    errands: Errands,
    /// The last message for the bot in each conversation of a group where not all are: what goes on with it is for the
    /// bot as well.
    latest: Mutex<HashMap<Key, Part>>,
    /// Chats that were turned away, so that the log names each once.
    strangers: Mutex<HashSet<i64>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Telegram {
    /// The door with these settings, in front of `engine`. `config_dir` is the CLI's folder; nothing is asked yet.
    pub fn open(
        config: &TelegramConfig,
        config_dir: &Path,
        engine: Engine,
        workspaces: Workspaces,
    ) -> Result<Self, NotOpened> {
        let api = Arc::new(TelegramBot::new(config)?);
        let settings_file = config.file.clone().unwrap_or_else(|| config_dir.join(FILE));
        let settings = SettingsFile::read(&settings_file)?;
        let overrides = settings_file.with_file_name(overrides::FILE);
        Ok(Self {
            inside: Arc::new(Inside {
                notes: Notes::new(engine.notes_to_keep()),
                engine,
                workspaces,
                sender: Sender::new(Arc::clone(&api) as Arc<dyn BotApi>),
                api,
                settings_file,
                settings: RwLock::new(Arc::new(settings)),
                overrides: OverridesFile::open(overrides),
                me: OnceLock::new(),
                owed: Mutex::default(),
                conversations: Mutex::default(),
                errands: Errands::default(),
                latest: Mutex::default(),
                strangers: Mutex::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        })
    }

    /// Answers chats until `stop`, then for `grace` those that wait for the end of a run. An error: it cannot go on.
    async fn answer(self, stop: CancellationToken, grace: Duration) -> Result<(), ClosedBecause> {
        let inside = &self.inside;
        let served = stop.run_until_cancelled(Arc::clone(inside).answer_chats()).await;
        inside.stop.cancel();
        inside.tasks.close();
        // What is not told by then is owed, and told by the next server.
        let _ = tokio::time::timeout(grace, inside.tasks.wait()).await;
        match served {
            Some(Err(closed)) => Err(closed),
            Some(Ok(never)) => match never {},
            None => Ok(()),
        }
    }
}

impl Door for Telegram {
    fn serve(self: Box<Self>, stop: CancellationToken, grace: Duration) -> Serving {
        let closed = |closed: ClosedBecause| doors::Closed {
            why: closed.to_string(),
            for_good: matches!(closed, ClosedBecause::Token),
        };
        Box::pin(async move { self.answer(stop, grace).await.map_err(closed) })
    }
}

impl Inside {
    fn settings(&self) -> Arc<SettingsFile> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn bot_name(&self) -> &str {
        self.me.get().map_or("", |me| me.username.as_str())
    }

    /// Says something that nobody owes: a few attempts, and a line in the log.
    async fn say(&self, place: Place, text: &Text) {
        self.say_with(place, text, &Vec::new()).await;
    }

    async fn say_with(&self, place: Place, text: &Text, buttons: &Buttons) {
        let messages = text.split(text::LONGEST_MESSAGE);
        let count = messages.len();
        for (number, message) in messages.iter().enumerate() {
            let none = Vec::new();
            let buttons = if number + 1 == count { buttons } else { &none };
            if let Err(error) = self.sender.send(place, message, buttons, Patience::Some(6)).await {
                tracing::warn!("chat {} is not told: {error}", place.chat);
                return;
            }
        }
    }

    async fn say_markdown(&self, place: Place, markdown: &str) {
        self.say(place, &markdown::to_text(markdown)).await;
    }

    fn owed(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Owed>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
