//! A run from its acceptance to the last message of its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::Inside;
use super::answer::{self, Part};
use super::api::{ApiError, Attachment, AttachmentKind, Buttons, Content, Place};
use super::files::{self, Own};
use super::notes::{Owed, ReportLink};
use super::progress::{Progress, italic};
use super::sender::{Backoff, Patience};
use super::text::Text;
use crate::desk::narrate::Reader;
use crate::store::record::Run;

/// Between two edits of the growing message; groups bear twenty a minute.
const EDIT: Duration = Duration::from_millis(1200);
const EDIT_IN_GROUP: Duration = Duration::from_millis(3200);
/// How often it is shown that the bot is at work: it fades after five seconds.
const TYPING: Duration = Duration::from_millis(4500);

/// Follows a run in a task of its own. `growing`: the message that grows, if there is one already.
pub(super) fn begin(inside: &Arc<Inside>, run: Uuid, owed: Owed, growing: Option<i32>) {
    let owed = Owed { growing: owed.growing.or(growing), ..owed };
    if inside.owed().insert(run, owed).is_some() {
        return;
    }
    let inside = Arc::clone(inside);
    inside.tasks.clone().spawn(async move {
        let follow = Follow { inside: &inside, run };
        follow.to_the_end().await;
    });
}

struct Follow<'door> {
    inside: &'door Arc<Inside>,
    run: Uuid,
}

impl Follow<'_> {
    async fn to_the_end(&self) {
        let Some(owed) = self.inside.owed().get(&self.run).cloned() else { return };
        let progress = self.show(&owed).await;
        let mut backoff = Backoff::default();
        let run = loop {
            match self.inside.engine.wait(self.run).await {
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
        if let Err(error) = self.inside.notes.paid(self.run).await {
            tracing::error!("run {}: that it was told is not written down: {error}", self.run);
        }
        self.inside.owed().remove(&self.run);
    }

    /// Shows the run's progress until its end.
    async fn show(&self, owed: &Owed) -> Progress {
        let engine = &self.inside.engine;
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
                        if waiting != shown && self.grow(&italic(waiting.as_deref().unwrap_or(WORKING))).await {
                            shown = waiting;
                        }
                        continue;
                    }
                    changed |= shown.take().is_some();
                    if typed_at.is_none_or(|at| at.elapsed() >= TYPING) {
                        typed_at = Some(Instant::now());
                        let _ = self.inside.api.typing(owed.place()).await;
                    }
                    if changed {
                        let text = progress.message_text();
                        let text = if text.text.is_empty() { italic(WORKING) } else { text };
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
        let run = self.inside.engine.get(self.run).await.ok().flatten()?;
        let ahead = self.inside.engine.ahead(&run)?;
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
        let Some(mut owed) = self.inside.owed().get(&self.run).cloned() else { return };
        if owed.growing.is_some() {
            return;
        }
        let text = italic(waiting.unwrap_or(WORKING));
        match self.inside.sender.send(owed.place(), &text, &self.buttons(), Patience::Some(3)).await {
            Ok(message) => {
                owed.growing = Some(message);
                self.note(owed).await;
            }
            Err(error) => tracing::warn!("chat {} is not told that its run goes on: {error}", owed.chat),
        }
    }

    /// Shows it in the growing message. `false`: not at this moment.
    async fn grow(&self, text: &Text) -> bool {
        let owed = self.inside.owed().get(&self.run).cloned();
        let Some(Owed { chat, growing: Some(message), .. }) = owed else { return true };
        self.inside.sender.try_edit(chat, message, text, &self.buttons()).await
    }

    async fn note(&self, owed: Owed) {
        if let Err(error) = self.inside.notes.owe(self.run, &owed).await {
            tracing::error!("run {}: what was told of it is not written down: {error}", self.run);
        }
        self.inside.owed().insert(self.run, owed);
    }

    /// Sends what has not been sent yet of the answer. The first message takes the growing one's place: that can be
    /// repeated without harm, so an answer of one message is never there twice.
    async fn deliver(&self, run: &Run, so_far: &str) {
        let parts = answer::parts(run, so_far);
        let own = {
            let (workspaces, path) = (self.inside.workspaces.clone(), run.workspace.clone());
            tokio::task::spawn_blocking(move || Own::at(&workspaces, &path)).await.ok().flatten()
        };
        loop {
            let Some(mut owed) = self.inside.owed().get(&self.run).cloned() else { return };
            let Some(part) = parts.get(owed.sent) else { return };
            let sent = match (part, owed.growing.filter(|_| owed.sent == 0)) {
                (Part::Text(text), Some(message)) => self.replace(&owed, message, text).await,
                (part, _) => self.inside.send_part(owed.place(), part, own.as_ref()).await,
            };
            match sent {
                Ok(message) => {
                    owed.sent += 1;
                    let about = owed.about.clone();
                    let chat = owed.chat;
                    self.note(owed).await;
                    if let (Some((report, conversation)), Some(message)) = (about, message) {
                        let told = ReportLink { run: report, job: String::new(), conversation, report: false };
                        if let Err(error) = self.inside.notes.tell(chat, message, &told).await {
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

    async fn replace(&self, owed: &Owed, message: i32, text: &Text) -> Result<Option<i32>, ApiError> {
        match self.inside.sender.edit(owed.chat, message, text, &Vec::new(), Patience::Endless).await {
            Ok(()) => Ok(Some(message)),
            // Somebody has deleted it, or Telegram does not let it be changed any more.
            Err(error) if error.is_final() => {
                tracing::debug!("the growing message cannot be changed: {error}");
                let answer = self.inside.send_part(owed.place(), &Part::Text(text.clone()), None).await?;
                let delete = || self.inside.api.delete(owed.chat, message);
                if let Err(error) = self.inside.sender.call(owed.chat, Patience::Some(3), delete).await {
                    tracing::debug!("the growing message is not deleted: {error}");
                }
                Ok(answer)
            }
            Err(error) => Err(error),
        }
    }
}

const WORKING: &str = "⏳ Working…";

impl Inside {
    /// Sends one part of an answer; the id of its message.
    pub(super) async fn send_part(
        &self,
        place: Place,
        part: &Part,
        own: Option<&Own>,
    ) -> Result<Option<i32>, ApiError> {
        match part {
            Part::Text(text) => {
                let sent = self.sender.send(place, text, &Vec::new(), Patience::Endless).await;
                match sent {
                    // An answer without its markup is better than none.
                    Err(ApiError::Refused(why)) if !text.entities.is_empty() => {
                        tracing::warn!(
                            "chat {}: a text is sent without markup, as Telegram refuses it: {why}",
                            place.chat
                        );
                        let plain = Text::plain(text.text.as_str());
                        self.sender.send(place, &plain, &Vec::new(), Patience::Endless).await.map(Some)
                    }
                    sent => sent.map(Some),
                }
            }
            Part::Whole(markdown) => {
                let send = || {
                    let content = Content::Bytes(markdown.clone().into_bytes());
                    let kind = AttachmentKind::Document;
                    self.api.send_file(place, Attachment { kind, name: "answer.md", content, caption: "" })
                };
                self.sender.transfer(place.chat, Patience::Endless, send).await.map(Some)
            }
            Part::File(path) => match self.send_file(place, own, path, Patience::Endless).await {
                Ok(message) => Ok(Some(message)),
                Err(why) => {
                    let text = Text::plain(format!("⚠️ {path} was not sent: {why}"));
                    self.sender.send(place, &text, &Vec::new(), Patience::Endless).await.map(Some)
                }
            },
        }
    }

    /// Sends a file of a workspace; why not, for a person.
    pub(super) async fn send_file(
        &self,
        place: Place,
        own: Option<&Own>,
        path: &str,
        patience: Patience,
    ) -> Result<i32, String> {
        let Some(own) = own else { return Err("its workspace is not below the workspaces folder".into()) };
        let mut as_document = false;
        loop {
            // Opened anew for each attempt: an upload that failed half-way has read half of it.
            let sent = self.sender.transfer(place.chat, patience, || {
                let (own, path) = (own.clone(), path.to_owned());
                Box::pin(async move {
                    let found = tokio::task::spawn_blocking(move || own.find(&path)).await;
                    let refused = |why: String| ApiError::Refused(why);
                    let found = found.map_err(|error| refused(error.to_string()))?;
                    let found = found.map_err(|error| refused(error.to_string()))?;
                    if found.size > files::LARGEST_SENT {
                        let size = files::size(found.size);
                        return Err(refused(format!("it has {size}, and Telegram takes at most 50 MB from a bot")));
                    }
                    if found.size == 0 {
                        return Err(refused("it is empty, and Telegram takes no empty files".into()));
                    }
                    let kind = if as_document { AttachmentKind::Document } else { found.kind };
                    let content = Content::Open(found.file);
                    self.api.send_file(place, Attachment { kind, name: &found.name, content, caption: "" }).await
                })
            });
            match sent.await {
                Ok(message) => return Ok(message),
                // A picture that Telegram cannot scale is a file like any other.
                Err(ApiError::Refused(why)) if !as_document && is_about_pictures(&why) => as_document = true,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn is_about_pictures(why: &str) -> bool {
    ["PHOTO_", "IMAGE_PROCESS_FAILED", "VIDEO_"].iter().any(|mark| why.contains(mark))
}
