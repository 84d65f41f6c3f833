//! What comes from Telegram, as this door sees it. It is kept in the ledger until it is dealt with, as JSON.

mod content;
mod people;
mod read;
mod words;

use serde::{Deserialize, Serialize};

pub(super) use self::read::read;

/// A chat, or a topic in one.
pub(super) type Key = (i64, Option<i32>);

/// Who the bot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Me {
    pub(super) id: u64,
    /// Its name, without the `@`.
    pub(super) username: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incoming {
    pub(super) update: i64,
    pub(super) what: What,
    /// Whether it has been taken as the last part of its thought: what comes after it is another one.
    #[serde(default)]
    pub(super) closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Message(Box<Message>),
    Press(Press),
    /// Nothing for this bot: an edit, a member who joined, something Telegram has invented since.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) chat: i64,
    pub(super) thread: Option<i32>,
    pub(super) id: i32,
    /// When it was sent, seconds since 1970.
    #[serde(default)]
    pub(super) date: i64,
    pub(super) user: Option<u64>,
    /// Their name, on one line.
    #[serde(default)]
    pub(super) author: String,
    #[serde(default)]
    pub(super) by: Author,
    /// Who said first what was forwarded here.
    #[serde(default)]
    pub(super) forwarded: Option<Speaker>,
    /// Whether others read along.
    pub(super) group: bool,
    /// Whether it is meant for the bot: it names it, or replies to it.
    pub(super) addressed: bool,
    /// Text or caption without the bot's name before it; hidden links are written out, unless it is a command.
    pub(super) text: String,
    /// How long the text was as it was sent, units.
    #[serde(default)]
    pub(super) length: usize,
    pub(super) file: Option<FileRef>,
    pub(super) album: Option<String>,
    pub(super) reply: Option<Reply>,
    /// What it is, if that is nothing this bot can use.
    pub(super) useless: Option<String>,
}

impl Message {
    /// The conversation it is part of.
    pub(super) const fn key(&self) -> Key {
        (self.chat, self.thread)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Author {
    /// Somebody, also one who writes as a channel or as an anonymous admin.
    #[default]
    Person,
    Bot,
    /// The channel that the group is linked to: Telegram brings its posts.
    LinkedChannel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRef {
    /// `file_id`: downloads it.
    pub(super) id: String,
    /// `file_unique_id`: the same for every sending of a file.
    pub(super) unique: String,
    pub(super) kind: String,
    /// A name for it, made up if it has none.
    pub(super) name: String,
    /// Bytes, if Telegram says so.
    pub(super) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: i32,
    /// Its text, or the part of it that was picked out.
    pub(super) text: String,
    #[serde(default)]
    pub(super) of: Speaker,
    #[serde(default)]
    pub(super) file: Option<FileRef>,
}

/// Who said something that is quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Speaker {
    /// Telegram does not say.
    #[default]
    Unknown,
    /// Whoever quotes it.
    Asker,
    Bot,
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Press {
    pub(super) id: String,
    pub(super) chat: i64,
    pub(super) thread: Option<i32>,
    pub(super) message: i32,
    pub(super) user: u64,
    pub(super) data: String,
}
