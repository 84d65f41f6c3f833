//! What commands and buttons do.

use super::api::{Buttons, Place};
use super::chat_runs::ChatRuns;
use super::chat_settings::ChatSettings;
use super::command::{Change, Command, effort_change, model_change, nearest};
use super::handled::{Handled, Outcome};
use super::incoming::{Message, Press};
use super::notes::Notes;
use super::sender::Sender;
use super::settings::{Chat, Overrides};
use super::shell::{Sendings, Shells};
use super::show;
use super::text::{Text, cut};

/// Does what commands and buttons say.
pub(super) struct Commands {
    pub(super) settings: ChatSettings,
    pub(super) notes: Notes,
    pub(super) sender: Sender,
    pub(super) runs: ChatRuns,
    pub(super) shells: Shells,
    pub(super) sendings: Sendings,
}

impl Commands {
    /// Does what a command says.
    pub(super) async fn obey(&self, update: i64, message: &Message, command: Command) -> Outcome {
        let (place, chat, sender) = (Place::answering(message), message.chat, &self.sender);
        match command {
            Command::Help => sender.say_markdown(place, &show::help()).await,
            Command::Start => sender.say_markdown(place, show::START).await,
            Command::Id => {
                let user = message.user.map_or_else(|| "unknown".to_owned(), |user| format!("`{user}`"));
                sender.say_markdown(place, &format!("This chat: `{chat}`\nYou: {user}")).await;
            }
            Command::Status => self.runs.status(place).await,
            Command::Cancel { all } => self.runs.cancel(place, all).await?,
            Command::CancelRun(run) => self.runs.cancel_one(place, run).await?,
            Command::Config => {
                let config = show::config(&self.settings.of(chat), &self.settings.overrides(chat));
                sender.say_markdown(place, &config).await;
            }
            Command::Reload => self.reload(place).await,
            Command::Model(change) => self.choose(place, change, |all| &mut all.model, show::models).await,
            Command::Effort(change) => self.choose(place, change, |all| &mut all.effort, show::efforts).await,
            Command::SystemPrompt(change) => {
                self.prompt_setting(place, change, "system prompt", |all| &mut all.system_prompt).await;
            }
            Command::AppendSystemPrompt(change) => {
                self.prompt_setting(place, change, "added system prompt", |all| &mut all.append_system_prompt).await;
            }
            Command::Bash(command) => return self.shells.carry_out(update, message, command).await,
            Command::Fetch(path) => return Ok(self.sendings.fetch(update, message, path)),
            Command::New => {
                self.notes.begin_session(chat, message.thread).await?;
                sender.say(place, "🆕 A fresh session. /sessions leads back to earlier ones.").await;
            }
            Command::Sessions => {
                let (text, buttons) = show::sessions(&self.notes.sessions(chat, message.thread).await?);
                sender.say_with(place, &text, &buttons).await;
            }
            Command::Cost => self.runs.cost(place).await?,
            Command::Runs => self.runs.list(place).await?,
            Command::Misused(why) => sender.say(place, why).await,
            Command::Unknown(word) => {
                let hint = nearest(&word).map_or_else(String::new, |name| format!(" Did you mean /{name}?"));
                let text = format!(
                    "There is no command /{}.{hint} /help lists them. What Claude is to do, a skill for one, is asked for \
                     without the slash.",
                    cut(&word, 32)
                );
                sender.say(place, text).await;
            }
        }
        Ok(Handled::Done)
    }

    /// Does what a button stands for.
    pub(super) async fn press(&self, press: &Press) {
        let chat = press.chat;
        let (what, value) = press.data.split_once(':').unwrap_or((press.data.as_str(), ""));
        let note = match what {
            "cancel" => self.runs.press_cancel(chat, value).await,
            // What a button sends can be made up; it is read as what somebody writes.
            "model" => match model_change(value) {
                Command::Model(change) => self.press_choice(press, change, |all| &mut all.model, show::models).await,
                _ => "There is no such model.".to_owned(),
            },
            "effort" => match effort_change(value) {
                Command::Effort(change) => self.press_choice(press, change, |all| &mut all.effort, show::efforts).await,
                _ => "There is no such effort.".to_owned(),
            },
            "session" => match self.notes.switch(chat, press.thread, value).await {
                Ok(true) => {
                    if let Ok(sessions) = self.notes.sessions(chat, press.thread).await {
                        self.sender.redraw(press, &show::sessions(&sessions)).await;
                    }
                    "Switched.".to_owned()
                }
                Ok(false) => "That session is not here any more.".to_owned(),
                Err(error) => error.to_string(),
            },
            _ => "That button is of an earlier version.".to_owned(),
        };
        self.sender.answer_press(press, &cut(&note, 200)).await;
    }

    async fn reload(&self, place: Place) {
        let text = match self.settings.reload().await {
            Ok(file) if file.lets_everyone_in() => {
                "✅ The settings were read again. EVERYBODY may use this bot.".to_owned()
            }
            Ok(file) => format!("✅ The settings were read again: {} chats may use this bot.", file.allowed()),
            Err(error) => format!("❌ The old settings stay: {error}"),
        };
        self.sender.say(place, text).await;
    }

    /// Changes a setting of a chat; what went wrong.
    async fn change<T: Send + 'static>(&self, chat: i64, change: Change<T>, field: Field<T>) -> Option<String> {
        let value = match change {
            Change::Show => return None,
            Change::Reset => None,
            Change::Set(value) => Some(value),
        };
        self.settings.change(chat, field, value).await.err()
    }

    /// Changes a setting that buttons can choose, and shows it.
    async fn choose<T: Send + 'static>(&self, place: Place, change: Change<T>, field: Field<T>, shown: Shown) {
        if let Some(problem) = self.change(place.chat, change, field).await {
            return self.sender.say(place, problem).await;
        }
        let (text, buttons) = shown(&self.settings.of(place.chat));
        self.sender.say_with(place, &text, &buttons).await;
    }

    /// The same for a pressed button; what to say of it.
    async fn press_choice<T: Send + 'static>(
        &self,
        press: &Press,
        change: Change<T>,
        field: Field<T>,
        shown: Shown,
    ) -> String {
        let problem = self.change(press.chat, change, field).await;
        self.sender.redraw(press, &shown(&self.settings.of(press.chat))).await;
        problem.unwrap_or_else(|| "Set.".to_owned())
    }

    async fn prompt_setting(&self, place: Place, change: Change<String>, name: &str, field: Field<String>) {
        let verb = if matches!(change, Change::Show) { "is" } else { "is now" };
        if let Some(problem) = self.change(place.chat, change, field).await {
            return self.sender.say(place, problem).await;
        }
        let chat = self.settings.of(place.chat);
        let now = if name == "system prompt" { chat.system_prompt } else { chat.append_system_prompt };
        let text = match now {
            Some(text) => format!("The {name} {verb}:\n\n{text}"),
            None => format!("There {verb} no {name}."),
        };
        self.sender.say(place, text).await;
    }
}

/// A setting that a chat may change.
type Field<T> = fn(&mut Overrides) -> &mut Option<T>;

/// How a setting is shown, with the buttons that choose it.
type Shown = fn(&Chat) -> (Text, Buttons);
