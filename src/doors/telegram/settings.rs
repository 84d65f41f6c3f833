//! The settings of chats: a YAML file, read whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::claude::arguments::Effort;
use crate::config::yaml;
use crate::desk::options::Field;
use crate::desk::options::form::{self, Wrong};
use crate::policy;
use crate::runs::submission::Busy;

/// How long a shell command may take if nothing else is set.
const BASH_SECONDS: u64 = 120;
/// The longest that can be set: an hour.
const LONGEST_BASH_SECONDS: u64 = 3600;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsFile {
    #[serde(default)]
    allowed_chats: Vec<i64>,
    /// Lets every chat in that is there.
    #[serde(default, deserialize_with = "yaml::switch")]
    allow_everyone: Option<bool>,
    /// What holds where a chat has nothing of its own.
    #[serde(default)]
    default: Section,
    /// Sections of single chats.
    #[serde(default, deserialize_with = "unique")]
    chats: BTreeMap<i64, Section>,
}

/// A chat's section. What is not set is the default's.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    workspace: Option<String>,
    model: Option<String>,
    effort: Option<Effort>,
    #[serde(rename = "continue", default, deserialize_with = "yaml::switch")]
    continues: Option<bool>,
    system_prompt: Option<String>,
    append_system_prompt: Option<String>,
    max_budget_usd: Option<f64>,
    allowed_users: Option<Vec<u64>>,
    busy: Option<WhenBusy>,
    groups: Option<Groups>,
    #[serde(default, deserialize_with = "yaml::switch")]
    channel_posts: Option<bool>,
    #[serde(default, deserialize_with = "yaml::switch")]
    bash: Option<bool>,
    bash_timeout: Option<u64>,
}

impl Section {
    /// The options of runs in it that a type alone does not check.
    fn options(&self) -> [(Field, Result<(), Wrong>); 4] {
        let text = |text: &Option<String>, check: fn(&str) -> Result<(), Wrong>| text.as_deref().map_or(Ok(()), check);
        [
            (Field::MaxBudgetUsd, self.max_budget_usd.map_or(Ok(()), |dollars| form::dollars(dollars).map(drop))),
            (Field::Model, text(&self.model, form::model)),
            (Field::SystemPrompt, text(&self.system_prompt, form::text)),
            (Field::AppendSystemPrompt, text(&self.append_system_prompt, form::text)),
        ]
    }
}

/// What happens to a prompt while another one of its workspace runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhenBusy {
    Queue,
    Reject,
}

/// Which messages of a group are prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Groups {
    /// Every message that Telegram gives the bot.
    All,
    /// Those that name the bot or reply to it.
    Mention,
}

/// What a chat may change for itself; it lasts until it is reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system_prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) append_system_prompt: Option<String>,
}

/// What holds for a chat.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chat {
    pub(super) workspace: String,
    pub(super) model: Option<String>,
    pub(super) effort: Option<Effort>,
    pub(super) continues: bool,
    pub(super) system_prompt: Option<String>,
    pub(super) append_system_prompt: Option<String>,
    pub(super) max_budget_usd: Option<f64>,
    pub(super) busy: Busy,
    pub(super) groups: Groups,
    /// Whether posts of the channel that the group is linked to are prompts.
    pub(super) channel_posts: bool,
    pub(super) bash: bool,
    pub(super) bash_timeout: u64,
}

/// Whether somebody may use the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Allowed,
    ForeignChat,
    ForeignUser,
}

/// Why a file cannot be used: where, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// There is none.
    #[error(
        "there is no {}: it says who may use the bot, for one `allowed_chats: [123456789]` (with an empty list, the log \
         names the chats that write to the bot)", .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Something in it is wrong.
    #[error("{}{at}: {why}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// `:LINE:COLUMN`, if that is known.
        at: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = policy::read(path, policy::TELEGRAM).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SettingsError::Missing { path: path.to_owned() },
            _ => SettingsError::Unreadable { path: path.to_owned(), why: error.to_string() },
        })?;
        Self::parse(&text).map_err(|(at, why)| SettingsError::Wrong { path: path.to_owned(), at, why })
    }

    /// From YAML, or where in it what is wrong.
    fn parse(text: &str) -> Result<Self, (String, String)> {
        let text = yaml::without_mark(text);
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let settings: Self = serde_yaml::from_str(text).map_err(|error| yaml::explain(&error, text))?;
        settings.check().map_err(|(key, why)| (yaml::position(text, &key), why))?;
        Ok(settings)
    }

    /// What the types do not say. An error names the key it is about, chats and all.
    fn check(&self) -> Result<(), (Vec<String>, String)> {
        let all = [("default".to_owned(), None, &self.default)].into_iter();
        let all = all.chain(self.chats.iter().map(|(chat, settings)| ("chats".to_owned(), Some(*chat), settings)));
        for (section, chat, settings) in all {
            let key = |name: &str| {
                let chat = chat.map(|chat| chat.to_string());
                [Some(section.clone()), chat, Some(name.to_owned())].into_iter().flatten().collect::<Vec<_>>()
            };
            let wrong = |name: &str, why: &str| {
                let key = key(name);
                Err((key.clone(), format!("{}: {why}", key.join("."))))
            };
            for (field, checked) in settings.options() {
                if let Err(Wrong { said, .. }) = checked {
                    return wrong(field.snake(), &said);
                }
            }
            if settings.bash_timeout.is_some_and(|limit| !(1..=LONGEST_BASH_SECONDS).contains(&limit)) {
                return wrong("bash_timeout", &format!("whole seconds from 1 to {LONGEST_BASH_SECONDS}"));
            }
            if let Some(name) = &settings.workspace
                && (name.starts_with('/') || name.split('/').any(|part| part == ".." || part == "."))
            {
                return wrong(
                    "workspace",
                    "a folder below the workspaces folder, such as my-project, without '.' and '..'",
                );
            }
        }
        Ok(())
    }

    pub(super) const fn shut_out_all(&self) -> bool {
        self.allowed_chats.is_empty() && !self.lets_everyone_in()
    }

    pub(super) const fn lets_everyone_in(&self) -> bool {
        matches!(self.allow_everyone, Some(true))
    }

    pub(super) const fn allowed(&self) -> usize {
        self.allowed_chats.len()
    }

    /// Whether `user` may use the bot in `chat`.
    pub(super) fn access(&self, chat: i64, user: Option<u64>) -> Access {
        if !self.lets_everyone_in() && !self.allowed_chats.contains(&chat) {
            return Access::ForeignChat;
        }
        let own = self.chats.get(&chat).and_then(|settings| settings.allowed_users.as_ref());
        match own.or(self.default.allowed_users.as_ref()) {
            Some(users) if !user.is_some_and(|user| users.contains(&user)) => Access::ForeignUser,
            _ => Access::Allowed,
        }
    }

    /// What holds for a chat that has changed `overrides` for itself.
    pub(super) fn chat(&self, chat: i64, overrides: &Overrides) -> Chat {
        let nothing = Section::default();
        let (own, default) = (self.chats.get(&chat).unwrap_or(&nothing), &self.default);
        // The workspaces folder itself would hold all chats'.
        let named = |settings: &Section| settings.workspace.clone().filter(|name| !name.trim().is_empty());
        let text = |name: fn(&Section) -> &Option<String>| name(own).clone().or_else(|| name(default).clone());
        let busy = own.busy.or(default.busy).unwrap_or(WhenBusy::Queue);
        Chat {
            workspace: named(own).or_else(|| named(default)).unwrap_or_else(|| format!("chat_{chat}")),
            model: overrides.model.clone().or_else(|| text(|settings| &settings.model)),
            effort: overrides.effort.or(own.effort).or(default.effort),
            continues: own.continues.or(default.continues).unwrap_or(true),
            system_prompt: overrides.system_prompt.clone().or_else(|| text(|settings| &settings.system_prompt)),
            append_system_prompt: overrides
                .append_system_prompt
                .clone()
                .or_else(|| text(|settings| &settings.append_system_prompt)),
            max_budget_usd: own.max_budget_usd.or(default.max_budget_usd),
            busy: if busy == WhenBusy::Queue { Busy::Queue } else { Busy::Reject },
            groups: own.groups.or(default.groups).unwrap_or(Groups::All),
            channel_posts: own.channel_posts.or(default.channel_posts).unwrap_or(false),
            bash: own.bash.or(default.bash).unwrap_or(true),
            bash_timeout: own.bash_timeout.or(default.bash_timeout).unwrap_or(BASH_SECONDS),
        }
    }
}

/// A map with each key once.
fn unique<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<i64, Section>, D::Error> {
    struct Unique;
    impl<'de> Visitor<'de> for Unique {
        type Value = BTreeMap<i64, Section>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("chat ids and their settings")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some(chat) = map.next_key()? {
                if found.contains_key(&chat) {
                    return Err(serde::de::Error::custom(format!("duplicate field `{chat}`")));
                }
                found.insert(chat, map.next_value()?);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_any(Unique)
}

#[cfg(test)]
mod tests;
