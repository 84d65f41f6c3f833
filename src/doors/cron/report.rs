//! What chats are told, and that they are told: reports wait in the ledger until a chat has them.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::tick::Tick;
use crate::backoff::Backoff;
use crate::claude::outcome::Outcome;
use crate::desk::chats::{ChatError, ChatReport, Chats};
use crate::runs::engine::Engine;
use crate::store::record::{Cancel, DoorName, Run, State, now};
use crate::store::{Note, Notes, StoreError};

const NOTES: &str = "report/";
/// How long a chat is tried to be told, milliseconds: older news are none.
const KEEP: i64 = 7 * 86_400_000;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Reports on their way to chats.
pub struct Reports {
    chats: Arc<dyn Chats>,
    news: Notify,
}

/// What a chat is to be told of a tick.
#[derive(Debug, Clone)]
pub struct Report<'run> {
    /// Its last run, if it has one.
    pub run: Option<&'run Run>,
    /// What is to be read; Markdown.
    pub text: String,
    /// Whether the tick is over.
    pub is_last: bool,
}

/// A report as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    chat: i64,
    run: Uuid,
    job: String,
    workspace: std::path::PathBuf,
    text: String,
}

impl Reports {
    /// Reports for these chats.
    #[must_use]
    pub fn new(chats: Arc<dyn Chats>) -> Self {
        Self { chats, news: Notify::new() }
    }

    /// Takes a report in: from here on the chat will be told. The same report again replaces the first.
    pub async fn accept(&self, ledger: &dyn Notes, tick: &Tick, report: &Report<'_>) -> Result<(), StoreError> {
        let Report { run, text, is_last } = report;
        let Some(chat) = tick.chat else { return Ok(()) };
        let kept = Kept {
            chat,
            run: run.map_or_else(Uuid::nil, |run| run.id),
            job: tick.job.clone(),
            workspace: run.map(|run| run.workspace.clone()).unwrap_or_default(),
            text: text.clone(),
        };
        // In the order they are told in; one that is being told is not replaced by the next.
        let turn = u8::from(*is_last);
        let key = format!("{NOTES}{:012}/{}/{:04}/{turn}", tick.scheduled, tick.job, tick.attempts.len());
        let note = Note { key, value: serde_json::to_value(kept).unwrap_or_default() };
        ledger.put_note(DoorName::Cron, note, Some(now() + KEEP)).await?;
        self.news.notify_one();
        Ok(())
    }

    /// Tells the chats until `stop`.
    pub async fn work(&self, engine: &Engine, stop: &CancellationToken) {
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let all_told = tokio::select! {
                told = self.tell_all(engine.ledger()) => told,
                () = stop.cancelled() => return,
            };
            let wait = async {
                if all_told {
                    pause.reset();
                    self.news.notified().await;
                } else {
                    // News may be for a chat that can be told.
                    let _ = tokio::time::timeout(pause.next_delay(), self.news.notified()).await;
                }
            };
            tokio::select! {
                () = wait => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Whether nothing is left.
    async fn tell_all(&self, ledger: &dyn Notes) -> bool {
        let notes = match ledger.notes(DoorName::Cron, NOTES).await {
            Ok(notes) => notes,
            Err(error) => {
                tracing::error!("cron: {error}");
                return false;
            }
        };
        let mut all = true;
        for note in notes {
            if self.tell(&note).await {
                if let Err(error) = ledger.remove_note(DoorName::Cron, &note.key).await {
                    tracing::error!("cron: a chat may be told twice: {error}");
                    all = false;
                }
            } else {
                all = false;
            }
        }
        all
    }

    /// Whether that is done with.
    async fn tell(&self, note: &Note) -> bool {
        let Ok(Kept { chat, run, job, workspace, text }) = serde_json::from_value(note.value.clone()) else {
            return true;
        };
        let report = ChatReport { chat, run, job: job.clone(), workspace, text };
        match self.chats.report(report).await {
            Ok(()) => true,
            Err(ChatError::Later(why)) => {
                tracing::warn!("job {job}: chat {chat} cannot be told yet: {why}");
                false
            }
            Err(ChatError::Never(why)) => {
                tracing::error!("job {job}: chat {chat} is not told: {why}");
                true
            }
        }
    }
}

/// What a chat is told of a tick that is over. `None`: nothing.
pub fn text(tick: &Tick, run: Result<&Run, &str>) -> Option<String> {
    let attempts = match tick.attempts.len() {
        0 => String::new(),
        earlier => format!(" after {} attempts", earlier + 1),
    };
    let run = match run {
        Ok(run) => run,
        Err(why) => return Some(format!("**Failed**{attempts}: {why}")),
    };
    let end = run.end.as_ref();
    let error = end.and_then(|end| end.error.as_deref()).unwrap_or("it says nothing about why");
    match run.state {
        State::Queued | State::Running => None,
        State::Succeeded => {
            let answer = end.and_then(|end| end.result["result"].as_str()).unwrap_or_default().trim();
            Some(if answer.is_empty() { "Finished, with an empty answer.".to_owned() } else { answer.to_owned() })
        }
        // It was the job's own next tick.
        State::Cancelled if end.is_some_and(|end| end.result["cancelled"] == Cancel::Replaced.name()) => None,
        State::Cancelled => Some("**Cancelled.**".to_owned()),
        State::Interrupted => Some(format!("**Interrupted**{attempts}: the server or the box ended before it did.")),
        State::Failed => {
            let outcome = end.and_then(|end| end.outcome).map_or("unknown", Outcome::name);
            Some(format!("**Failed**{attempts} (`{outcome}`): {error}"))
        }
    }
}

/// What a chat is told of one that waits.
pub fn waiting(tick: &Tick, at: i64) -> String {
    format!("**Rate limited.** It is tried again at {}.", tick.tell(at))
}

#[cfg(test)]
mod tests;
