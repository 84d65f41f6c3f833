//! What other doors tell a chat.

use sha2::{Digest, Sha256};

use super::answer::{self, Part};
use super::api::{ApiError, Place};
use super::files::Own;
use super::notes::{Notes, Recent, ReportLink};
use super::sender::{Patience, Sender};
use super::text::{Text, line};
use crate::desk::chats::{ChatError, ChatReport};
use crate::store::StoreError;
use crate::store::record as run;
use crate::workspace::Workspaces;

/// How much of a report is given to the chat's next prompt.
const LONGEST_BEGINNING: usize = 300;

/// Tells chats what other doors report to them.
pub(super) struct ChatReports {
    pub(super) workspaces: Workspaces,
    pub(super) notes: Notes,
    pub(super) sender: Sender,
}

impl ChatReports {
    /// Tells one chat; returns when it has it.
    pub(super) async fn tell(&self, report: ChatReport) -> Result<(), ChatError> {
        let place = Place { chat: report.chat, thread: None, reply_to: None };
        let own = Own::at(&self.workspaces, &report.workspace).await;
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
                Part::Text(text) => self.sender.send(place, text, &Vec::new(), Patience::Some(4)).await,
                part => self.sender.send_part(place, part, own.as_ref()).await,
            };
            match message {
                Ok(message) => {
                    // What has gone out does not go out again, whatever follows.
                    self.notes.set_reported(&progress, number + 1).await.map_err(later)?;
                    if !report.run.is_nil() {
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
