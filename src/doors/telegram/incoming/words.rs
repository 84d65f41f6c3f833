//! Words and the entities in them. Entities count UTF-16 units.

use teloxide::types::{MessageEntity, MessageEntityKind};

use super::Me;

/// Whether the bot is named anywhere in a text, in a command too.
pub(super) fn is_named(text: &str, entities: &[MessageEntity], me: &Me) -> bool {
    let mention = format!("@{}", me.username);
    let named = entities.iter().any(|entity| match &entity.kind {
        MessageEntityKind::Mention => part(text, entity).is_some_and(|name| name.eq_ignore_ascii_case(&mention)),
        MessageEntityKind::BotCommand => part(text, entity).is_some_and(|command| {
            command.split_once('@').is_none_or(|(_, name)| name.eq_ignore_ascii_case(&me.username))
        }),
        MessageEntityKind::TextMention { user } => user.id.0 == me.id,
        _ => false,
    });
    named || after_name(text, me).is_some()
}

/// The text without the bot's name before it.
pub(super) fn without_name(text: &str, me: &Me) -> String {
    after_name(text, me).unwrap_or(text).to_owned()
}

fn after_name<'text>(text: &'text str, me: &Me) -> Option<&'text str> {
    let mention = format!("@{}", me.username);
    let first = text.trim_start();
    let name = first.get(..mention.len())?;
    let rest = &first[mention.len()..];
    let ends = !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    (name.eq_ignore_ascii_case(&mention) && ends).then(|| rest.trim_start_matches([' ', ',', ':', '\n']))
}

/// The text with the address behind each of its words that hide one.
pub(super) fn with_links(text: &str, entities: &[MessageEntity]) -> String {
    let mut links: Vec<(usize, &str)> = Vec::new();
    for entity in entities {
        let MessageEntityKind::TextLink { url } = &entity.kind else { continue };
        let shown = part(text, entity).unwrap_or_default();
        let same = [url.as_str(), url.as_str().trim_end_matches('/')].contains(&shown.trim());
        if let Some(end) = entity.offset.checked_add(entity.length).filter(|_| !same) {
            links.push((end, url.as_str()));
        }
    }
    links.sort_unstable();
    let units: Vec<u16> = text.encode_utf16().collect();
    let (mut told, mut from) = (String::with_capacity(text.len()), 0);
    for (end, url) in links {
        let end = end.clamp(from, units.len());
        told.push_str(&String::from_utf16_lossy(&units[from..end]));
        told.extend([" (", url, ")"]);
        from = end;
    }
    told.push_str(&String::from_utf16_lossy(&units[from..]));
    told
}

/// The entities of the part of a text that begins at `from` and is `length` units long.
pub(super) fn entities_of_part(entities: &[MessageEntity], from: usize, length: usize) -> Vec<MessageEntity> {
    let inside = entities.iter().filter_map(|entity| {
        let start = entity.offset.max(from);
        let end = entity.offset.checked_add(entity.length)?.min(from + length);
        (start < end).then(|| MessageEntity { kind: entity.kind.clone(), offset: start - from, length: end - start })
    });
    inside.collect()
}

/// The part of a text that an entity is about.
fn part(text: &str, entity: &MessageEntity) -> Option<String> {
    let units: Vec<u16> = text.encode_utf16().collect();
    String::from_utf16(units.get(entity.offset..entity.offset.checked_add(entity.length)?)?).ok()
}
