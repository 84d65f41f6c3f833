//! What comes from Telegram, as this door sees it. It is kept in the ledger until it is dealt with, as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use teloxide::types::{
    FileMeta, MediaKind, Message as TelegramMessage, MessageCommon, MessageEntity, MessageEntityKind, MessageKind,
};

/// Who the bot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Me {
    /// Its user id.
    pub(super) id: u64,
    /// Its name, without the `@`.
    pub(super) username: String,
}

/// An update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incoming {
    /// Its number; they count up.
    pub(super) update: i64,
    /// What it is.
    pub(super) what: What,
}

/// What an update is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// A message.
    Message(Box<Message>),
    /// A button that was pressed.
    Press(Press),
    /// Nothing for this bot: an edit, a member who joined, something Telegram has invented since.
    Nothing,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// The chat.
    pub(super) chat: i64,
    /// The topic, in a group that has topics.
    pub(super) thread: Option<i32>,
    /// Its id, unique in the chat.
    pub(super) id: i32,
    /// Who wrote it.
    pub(super) user: Option<u64>,
    /// Whether others read along.
    pub(super) group: bool,
    /// Whether it is meant for the bot: it names it, or replies to it.
    pub(super) addressed: bool,
    /// The text, or what stands below a file; the bot's name taken off its beginning.
    pub(super) text: String,
    /// The file it brings.
    pub(super) file: Option<FileRef>,
    /// The album it is part of.
    pub(super) album: Option<String>,
    /// What it replies to.
    pub(super) reply: Option<Reply>,
    /// What it is, if that is nothing this bot can use.
    pub(super) useless: Option<String>,
}

/// A file at Telegram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRef {
    /// What it is asked for by.
    pub(super) id: String,
    /// What it is the same file by.
    pub(super) unique: String,
    /// What kind of file, for a person.
    pub(super) kind: String,
    /// A name for it, made up if it has none.
    pub(super) name: String,
    /// Bytes, if Telegram says so.
    pub(super) size: u64,
}

/// What a message replies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// That message's id.
    pub(super) id: i32,
    /// Its text, or the part of it that was picked out.
    pub(super) text: String,
}

/// A button that was pressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Press {
    /// What the press is answered by.
    pub(super) id: String,
    /// The chat.
    pub(super) chat: i64,
    /// The topic.
    pub(super) thread: Option<i32>,
    /// The message with the button.
    pub(super) message: i32,
    /// Who pressed it.
    pub(super) user: u64,
    /// What the button stands for.
    pub(super) data: String,
}

/// What an update is to this door. `None`: nothing that Telegram would send.
pub(super) fn read(update: &Value, me: &Me) -> Option<Incoming> {
    let number = update["update_id"].as_i64()?;
    let what = if update["message"].is_object() {
        let raw = &update["message"];
        let message = match TelegramMessage::deserialize(raw) {
            Ok(message) if !matches!(message.kind, MessageKind::Empty {}) => message_of(&message, me),
            // What is newer than the library, or what it cannot read: it must not be lost without a word.
            _ => plain_message(raw, me),
        };
        message.map(|message| What::Message(Box::new(message)))
    } else {
        press_of(&update["callback_query"]).map(What::Press)
    };
    Some(Incoming { update: number, what: what.unwrap_or(What::Nothing) })
}

/// A message as one of text.
fn plain_message(raw: &Value, me: &Me) -> Option<Message> {
    let place = |place: &Value| Some((place["latitude"].as_f64()?, place["longitude"].as_f64()?));
    let venue = &raw["venue"];
    let (text, useless) = if let Some((latitude, longitude)) = place(&venue["location"]) {
        let (title, address) =
            (venue["title"].as_str().unwrap_or_default(), venue["address"].as_str().unwrap_or_default());
        (format!("Place: {title}, {address} ({latitude}, {longitude})"), None)
    } else if let Some((latitude, longitude)) = place(&raw["location"]) {
        (format!("Location: {latitude}, {longitude}"), None)
    } else {
        let text = raw["text"].as_str().or(raw["caption"].as_str()).unwrap_or_default();
        (text.to_owned(), text.is_empty().then(|| "message of this kind".to_owned()))
    };
    let keys = ["message_id", "date", "chat", "from", "message_thread_id", "is_topic_message", "reply_to_message"];
    // The fault may be in what it replies to.
    let message = [keys.len(), keys.len() - 1].into_iter().find_map(|count| {
        let kept = keys[..count].iter().filter_map(|key| Some(((*key).to_owned(), raw.get(key)?.clone())));
        let mut message: serde_json::Map<String, Value> = kept.collect();
        message.insert("text".to_owned(), text.clone().into());
        let message: TelegramMessage = serde_json::from_value(message.into()).ok()?;
        matches!(message.kind, MessageKind::Common(_)).then_some(message)
    })?;
    let message = message_of(&message, me)?;
    // In a group, it may be a notice of a kind that has been invented since.
    (useless.is_none() || !message.group).then_some(Message { useless, ..message })
}

fn message_of(message: &TelegramMessage, me: &Me) -> Option<Message> {
    let MessageKind::Common(common) = &message.kind else { return None };
    let (text, file, useless) = content(message, common);
    let entities = message.entities().or_else(|| message.caption_entities()).unwrap_or_default();
    let reply_to = common.reply_to_message.as_deref().filter(|reply| is_said(reply));
    let replies_to_bot = reply_to.and_then(|reply| reply.from.as_ref()).is_some_and(|from| from.id.0 == me.id);
    let (text, named) = without_name(&text, entities, me);
    Some(Message {
        chat: message.chat.id.0,
        thread: thread(message),
        id: message.id.0,
        user: message.from.as_ref().map(|user| user.id.0),
        group: !message.chat.is_private(),
        addressed: named || replies_to_bot,
        text,
        file,
        album: message.media_group_id().map(|id| id.0.clone()),
        reply: reply_to.map(|reply| {
            let whole = || reply.text().or_else(|| reply.caption()).unwrap_or_default().to_owned();
            let text = common.quote.as_ref().map_or_else(whole, |quote| quote.text.clone());
            Reply { id: reply.id.0, text }
        }),
        useless,
    })
}

/// In a topic, what replies to nothing "replies" to the notice of the topic's creation.
fn is_said(message: &TelegramMessage) -> bool {
    matches!(message.kind, MessageKind::Common(_))
}

/// Threads of replies in groups without topics are no topics.
fn thread(message: &TelegramMessage) -> Option<i32> {
    message.thread_id.filter(|_| message.is_topic_message).map(|thread| thread.0.0)
}

fn content(message: &TelegramMessage, common: &MessageCommon) -> (String, Option<FileRef>, Option<String>) {
    let caption = || message.caption().unwrap_or_default().to_owned();
    let with = |file: FileRef| (caption(), Some(file), None);
    let number = message.id.0;
    match &common.media_kind {
        MediaKind::Text(text) => (text.text.clone(), None, None),
        MediaKind::Photo(photo) => match photo.photo.iter().max_by_key(|size| (size.width, size.file.size)) {
            Some(largest) => with(file(&largest.file, "photo", None, &format!("photo-{number}.jpg"))),
            None => (caption(), None, Some("photo".into())),
        },
        MediaKind::Document(media) => {
            let document = &media.document;
            let made_up = format!("file-{number}{}", extension(document.mime_type.as_ref()));
            with(file(&document.file, "file", document.file_name.as_deref(), &made_up))
        }
        MediaKind::Animation(media) => {
            let animation = &media.animation;
            with(file(&animation.file, "animation", animation.file_name.as_deref(), &format!("animation-{number}.mp4")))
        }
        MediaKind::Video(media) => {
            let video = &media.video;
            with(file(&video.file, "video", video.file_name.as_deref(), &format!("video-{number}.mp4")))
        }
        MediaKind::VideoNote(media) => {
            with(file(&media.video_note.file, "video message", None, &format!("video-message-{number}.mp4")))
        }
        MediaKind::Voice(media) => with(file(&media.voice.file, "voice message", None, &format!("voice-{number}.ogg"))),
        MediaKind::Audio(media) => {
            let audio = &media.audio;
            let made_up = format!("audio-{number}{}", extension(audio.mime_type.as_ref()));
            with(file(&audio.file, "audio", audio.file_name.as_deref(), &made_up))
        }
        MediaKind::Sticker(media) => {
            let sticker = &media.sticker;
            let name = if sticker.flags.is_video {
                "webm"
            } else if sticker.flags.is_animated {
                "tgs"
            } else {
                "webp"
            };
            with(file(&sticker.file, "sticker", None, &format!("sticker-{number}.{name}")))
        }
        MediaKind::Location(media) => {
            let (latitude, longitude) = (media.location.latitude, media.location.longitude);
            (format!("Location: {latitude}, {longitude}"), None, None)
        }
        MediaKind::Venue(media) => {
            let venue = &media.venue;
            let (latitude, longitude) = (venue.location.latitude, venue.location.longitude);
            (format!("Place: {}, {} ({latitude}, {longitude})", venue.title, venue.address), None, None)
        }
        MediaKind::Contact(media) => {
            let contact = &media.contact;
            let name = [Some(contact.first_name.as_str()), contact.last_name.as_deref()];
            let name: Vec<&str> = name.into_iter().flatten().collect();
            (format!("Contact: {}, {}", name.join(" "), contact.phone_number), None, None)
        }
        MediaKind::Poll(_) => (String::new(), None, Some("poll".into())),
        // Said by Telegram, not by a person.
        MediaKind::Migration(_) => (String::new(), None, None),
        _ => (String::new(), None, Some("message of this kind".into())),
    }
}

fn file(meta: &FileMeta, kind: &str, name: Option<&str>, made_up: &str) -> FileRef {
    FileRef {
        id: meta.id.0.clone(),
        unique: meta.unique_id.0.clone(),
        kind: kind.to_owned(),
        name: name.unwrap_or(made_up).to_owned(),
        // What teloxide has for "not said" is the largest number.
        size: if meta.size == u32::MAX { 0 } else { meta.size.into() },
    }
}

fn extension(kind: Option<&impl AsRef<str>>) -> String {
    let known = kind.and_then(|kind| mime_guess::get_mime_extensions_str(kind.as_ref()));
    known.and_then(<[_]>::first).map_or_else(String::new, |extension| format!(".{extension}"))
}

/// The text without the bot's name before it, and whether it is named anywhere, in a command too.
fn without_name(text: &str, entities: &[MessageEntity], me: &Me) -> (String, bool) {
    let mention = format!("@{}", me.username);
    let named = entities.iter().any(|entity| match &entity.kind {
        MessageEntityKind::Mention => part(text, entity).is_some_and(|name| name.eq_ignore_ascii_case(&mention)),
        MessageEntityKind::BotCommand => part(text, entity).is_some_and(|command| {
            command.split_once('@').is_none_or(|(_, name)| name.eq_ignore_ascii_case(&me.username))
        }),
        MessageEntityKind::TextMention { user } => user.id.0 == me.id,
        _ => false,
    });
    let first = text.trim_start();
    let rest =
        first.get(..mention.len()).filter(|name| name.eq_ignore_ascii_case(&mention)).map(|_| &first[mention.len()..]);
    match rest {
        Some(rest) if !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_') => {
            (rest.trim_start_matches([' ', ',', ':', '\n']).to_owned(), true)
        }
        _ => (text.to_owned(), named),
    }
}

/// The part of a text that an entity is about; entities count UTF-16 units.
fn part(text: &str, entity: &MessageEntity) -> Option<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    String::from_utf16(units.get(entity.offset..entity.offset.checked_add(entity.length)?)?).ok()
}

fn press_of(query: &Value) -> Option<Press> {
    let message = &query["message"];
    let number = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok());
    Some(Press {
        id: query["id"].as_str()?.to_owned(),
        chat: message["chat"]["id"].as_i64()?,
        thread: number(&message["message_thread_id"]).filter(|_| message["is_topic_message"] == true),
        message: number(&message["message_id"])?,
        user: query["from"]["id"].as_u64()?,
        data: query["data"].as_str()?.to_owned(),
    })
}
