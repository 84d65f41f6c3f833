//! What this door asks of Telegram, as a trait: everything else here can be told what Telegram would say.

use std::fs::File;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::AsyncWrite;

use super::incoming::{Incoming, Key, Me, Message};
use super::text::Text;

pub(super) type Answer<'a, T> = BoxFuture<'a, Result<T, ApiError>>;

/// The Bot API, as far as it is used.
pub(super) trait BotApi: Send + Sync {
    fn me(&self) -> Answer<'_, Me>;
    /// Takes a webhook off that is left over, so that updates can be asked for; they are kept.
    fn delete_webhook(&self) -> Answer<'_, ()>;
    /// Sets the menu: commands and what each does.
    fn set_commands(&self, commands: &[(&'static str, &'static str)]) -> Answer<'_, ()>;
    /// The updates from `offset` on; waits for some. Those before it are confirmed, and never come again.
    fn updates<'a>(&'a self, offset: i64, me: &'a Me) -> Answer<'a, Vec<Incoming>>;
    fn send<'a>(&'a self, place: Place, text: &'a Text, buttons: &'a Buttons) -> Answer<'a, i32>;
    fn edit<'a>(&'a self, chat: i64, message: i32, text: &'a Text, buttons: &'a Buttons) -> Answer<'a, ()>;
    fn delete(&self, chat: i64, message: i32) -> Answer<'_, ()>;
    /// Shows for some seconds that the bot is at work.
    fn typing(&self, place: Place) -> Answer<'_, ()>;
    /// Ends the waiting state of a pressed button, with a short note if there is something to say.
    fn answer_press<'a>(&'a self, press: &'a str, note: &'a str) -> Answer<'a, ()>;
    /// Sends a file; the message's id.
    fn send_file<'a>(&'a self, place: Place, file: Attachment<'a>) -> Answer<'a, i32>;
    /// Writes a file that somebody sent to `out`.
    fn download<'a>(&'a self, file: &'a str, out: &'a mut (dyn AsyncWrite + Unpin + Send)) -> Answer<'a, ()>;
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chat: i64,
    pub(super) thread: Option<i32>,
    /// The message that is answered.
    pub(super) reply_to: Option<i32>,
}

impl Place {
    /// Where an answer to a message goes.
    pub(super) const fn answering(message: &Message) -> Self {
        Self { chat: message.chat, thread: message.thread, reply_to: Some(message.id) }
    }

    /// The conversation there.
    pub(super) const fn key(&self) -> Key {
        (self.chat, self.thread)
    }
}

/// Rows of buttons: what each says, and what comes back when it is pressed.
pub(super) type Buttons = Vec<Vec<(String, String)>>;

pub(super) struct Attachment<'a> {
    pub(super) kind: AttachmentKind,
    pub(super) name: &'a str,
    pub(super) content: Content,
    pub(super) caption: &'a str,
}

pub(super) enum Content {
    Open(File),
    Bytes(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttachmentKind {
    /// As a picture, which Telegram scales down.
    Photo,
    Video,
    /// As a file, untouched.
    Document,
}

/// Why a call failed. No text holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("Telegram asks to wait {} s", .0.as_secs())]
    Wait(Duration),
    /// The network, or a fault of Telegram's.
    #[error("{0}")]
    Network(String),
    #[error("Telegram does not know this token")]
    Token,
    #[error("another program asks for this bot's updates")]
    Conflict,
    #[error("the message is like that already")]
    Unchanged,
    #[error("the group has become chat {0}")]
    Moved(i64),
    #[error("{0}")]
    Refused(String),
}

impl ApiError {
    /// Whether there is no use in trying again.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::Network(_) | Self::Wait(_))
    }
}
