//! What other doors tell a chat.

use std::future::Future;
use std::pin::Pin;

use super::answer::{self, Part};
use super::api::{ApiError, Place};
use super::files::Own;
use super::markdown;
use super::notes::{Recent, Told};
use super::sender::Patience;
use super::text::{LONGEST_MESSAGE, Text, cut};
use super::{Inside, Telegram};
use crate::doors::chats::{ChatError, ChatReport, Chats};
use crate::runs::run;

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
        let told = Told {
            run: report.run,
            job: report.job.clone(),
            conversation: format!("telegram:{}:report:{}", report.chat, report.run),
            report: true,
        };
        for part in parts(&report) {
            let message = match &part {
                Part::Text(text) => self.sender.send(place, text, &Vec::new(), Patience::Some(4)).await.map(Some),
                part => self.send_part(place, part, own.as_ref()).await,
            };
            match message {
                Ok(Some(message)) => {
                    let noted = self.notes.tell(report.chat, message, &told).await;
                    noted.map_err(|error| ChatError::Later(error.to_string()))?;
                }
                Ok(None) => {}
                Err(ApiError::Network(why)) => return Err(ChatError::Later(why)),
                Err(error @ (ApiError::Wait(_) | ApiError::Token | ApiError::Conflict)) => {
                    return Err(ChatError::Later(error.to_string()));
                }
                Err(error) => return Err(ChatError::Never(error.to_string())),
            }
        }
        let beginning = cut(&report.text.split_whitespace().collect::<Vec<_>>().join(" "), LONGEST_BEGINNING);
        let recent = Recent { run: report.run, job: report.job, at: run::now(), beginning, known: false };
        self.notes.add_recent(report.chat, recent).await.map_err(|error| ChatError::Later(error.to_string()))
    }
}

/// The messages of a report: its job's name stands above the first.
fn parts(report: &ChatReport) -> Vec<Part> {
    let mut parts = answer::said(&report.text);
    let job: String = report.job.chars().map(|letter| if "*_`[]\\".contains(letter) { ' ' } else { letter }).collect();
    let mut head = markdown::to_text(&format!("⏰ **{job}**"));
    head.append(&Text::plain("\n\n"));
    let first = if parts.is_empty() { Part::Text(Text::default()) } else { parts.remove(0) };
    if let Part::Text(text) = &first {
        head.append(text);
    }
    let texts = head.split(LONGEST_MESSAGE).into_iter().map(Part::Text).collect::<Vec<_>>();
    texts.into_iter().chain((!matches!(first, Part::Text(_))).then_some(first)).chain(parts).collect()
}
