//! The Telegram door: a bot that is Claude in a chat.
//!
//! What comes in is kept in the ledger before Telegram is told that it has been taken; a prompt is submitted under a key
//! of its message, and an answer that is owed is written down until it has gone out. So after any kill nothing is lost
//! and nothing is asked twice. Everything that speaks to Telegram stands behind a trait (`api`).

mod addressing;
mod answer;
mod api;
mod bot;
mod chat_runs;
mod chat_settings;
mod command;
mod commands;
mod conversation;
mod errands;
mod files;
mod follow;
mod gather;
mod handled;
mod incoming;
mod markdown;
mod notes;
mod poll;
mod progress;
mod prompt;
mod replies;
mod reports;
mod sender;
mod settings;
mod shell;
mod show;
#[cfg(test)]
mod tests;
mod text;
mod wording;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::bot::UnusableBot;
pub use self::settings::SettingsError;

use self::addressing::Addressing;
use self::api::BotApi;
use self::bot::TelegramBot;
use self::chat_runs::ChatRuns;
use self::chat_settings::ChatSettings;
use self::commands::Commands;
use self::conversation::Conversations;
use self::errands::Errands;
use self::follow::Followers;
use self::notes::Notes;
use self::poll::{ClosedBecause, Intake};
use self::prompt::Prompts;
use self::reports::ChatReports;
use self::sender::Sender;
use self::shell::{Sendings, Shells};
use crate::config::server::TelegramConfig;
use crate::desk::chats::{ChatError, ChatReport, Chats};
use crate::doors::{self, Door, Serving};
use crate::policy;
use crate::runs::engine::Engine;
use crate::workspace::Workspaces;

/// The settings file's name in the CLI's folder.
const FILE: &str = "telegram.yml";

/// The door. Clones are the same one.
#[derive(Clone)]
pub struct Telegram {
    intake: Arc<Intake>,
    reports: Arc<ChatReports>,
    tasks: TaskTracker,
    stop: CancellationToken,
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

/// The file to read: the one that is named, or `old`, where older boxes have it, if it is there.
fn settings_file(named: Option<&Path>, old: &Path) -> PathBuf {
    let place = Path::new(policy::TELEGRAM);
    if named == Some(place) && old.exists() {
        tracing::info!("{} is not read: there is {}", old.display(), place.display());
    }
    named.or_else(|| Some(old).filter(|old| old.exists())).unwrap_or(place).to_owned()
}

/// A service with clones of what it needs, and what is its own.
macro_rules! service {
    ($service:ident { $($needs:ident),* } $($own:ident: $value:expr),*) => {
        $service { $($needs: $needs.clone(),)* $($own: $value),* }
    };
}

impl Telegram {
    /// The door with these settings, in front of `engine`. `config_dir` is the CLI's folder; nothing is asked yet.
    pub fn open(
        config: &TelegramConfig,
        config_dir: &Path,
        engine: Engine,
        workspaces: Workspaces,
    ) -> Result<Self, NotOpened> {
        let api: Arc<dyn BotApi> = Arc::new(TelegramBot::new(config)?);
        let settings = ChatSettings::open(settings_file(config.file.as_deref(), &config_dir.join(FILE)))?;
        let notes = Notes::new(engine.notes_to_keep());
        let sender = Sender::new(Arc::clone(&api));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let errands = service!(Errands { notes, tasks, stop } all: Arc::default());
        let addressing = service!(Addressing { settings } me: Arc::default());
        let followers = service!(Followers { engine, workspaces, notes, sender, tasks } owed: Arc::default());
        let runs = service!(ChatRuns { engine, workspaces, settings, followers, errands, sender });
        let shells = service!(Shells { engine, workspaces, settings, notes, sender, errands });
        let sendings = service!(Sendings { workspaces, settings, sender, errands });
        let commands = service!(Commands { settings, notes, sender } runs: runs, shells: shells, sendings: sendings);
        let reports = service!(ChatReports { workspaces, notes, sender });
        let prompts = service!(Prompts { settings, notes, sender, followers } engine: engine, workspaces: workspaces);
        let lanes = Mutex::default();
        let conversations = Arc::new(Conversations {
            addressing: addressing.clone(),
            errands,
            notes: notes.clone(),
            commands,
            prompts,
            lanes,
        });
        let (latest, strangers) = (Mutex::default(), Mutex::default());
        let intake = Intake { api, addressing, settings, notes, followers, conversations, latest, strangers };
        Ok(Self { intake: Arc::new(intake), reports: Arc::new(reports), tasks, stop })
    }

    /// Answers chats until `stop`, then for `grace` those that wait for the end of a run. An error: it cannot go on.
    async fn answer(self, stop: CancellationToken, grace: Duration) -> Result<(), ClosedBecause> {
        let served = stop.run_until_cancelled(self.intake.answer_chats()).await;
        self.stop.cancel();
        self.tasks.close();
        // What is not told by then is owed, and told by the next server.
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
        match served {
            Some(Err(closed)) => Err(closed),
            Some(Ok(never)) => match never {},
            None => Ok(()),
        }
    }
}

impl Door for Telegram {
    fn serve(self: Box<Self>, stop: CancellationToken, grace: Duration) -> Serving {
        let closed =
            |why: ClosedBecause| doors::Closed { why: why.to_string(), for_good: matches!(why, ClosedBecause::Token) };
        Box::pin(async move { self.answer(stop, grace).await.map_err(closed) })
    }
}

impl Chats for Telegram {
    fn report(&self, report: ChatReport) -> Pin<Box<dyn Future<Output = Result<(), ChatError>> + Send + '_>> {
        Box::pin(self.reports.tell(report))
    }
}
