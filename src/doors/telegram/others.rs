//! Runs that are a chat's business without being its own: what other doors do in its workspace, and the jobs that report
//! to it.

use std::fmt::Write as _;
use std::path::PathBuf;

use uuid::Uuid;

use super::Inside;
use super::api::{Key, Place};
use super::show::running_for;
use super::text::{Text, line};
use crate::desk::chats::jobs_that_tell;
use crate::store::StoreError;
use crate::store::record::{Requester, Run};

impl Inside {
    /// Those that have not ended, the oldest first.
    async fn others(&self, chat: i64) -> Result<Vec<Run>, StoreError> {
        let own = self.own_place(chat).await;
        let jobs = jobs_that_tell(self.engine.ledger(), chat).await?;
        let mut others = Vec::new();
        for (id, ..) in self.engine.status().live {
            let Some(run) = self.engine.get(id).await? else { continue };
            let is_here = own.as_ref() == Some(&run.workspace) && run.requester != Requester::Chat(chat);
            let tells = matches!(&run.requester, Requester::Job(job) if jobs.contains(job));
            if is_here || tells {
                others.push(run);
            }
        }
        Ok(others)
    }

    /// The folder of the chat's workspace, if it is there.
    async fn own_place(&self, chat: i64) -> Option<PathBuf> {
        let name = self.settings().chat(chat, &self.overrides.of(chat)).workspace;
        let workspaces = self.workspaces.clone();
        let found = tokio::task::spawn_blocking(move || workspaces.resolve(&name)).await;
        found.ok()?.ok().map(|workspace| workspace.path)
    }

    /// A line for each, with what ends it.
    pub(super) async fn tell_others(&self, chat: i64) -> (usize, String) {
        let others = self.others(chat).await.unwrap_or_else(|error| {
            tracing::warn!("chat {chat} is not told of other doors' runs: {error}");
            Vec::new()
        });
        let mut text = String::new();
        for run in &others {
            let prompt = line(&run.request.prompt, 80);
            let who = match &run.requester {
                Requester::Job(job) => format!("the job {job}"),
                _ => run.door.to_string(),
            };
            let at = running_for(run, self.engine.ahead(run));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{at}, of {who}: {prompt}\n/cancel {}", run.id);
        }
        (others.len(), text)
    }

    /// Ends a run that this chat may end: its own, or one of those.
    pub(super) async fn cancel_one(&self, place: Place, key: Key, run: Uuid) -> Result<(), StoreError> {
        let own = self.engine.get(run).await?.is_some_and(|found| found.requester == Requester::Chat(key.0));
        let text = if own || self.others(key.0).await?.iter().any(|other| other.id == run) {
            self.end(run).await
        } else {
            "That run is unknown here.".to_owned()
        };
        self.say(place, &Text::plain(text)).await;
        Ok(())
    }
}
