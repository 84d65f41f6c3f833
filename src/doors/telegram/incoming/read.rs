//! Telegram's JSON -> what comes in.

use serde::Deserialize as _;
use serde_json::Value;
use teloxide::types::{Message as TelegramMessage, MessageEntity, MessageKind};

use super::content::content;
use super::{Incoming, Me, Message, Press, Reply, What, people, words};
use crate::doors::telegram::command;
use crate::doors::telegram::text::units;

/// What an update is to this door. `None`: nothing that Telegram would send.
pub(in crate::doors::telegram) fn read(update: &Value, me: &Me) -> Option<Incoming> {
    let number = update["update_id"].as_i64()?;
    let what = if update["message"].is_object() {
        let raw = &update["message"];
        let message = match readable(raw) {
            Some(message) if !matches!(message.kind, MessageKind::Empty {}) => message_of(&message, raw, me),
            // What is newer than the library, or what it cannot read: it must not be lost without a word.
            _ => plain_message(raw, me),
        };
        message.map(|message| What::Message(Box::new(message)))
    } else {
        press_of(&update["callback_query"]).map(What::Press)
    };
    Some(Incoming { update: number, what: what.unwrap_or(What::Nothing), closed: false })
}

/// A message for the library, without what is read from the JSON itself: a quote of another chat that it cannot read
/// would cost the whole message.
fn readable(raw: &Value) -> Option<TelegramMessage> {
    let mut message = raw.clone();
    for level in ["", "/reply_to_message"] {
        if let Some(fields) = message.pointer_mut(level).and_then(Value::as_object_mut) {
            for key in ["external_reply", "quote", "forward_origin"] {
                fields.remove(key);
            }
        }
    }
    TelegramMessage::deserialize(&message).ok()
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
    let message = message_of(&message, raw, me)?;
    // In a group, it may be a notice of a kind that has been invented since.
    (useless.is_none() || !message.group).then_some(Message { useless, ..message })
}

fn message_of(message: &TelegramMessage, raw: &Value, me: &Me) -> Option<Message> {
    let MessageKind::Common(common) = &message.kind else { return None };
    let (text, file, useless) = content(message, common);
    let forwarded = people::forwarded(raw, me);
    let (words, addressed) = if forwarded.is_some() {
        // Whom the words were for when they were said is another matter.
        (words::with_links(&text, entities(message)), false)
    } else {
        (own_words(&text, entities(message), me), words::is_named(&text, entities(message), me))
    };
    let replied = common.reply_to_message.as_deref().filter(|reply| is_said(reply));
    let to_bot = replied.and_then(|reply| reply.from.as_ref()).is_some_and(|from| from.id.0 == me.id);
    Some(Message {
        chat: message.chat.id.0,
        thread: thread(message),
        id: message.id.0,
        date: message.date.timestamp(),
        user: message.from.as_ref().map(|user| user.id.0),
        author: people::author(raw),
        by: people::kind_of_author(raw),
        forwarded,
        group: !message.chat.is_private(),
        addressed: addressed || to_bot,
        length: units(&text),
        text: words,
        file,
        album: message.media_group_id().map(|id| id.0.clone()),
        reply: match replied {
            Some(replied) => reply_of(replied, raw, me),
            None => reply_elsewhere(raw, me).or_else(|| plain_reply(raw, me)),
        },
        useless,
    })
}

/// What somebody says to this bot. A command is what can be seen of it.
fn own_words(text: &str, entities: &[MessageEntity], me: &Me) -> String {
    let seen = words::without_name(text, me);
    if command::parse(&seen, &me.username).is_some() {
        return seen;
    }
    words::without_name(&words::with_links(text, entities), me)
}

fn entities(message: &TelegramMessage) -> &[MessageEntity] {
    message.entities().or_else(|| message.caption_entities()).unwrap_or_default()
}

fn reply_of(replied: &TelegramMessage, raw: &Value, me: &Me) -> Option<Reply> {
    let MessageKind::Common(common) = &replied.kind else { return None };
    let (text, file, _) = content(replied, common);
    let entities = entities(replied);
    let text = match raw["quote"]["text"].as_str() {
        Some(quote) => quote_of(quote, &raw["quote"]["position"], &text, entities),
        None => words::with_links(&text, entities),
    };
    let of = people::of_replied(&raw["reply_to_message"], raw["from"]["id"].as_u64(), me);
    Some(Reply { id: replied.id.0, text, of, file })
}

/// The part that was picked out of `text`, with its links: Telegram leaves them out of the quote.
fn quote_of(quote: &str, position: &Value, text: &str, entities: &[MessageEntity]) -> String {
    let (all, part): (Vec<u16>, Vec<u16>) = (text.encode_utf16().collect(), quote.encode_utf16().collect());
    let from = position.as_u64().and_then(|from| usize::try_from(from).ok()).unwrap_or(0);
    if !all.get(from..).is_some_and(|rest| rest.starts_with(&part)) {
        return quote.to_owned();
    }
    words::with_links(quote, &words::entities_of_part(entities, from, part.len()))
}

/// A reply to what the library cannot read: its words are still there.
fn plain_reply(raw: &Value, me: &Me) -> Option<Reply> {
    let replied = &raw["reply_to_message"];
    let text = raw["quote"]["text"].as_str().or(replied["text"].as_str()).or(replied["caption"].as_str())?.to_owned();
    let id = replied["message_id"].as_i64().and_then(|id| i32::try_from(id).ok())?;
    let of = people::of_replied(replied, raw["from"]["id"].as_u64(), me);
    Some(Reply { id, text, of, file: None })
}

/// A reply to a message of another chat: Telegram gives what was picked out of it, and its file.
fn reply_elsewhere(raw: &Value, me: &Me) -> Option<Reply> {
    let external = &raw["external_reply"];
    let mut message = external.as_object()?.clone();
    message.insert("chat".to_owned(), raw["chat"].clone());
    message.insert("date".to_owned(), raw["date"].clone());
    message.insert("message_id".to_owned(), raw["message_id"].clone());
    let message = readable(&message.into());
    let brought = message.as_ref().and_then(|message| match &message.kind {
        MessageKind::Common(common) => Some(content(message, common)),
        _ => None,
    });
    let (text, file, _) = brought.unwrap_or_default();
    let text = raw["quote"]["text"].as_str().map_or(text, str::to_owned);
    let of = people::of_origin(&external["origin"], raw["from"]["id"].as_u64(), me);
    // Its id is another chat's: it stands for no message of this one.
    Some(Reply { id: 0, text, of, file })
}

/// In a topic, what replies to nothing "replies" to the notice of the topic's creation.
fn is_said(message: &TelegramMessage) -> bool {
    matches!(message.kind, MessageKind::Common(_))
}

/// Threads of replies in groups without topics are no topics.
fn thread(message: &TelegramMessage) -> Option<i32> {
    message.thread_id.filter(|_| message.is_topic_message).map(|thread| thread.0.0)
}

fn press_of(query: &Value) -> Option<Press> {
    let message = &query["message"];
    let number = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok());
    Some(Press {
        id: query["id"].as_str()?.to_owned(),
        chat: message["chat"]["id"].as_i64()?,
        thread: number(&message["message_thread_id"]).filter(|_| message["is_topic_message"] == true),
        message: number(&message["message_id"])?,
        user: query["from"]["id"].as_u64().filter(|_| query["from"]["is_bot"] != true)?,
        data: query["data"].as_str()?.to_owned(),
    })
}
