//! A run from its acceptance to the last message of its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::answer::{self, Part};
use super::api::{ApiError, Buttons};
use super::files::Own;
use super::incoming::Key;
use super::notes::{Notes, Owed, ReportLink};
use super::progress::Progress;
use super::sender::{Backoff, Patience, Sender};
use super::text::Text;
use crate::desk::narrate::Reader;
use crate::runs::engine::Engine;
use crate::store::record::Run;
use crate::workspace::Workspaces;

/// Between two edits of the growing message; groups bear twenty a minute.
const EDIT: Duration = Duration::from_millis(1200);
const EDIT_IN_GROUP: Duration = Duration::from_millis(3200);
/// How often it is shown that the bot is at work: it fades after five seconds.
const TYPING: Duration = Duration::from_millis(4500);

/// Follows runs until their answers are told.
#[derive(Clone)]
pub(super) struct Followers {
    pub(super) engine: Engine,
    pub(super) workspaces: Workspaces,
    pub(super) notes: Notes,
    pub(super) sender: Sender,
    /// Answers that are owed, by their runs.
    pub(super) owed: Arc<Mutex<HashMap<Uuid, Owed>>>,
    pub(super) tasks: TaskTracker,
}

impl Followers {
    /// Follows a run in a task of its own.
    pub(super) fn begin(&self, run: Uuid, owed: Owed) {
        if self.owed().insert(run, owed).is_some() {
            return;
        }
        let followers = self.clone();
        self.tasks.spawn(async move { Follow { followers: &followers, run }.to_the_end().await });
    }

    pub(super) fn has(&self, run: Uuid) -> bool {
        self.owed().contains_key(&run)
    }

    /// A conversation's runs that have not ended, in the order they were accepted.
    pub(super) fn runs_of(&self, key: Key) -> Vec<Uuid> {
        let mut runs: Vec<Uuid> =
            self.owed().iter().filter(|(_, owed)| owed.place().key() == key).map(|(run, _)| *run).collect();
        runs.sort_unstable();
        let live: Vec<Uuid> = self.engine.status().live.into_iter().map(|(id, ..)| id).collect();
        runs.retain(|run| live.contains(run));
        runs
    }

    fn owed(&self) -> MutexGuard<'_, HashMap<Uuid, Owed>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run that is followed.
struct Follow<'door> {
    followers: &'door Followers,
    run: Uuid,
}

impl Follow<'_> {
    fn owed(&self) -> Option<Owed> {
        self.followers.owed().get(&self.run).cloned()
    }

    async fn to_the_end(&self) {
        let Some(owed) = self.owed() else { return };
        let progress = self.show(&owed).await;
        let mut backoff = Backoff::default();
        let run = loop {
            match self.followers.engine.wait(self.run).await {
                Ok(run) => break run,
                Err(error) => {
                    tracing::error!("run {}: how it ended cannot be read: {error}", self.run);
                    backoff.wait().await;
                }
            }
        };
        // Not before its end is in the ledger: what was told would be undone by a kill.
        match run {
            Some(run) if run.state.is_final() => self.deliver(&run, progress.text()).await,
            Some(_) => return,
            None => tracing::warn!("run {}: the ledger does not have it any more; its chat is told nothing", self.run),
        }
        if let Err(error) = self.followers.notes.paid(self.run).await {
            tracing::error!("run {}: that it was told is not written down: {error}", self.run);
        }
        self.followers.owed().remove(&self.run);
    }

    /// Shows the run's progress until its end.
    async fn show(&self, owed: &Owed) -> Progress {
        let engine = &self.followers.engine;
        let (mut reader, mut progress) = (Reader::default(), Progress::default());
        let mut endings = engine.endings();
        let Ok(Some(mut events)) = engine.events(self.run, 0).await else { return progress };
        let waiting = self.waiting(events.is_waiting()).await;
        self.first_message(waiting.as_deref()).await;
        let mut shown = waiting;
        let mut changed = false;
        let mut edits = interval(if owed.group { EDIT_IN_GROUP } else { EDIT });
        edits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut typed_at: Option<Instant> = None;
        loop {
            let waits = events.is_waiting();
            tokio::select! {
                chunk = events.next() => match chunk {
                    Ok(Some(chunk)) => {
                        for delta in reader.read(&chunk.lines) {
                            changed |= progress.take(delta);
                        }
                    }
                    Ok(None) => return progress,
                    Err(error) => {
                        tracing::error!("run {}: its events cannot be read: {error}", self.run);
                        return progress;
                    }
                },
                Ok(()) = endings.changed(), if waits => {}
                _ = edits.tick() => {
                    if waits {
                        let waiting = self.waiting(true).await;
                        if waiting != shown && self.grow(&Text::italic(waiting.as_deref().unwrap_or(WORKING))).await {
                            shown = waiting;
                        }
                        continue;
                    }
                    changed |= shown.take().is_some();
                    if typed_at.is_none_or(|at| at.elapsed() >= TYPING) {
                        typed_at = Some(Instant::now());
                        self.followers.sender.typing(owed.place()).await;
                    }
                    if changed {
                        let text = progress.message_text();
                        let text = if text.text.is_empty() { Text::italic(WORKING) } else { text };
                        changed = !self.grow(&text).await;
                    }
                }
            }
        }
    }

    /// What is said of a run that waits; `None`: it does not.
    async fn waiting(&self, waits: bool) -> Option<String> {
        if !waits {
            return None;
        }
        let run = self.followers.engine.get(self.run).await.ok().flatten()?;
        let ahead = self.followers.engine.ahead(&run)?;
        Some(match ahead {
            0 => "🕒 Waiting: the box runs as much as it may.".to_owned(),
            1 => "🕒 Next in line: 1 run is before this one.".to_owned(),
            more => format!("🕒 Waiting: {more} runs are before this one."),
        })
    }

    fn buttons(&self) -> Buttons {
        vec![vec![("✋ Cancel".to_owned(), format!("cancel:{}", self.run))]]
    }

    /// Sends the message that will grow, if there is none yet.
    async fn first_message(&self, waiting: Option<&str>) {
        let Some(mut owed) = self.owed() else { return };
        if owed.growing.is_some() {
            return;
        }
        let text = Text::italic(waiting.unwrap_or(WORKING));
        match self.followers.sender.send(owed.place(), &text, &self.buttons(), Patience::Some(3)).await {
            Ok(message) => {
                owed.growing = Some(message);
                self.note(owed).await;
            }
            Err(error) => tracing::warn!("chat {} is not told that its run goes on: {error}", owed.chat),
        }
    }

    /// Shows it in the growing message. `false`: not at this moment.
    async fn grow(&self, text: &Text) -> bool {
        let owed = self.owed();
        let Some(Owed { chat, growing: Some(message), .. }) = owed else { return true };
        self.followers.sender.try_edit(chat, message, text, &self.buttons()).await
    }

    async fn note(&self, owed: Owed) {
        if let Err(error) = self.followers.notes.owe(self.run, &owed).await {
            tracing::error!("run {}: what was told of it is not written down: {error}", self.run);
        }
        self.followers.owed().insert(self.run, owed);
    }

    /// Sends what has not been sent yet of the answer. The first message takes the growing one's place: that can be
    /// repeated without harm, so an answer of one message is never there twice.
    async fn deliver(&self, run: &Run, so_far: &str) {
        let parts = answer::parts(run, so_far);
        let own = Own::at(&self.followers.workspaces, &run.workspace).await;
        loop {
            let Some(mut owed) = self.owed() else { return };
            let Some(part) = parts.get(owed.sent) else { return };
            let sent = match (part, owed.growing.filter(|_| owed.sent == 0)) {
                (Part::Text(text), Some(message)) => self.replace(&owed, message, text).await,
                (part, _) => self.followers.sender.send_part(owed.place(), part, own.as_ref()).await,
            };
            match sent {
                Ok(message) => {
                    owed.sent += 1;
                    let about = owed.about.clone();
                    let chat = owed.chat;
                    self.note(owed).await;
                    if let Some((report, conversation)) = about {
                        let told = ReportLink { run: report, job: String::new(), conversation, report: false };
                        if let Err(error) = self.followers.notes.tell(chat, message, &told).await {
                            tracing::error!("what a message is about is not written down: {error}");
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!("chat {}: the answer of run {} is not told: {error}", owed.chat, self.run);
                    return;
                }
            }
        }
    }

    async fn replace(&self, owed: &Owed, message: i32, text: &Text) -> Result<i32, ApiError> {
        match self.followers.sender.edit(owed.chat, message, text, &Vec::new(), Patience::Endless).await {
            Ok(()) => Ok(message),
            // Somebody has deleted it, or Telegram does not let it be changed any more.
            Err(error) if error.is_final() => {
                tracing::debug!("the growing message cannot be changed: {error}");
                let answer = self.followers.sender.send_part(owed.place(), &Part::Text(text.clone()), None).await?;
                let delete = || self.followers.sender.api.delete(owed.chat, message);
                if let Err(error) = self.followers.sender.call(owed.chat, Patience::Some(3), delete).await {
                    tracing::debug!("the growing message is not deleted: {error}");
                }
                Ok(answer)
            }
            Err(error) => Err(error),
        }
    }
}

const WORKING: &str = "⏳ Working…";
