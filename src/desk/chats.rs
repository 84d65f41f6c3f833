//! Chats as another door sees them: cron tells a chat how its jobs ended, and need not know what a chat is.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use uuid::Uuid;

use crate::store::record::DoorName;
use crate::store::{Notes, StoreError};

/// What the keys of the notes begin with that cron has of ticks that are not over. Each says its `job` and the `chat` that is told.
pub const TICKS: &str = "tick/";

/// What a chat is told of a job's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatReport {
    /// The chat's id, as Telegram has it.
    pub chat: i64,
    /// The run; who replies to the report asks about it.
    pub run: Uuid,
    /// The job's name.
    pub job: String,
    /// Where it worked.
    pub workspace: PathBuf,
    /// What is to be read: the answer, or what went wrong. Markdown.
    pub text: String,
}

/// The jobs with a tick that is not over and will be told to this chat.
pub async fn jobs_that_tell(ledger: &dyn Notes, chat: i64) -> Result<Vec<String>, StoreError> {
    let notes = ledger.notes(DoorName::Cron, TICKS).await?;
    let telling = notes.iter().filter(|note| note.value["chat"] == chat);
    Ok(telling.filter_map(|note| note.value["job"].as_str().map(str::to_owned)).collect())
}

/// Why a chat was not told.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// Later it may work: the network, a limit, a server that restarts.
    #[error("{0}")]
    Later(String),
    /// It never will: no such chat, no right to write there.
    #[error("{0}")]
    Never(String),
}

/// Tells chats. A report that was told twice (after a kill in between) is better than one that was not told.
pub trait Chats: Send + Sync {
    /// Tells one chat; returns when it has it.
    fn report(&self, report: ChatReport) -> Pin<Box<dyn Future<Output = Result<(), ChatError>> + Send + '_>>;
}
