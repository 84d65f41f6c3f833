//! The Bot API by way of teloxide.
//!
//! Every address of the Bot API holds the token, and errors of the HTTP client name the address: nothing leaves this
//! file as text before the token is taken out.

use std::time::Duration;

use teloxide::Bot;
use teloxide::errors::{ApiError as Refusal, DownloadError, RequestError};
use teloxide::net::Download;
use teloxide::payloads::{
    AnswerCallbackQuerySetters, EditMessageTextSetters, SendChatActionSetters, SendDocumentSetters, SendMessageSetters,
    SendPhotoSetters, SendVideoSetters,
};
use teloxide::requests::{JsonRequest, Payload, Request, Requester};
use teloxide::types::{
    BotCommand, CallbackQueryId, ChatAction, ChatId, FileId, InlineKeyboardButton, InlineKeyboardMarkup, InputFile,
    LinkPreviewOptions, MessageId, ReplyParameters, ThreadId,
};
use tokio::io::AsyncWrite;

use super::api::{Answer, ApiError, Attachment, AttachmentKind, BotApi, Buttons, Content, Place};
use super::incoming::{self, Incoming, Me};
use super::text::Text;
use crate::config::secret::Secret;
use crate::config::server::TelegramConfig;

/// How long Telegram holds a question for updates while there are none.
const POLL: Duration = Duration::from_secs(50);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);
/// How long a file may be on its way.
const TRANSFER: Duration = Duration::from_mins(10);
const CONNECT: Duration = Duration::from_secs(10);

/// The Bot API.
pub(super) struct TelegramBot {
    token: Secret,
    calls: Bot,
    polls: Bot,
    transfers: Bot,
}

/// Why the settings make no bot.
#[derive(Debug, thiserror::Error)]
pub enum UnusableBot {
    /// The address.
    #[error("CLAUDEBOX_TELEGRAM_API_URL={0:?} is not usable: an http or https address, such as http://bot-api:8081")]
    Address(String),
    /// The HTTP client.
    #[error("there can be no HTTP client for Telegram: {0}")]
    Client(String),
}

impl TelegramBot {
    /// The bot of these settings; nothing is asked yet.
    pub(super) fn new(config: &TelegramConfig) -> Result<Self, UnusableBot> {
        let address = config.api_url.as_deref().map(|given| {
            reqwest::Url::parse(given.trim_end_matches('/'))
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                .ok_or_else(|| UnusableBot::Address(given.to_owned()))
        });
        let address = address.transpose()?;
        let bot = |limit: Duration| {
            let client = reqwest::Client::builder().connect_timeout(CONNECT).timeout(limit).tcp_nodelay(true);
            let client = client.build().map_err(|error| UnusableBot::Client(error.to_string()))?;
            let bot = Bot::with_client(config.token.reveal(), client);
            Ok(match &address {
                Some(address) => bot.set_api_url(address.clone()),
                None => bot,
            })
        };
        Ok(Self { token: config.token.clone(), calls: bot(CALL)?, polls: bot(POLL + CALL)?, transfers: bot(TRANSFER)? })
    }

    fn failed(&self, error: &RequestError) -> ApiError {
        match error {
            RequestError::RetryAfter(seconds) => ApiError::Wait(seconds.duration()),
            RequestError::MigrateToChatId(chat) => ApiError::Moved(chat.0),
            RequestError::Api(Refusal::InvalidToken) => ApiError::Token,
            RequestError::Api(Refusal::TerminatedByOtherGetUpdates) => ApiError::Conflict,
            RequestError::Api(Refusal::MessageNotModified) => ApiError::Unchanged,
            RequestError::Api(Refusal::Unknown(said)) if said.starts_with("Bad Request: message is not modified") => {
                ApiError::Unchanged
            }
            RequestError::Api(Refusal::Unknown(said)) if is_fault(said) => ApiError::Network(self.scrub(said)),
            RequestError::Api(Refusal::Unknown(said)) => ApiError::Refused(self.scrub(said)),
            RequestError::Api(refusal) => ApiError::Refused(self.scrub(&refusal.to_string())),
            RequestError::Network(error) => ApiError::Network(self.scrub(&chain(error))),
            // A proxy's page, for one. What it says may be long, and is of no use to anybody.
            RequestError::InvalidJson { source, .. } => {
                ApiError::Network(self.scrub(&format!("the answer is not the Bot API's: {source}")))
            }
            RequestError::Io(error) => ApiError::Refused(self.scrub(&error.to_string())),
        }
    }

    /// A text without the token.
    fn scrub(&self, text: &str) -> String {
        let token = self.token.reveal();
        let secret = token.split_once(':').map_or(token, |(_, secret)| secret);
        let text = text.replace(token, "TOKEN");
        if secret.is_empty() { text } else { text.replace(secret, "TOKEN") }
    }

    async fn call<R>(&self, request: R) -> Result<<R::Payload as Payload>::Output, ApiError>
    where
        R: Request<Err = RequestError>,
        R::Send: Send,
    {
        request.send().await.map_err(|error| self.failed(&error))
    }
}

/// What Telegram says of its own faults; they pass.
fn is_fault(said: &str) -> bool {
    ["Internal Server Error", "Bad Gateway", "Gateway Timeout", "Service Unavailable"]
        .iter()
        .any(|fault| said.contains(fault))
}

/// An error and what is behind it: the first alone says "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// The library's own gives updates that it cannot read without what is in them.
#[derive(Clone, serde::Serialize)]
struct GetUpdates {
    offset: i64,
    timeout: u64,
    allowed_updates: [&'static str; 2],
}

impl Payload for GetUpdates {
    type Output = Vec<serde_json::Value>;
    const NAME: &'static str = "GetUpdates";
}

fn keyboard(buttons: &Buttons) -> InlineKeyboardMarkup {
    let rows = buttons.iter().map(|row| row.iter().map(|(label, data)| InlineKeyboardButton::callback(label, data)));
    InlineKeyboardMarkup::new(rows)
}

fn no_preview() -> LinkPreviewOptions {
    LinkPreviewOptions {
        is_disabled: true,
        url: None,
        prefer_small_media: false,
        prefer_large_media: false,
        show_above_text: false,
    }
}

fn thread_of(place: Place) -> Option<ThreadId> {
    place.thread.map(|thread| ThreadId(MessageId(thread)))
}

fn reply_of(place: Place) -> Option<ReplyParameters> {
    place.reply_to.map(|message| ReplyParameters::new(MessageId(message)).allow_sending_without_reply())
}

/// Sets on a request where it goes to.
macro_rules! to {
    ($request:expr, $place:expr) => {{
        let (mut request, place): (_, Place) = ($request, $place);
        if let Some(thread) = thread_of(place) {
            request = request.message_thread_id(thread);
        }
        if let Some(reply) = reply_of(place) {
            request = request.reply_parameters(reply);
        }
        request
    }};
}

impl BotApi for TelegramBot {
    fn me(&self) -> Answer<'_, Me> {
        Box::pin(async {
            let me = self.call(self.calls.get_me()).await?;
            Ok(Me { id: me.user.id.0, username: me.user.username.clone().unwrap_or_default() })
        })
    }

    fn delete_webhook(&self) -> Answer<'_, ()> {
        Box::pin(async { self.call(self.calls.delete_webhook()).await.map(drop) })
    }

    fn set_commands(&self, commands: &[(&'static str, &'static str)]) -> Answer<'_, ()> {
        let commands: Vec<BotCommand> = commands.iter().map(|(name, about)| BotCommand::new(*name, *about)).collect();
        Box::pin(async { self.call(self.calls.set_my_commands(commands)).await.map(drop) })
    }

    fn updates<'a>(&'a self, offset: i64, me: &'a Me) -> Answer<'a, Vec<Incoming>> {
        Box::pin(async move {
            let updates =
                GetUpdates { offset, timeout: POLL.as_secs(), allowed_updates: ["message", "callback_query"] };
            let updates = self.call(JsonRequest::new(self.polls.clone(), updates)).await?;
            Ok(updates.iter().filter_map(|update| incoming::read(update, me)).collect())
        })
    }

    fn send<'a>(&'a self, place: Place, text: &'a Text, buttons: &'a Buttons) -> Answer<'a, i32> {
        Box::pin(async move {
            let request = self.calls.send_message(ChatId(place.chat), &text.text).entities(text.entities.clone());
            let mut request = to!(request.link_preview_options(no_preview()), place);
            if !buttons.is_empty() {
                request = request.reply_markup(keyboard(buttons));
            }
            Ok(self.call(request).await?.id.0)
        })
    }

    fn edit<'a>(&'a self, chat: i64, message: i32, text: &'a Text, buttons: &'a Buttons) -> Answer<'a, ()> {
        Box::pin(async move {
            let request = self.calls.edit_message_text(ChatId(chat), MessageId(message), &text.text);
            let request = request.entities(text.entities.clone()).link_preview_options(no_preview());
            // Without any, those that are there go.
            let request = if buttons.is_empty() { request } else { request.reply_markup(keyboard(buttons)) };
            self.call(request).await.map(drop)
        })
    }

    fn delete(&self, chat: i64, message: i32) -> Answer<'_, ()> {
        Box::pin(async move { self.call(self.calls.delete_message(ChatId(chat), MessageId(message))).await.map(drop) })
    }

    fn typing(&self, place: Place) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut request = self.calls.send_chat_action(ChatId(place.chat), ChatAction::Typing);
            if let Some(thread) = thread_of(place) {
                request = request.message_thread_id(thread);
            }
            self.call(request).await.map(drop)
        })
    }

    fn answer_press<'a>(&'a self, press: &'a str, note: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let request = self.calls.answer_callback_query(CallbackQueryId(press.to_owned()));
            let request = if note.is_empty() { request } else { request.text(note) };
            self.call(request).await.map(drop)
        })
    }

    fn send_file<'a>(&'a self, place: Place, file: Attachment<'a>) -> Answer<'a, i32> {
        Box::pin(async move {
            let content = match file.content {
                Content::Open(open) => InputFile::read(tokio::fs::File::from_std(open)),
                Content::Bytes(bytes) => InputFile::memory(bytes),
            };
            let (content, chat) = (content.file_name(file.name.to_owned()), ChatId(place.chat));
            let message = match file.kind {
                AttachmentKind::Photo => {
                    self.call(to!(self.transfers.send_photo(chat, content).caption(file.caption), place)).await
                }
                AttachmentKind::Video => {
                    let request =
                        self.transfers.send_video(chat, content).caption(file.caption).supports_streaming(true);
                    self.call(to!(request, place)).await
                }
                AttachmentKind::Document => {
                    self.call(to!(self.transfers.send_document(chat, content).caption(file.caption), place)).await
                }
            };
            Ok(message?.id.0)
        })
    }

    fn download<'a>(&'a self, file: &'a str, out: &'a mut (dyn AsyncWrite + Unpin + Send)) -> Answer<'a, ()> {
        Box::pin(async move {
            let found = self.call(self.calls.get_file(FileId(file.to_owned()))).await?;
            self.transfers.download_file(&found.path, out).await.map_err(|error| match error {
                DownloadError::Network(error) => ApiError::Network(self.scrub(&chain(&error))),
                DownloadError::Io(error) => ApiError::Refused(self.scrub(&error.to_string())),
            })
        })
    }
}
