//! What a message brings: its words, its file, or what it is if neither can be used.

use teloxide::types::{FileMeta, MediaKind, Message as TelegramMessage, MessageCommon};

use super::FileRef;

/// The text or caption, the file, and the kind of a message that this bot cannot use.
pub(super) fn content(message: &TelegramMessage, common: &MessageCommon) -> (String, Option<FileRef>, Option<String>) {
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
