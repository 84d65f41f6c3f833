//! What other doors tell a chat.

use std::future::Future;
use std::pin::Pin;

use sha2::{Digest, Sha256};

use super::answer::{self, Part};
use super::api::{ApiError, Place};
use super::files::Own;
use super::notes::{Recent, ReportLink};
use super::sender::Patience;
use super::text::{Text, line};
use super::{Inside, Telegram};
use crate::desk::chats::{ChatError, ChatReport, Chats};
use crate::store::StoreError;
use crate::store::record as run;

/// How much of a report is given to the chat's next prompt.
const LONGEST_BEGINNING: usize = 300;

impl Chats for Telegram {
    fn report(&self, report: ChatReport) -> Pin<Box<dyn Future<Output = Result<(), ChatError>> + Send + '_>> {
        Box::pin(async move { self.inside.report(report).await })
    }
}

impl Inside {
    async fn report(&self, report: ChatReport) -> Result<(), ChatError> {
        let place = Place { chat: report.chat, thread: None, reply_to: None };
        let own = {
            let (workspaces, path) = (self.workspaces.clone(), report.workspace.clone());
            tokio::task::spawn_blocking(move || Own::at(&workspaces, &path)).await.ok().flatten()
        };
        let told = ReportLink {
            run: report.run,
            job: report.job.clone(),
            conversation: format!("telegram:{}:report:{}", report.chat, report.run),
            report: true,
        };
        let progress = progress_key(&report);
        let sent = self.notes.reported(&progress).await.map_err(later)?;
        for (number, part) in parts(&report).into_iter().enumerate().skip(sent) {
            let message = match &part {
                Part::Text(text) => self.sender.send(place, text, &Vec::new(), Patience::Some(4)).await.map(Some),
                part => self.send_part(place, part, own.as_ref()).await,
            };
            match message {
                Ok(message) => {
                    // What has gone out does not go out again, whatever follows.
                    self.notes.set_reported(&progress, number + 1).await.map_err(later)?;
                    if let Some(message) = message.filter(|_| !report.run.is_nil()) {
                        self.notes.tell(report.chat, message, &told).await.map_err(later)?;
                    }
                }
                Err(ApiError::Network(why)) => return Err(ChatError::Later(why)),
                Err(error @ (ApiError::Wait(_) | ApiError::Token | ApiError::Conflict)) => {
                    return Err(ChatError::Later(error.to_string()));
                }
                Err(error) => return Err(ChatError::Never(error.to_string())),
            }
        }
        if report.run.is_nil() {
            // Without a run, the next one may read the same.
            return self.notes.forget_reported(&progress).await.map_err(later);
        }
        let beginning = line(&report.text, LONGEST_BEGINNING);
        let recent = Recent { run: report.run, job: report.job, at: run::now(), beginning, known: false };
        self.notes.add_recent(report.chat, recent).await.map_err(later)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn later(error: StoreError) -> ChatError {
    ChatError::Later(error.to_string())
}

/// What a report is known by when it comes again. A run may have more than one, but none twice.
fn progress_key(report: &ChatReport) -> String {
    let text = Sha256::digest(report.text.as_bytes());
    format!("{}:{}:{}", report.chat, report.run, crate::claude::envelope::hex(&text[..8]))
}

/// The messages of a report: its job's name stands above the first.
fn parts(report: &ChatReport) -> Vec<Part> {
    let mut head = Text::plain("⏰ ");
    head.append(&Text::bold(report.job.trim()));
    head.append(&Text::plain("\n\n"));
    answer::said_below(head, &report.text)
}

#[cfg(test)]
mod tests;
