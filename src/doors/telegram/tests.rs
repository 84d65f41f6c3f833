//! What comes in, as the door sees it.

use serde_json::{Value, json};

use super::incoming::{Me, Message, What, read};

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
