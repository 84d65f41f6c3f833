//! What commands and buttons do.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use uuid::Uuid;

use super::api::{Buttons, Key, Place};
use super::command::{Change, Command, effort_change, efforts, model_change, nearest};
use super::conversation::{Handled, Outcome};
use super::errands::Kind;
use super::incoming::{Message, Press};
use super::sender::Patience;
use super::settings::{Overrides, SettingsFile};
use super::text::{Text, cut, line};
use super::{Inside, show};
use crate::claude::arguments::Effort;
use crate::desk::options::form::MODELS;
use crate::runs::submission::Cancelled;
use crate::store::record::{self as run, Cancel, Requester, Run};
use crate::store::{Filter, StoreError};

/// Runs that `/runs` lists.
const LISTED_RUNS: usize = 10;
/// Runs that `/cost` adds up, at most.
const ADDED_RUNS: usize = 10_000;
const DAY: i64 = 24 * 3600 * 1000;

impl Inside {
    /// Does what a command says.
    pub(super) async fn obey(self: &Arc<Self>, update: i64, key: Key, message: &Message, command: Command) -> Outcome {
        let (place, chat) = (Place::answering(message), message.chat);
        match command {
            Command::Help => self.say_markdown(place, &show::help()).await,
            Command::Start => self.say_markdown(place, show::START).await,
            Command::Id => {
                let user = message.user.map_or_else(|| "unknown".to_owned(), |user| format!("`{user}`"));
                self.say_markdown(place, &format!("This chat: `{chat}`\nYou: {user}")).await;
            }
            Command::Status => self.status(place, key).await,
            Command::Cancel { all } => self.cancel(place, key, all).await?,
            Command::CancelRun(run) => self.cancel_one(place, key, run).await?,
            Command::Config => self.config(place).await,
            Command::Reload => self.reload(place).await,
            Command::Model(change) => self.model(place, change).await,
            Command::Effort(change) => self.effort(place, change).await,
            Command::SystemPrompt(change) => {
                self.prompt_setting(place, change, "system prompt", |all| &mut all.system_prompt).await;
            }
            Command::AppendSystemPrompt(change) => {
                self.prompt_setting(place, change, "added system prompt", |all| &mut all.append_system_prompt).await;
            }
            Command::Bash(command) => return self.bash(update, key, message, command).await,
            Command::Fetch(path) => return Ok(self.fetch(update, key, message, path)),
            Command::New => {
                self.notes.begin_session(chat, message.thread).await?;
                self.say(place, &Text::plain("🆕 A fresh session. /sessions leads back to earlier ones.")).await;
            }
            Command::Sessions => {
                let sessions = self.notes.sessions(chat, message.thread).await?;
                let (text, buttons) = show::sessions(&sessions);
                self.say_with(place, &text, &buttons).await;
            }
            Command::Cost => self.cost(place).await?,
            Command::Runs => self.runs(place).await?,
            Command::Misused(why) => self.say(place, &Text::plain(why)).await,
            Command::Unknown(word) => {
                let hint = nearest(&word).map_or_else(String::new, |name| format!(" Did you mean /{name}?"));
                let text = format!(
                    "There is no command /{}.{hint} /help lists them. What Claude is to do, a skill for one, is asked for \
                     without the slash.",
                    cut(&word, 32)
                );
                self.say(place, &Text::plain(text)).await;
            }
        }
        Ok(Handled::Done)
    }

    /// Does what a button stands for.
    pub(super) async fn press(self: &Arc<Self>, press: &Press) {
        let (chat, message) = (press.chat, press.message);
        let (what, value) = press.data.split_once(':').unwrap_or((press.data.as_str(), ""));
        let note = match what {
            "cancel" => self.press_cancel(chat, value).await,
            // What a button sends can be made up; it is read as what somebody writes.
            "model" => match model_change(value) {
                Command::Model(change) => {
                    let problem = self.changed(chat, change, |all| &mut all.model).await;
                    let (text, buttons) = self.model_choice(chat);
                    self.redraw(chat, message, &text, &buttons).await;
                    problem.unwrap_or_else(|| "Set.".to_owned())
                }
                _ => "There is no such model.".to_owned(),
            },
            "effort" => match effort_change(value) {
                Command::Effort(change) => {
                    let problem = self.changed(chat, change, |all| &mut all.effort).await;
                    let (text, buttons) = self.effort_choice(chat);
                    self.redraw(chat, message, &text, &buttons).await;
                    problem.unwrap_or_else(|| "Set.".to_owned())
                }
                _ => "There is no such effort.".to_owned(),
            },
            "session" => match self.notes.switch(chat, press.thread, value).await {
                Ok(true) => {
                    if let Ok(sessions) = self.notes.sessions(chat, press.thread).await {
                        let (text, buttons) = show::sessions(&sessions);
                        self.redraw(chat, message, &text, &buttons).await;
                    }
                    "Switched.".to_owned()
                }
                Ok(false) => "That session is not here any more.".to_owned(),
                Err(error) => error.to_string(),
            },
            _ => "That button is of an earlier version.".to_owned(),
        };
        let note = cut(&note, 200);
        if let Err(error) = self.sender.call(chat, Patience::Some(2), || self.api.answer_press(&press.id, &note)).await
        {
            // One that is answered late is not waited for any more.
            tracing::debug!("a pressed button is not answered: {error}");
        }
    }

    async fn redraw(&self, chat: i64, message: i32, text: &Text, buttons: &Buttons) {
        if let Err(error) = self.sender.edit(chat, message, text, buttons, Patience::Some(2)).await {
            tracing::debug!("a message with buttons is not changed: {error}");
        }
    }

    async fn press_cancel(&self, chat: i64, run: &str) -> String {
        let Ok(run) = Uuid::try_parse(run) else { return "That run is unknown.".into() };
        // A button can only be pressed in the chat it was sent to; what it says is looked at all the same.
        match self.engine.get(run).await {
            Ok(Some(found)) if found.requester == Requester::Chat(chat) => self.end(run).await,
            Ok(_) => "That run is unknown here.".into(),
            Err(error) => error.to_string(),
        }
    }

    pub(super) async fn end(&self, run: Uuid) -> String {
        match self.engine.cancel(run, Cancel::Asked).await {
            Ok(Cancelled::Withdrawn) => "Taken out of the line.".into(),
            Ok(Cancelled::Ending) => "Stopping.".into(),
            Ok(Cancelled::AlreadyEnded(state)) => format!("It had ended before: {}.", show::state_name(state)),
            Ok(Cancelled::Unknown) => "That run is unknown.".into(),
            Err(error) => error.to_string(),
        }
    }

    /// This conversation's runs that have not ended, in the order they were accepted.
    fn own_runs(&self, key: Key) -> Vec<Uuid> {
        let mut runs: Vec<Uuid> =
            self.owed().iter().filter(|(_, owed)| (owed.chat, owed.thread) == key).map(|(run, _)| *run).collect();
        runs.sort_unstable();
        let live: Vec<Uuid> = self.engine.status().live.into_iter().map(|(id, ..)| id).collect();
        runs.retain(|run| live.contains(run));
        runs
    }

    async fn cancel(&self, place: Place, key: Key, all: bool) -> Result<(), StoreError> {
        let mut ended = self.errands.cancel(key, Kind::Shell, usize::MAX);
        ended += self.errands.cancel(key, Kind::Sending, usize::MAX);
        let runs = self.own_runs(key);
        // Prompts on their way come after every run.
        let coming = self.errands.count(key, Kind::Prompt);
        let withdrawn = if all { usize::MAX } else { usize::from(runs.is_empty()) };
        let withdrawn = self.errands.cancel(key, Kind::Prompt, withdrawn);
        let Some((first, rest)) = runs.split_first() else {
            // What is ended says so itself.
            if ended + withdrawn == 0 {
                self.say(place, &Text::plain("Nothing is running here.")).await;
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
        self.say(place, &Text::plain(text)).await;
        Ok(())
    }

    async fn status(&self, place: Place, key: Key) {
        let mut text = String::new();
        let runs = self.own_runs(key);
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
        self.say(place, &Text::plain(text.trim_end())).await;
    }

    async fn config(&self, place: Place) {
        let overrides = self.overrides.of(place.chat);
        let settings = self.settings();
        let chat = settings.chat(place.chat, &overrides);
        self.say_markdown(place, &show::config(&chat, &overrides)).await;
    }

    async fn reload(&self, place: Place) {
        let file = self.settings_file.clone();
        let read = tokio::task::spawn_blocking(move || SettingsFile::read(&file)).await;
        let text = match read {
            Ok(Ok(settings)) => {
                let allowed = settings.allowed();
                let everyone = settings.lets_everyone_in();
                *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
                tracing::info!("the Telegram settings were read again");
                if everyone {
                    "✅ The settings were read again. EVERYBODY may use this bot.".to_owned()
                } else {
                    format!("✅ The settings were read again: {allowed} chats may use this bot.")
                }
            }
            Ok(Err(error)) => format!("❌ The old settings stay: {error}"),
            Err(error) => format!("❌ The old settings stay: {error}"),
        };
        self.say(place, &Text::plain(text)).await;
    }

    /// Changes an override; what to say of it.
    async fn override_with(
        self: &Arc<Self>,
        chat: i64,
        change: impl FnOnce(&mut Overrides) + Send + 'static,
    ) -> String {
        let inside = Arc::clone(self);
        match tokio::task::spawn_blocking(move || inside.overrides.change(chat, change)).await {
            Ok(Ok(())) => "Set.".into(),
            Ok(Err(error)) => format!("It cannot be kept, and is not changed: {error}"),
            Err(error) => error.to_string(),
        }
    }

    async fn model(self: &Arc<Self>, place: Place, change: Change<String>) {
        if let Some(problem) = self.changed(place.chat, change, |all| &mut all.model).await {
            return self.say(place, &Text::plain(problem)).await;
        }
        let (text, buttons) = self.model_choice(place.chat);
        self.say_with(place, &text, &buttons).await;
    }

    async fn effort(self: &Arc<Self>, place: Place, change: Change<Effort>) {
        if let Some(problem) = self.changed(place.chat, change, |all| &mut all.effort).await {
            return self.say(place, &Text::plain(problem)).await;
        }
        let (text, buttons) = self.effort_choice(place.chat);
        self.say_with(place, &text, &buttons).await;
    }

    /// Makes a change; what went wrong.
    async fn changed<T: Send + 'static>(
        self: &Arc<Self>,
        chat: i64,
        change: Change<T>,
        field: fn(&mut Overrides) -> &mut Option<T>,
    ) -> Option<String> {
        let value = match change {
            Change::Show => return None,
            Change::Reset => None,
            Change::Set(value) => Some(value),
        };
        let said = self.override_with(chat, move |all| *field(all) = value).await;
        (said != "Set.").then_some(said)
    }

    fn model_choice(&self, chat: i64) -> (Text, Buttons) {
        let now = self.settings().chat(chat, &self.overrides.of(chat)).model;
        let shown = now.as_deref().unwrap_or("the CLI's default");
        (show::titled("Model: ", shown), show::choice("model", &MODELS, now.as_deref()))
    }

    fn effort_choice(&self, chat: i64) -> (Text, Buttons) {
        let now = self.settings().chat(chat, &self.overrides.of(chat)).effort.map(Effort::name);
        let shown = now.unwrap_or("the CLI's default");
        (show::titled("Effort: ", shown), show::choice("effort", &efforts(), now))
    }

    async fn prompt_setting(
        self: &Arc<Self>,
        place: Place,
        change: Change<String>,
        name: &str,
        field: fn(&mut Overrides) -> &mut Option<String>,
    ) {
        let showing = matches!(change, Change::Show);
        if let Some(problem) = self.changed(place.chat, change, field).await {
            return self.say(place, &Text::plain(problem)).await;
        }
        let chat = self.settings().chat(place.chat, &self.overrides.of(place.chat));
        let now = if name == "system prompt" { chat.system_prompt } else { chat.append_system_prompt };
        let verb = if showing { "is" } else { "is now" };
        let text = match now {
            Some(text) => format!("The {name} {verb}:\n\n{text}"),
            None => format!("There {verb} no {name}."),
        };
        self.say(place, &Text::plain(text)).await;
    }

    /// Sends a file, in a task of its own. Its message stays until that is done.
    fn fetch(self: &Arc<Self>, update: i64, key: Key, message: &Message, path: String) -> Handled {
        let (inside, place, id) = (Arc::clone(self), Place::answering(message), message.id);
        let chat = self.settings().chat(place.chat, &self.overrides.of(place.chat));
        let cancel = self.errands.begin(key, id, Kind::Sending, cut(&path, 80));
        self.tasks.spawn(async move {
            let sending = async {
                let own = inside.own_workspace(&chat).await?;
                inside.send_file(place, Some(&own), &path, Patience::Some(6)).await.map(drop)
            };
            let sent = tokio::select! {
                sent = sending => sent.map_err(|why| format!("❌ {}: {why}", cut(&path, 200))),
                () = cancel.cancelled() => Err("✋ Cancelled.".to_owned()),
                // The next server sends it.
                () = inside.stop.cancelled() => return,
            };
            if let Err(why) = sent {
                inside.say(place, &Text::plain(why)).await;
            }
            inside.notes.cross_off(&[update]).await;
            inside.errands.end(key, id);
        });
        Handled::Kept
    }

    async fn own_listed(&self, chat: i64, limit: usize) -> Result<Vec<Run>, StoreError> {
        let filter = Filter { requester: Some(Requester::Chat(chat)), limit, ..Filter::default() };
        self.engine.list(filter).await
    }

    async fn cost(&self, place: Place) -> Result<(), StoreError> {
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
        self.say_markdown(place, &text).await;
        Ok(())
    }

    async fn runs(&self, place: Place) -> Result<(), StoreError> {
        let runs = self.own_listed(place.chat, LISTED_RUNS).await?;
        let lines = runs.iter().map(show::listed);
        let text = lines.collect::<Vec<_>>().join("\n\n");
        let text = if text.is_empty() { "There were no runs in this chat yet.".to_owned() } else { text };
        self.say(place, &Text::plain(text)).await;
        Ok(())
    }
}
