//! A chat's runs: what there is, what it costs, what ends it.

use std::fmt::Write as _;
use std::path::PathBuf;

use uuid::Uuid;

use super::api::Place;
use super::chat_settings::ChatSettings;
use super::errands::{Errands, Kind};
use super::follow::Followers;
use super::sender::Sender;
use super::show;
use super::text::line;
use crate::desk::chats::jobs_that_tell;
use crate::runs::engine::Engine;
use crate::runs::submission::Cancelled;
use crate::store::record::{self as run, Cancel, Requester, Run};
use crate::store::{Filter, StoreError};
use crate::workspace::Workspaces;

/// Runs that `/runs` lists.
const LISTED_RUNS: usize = 10;
/// Runs that `/cost` adds up, at most.
const ADDED_RUNS: usize = 10_000;
const DAY: i64 = 24 * 3600 * 1000;

/// Shows and ends the runs of a chat, and what it has under way beside them.
pub(super) struct ChatRuns {
    pub(super) engine: Engine,
    pub(super) workspaces: Workspaces,
    pub(super) settings: ChatSettings,
    pub(super) followers: Followers,
    pub(super) errands: Errands,
    pub(super) sender: Sender,
}

impl ChatRuns {
    /// Ends a run by the button below it; what to say of that.
    pub(super) async fn press_cancel(&self, chat: i64, run: &str) -> String {
        let Ok(run) = Uuid::try_parse(run) else { return "That run is unknown.".into() };
        // A button can only be pressed in the chat it was sent to; what it says is looked at all the same.
        match self.engine.get(run).await {
            Ok(Some(found)) if found.requester == Requester::Chat(chat) => self.end(run).await,
            Ok(_) => "That run is unknown here.".into(),
            Err(error) => error.to_string(),
        }
    }

    async fn end(&self, run: Uuid) -> String {
        match self.engine.cancel(run, Cancel::Asked).await {
            Ok(Cancelled::Withdrawn) => "Taken out of the line.".into(),
            Ok(Cancelled::Ending) => "Stopping.".into(),
            Ok(Cancelled::AlreadyEnded(state)) => format!("It had ended before: {}.", show::state_name(state)),
            Ok(Cancelled::Unknown) => "That run is unknown.".into(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends what the conversation has under way: the first of it, or `all`.
    pub(super) async fn cancel(&self, place: Place, all: bool) -> Result<(), StoreError> {
        let key = place.key();
        let mut ended = self.errands.cancel(key, Kind::Shell, usize::MAX);
        ended += self.errands.cancel(key, Kind::Sending, usize::MAX);
        let runs = self.followers.runs_of(key);
        // Prompts on their way come after every run.
        let coming = self.errands.count(key, Kind::Prompt);
        let withdrawn = if all { usize::MAX } else { usize::from(runs.is_empty()) };
        let withdrawn = self.errands.cancel(key, Kind::Prompt, withdrawn);
        let Some((first, rest)) = runs.split_first() else {
            // What is ended says so itself.
            if ended + withdrawn == 0 {
                self.sender.say(place, "Nothing is running here.").await;
            }
            return Ok(());
        };
        // Those that wait first, or they would start in its place.
        for run in rest.iter().filter(|_| all) {
            self.engine.cancel(*run, Cancel::Asked).await?;
        }
        self.engine.cancel(*first, Cancel::Asked).await?;
        let text = match rest.len() + coming {
            0 => "✋ Stopping.".to_owned(),
            count if all => format!("✋ Stopping, and {count} that waited."),
            1 => "✋ Stopping. One more waits; /cancel all stops everything.".to_owned(),
            count => format!("✋ Stopping. {count} more wait; /cancel all stops everything."),
        };
        self.sender.say(place, text).await;
        Ok(())
    }

    pub(super) async fn status(&self, place: Place) {
        let (key, mut text) = (place.key(), String::new());
        let runs = self.followers.runs_of(key);
        for id in &runs {
            let Ok(Some(run)) = self.engine.get(*id).await else { continue };
            let prompt = line(&run.request.prompt, 80);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}: {prompt}", show::running_for(&run, self.engine.ahead(&run)));
        }
        text.push_str(&self.errands.listed(key));
        if text.is_empty() {
            text.push_str("Nothing is running here.\n");
        }
        let (told, of_others) = self.tell_others(place.chat).await;
        if told > 0 {
            let _ = writeln!(text, "\nOf other doors:\n{}", of_others.trim_end());
        }
        // Whose they are, and where, is nobody's business here.
        let elsewhere = self.engine.status().live.len().saturating_sub(runs.len() + told);
        if elsewhere > 0 {
            let _ = writeln!(text, "\nElsewhere in this box: {elsewhere} running or waiting.");
        }
        self.sender.say(place, text.trim_end()).await;
    }

    async fn own_listed(&self, chat: i64, limit: usize) -> Result<Vec<Run>, StoreError> {
        let filter = Filter { requester: Some(Requester::Chat(chat)), limit, ..Filter::default() };
        self.engine.list(filter).await
    }

    pub(super) async fn cost(&self, place: Place) -> Result<(), StoreError> {
        let runs = self.own_listed(place.chat, ADDED_RUNS).await?;
        let since = |from: i64| {
            let runs = runs.iter().filter(|run| run.created_at >= from);
            let (count, sum) = runs.fold((0, 0.0), |(count, sum), run| {
                (count + 1, sum + run.end.as_ref().and_then(|end| end.cost_usd).unwrap_or(0.0))
            });
            format!("${sum:.4} ({count} run{})", if count == 1 { "" } else { "s" })
        };
        let now = run::now();
        let made_up = if runs.iter().any(|run| run.terms.offline && run.end.is_some()) {
            "\n\nThe offline model's runs are among them: theirs is made up."
        } else {
            ""
        };
        let text = format!(
            "**This chat's cost**\n\n- Today (UTC): {}\n- Last 7 days: {}\n- All that is remembered: {}{made_up}",
            since(now - now.rem_euclid(DAY)),
            since(now - 7 * DAY),
            since(0)
        );
        self.sender.say_markdown(place, &text).await;
        Ok(())
    }

    pub(super) async fn list(&self, place: Place) -> Result<(), StoreError> {
        let runs = self.own_listed(place.chat, LISTED_RUNS).await?;
        let lines = runs.iter().map(show::listed);
        let text = lines.collect::<Vec<_>>().join("\n\n");
        let text = if text.is_empty() { "There were no runs in this chat yet.".to_owned() } else { text };
        self.sender.say(place, text).await;
        Ok(())
    }

    /// What other doors do in the chat's workspace, and the jobs that report to it, the oldest first.
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
        let name = self.settings.of(chat).workspace;
        let workspaces = self.workspaces.clone();
        let found = tokio::task::spawn_blocking(move || workspaces.resolve(&name)).await;
        found.ok()?.ok().map(|workspace| workspace.path)
    }

    /// A line for each, with what ends it.
    async fn tell_others(&self, chat: i64) -> (usize, String) {
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
            let at = show::running_for(run, self.engine.ahead(run));
            let _ = writeln!(text, "{at}, of {who}: {prompt}\n/cancel {}", run.id);
        }
        (others.len(), text)
    }

    /// Ends a run that this chat may end: its own, or one of those.
    pub(super) async fn cancel_one(&self, place: Place, run: Uuid) -> Result<(), StoreError> {
        let own = self.engine.get(run).await?.is_some_and(|found| found.requester == Requester::Chat(place.chat));
        let text = if own || self.others(place.chat).await?.iter().any(|other| other.id == run) {
            self.end(run).await
        } else {
            "That run is unknown here.".to_owned()
        };
        self.sender.say(place, text).await;
        Ok(())
    }
}
