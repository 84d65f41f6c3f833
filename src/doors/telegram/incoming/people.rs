//! Who says something. Read from Telegram's own JSON: whose words they are must be known of every message, also of one
//! that the library cannot read.

use serde_json::Value;

use super::{Author, Me, Speaker};
use crate::doors::telegram::text::line;

/// Longest name, units.
const LONGEST_NAME: usize = 64;
/// Characters that turn the direction of what stands around them.
const TURNS: [std::ops::RangeInclusive<char>; 2] = ['\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];

/// The name of who wrote a message, on one line. Empty: nobody is named.
pub(super) fn author(message: &Value) -> String {
    let chat = &message["sender_chat"];
    if chat.is_object() { signed(chat, &message["author_signature"]) } else { user(&message["from"]) }
}

/// What kind of author a message has. Whoever writes as a channel or as an anonymous admin has a bot for a stand-in, and is
/// none.
pub(super) fn kind_of_author(message: &Value) -> Author {
    if message["is_automatic_forward"] == true {
        Author::LinkedChannel
    } else if message["from"]["is_bot"] == true && !message["sender_chat"].is_object() {
        Author::Bot
    } else {
        Author::Person
    }
}

/// Who said first what somebody has forwarded; `None`: it is no forward.
pub(super) fn forwarded(message: &Value, me: &Me) -> Option<Speaker> {
    let origin = &message["forward_origin"];
    // Bot API servers before 7.0 have no origin.
    let is_old = message["forward_date"].is_number();
    if kind_of_author(message) == Author::LinkedChannel || !(origin.is_object() || is_old) {
        return None;
    }
    let asker = message["from"]["id"].as_u64();
    if origin.is_object() {
        return Some(of_origin(origin, asker, me));
    }
    let chat = &message["forward_from_chat"];
    let name = if chat.is_object() { signed(chat, &message["forward_signature"]) } else { String::new() };
    let name =
        if name.is_empty() { message["forward_sender_name"].as_str().map(clean).unwrap_or_default() } else { name };
    Some(if name.is_empty() { of_user(&message["forward_from"], asker, me) } else { Speaker::Other(name) })
}

/// Who is behind an origin, for somebody with the id `asker`.
pub(super) fn of_origin(origin: &Value, asker: Option<u64>, me: &Me) -> Speaker {
    let signature = &origin["author_signature"];
    let name = match origin["type"].as_str() {
        Some("user") => return of_user(&origin["sender_user"], asker, me),
        Some("hidden_user") => origin["sender_user_name"].as_str().map(clean).unwrap_or_default(),
        Some("chat") => signed(&origin["sender_chat"], signature),
        Some("channel") => signed(&origin["chat"], signature),
        _ => String::new(),
    };
    if name.is_empty() { Speaker::Unknown } else { Speaker::Other(name) }
}

/// Who said the message that somebody with the id `asker` replies to.
pub(super) fn of_replied(message: &Value, asker: Option<u64>, me: &Me) -> Speaker {
    if let Some(speaker) = forwarded(message, me) {
        return match speaker {
            // "Asker" is whoever forwarded it there.
            Speaker::Asker if message["from"]["id"].as_u64() != asker => Speaker::Other(author(message)),
            speaker => speaker,
        };
    }
    if message["sender_chat"].is_object() {
        return Speaker::Other(author(message));
    }
    of_user(&message["from"], asker, me)
}

fn of_user(from: &Value, asker: Option<u64>, me: &Me) -> Speaker {
    let id = from["id"].as_u64();
    let name = user(from);
    match id {
        Some(id) if id == me.id => Speaker::Bot,
        Some(_) if id == asker => Speaker::Asker,
        _ if name.is_empty() => Speaker::Unknown,
        _ => Speaker::Other(name),
    }
}

fn user(user: &Value) -> String {
    let names = ["first_name", "last_name"].iter().filter_map(|key| user[*key].as_str());
    let mut name = names.collect::<Vec<_>>().join(" ");
    if let Some(handle) = user["username"].as_str() {
        name = format!("{} (@{handle})", line(&name, LONGEST_NAME - 36));
    }
    clean(&name)
}

/// A chat's title, with who signed for it.
fn signed(chat: &Value, signature: &Value) -> String {
    let title = chat["title"].as_str().map_or_else(|| user(chat), clean);
    match signature.as_str() {
        Some(signature) => clean(&format!("{title}, {signature}")),
        None => title,
    }
}

/// A name in one line: it must look like nothing but a name where it is quoted.
fn clean(name: &str) -> String {
    let plain = |letter: &char| *letter != '"' && !TURNS.iter().any(|turns| turns.contains(letter));
    let spaced = name.chars().filter(plain).map(|letter| if letter.is_control() { ' ' } else { letter });
    line(&spaced.collect::<String>(), LONGEST_NAME)
}
