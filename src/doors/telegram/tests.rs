//! What comes in, as the door sees it.

use serde_json::{Value, json};

use super::incoming::{Author, Me, Message, Speaker, What, read};

const ME: u64 = 42;

fn message(fields: &Value) -> Option<Message> {
    let mut message = json!({
        "message_id": 5, "date": 1_780_000_000, "chat": {"id": 111, "type": "private", "first_name": "Ann"},
        "from": {"id": 111, "is_bot": false, "first_name": "Ann"},
    });
    for (key, value) in fields.as_object().unwrap() {
        message[key] = value.clone();
    }
    let incoming = read(&json!({"update_id": 7, "message": message}), &Me { id: ME, username: "claude_bot".into() });
    match incoming.unwrap().what {
        What::Message(message) => Some(*message),
        What::Nothing => None,
        What::Press(press) => panic!("{press:?}"),
    }
}

#[test]
fn what_the_library_cannot_read_is_no_message_lost() {
    let place = json!({"latitude": 52.5, "longitude": 13.4});
    let venue = json!({"location": place, "title": "Pub", "address": "Road 1"});
    let cases = [
        (json!({"location": place}), "Location: 52.5, 13.4", None),
        (json!({"venue": venue, "location": place}), "Place: Pub, Road 1 (52.5, 13.4)", None),
        (json!({"text": "hello", "reply_to_message": {"odd": true}}), "hello", None),
        (json!({"invention": {"a": 1}}), "", Some("message of this kind")),
    ];
    for (fields, text, useless) in cases {
        let message = message(&fields).unwrap_or_else(|| panic!("{fields}"));
        assert_eq!((message.text.as_str(), message.useless.as_deref()), (text, useless), "{fields}");
        assert_eq!((message.chat, message.id, message.user), (111, 5, Some(111)));
    }
}

#[test]
fn notices_are_no_messages() {
    let group = json!({"id": -5, "type": "supergroup", "title": "Team"});
    let somebody = json!({"id": 6, "is_bot": false, "first_name": "Cy"});
    let cases = [
        json!({"new_chat_members": [somebody]}),
        json!({"left_chat_member": somebody}),
        json!({"new_chat_title": "Tea"}),
        json!({"chat": group, "forum_topic_created": {"name": "Topic", "icon_color": 7_322_096}}),
        json!({"chat": group, "invention": {"a": 1}}),
        json!({"pinned_message": {"message_id": 1, "date": 1, "chat": group, "text": "x"}}),
        json!({"message_id": "five", "text": "x"}),
    ];
    for fields in cases {
        assert_eq!(message(&fields), None, "{fields}");
    }
    assert_eq!(read(&json!({"message": {}}), &Me { id: ME, username: String::new() }), None, "without a number");
}

#[test]
fn a_message_of_a_group_is_for_the_bot_if_it_says_so() {
    let group = json!({"id": -5, "type": "supergroup", "title": "Team", "is_forum": true});
    let of_bot = json!({"message_id": 1, "date": 1, "chat": group, "text": "an answer",
        "from": {"id": ME, "is_bot": true, "first_name": "Claude"}});
    let of_cy = json!({"message_id": 1, "date": 1, "chat": group, "text": "a question",
        "from": {"id": 6, "is_bot": false, "first_name": "Cy"}});
    let topic = json!({"message_id": 9, "date": 1, "chat": group, "message_thread_id": 9, "is_topic_message": true,
        "forum_topic_created": {"name": "Topic", "icon_color": 7_322_096}, "from": {"id": ME, "is_bot": true, "first_name": "Claude"}});
    let mention = |offset: usize| json!([{"type": "mention", "offset": offset, "length": 11}]);
    let command = json!([{"type": "bot_command", "offset": 0, "length": 7}]);
    // Fields; whether it is addressed; its text; what it replies to.
    let cases = [
        (json!({"text": "hello"}), false, "hello", None),
        (json!({"text": "@claude_bot hello", "entities": mention(0)}), true, "hello", None),
        (json!({"text": "@Claude_Bot, hello", "entities": mention(0)}), true, "hello", None),
        (json!({"text": "\u{1f388} @claude_bot hi", "entities": mention(3)}), true, "\u{1f388} @claude_bot hi", None),
        (
            json!({"text": "@claude_bot2 hello", "entities": [{"type": "mention", "offset": 0, "length": 12}]}),
            false,
            "@claude_bot2 hello",
            None,
        ),
        (json!({"text": "/status", "entities": command}), true, "/status", None),
        (json!({"text": "and?", "reply_to_message": of_bot}), true, "and?", Some("an answer")),
        (json!({"text": "and?", "reply_to_message": of_cy}), false, "and?", Some("a question")),
        (
            json!({"text": "and?", "reply_to_message": of_bot, "quote": {"text": "answer", "position": 3}}),
            true,
            "and?",
            Some("answer"),
        ),
        // In a topic, everything "replies" to its beginning.
        (
            json!({"text": "hello", "message_thread_id": 9, "is_topic_message": true, "reply_to_message": topic}),
            false,
            "hello",
            None,
        ),
    ];
    for (mut fields, addressed, text, reply) in cases {
        fields["chat"] = group.clone();
        let message = message(&fields).unwrap_or_else(|| panic!("{fields}"));
        let replied = message.reply.as_ref().map(|reply| reply.text.as_str());
        assert_eq!((message.addressed, message.text.as_str(), replied), (addressed, text, reply), "{fields}");
        assert_eq!(message.thread, fields["message_thread_id"].as_i64().map(|thread| i32::try_from(thread).unwrap()));
    }
}

#[test]
fn a_press_is_known_by_its_message() {
    let message = json!({"message_id": 3, "date": 0, "chat": {"id": -5, "type": "supergroup", "title": "Team"},
        "message_thread_id": 8, "is_topic_message": true});
    let update = json!({"update_id": 7, "callback_query": {"id": "p", "from": {"id": 6}, "data": "model:opus", "message": message}});
    let me = Me { id: ME, username: "claude_bot".into() };
    let What::Press(press) = read(&update, &me).unwrap().what else { panic!("{update}") };
    assert_eq!((press.chat, press.thread, press.message, press.user), (-5, Some(8), 3, 6));
    // One of an inline message, of a game, of nobody.
    for gone in ["message", "data", "from", "id"] {
        let mut update = update.clone();
        update["callback_query"].as_object_mut().unwrap().remove(gone);
        assert_eq!(read(&update, &me).unwrap().what, What::Nothing, "{gone}");
    }
    assert_eq!(read(&json!({"update_id": 7, "edited_message": message}), &me).unwrap().what, What::Nothing);
}

#[test]
fn bots_and_posts_of_the_linked_channel_are_known_as_such() {
    let group = json!({"id": -5, "type": "supergroup", "title": "Team"});
    let channel = json!({"id": -9, "type": "channel", "title": "News"});
    let bot = |id: u64| json!({"id": id, "is_bot": true, "first_name": "Bot"});
    // Fields; what kind of author, who.
    let cases = [
        (json!({}), Author::Person, "Ann"),
        (json!({"from": bot(700)}), Author::Bot, "Bot"),
        // An anonymous admin, and somebody who writes as a channel.
        (json!({"from": bot(1_087_968_824), "sender_chat": group}), Author::Person, "Team"),
        (json!({"from": bot(136_817_688), "sender_chat": channel}), Author::Person, "News"),
        (
            json!({"from": {"id": 777_000, "is_bot": false, "first_name": "Telegram"}, "sender_chat": channel, "is_automatic_forward": true,
                "forward_origin": {"type": "channel", "date": 1, "message_id": 4, "chat": channel}}),
            Author::LinkedChannel,
            "News",
        ),
    ];
    for (mut fields, by, author) in cases {
        fields["chat"] = group.clone();
        for content in [json!({"text": "hello"}), json!({"caption": "hello", "invention": {"a": 1}})] {
            let mut fields = fields.clone();
            fields.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
            let message = message(&fields).unwrap_or_else(|| panic!("{fields}"));
            assert_eq!((message.by, message.author.as_str()), (by, author), "{fields}");
            assert_eq!(message.forwarded, None, "{fields}");
        }
    }
}

#[test]
fn hidden_links_are_written_out() {
    let link = |offset: usize, length: usize, url: &str| json!({"type": "text_link", "offset": offset, "length": length, "url": url});
    let article = "https://news.example/a/42";
    let replied = |content: Value| {
        let mut replied = json!({"message_id": 1, "date": 1, "chat": {"id": 111, "type": "private", "first_name": "Ann"},
            "from": {"id": 6, "is_bot": false, "first_name": "Cy"}});
        replied.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        replied
    };
    let photo = json!([{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}]);
    let cases = [
        (
            json!({"text": "Summarise this article", "entities": [link(15, 7, article)]}),
            "Summarise this article (https://news.example/a/42)",
        ),
        // Units, not characters or bytes; two of them, in any order.
        (
            json!({"text": "\u{1f388}é this and that.", "entities": [link(13, 4, "https://b.example/"), link(4, 4, article)]}),
            "\u{1f388}é this (https://news.example/a/42) and that (https://b.example/).",
        ),
        (
            json!({"caption": "read this", "photo": photo, "caption_entities": [link(5, 4, article)]}),
            "read this (https://news.example/a/42)",
        ),
        (json!({"text": "https://b.example", "entities": [link(0, 17, "https://b.example/")]}), "https://b.example"),
        (
            json!({"text": "@claude_bot this", "entities": [{"type": "mention", "offset": 0, "length": 11}, link(12, 4, article)]}),
            "this (https://news.example/a/42)",
        ),
        // A command is what can be seen of it.
        (json!({"text": "/bash curl b.example", "entities": [link(11, 9, article)]}), "/bash curl b.example"),
        (json!({"text": "past", "entities": [link(2, 9, article)]}), "past (https://news.example/a/42)"),
    ];
    for (fields, text) in cases {
        assert_eq!(message(&fields).unwrap().text, text, "{fields}");
    }
    let source = json!({"text": "see this one", "entities": [link(4, 4, article)]});
    let quotes = [
        (json!({"text": "this one", "position": 4}), "this (https://news.example/a/42) one"),
        (json!({"text": "one", "position": 9}), "one"),
        (json!({"text": "this", "position": 90}), "this"),
    ];
    for (quote, text) in quotes {
        let reply = message(&json!({"text": "and?", "reply_to_message": replied(source.clone()), "quote": quote}))
            .unwrap()
            .reply
            .unwrap();
        assert_eq!(reply.text, text, "{quote}");
    }
    let reply = message(&json!({"text": "and?", "reply_to_message": replied(source)})).unwrap().reply.unwrap();
    assert_eq!(reply.text, "see this (https://news.example/a/42) one");
}

#[test]
fn a_reply_brings_the_file_it_replies_to() {
    let file = json!({"file_id": "F", "file_unique_id": "u", "file_size": 9});
    let with = |more: Value| {
        let mut file = file.clone();
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        file
    };
    let video = with(json!({"width": 4, "height": 3, "duration": 5, "mime_type": "video/mp4"}));
    let kinds = [
        ("document", with(json!({"file_name": "report.pdf"})), "file"),
        ("photo", json!([with(json!({"width": 9, "height": 9}))]), "photo"),
        ("voice", with(json!({"duration": 3, "mime_type": "audio/ogg"})), "voice message"),
        ("audio", with(json!({"duration": 3, "mime_type": "audio/mpeg"})), "audio"),
        ("video", video.clone(), "video"),
        ("animation", video, "animation"),
        ("video_note", with(json!({"length": 240, "duration": 3})), "video message"),
        (
            "sticker",
            with(json!({"width": 5, "height": 5, "type": "regular", "is_animated": false, "is_video": false})),
            "sticker",
        ),
    ];
    for (kind, value, name) in kinds {
        let replied = json!({"message_id": 1, "date": 1, "chat": {"id": 111, "type": "private", "first_name": "Ann"},
            "from": {"id": 6, "is_bot": false, "first_name": "Cy"}, kind: value});
        let here = json!({"text": "summarise this", "reply_to_message": replied});
        let elsewhere = json!({"text": "summarise this", "external_reply": {kind: value,
            "origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Cy"}}});
        for fields in [here, elsewhere] {
            let reply = message(&fields).unwrap().reply.unwrap_or_else(|| panic!("{fields}"));
            let file = reply.file.unwrap_or_else(|| panic!("{fields}"));
            assert_eq!((file.id.as_str(), file.kind.as_str()), ("F", name), "{fields}");
            assert_eq!(reply.of, Speaker::Other("Cy".into()), "{fields}");
        }
    }
    // Of a text of another chat there is what was picked out of it; the file of the message itself is not lost over it.
    let fields = json!({"caption": "and this?", "document": with(json!({"file_name": "own.pdf"})), "quote": {"text": "picked", "position": 0},
        "external_reply": {"origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Cy"}}});
    let message = message(&fields).unwrap();
    assert_eq!(message.file.unwrap().name, "own.pdf");
    assert_eq!(message.reply.map(|reply| (reply.text, reply.file)), Some(("picked".to_owned(), None)));
}

#[test]
fn what_an_earlier_version_has_kept_can_be_read() {
    let kept = json!({"update": 7, "what": {"Message": {"chat": 5, "thread": null, "id": 1, "user": 5, "group": false, "addressed": false,
        "text": "hello", "file": null, "album": null, "reply": {"id": 3, "text": "x"}, "useless": null}}});
    let incoming: super::incoming::Incoming = serde_json::from_value(kept).unwrap();
    let What::Message(message) = incoming.what else { panic!("no message") };
    assert_eq!((message.text.as_str(), incoming.closed), ("hello", false));
}
