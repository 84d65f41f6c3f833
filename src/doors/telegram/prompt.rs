//! Messages to a run.

use std::sync::Arc;

use uuid::Uuid;

use super::api::Place;
use super::conversation::{Handled, Outcome, answer_to};
use super::files::{self, NotSaved, Own};
use super::incoming::Message;
use super::notes::{Owed, Recent, Told};
use super::sender::Backoff;
use super::settings::Chat;
use super::text::{Text, cut};
use super::{Inside, follow};
use crate::claude::arguments::{Options, OutputFormat};
use crate::runs::ledger::LedgerError;
use crate::runs::run::{NewRun, Origin, Request, Run};
use crate::runs::submission::SubmitError;

/// The name of this door.
const DOOR: &str = "telegram";
/// How much of what a message replies to is quoted, units.
const LONGEST_QUOTE: usize = 3000;
/// How much of a report's run goes with a question about it.
const LONGEST_CONTEXT: usize = 20_000;
/// How often a download is tried.
const DOWNLOADS: u32 = 5;

impl Inside {
    /// Makes a run of a message, or of an album.
    pub(super) async fn ask(self: &Arc<Self>, messages: &[Message]) -> Outcome {
        let Some(first) = messages.first() else { return Ok(Handled::Done) };
        let chat = self.settings().chat(first.chat, &self.overrides.of(first.chat));
        let place = answer_to(first);
        if let Some(useless) = messages.iter().find_map(|message| message.useless.as_ref()) {
            self.say(place, &Text::plain(format!("I cannot read a {useless}. Send text or files."))).await;
            return Ok(Handled::Done);
        }
        let Some(own) = self.usable_workspace(place, &chat).await else { return Ok(Handled::Done) };
        let Some(saved) = self.save_files(messages, &own).await else { return Ok(Handled::Done) };
        let text: Vec<&str> =
            messages.iter().map(|message| message.text.trim()).filter(|text| !text.is_empty()).collect();
        let text = text.join("\n\n");
        if text.is_empty() && !saved.is_empty() {
            let list: Vec<String> = saved.iter().map(|(path, _)| format!("`{path}`")).collect();
            self.say_markdown(place, &format!("Saved as {}. Now say what to do with it.", list.join(", "))).await;
            return Ok(Handled::Done);
        }
        let told = match &first.reply {
            Some(reply) => self.notes.told(first.chat, reply.id).await?,
            None => None,
        };
        let recent = if told.is_none() { self.unknown_reports(first.chat).await? } else { Vec::new() };
        let about = match &told {
            Some(told) if told.report => self.engine.get(told.run).await?.map(|run| (told.job.clone(), run)),
            _ => None,
        };
        let prompt = write(&text, first, &saved, about.as_ref(), &recent);
        let request = self.request(first, &chat, prompt, told.as_ref()).await?;
        let new = NewRun {
            origin: Origin { door: DOOR, requester: Self::requester(first.chat), cost_per_day: None },
            workspace: own.path(),
            request,
            busy: chat.busy,
            idempotency_key: Some(format!("telegram:{}:{}", first.chat, first.id)),
            webhook_url: None,
            stays: true,
        };
        let run = match self.engine.submit(new).await {
            Ok(submitted) => submitted.id,
            // The message is the same; what the chat is set to is not, or the report is known by now.
            Err(SubmitError::KeyReused { before }) => before,
            Err(SubmitError::Closed) => return Ok(Handled::Kept),
            Err(SubmitError::Ledger(error)) => return Err(error),
            Err(SubmitError::Busy { .. }) => {
                let text = "Something is running here already, and this chat is set to refuse more. /cancel stops it.";
                self.say(place, &Text::plain(text)).await;
                return Ok(Handled::Done);
            }
            Err(error @ (SubmitError::QueueFull { .. } | SubmitError::OverBudget(_))) => {
                self.say(place, &Text::plain(format!("❌ Not accepted: {error}."))).await;
                return Ok(Handled::Done);
            }
        };
        let about = told.map(|told| (told.run, told.conversation));
        self.owe(run, first, about, &text).await?;
        if !recent.is_empty() {
            self.mark_known(first.chat, &recent).await?;
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
    ) -> Result<(), LedgerError> {
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

    async fn request(
        &self,
        first: &Message,
        chat: &Chat,
        prompt: String,
        told: Option<&Told>,
    ) -> Result<Request, LedgerError> {
        let conversation = match told {
            Some(told) => told.conversation.clone(),
            None => conversation(first, &self.notes.sessions(first.chat, first.thread).await?.current),
        };
        let continues = chat.continues || told.is_some();
        let options = Options {
            model: chat.model.clone(),
            effort: chat.effort,
            system_prompt: chat.system_prompt.clone(),
            append_system_prompt: chat.append_system_prompt.clone(),
            max_budget_usd: chat.max_budget_usd,
            no_continue: !continues,
            conversation: Some(conversation),
            include_partial_messages: true,
            ..Options::default()
        };
        Ok(Request { prompt, options, format: OutputFormat::Json })
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

    /// Puts the files of messages into the workspace: the path of each, and what it is. `None`: that failed, and is said.
    async fn save_files(&self, messages: &[Message], own: &Own) -> Option<Vec<(String, String)>> {
        let mut saved = Vec::new();
        for message in messages {
            let Some(file) = &message.file else { continue };
            let (mut backoff, mut tries) = (Backoff::default(), 0);
            let path = loop {
                tries += 1;
                match files::save(self.api.as_ref(), own, file).await {
                    Ok(path) => break Ok(path),
                    Err(NotSaved::Later(why)) if tries < DOWNLOADS => {
                        tracing::warn!("a file of chat {} is not here yet: {why}", message.chat);
                        backoff.wait().await;
                    }
                    Err(NotSaved::Later(why) | NotSaved::Never(why)) => break Err(why),
                }
            };
            match path {
                Ok(path) => saved.push((path, format!("{}, {}", file.kind, files::size(file.size)))),
                Err(why) => {
                    let text = format!("❌ The {} was not saved: {why}. Nothing was asked.", file.kind);
                    self.say(answer_to(message), &Text::plain(text)).await;
                    return None;
                }
            }
        }
        Some(saved)
    }

    async fn unknown_reports(&self, chat: i64) -> Result<Vec<Recent>, LedgerError> {
        Ok(self.notes.recent(chat).await?.into_iter().filter(|report| !report.known).collect())
    }

    async fn mark_known(&self, chat: i64, told: &[Recent]) -> Result<(), LedgerError> {
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

/// The prompt: what was written, and before it what it is about.
pub(super) fn write(
    text: &str,
    message: &Message,
    files: &[(String, String)],
    about: Option<&(String, Run)>,
    recent: &[Recent],
) -> String {
    let mut parts = Vec::new();
    if !recent.is_empty() {
        let list = recent.iter().map(|report| {
            let at =
                chrono::DateTime::from_timestamp_millis(report.at).unwrap_or_default().format("%Y-%m-%d %H:%M UTC");
            format!("- {} ({at}): {}", report.job, report.beginning)
        });
        let list = list.collect::<Vec<_>>().join("\n");
        parts.push(format!(
            "[For your information: scheduled jobs have reported to this chat since the last message.\n{list}]"
        ));
    }
    if let Some((job, run)) = about {
        let answer = run
            .end
            .as_ref()
            .map_or("", |end| end.result["result"].as_str().or(end.error.as_deref()).unwrap_or_default());
        parts.push(format!(
            "[This message replies to the report of the scheduled job {job:?}, which worked in {}.\nIt was asked:\n{}\n\nIts \
             answer was:\n{}]",
            run.workspace.display(),
            cut(&run.request.prompt, LONGEST_CONTEXT),
            cut(answer, LONGEST_CONTEXT)
        ));
    } else if let Some(reply) = message.reply.as_ref().filter(|reply| !reply.text.trim().is_empty()) {
        let quoted =
            cut(&reply.text, LONGEST_QUOTE).lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n");
        parts.push(format!("In reply to this message:\n{quoted}"));
    }
    if !files.is_empty() {
        let list = files.iter().map(|(path, about)| format!("- {path} ({about})")).collect::<Vec<_>>().join("\n");
        parts.push(format!("Files that came with this message, in the workspace:\n{list}"));
    }
    if !text.is_empty() {
        parts.push(text.to_owned());
    }
    parts.join("\n\n")
}
