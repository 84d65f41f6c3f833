//! Everything that can be sent to a bot.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::bot_api::BotApi;
use crate::fixture::{ANN, USUAL, start};
use crate::support::{TestBox, UID};

/// A file, with what its kind has besides.
fn file(api: &BotApi, id: &str, more: Value) -> Value {
    let mut file = api.upload(id, format!("content of {id}").as_bytes());
    for (key, value) in more.as_object().unwrap() {
        file[key] = value.clone();
    }
    file
}

#[test]
fn every_kind_comes_into_the_workspace_with_its_caption_as_prompt() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let api = &bot.api;
    let size = |width: u32| json!({"width": width, "height": width});
    let video = json!({"width": 4, "height": 3, "duration": 5, "mime_type": "video/mp4"});
    let small = file(api, "photo-s", size(90));
    let sticker = json!({"width": 5, "height": 5, "type": "regular", "is_animated": false, "is_video": false});
    let kinds = [
        ("photo", json!([small, file(api, "photo-l", size(1280))]), "photo-l", "photo", ".jpg"),
        (
            "document",
            file(api, "doc", json!({"file_name": "my report.pdf", "mime_type": "application/pdf"})),
            "doc",
            "file",
            ".pdf",
        ),
        ("document", file(api, "nameless", json!({"mime_type": "text/csv"})), "nameless", "file", ".csv"),
        ("video", file(api, "vid", video.clone()), "vid", "video", ".mp4"),
        ("voice", file(api, "voi", json!({"duration": 3, "mime_type": "audio/ogg"})), "voi", "voice message", ".ogg"),
        (
            "audio",
            file(api, "aud", json!({"duration": 3, "file_name": "song.mp3", "mime_type": "audio/mpeg"})),
            "aud",
            "audio",
            ".mp3",
        ),
        ("animation", file(api, "ani", video), "ani", "animation", ".mp4"),
        ("video_note", file(api, "note", json!({"length": 240, "duration": 3})), "note", "video message", ".mp4"),
        ("sticker", file(api, "sti", sticker), "sti", "sticker", ".webp"),
    ];
    for (kind, value, id, name, extension) in kinds {
        let can_caption = !["sticker", "video_note"].contains(&kind);
        let mut fields = json!({kind: value.clone()});
        if kind == "animation" {
            fields["document"] = value;
        }
        if can_caption {
            fields["caption"] = "what is that? 🎈".into();
        }
        let asked = api.message(ANN, 111, fields);
        let said = if can_caption { "what is that? 🎈" } else { "Now say what to do with it." };
        let shown = api.answer(ANN, asked, said).text;
        let mut path = shown.rsplit([' ', '\n', '`']).map(|word| word.trim_end_matches('.'));
        let path = path.find(|word| word.starts_with("uploads/")).unwrap_or_else(|| panic!("{shown}"));
        // A space in the name ends the word.
        let path = if id == "doc" { "uploads/my report-udoc.pdf" } else { path };
        assert!(path.ends_with(extension), "{kind}: {path}");
        assert!(!can_caption || shown.contains(&format!("({name}, ")), "{kind}: {shown}");
        let place = bot.file("chat_111").join(path);
        assert_eq!(fs::read_to_string(&place).unwrap(), format!("content of {id}"), "{kind}");
        assert_eq!(fs::metadata(&place).unwrap().uid(), UID, "{kind}");
    }
    for (fields, said) in [
        (json!({"location": {"latitude": 52.5, "longitude": 13.4}}), "Location: 52.5, 13.4"),
        (json!({"contact": {"phone_number": "+49", "first_name": "Cy", "last_name": "D"}}), "Contact: Cy D, +49"),
        (
            json!({"venue": {"location": {"latitude": 1.5, "longitude": 2.5}, "title": "Pub", "address": "Road 1"}}),
            "Place: Pub, Road 1 (1.5, 2.5)",
        ),
        (json!({"something": {"that": "comes later"}}), "I cannot read a message of this kind."),
    ] {
        let asked = api.message(ANN, 111, fields);
        api.answer(ANN, asked, said);
    }
    // Somebody joins, a message is pinned: said by Telegram, and nobody's prompt.
    let before = api.sent(ANN).len();
    api.message(ANN, 111, json!({"pinned_message": {"message_id": 1, "date": 1, "chat": {"id": ANN, "type": "private", "first_name": "Ann"}, "text": "x"}}));
    let asked = api.says(ANN, "/id");
    api.answer(ANN, asked, "This chat");
    assert_eq!(api.sent(ANN).len(), before + 1);
    bot.stop();
}

#[test]
fn an_album_is_one_prompt_and_names_lead_nowhere() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let api = &bot.api;
    let mut first = 0;
    for number in 0..3 {
        let photo = json!([file(api, &format!("album{number}"), json!({"width": 9, "height": 9}))]);
        let mut fields = json!({"photo": photo, "media_group_id": "9000"});
        if number == 1 {
            fields["caption"] = "compare them".into();
        }
        let id = api.message(ANN, 111, fields);
        first = if number == 0 { id } else { first };
    }
    // The offline model repeats only so much.
    let shown = api.answer(ANN, first, "You said").text;
    for number in 0..3 {
        assert!(shown.contains(&format!("ualbum{number}.jpg")), "{shown}");
    }
    assert!(shown.contains("\n\nco…"), "{shown}");
    assert_eq!(api.sent(ANN).len(), 1, "one prompt, one answer");

    let long = format!("{}.txt", "x".repeat(300));
    for (number, name) in [
        "../../../etc/cron.d/evil",
        "/etc/passwd",
        "..",
        "a\\..\\b.txt",
        "-rf",
        "\u{202e}gpj.exe",
        "a\nb\u{0}c.txt",
        &long,
        ".bashrc",
        "CON ",
    ]
    .into_iter()
    .enumerate()
    {
        let document = file(api, &format!("evil{number}"), json!({"file_name": name}));
        let asked = api.message(ANN, 111, json!({"document": document}));
        api.answer(ANN, asked, "Now say what to do with it.");
    }
    let names: Vec<String> = fs::read_dir(bot.file("chat_111/uploads"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 13, "{names:?}");
    for name in &names {
        let fine = |letter: char| letter.is_alphanumeric() || "-_.+() ".contains(letter);
        assert!(name.chars().all(fine) && !name.starts_with(['.', '-']) && name.len() <= 120, "{name:?}");
    }
    assert_eq!(fs::read_dir(bot.file("chat_111")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(bot.file("")).unwrap().count(), 1);

    // Where they go must not lead out of the workspace either.
    fs::remove_dir_all(bot.file("chat_111/uploads")).unwrap();
    let outside = bot.path("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::chown(&outside, Some(UID), Some(UID)).unwrap();
    std::os::unix::fs::symlink(&outside, bot.file("chat_111/uploads")).unwrap();
    let asked = api.message(ANN, 111, json!({"document": file(api, "link", json!({})), "caption": "read it"}));
    api.answer(ANN, asked, "❌ The file was not saved: ");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    bot.stop();
}

#[test]
fn a_file_that_does_not_come_is_told() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let large = bot.api.upload("large", &vec![0; (20 << 20) + 1]);
    let asked = bot.api.message(ANN, 111, json!({"document": large, "caption": "read it"}));
    bot.api.answer(
        ANN,
        asked,
        "The file was not saved: it is over 20 MB, the most that Telegram lets a bot fetch. Nothing was asked.",
    );
    let gone = json!({"file_id": "gone", "file_unique_id": "ugone", "file_size": 3});
    let asked = bot.api.message(ANN, 111, json!({"document": gone, "caption": "read it"}));
    bot.api.answer(ANN, asked, "The file was not saved: ");
    // Telegram's own faults pass.
    bot.api.fail("getFile", json!({"ok": false, "error_code": 500, "description": "Internal Server Error"}));
    let document = file(&bot.api, "later", json!({"file_name": "later.txt"}));
    let asked = bot.api.message(ANN, 111, json!({"document": document, "caption": "read it"}));
    bot.api.answer(ANN, asked, "later-ulater.txt");
    let left: Vec<_> =
        fs::read_dir(bot.file("chat_111/uploads")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["later-ulater.txt"], "nothing half-written is left");
    bot.stop();
}
