//! Messages to a run.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::api::Place;
use super::conversation::{Handled, Outcome};
use super::files::{self, NotSaved, Own};
use super::incoming::{FileRef, Message};
use super::notes::Saved;
use super::notes::{Owed, Recent};
use super::sender::Backoff;
use super::settings::Chat;
use super::text::Text;
use super::wording::{self, Asked};
use super::{Inside, follow};
use crate::claude::arguments::{FromDoor, Options, OutputFormat};
use crate::desk::ask::Ask;
use crate::runs::submission::Origin;
use crate::runs::submission::SubmitError;
use crate::store::StoreError;
use crate::store::record::{Cancel, DoorName, Request, Requester};

/// How often a download is tried.
const DOWNLOADS: u32 = 5;

impl Inside {
    /// Makes a run of a thought's messages, unless `cancel` comes first.
    pub(super) async fn ask(self: &Arc<Self>, messages: &[Message], cancel: &CancellationToken) -> Outcome {
        let Some(first) = messages.first() else { return Ok(Handled::Done) };
        let chat = self.settings().chat(first.chat, &self.overrides.of(first.chat));
        let place = Place::answering(first);
        if let Some(useless) = messages.iter().find_map(|message| message.useless.as_ref()) {
            self.say(place, &Text::plain(format!("I cannot read a {useless}. Send text or files."))).await;
            return Ok(Handled::Done);
        }
        let told = match &first.reply {
            Some(reply) => self.notes.told(first.chat, reply.id).await?,
            None => None,
        };
        // The session of this moment: files take their time.
        let conversation = match &told {
            Some(told) => told.conversation.clone(),
            None => conversation(first, &self.notes.sessions(first.chat, first.thread).await?.current),
        };
        let Some(own) = self.usable_workspace(place, &chat).await else { return Ok(Handled::Done) };
        let saved = cancel.run_until_cancelled(self.save_files(messages, &own)).await;
        let Some(saved) = saved.filter(|_| !cancel.is_cancelled()) else {
            self.say(place, &Text::plain("✋ Cancelled. Nothing was asked.")).await;
            return Ok(Handled::Done);
        };
        let Some(saved) = saved else { return Ok(Handled::Done) };
        let mut files = self.notes.uploads(first.chat, first.thread).await?;
        let waited = !files.is_empty();
        files.retain(|earlier| saved.iter().all(|file| file.path != earlier.path));
        if !wording::has_words(messages) && !saved.is_empty() {
            let list: Vec<String> = saved.iter().map(|file| format!("`{}`", file.path)).collect();
            files.extend(saved);
            self.notes.set_uploads(first.chat, first.thread, &files).await?;
            self.say_markdown(place, &format!("Saved as {}. Now say what to do with it.", list.join(", "))).await;
            return Ok(Handled::Done);
        }
        files.extend(saved);
        let recent = if told.is_none() { self.unknown_reports(first.chat).await? } else { Vec::new() };
        let about = match &told {
            Some(told) if told.report => self.engine.get(told.run).await?.map(|run| (told.job.clone(), run)),
            _ => None,
        };
        let asked = Asked { messages, files: &files, about: about.as_ref(), recent: &recent };
        let origin = Origin::unlimited(DoorName::Telegram, Requester::Chat(first.chat));
        let request = request(&chat, wording::write(&asked), conversation, told.is_some());
        let key = Some(format!("telegram:{}:{}", first.chat, first.id));
        let ask = Ask::new(origin, own.path(), request).busy(chat.busy).key(key).stays(true);
        let run = match ask.submit(&self.engine).await {
            Ok(submitted) => submitted.id,
            // The message is the same; what the chat is set to is not, or the report is known by now.
            Err(SubmitError::KeyReused { before }) => before,
            Err(SubmitError::Closed) => return Ok(Handled::Kept),
            Err(SubmitError::Ledger(error)) => return Err(error),
            Err(error) => {
                self.say(place, &Text::plain(refused(&error))).await;
                return Ok(Handled::Done);
            }
        };
        let about = told.map(|told| (told.run, told.conversation));
        self.owe(run, first, about, &title(messages)).await?;
        if cancel.is_cancelled() {
            self.engine.cancel(run, Cancel::Asked).await?;
        }
        if !recent.is_empty() {
            self.mark_known(first.chat, &recent).await?;
        }
        if waited {
            self.notes.set_uploads(first.chat, first.thread, &Vec::new()).await?;
        }
        Ok(Handled::Done)
    }

    /// From here on the answer is owed, whatever becomes of this process.
    async fn owe(
        self: &Arc<Self>,
        run: Uuid,
        first: &Message,
        about: Option<(Uuid, String)>,
        text: &str,
    ) -> Result<(), StoreError> {
        if self.owed().contains_key(&run) {
            return Ok(());
        }
        let apart = about.is_some();
        let owed = Owed {
            chat: first.chat,
            thread: first.thread,
            asked: first.id,
            group: first.group,
            growing: None,
            sent: 0,
            about,
        };
        self.notes.owe(run, &owed).await?;
        if !apart {
            self.notes.used(first.chat, first.thread, text).await?;
        }
        follow::begin(self, run, owed, None);
        Ok(())
    }

    /// The chat's workspace, made if it is not there.
    pub(super) async fn own_workspace(&self, chat: &Chat) -> Result<Own, String> {
        let (workspaces, name) = (self.workspaces.clone(), chat.workspace.clone());
        let opened = tokio::task::spawn_blocking(move || Own::open(&workspaces, &name)).await;
        opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The same; `None`: it cannot be used, and that is said.
    pub(super) async fn usable_workspace(&self, place: Place, chat: &Chat) -> Option<Own> {
        match self.own_workspace(chat).await {
            Ok(own) => Some(own),
            Err(why) => {
                self.say(place, &Text::plain(format!("❌ The workspace cannot be used: {why}"))).await;
                None
            }
        }
    }

    /// Puts the files of messages into the workspace, and that of the message they reply to. `None`: that failed, and is
    /// said.
    async fn save_files(&self, messages: &[Message], own: &Own) -> Option<Vec<Saved>> {
        let mut saved: Vec<Saved> = Vec::new();
        let replied = messages.first().and_then(|first| Some((first, first.reply.as_ref()?.file.as_ref()?)));
        if let Some((message, file)) = replied {
            // Claude may have changed it since it came.
            let path = match files::already_there(own, file).await {
                Some(path) => path,
                None => self.fetched(message, file, own).await?,
            };
            saved.push(Saved { path, about: format!("{}, of the message replied to", about(file)) });
        }
        for message in messages {
            let Some(file) = &message.file else { continue };
            let path = self.fetched(message, file, own).await?;
            let whose = wording::whose_file(message);
            saved.push(Saved { path, about: format!("{}{whose}", about(file)) });
        }
        Some(saved)
    }

    /// The path of a file in the workspace, once it is there. `None`: it does not come, and that is said.
    async fn fetched(&self, message: &Message, file: &FileRef, own: &Own) -> Option<String> {
        let (mut backoff, mut tries) = (Backoff::default(), 0);
        let why = loop {
            tries += 1;
            match files::save(self.api.as_ref(), own, file).await {
                Ok(path) => return Some(path),
                Err(NotSaved::Later(why)) if tries < DOWNLOADS => {
                    tracing::warn!("a file of chat {} is not here yet: {why}", message.chat);
                    backoff.wait().await;
                }
                Err(NotSaved::Later(why) | NotSaved::Never(why)) => break why,
            }
        };
        let text = format!("❌ The {} was not saved: {why}. Nothing was asked.", file.kind);
        self.say(Place::answering(message), &Text::plain(text)).await;
        None
    }

    async fn unknown_reports(&self, chat: i64) -> Result<Vec<Recent>, StoreError> {
        Ok(self.notes.recent(chat).await?.into_iter().filter(|report| !report.known).collect())
    }

    async fn mark_known(&self, chat: i64, told: &[Recent]) -> Result<(), StoreError> {
        let mut all = self.notes.recent(chat).await?;
        for report in &mut all {
            report.known |= told.iter().any(|told| told.run == report.run);
        }
        self.notes.set_recent(chat, &all).await
    }
}

/// What a chat's session is called where sessions are remembered.
fn conversation(message: &Message, session: &str) -> String {
    format!("telegram:{}:{session}", message.chat)
}

fn request(chat: &Chat, prompt: String, conversation: String, about_report: bool) -> Request {
    let options = Options {
        model: chat.model.clone(),
        effort: chat.effort,
        system_prompt: chat.system_prompt.clone(),
        append_system_prompt: chat.append_system_prompt.clone(),
        max_budget_usd: chat.max_budget_usd,
        no_continue: !(chat.continues || about_report),
        include_partial_messages: true,
        ..Options::default()
    };
    let from_door = FromDoor { conversation: Some(conversation), ..FromDoor::default() };
    Request { options, from_door, ..Request::new(prompt, OutputFormat::Json) }
}

/// What a list of sessions shows of a prompt.
fn title(messages: &[Message]) -> String {
    let own = wording::own_words(messages);
    if own.is_empty() { messages.first().map_or_else(String::new, |first| first.text.clone()) } else { own }
}

fn about(file: &FileRef) -> String {
    // Telegram does not say how large every file is.
    let size =
        Some(file.size).filter(|size| *size > 0).map_or_else(String::new, |size| format!(", {}", files::size(size)));
    format!("{}{size}", file.kind)
}

/// Why a prompt is not accepted, for a person.
fn refused(error: &SubmitError) -> String {
    match error {
        SubmitError::Busy { .. } => {
            "Something is running here already, and this chat is set to refuse more. /cancel stops it.".to_owned()
        }
        error => format!("❌ Not accepted: {error}."),
    }
}
