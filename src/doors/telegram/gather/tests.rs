use serde_json::json;

use super::super::incoming::{Me, What, read};
use super::*;

/// A message of user 5, sent at `date`.
fn part(update: i64, date: i64, fields: &serde_json::Value) -> Part {
    let mut message = json!({"message_id": update, "date": date, "chat": {"id": -5, "type": "supergroup", "title": "T"},
        "from": {"id": 5, "is_bot": false, "first_name": "Ann"}});
    for (key, value) in fields.as_object().unwrap() {
        message[key] = value.clone();
    }
    let me = Me { id: 42, username: "claude_bot".into() };
    let What::Message(message) = read(&json!({"update_id": update, "message": message}), &me).unwrap().what else {
        panic!("{fields}")
    };
    let sort = if message.text.starts_with('/') && message.forwarded.is_none() { Sort::Command } else { Sort::Prompt };
    Part { update, closed: false, sort, message: *message }
}

/// The updates of each thought that these messages are.
fn thoughts(parts: &[Part]) -> Vec<Vec<i64>> {
    let (mut gathering, mut all, now) = (Gathering::default(), Vec::new(), Instant::now());
    for part in parts {
        all.extend(gathering.add(part.clone(), now));
    }
    all.extend(gathering.take_due(now + Duration::from_secs(5)));
    assert_eq!(gathering.due(), None);
    all.iter().map(|thought| thought.iter().map(|part| part.update).collect()).collect()
}

/// What it is, the messages, and the updates of each thought that they are.
type Case<'case> = (&'case str, Vec<Part>, &'case [&'case [i64]]);

#[test]
fn what_belongs_together_is_one_thought_and_nothing_else_is() {
    let text = |text: &str| json!({"text": text});
    let full = text(&"x".repeat(4096));
    let forward =
        json!({"text": "news", "forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Mal"}});
    let photo = |album: &str| json!({"photo": [{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}], "media_group_id": album});
    let mut bob = text("and I");
    bob["from"] = json!({"id": 6, "is_bot": false, "first_name": "Bob"});
    let cases: [Case<'_>; 11] = [
        ("two texts", vec![part(1, 9, &text("a")), part(2, 9, &text("b"))], &[&[1], &[2]]),
        ("a text and its rest", vec![part(1, 9, &full), part(2, 9, &text("rest"))], &[&[1, 2]]),
        ("three pieces", vec![part(1, 9, &full), part(2, 9, &full), part(3, 10, &text("rest"))], &[&[1, 2, 3]]),
        ("a long text and a later one", vec![part(1, 9, &full), part(2, 19, &text("b"))], &[&[1], &[2]]),
        (
            "a comment and its forwards",
            vec![part(1, 9, &text("sum up")), part(2, 9, &forward), part(3, 9, &forward)],
            &[&[1, 2, 3]],
        ),
        ("forwards, then a text", vec![part(1, 9, &forward), part(2, 9, &text("sum up"))], &[&[1], &[2]]),
        ("albums", vec![part(1, 9, &photo("a")), part(2, 9, &photo("a")), part(3, 9, &photo("b"))], &[&[1, 2], &[3]]),
        ("somebody in between", vec![part(1, 9, &full), part(2, 9, &bob), part(3, 9, &text("rest"))], &[&[1, 3], &[2]]),
        (
            "a command after a prompt",
            vec![part(1, 9, &text("a")), part(2, 9, &text("/new")), part(3, 9, &text("b"))],
            &[&[1], &[2], &[3]],
        ),
        (
            "a long command",
            vec![part(1, 9, &text(&format!("/bash {}", "x".repeat(4090)))), part(2, 9, &text("rest"))],
            &[&[1, 2]],
        ),
        ("a command and a forward", vec![part(1, 9, &text("/new")), part(2, 9, &forward)], &[&[1], &[2]]),
    ];
    for (name, parts, expected) in cases {
        assert_eq!(thoughts(&parts), expected, "{name}");
    }
}

#[test]
fn what_an_earlier_server_has_taken_as_whole_stays_whole() {
    let full = json!({"text": "x".repeat(4096)});
    let mut first = part(1, 9, &full);
    first.closed = true;
    assert_eq!(thoughts(&[first, part(2, 9, &json!({"text": "late"}))]), [[1], [2]]);
    let mut second = part(2, 9, &json!({"text": "rest"}));
    second.closed = true;
    let (mut gathering, now) = (Gathering::default(), Instant::now());
    assert!(gathering.add(part(1, 9, &full), now).is_empty());
    assert_eq!(gathering.add(second, now).len(), 1, "it is not waited for more");
}
