//! Messages to a run.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::api::Place;
use super::chat_settings::ChatSettings;
use super::files::{self, NotSaved, Own};
use super::follow::Followers;
use super::handled::{Handled, Outcome};
use super::incoming::{FileRef, Message};
use super::notes::{Notes, Owed, Saved};
use super::sender::{Backoff, Sender};
use super::settings::Chat;
use super::wording::{self, Asked};
use crate::claude::arguments::{FromDoor, Options, OutputFormat};
use crate::desk::ask::Ask;
use crate::runs::engine::Engine;
use crate::runs::submission::{Origin, SubmitError};
use crate::store::StoreError;
use crate::store::record::{Cancel, DoorName, Request, Requester};
use crate::workspace::Workspaces;

/// How often a download is tried.
const DOWNLOADS: u32 = 5;

/// Makes runs of prompts.
pub(super) struct Prompts {
    pub(super) engine: Engine,
    pub(super) workspaces: Workspaces,
    pub(super) settings: ChatSettings,
    pub(super) notes: Notes,
    pub(super) sender: Sender,
    pub(super) followers: Followers,
}

impl Prompts {
    /// Makes a run of a thought's messages, unless `cancel` comes first.
    pub(super) async fn ask(&self, messages: &[Message], cancel: &CancellationToken) -> Outcome {
        let Some(first) = messages.first() else { return Ok(Handled::Done) };
        let chat = self.settings.of(first.chat);
        let place = Place::answering(first);
        if let Some(useless) = messages.iter().find_map(|message| message.useless.as_ref()) {
            self.sender.say(place, format!("I cannot read a {useless}. Send text or files.")).await;
            return Ok(Handled::Done);
        }
        let told = match &first.reply {
            Some(reply) => self.notes.told(first.chat, reply.id).await?,
            None => None,
        };
        // The session of this moment: files take their time.
        let conversation = if let Some(told) = &told {
            told.conversation.clone()
        } else {
            let session = self.notes.sessions(first.chat, first.thread).await?.current;
            format!("telegram:{}:{session}", first.chat)
        };
        let Some(own) = Own::usable(&self.workspaces, &chat, &self.sender, place).await else {
            return Ok(Handled::Done);
        };
        let saved = cancel.run_until_cancelled(self.save_files(messages, &own)).await;
        let Some(saved) = saved.filter(|_| !cancel.is_cancelled()) else {
            self.sender.say(place, "✋ Cancelled. Nothing was asked.").await;
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
            self.sender
                .say_markdown(place, &format!("Saved as {}. Now say what to do with it.", list.join(", ")))
                .await;
            return Ok(Handled::Done);
        }
        files.extend(saved);
        let mut recent = if told.is_none() { self.notes.recent(first.chat).await? } else { Vec::new() };
        recent.retain(|report| !report.known);
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
                self.sender.say(place, refused(&error)).await;
                return Ok(Handled::Done);
            }
        };
        let about = told.map(|told| (told.run, told.conversation));
        self.owe(run, first, about, &title(messages)).await?;
        if cancel.is_cancelled() {
            self.engine.cancel(run, Cancel::Asked).await?;
        }
        if !recent.is_empty() {
            self.notes.mark_known(first.chat, &recent).await?;
        }
        if waited {
            self.notes.set_uploads(first.chat, first.thread, &Vec::new()).await?;
        }
        Ok(Handled::Done)
    }

    /// From here on the answer is owed, whatever becomes of this process.
    async fn owe(
        &self,
        run: Uuid,
        first: &Message,
        about: Option<(Uuid, String)>,
        text: &str,
    ) -> Result<(), StoreError> {
        if self.followers.has(run) {
            return Ok(());
        }
        let &Message { chat, thread, id: asked, group, .. } = first;
        let apart = about.is_some();
        let owed = Owed { chat, thread, asked, group, growing: None, sent: 0, about };
        self.notes.owe(run, &owed).await?;
        if !apart {
            self.notes.used(chat, thread, text).await?;
        }
        self.followers.begin(run, owed);
        Ok(())
    }

    /// Saves the files of messages, and that of the message replied to. `None`: that failed, and is said.
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
            match files::save(self.sender.api.as_ref(), own, file).await {
                Ok(path) => return Some(path),
                Err(NotSaved::Later(why)) if tries < DOWNLOADS => {
                    tracing::warn!("a file of chat {} is not here yet: {why}", message.chat);
                    backoff.wait().await;
                }
                Err(NotSaved::Later(why) | NotSaved::Never(why)) => break why,
            }
        };
        let text = format!("❌ The {} was not saved: {why}. Nothing was asked.", file.kind);
        self.sender.say(Place::answering(message), text).await;
        None
    }
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
