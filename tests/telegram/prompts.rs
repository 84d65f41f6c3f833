//! A prompt in, a growing message, an answer.

use serde_json::json;

use crate::bot_api::{BotApi, NAME, Sent, text_of};
use crate::fixture::{ANN, TEAM, USUAL, sleeps, start, start_with, with_cli, without_cli};
use crate::support::TestBox;

/// Before everything the offline model says.
const LABEL: &str = "[claudebox offline model] ";

fn buttons(sent: &Sent) -> String {
    sent.buttons.to_string()
}

#[test]
fn a_prompt_is_answered_in_the_message_that_grew() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let asked = bot.api.says(ANN, "offline:slow 5");
    let growing = bot.api.until("a growing message", ANN, |sent| {
        sent.iter()
            .find(|sent| sent.reply_to == Some(asked) && sent.edits > 1 && buttons(sent).contains("cancel:"))
            .cloned()
    });
    let end = bot.api.until("the answer", ANN, |sent| {
        sent.iter().find(|sent| sent.id == growing.id && sent.buttons.is_null()).cloned()
    });
    assert!(end.text.len() >= growing.text.len(), "{growing:?} {end:?}");
    assert_eq!(bot.api.sent(ANN).len(), 1, "one message is the whole answer");
    assert!(!bot.api.calls("sendChatAction").is_empty());

    let asked = bot.api.says(ANN, "offline:echo **bold** and `code` 🎉 <b>\n\n```rust\nfn main() {}\n```");
    let answer = bot.api.answer(ANN, asked, "bold and code");
    let kinds: Vec<&str> =
        answer.entities.as_array().unwrap().iter().map(|entity| entity["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["bold", "code", "pre"], "{answer:?}");
    assert!(answer.text.contains("<b>") && answer.text.contains("fn main() {}") && !answer.text.contains("```"));
    assert!(bot.file("chat_111").is_dir());
    bot.stop();
}

#[test]
fn prompts_wait_their_turn_and_continue_one_session() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    let first = bot.api.says(ANN, "offline:tool exec sleep 1000");
    bot.until("the tool runs", |all| sleeps(all, "1000"));
    let second = bot.api.says(ANN, "offline:echo second");
    bot.api.answer(ANN, second, "Next in line");
    let third = bot.api.says(ANN, "offline:echo third");
    bot.api.answer(ANN, third, "2 runs are before");
    bot.api.answer(ANN, first, "🔧 Bash: ");
    let status = bot.api.says(ANN, "/status");
    let shown = bot.api.answer(ANN, status, "running for").text;
    assert!(
        shown.contains("waiting, 1 before it: offline:echo second") && shown.contains("waiting, 2 before it"),
        "{shown}"
    );
    let cancel = bot.api.says(ANN, "/cancel");
    bot.api.answer(ANN, cancel, "2 more wait");
    bot.api.answer(ANN, first, "Cancelled");
    bot.api.until("the others are answered", ANN, |sent| {
        let has = |asked: i64, text: &str| {
            sent.iter().any(|sent| sent.reply_to == Some(asked) && sent.text.contains(text) && sent.buttons.is_null())
        };
        (has(second, "second") && has(third, "third")).then_some(())
    });
    bot.until("the tool is gone", |all| !sleeps(all, "1000"));
    // All three in one session, in the order they came, and a fresh one after /new.
    let sessions = || {
        std::fs::read_dir(bot.path("home/.claude/projects"))
            .unwrap()
            .flatten()
            .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
            .filter(|file| file.path().extension().is_some_and(|end| end == "jsonl"))
            .count()
    };
    assert_eq!(sessions(), 1);
    let new = bot.api.says(ANN, "/new");
    bot.api.answer(ANN, new, "fresh session");
    let asked = bot.api.says(ANN, "offline:echo anew");
    bot.api.until("an answer", ANN, |sent| {
        sent.iter().find(|sent| sent.reply_to == Some(asked) && sent.text == format!("{LABEL}anew")).cloned()
    });
    assert_eq!(sessions(), 2);
    let list = bot.api.says(ANN, "/sessions");
    let list = bot.api.answer(ANN, list, "Sessions");
    let rows = list.buttons["inline_keyboard"].as_array().unwrap().clone();
    assert!(rows.len() == 2 && rows[0][0]["text"].as_str().unwrap().starts_with("✓ offline:echo anew"), "{rows:?}");
    bot.api.press(ANN, 111, list.id, rows[1][0]["callback_data"].as_str().unwrap());
    bot.api.until("the other is marked", ANN, |sent| {
        let list = sent.iter().find(|sent| sent.id == list.id)?;
        list.buttons["inline_keyboard"][1][0]["text"].as_str()?.starts_with("✓").then_some(())
    });
    let asked = bot.api.says(ANN, "offline:echo back");
    bot.api.until("an answer", ANN, |sent| {
        sent.iter().find(|sent| sent.reply_to == Some(asked) && sent.text == format!("{LABEL}back")).cloned()
    });
    assert_eq!(sessions(), 2);
    bot.stop();
}

#[test]
fn a_button_cancels_and_a_reject_setting_refuses() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, "allowed_chats: [111]\ndefault: {busy: reject}\n") else { return };
    let asked = bot.api.says(ANN, "offline:tool exec sleep 1001");
    bot.until("the tool runs", |all| sleeps(all, "1001"));
    let growing = bot.api.answer(ANN, asked, "");
    let refused = bot.api.says(ANN, "offline:echo no");
    bot.api.answer(ANN, refused, "running here already");
    let data = growing.buttons["inline_keyboard"][0][0]["callback_data"].as_str().unwrap();
    bot.api.press(ANN, 111, growing.id, data);
    bot.api.answer(ANN, asked, "✋ Cancelled");
    bot.api.wait("the press is answered", |api| !api.calls("answerCallbackQuery").is_empty());
    bot.api.press(ANN, 111, growing.id, data);
    bot.api.wait("the second too", |api| {
        api.calls("answerCallbackQuery")
            .last()
            .is_some_and(|call| call["text"].as_str().unwrap().contains("ended before"))
    });
    bot.stop();
}

#[test]
fn failures_say_what_happened_and_long_answers_come_whole() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let asked = bot.api.says(ANN, "offline:error 400");
    bot.api.answer(ANN, asked, "❌");
    let lines: Vec<String> = (0..700).map(|number| format!("Line {number} 🎈 of a long answer.")).collect();
    let asked = bot.api.says(ANN, &format!("offline:echo {}", lines[..180].join("\n\n")));
    bot.api.until("all parts", ANN, |sent| {
        let parts: Vec<&Sent> = sent.iter().filter(|sent| sent.reply_to == Some(asked)).collect();
        let all: String = parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n\n");
        (parts.len() > 1 && all.trim_start_matches(LABEL) == lines[..180].join("\n\n")).then_some(())
    });
    let asked = bot.api.says(ANN, &format!("offline:echo {}", lines.join("\n\n")));
    let file = bot.api.until("the whole as a file", ANN, |sent| {
        sent.iter().filter(|sent| sent.reply_to == Some(asked)).find_map(|sent| sent.file.clone())
    });
    assert_eq!((file.0.as_str(), file.1.as_str()), ("document", "answer.md"));
    assert_eq!(String::from_utf8(file.2).unwrap().trim().trim_start_matches(LABEL), lines.join("\n\n"));
    bot.stop();
}

#[test]
fn groups_topics_replies_and_edits() {
    let Some(testbox) = TestBox::new() else { return };
    let settings =
        "allowed_chats: [111, -1001234567890]\nchats: {-1001234567890: {groups: mention, workspace: team}}\n";
    let Some(bot) = start(&testbox, settings) else { return };
    // Not for the bot: said to the group, and a command of another bot.
    bot.api.message(TEAM, 5, text_of("offline:echo not for you"));
    bot.api.message(TEAM, 5, text_of("/status@other_bot"));
    let named = bot.api.message(TEAM, 5, text_of(&format!("@{NAME} offline:echo for you")));
    bot.api.answer(TEAM, named, "for you");
    let reply = json!({"reply_to_message": {
        "message_id": 1, "date": 1, "chat": {"id": TEAM, "type": "supergroup", "title": "Team"},
        "from": {"id": crate::bot_api::BOT, "is_bot": true, "first_name": "Claude"}, "text": "the answer before",
    }, "text": "what do you mean?"});
    let replied = bot.api.message(TEAM, 5, reply);
    let answer = bot.api.answer(TEAM, replied, "what do you mean?");
    assert!(answer.text.contains("> the answer before") || answer.text.contains("the answer before"), "{answer:?}");
    let mut topic = text_of(&format!("@{NAME} offline:echo in a topic"));
    topic["message_thread_id"] = 42.into();
    topic["is_topic_message"] = true.into();
    let asked = bot.api.message(TEAM, 5, topic);
    assert_eq!(bot.api.answer(TEAM, asked, "in a topic").thread, Some(42));
    assert!(bot.file("team").is_dir() && !bot.file("chat_-1001234567890").exists());
    // An edit, and something that Telegram will invent.
    bot.api.update(json!({"edited_message": {
        "message_id": 2, "date": 1, "edit_date": 2, "chat": {"id": ANN, "type": "private", "first_name": "Ann"},
        "from": {"id": 111, "is_bot": false, "first_name": "Ann"}, "text": "offline:echo edited",
    }}));
    bot.api.update(json!({"something_new": {"a": 1}}));
    let asked = bot.api.says(ANN, "offline:echo after");
    bot.api.answer(ANN, asked, "after");
    assert_eq!(bot.api.sent(ANN).len(), 1);
    let about: Vec<Sent> = bot.api.sent(TEAM);
    assert_eq!(about.len(), 3, "{about:#?}");
    bot.stop();
}

#[test]
fn a_wrong_token_ends_the_door_with_78_and_another_door_lives_on() {
    let Some(testbox) = TestBox::new() else { return };
    let api = BotApi::start();
    api.refuse_token();
    let running = without_cli(&testbox, &api, USUAL).start();
    let finished = running.finish().exits(78);
    assert!(finished.err.contains("does not know the token in CLAUDEBOX_TELEGRAM_BOT_TOKEN"), "{}", finished.err);
    assert!(!finished.err.contains("AAfake"), "{}", finished.err);

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let launch = without_cli(&testbox, &api, USUAL).env("CLAUDEBOX_MODE_API", "1");
    let launch = launch.env("CLAUDEBOX_MODE_API_PORT", &port.to_string()).env("CLAUDEBOX_MODE_API_BIND", "127.0.0.1");
    let mut running = launch.start();
    running.until("ready", |all| all.iter().any(|process| process.name == "claudebox ready"));
    api.wait("the token was tried by the second box too", |api| api.calls("getMe").len() >= 2);
    running.until("a box that goes on", |all| !all.is_empty());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert!(finished.err.contains("the other doors stay open"), "{}", finished.err);
}

#[test]
fn limits_faults_and_a_left_over_webhook_are_outlasted() {
    let Some(testbox) = TestBox::new() else { return };
    let api = BotApi::start();
    api.chat(ANN);
    api.leave_webhook();
    let wait = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 1", "parameters": {"retry_after": 1}});
    api.fail("getMe", wait.clone());
    let conflict = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    api.fail("getUpdates", json!({"ok": false, "error_code": 409, "description": conflict}));
    let Some(launch) = with_cli(&testbox, &api, USUAL) else { return };
    let bot = start_with(&testbox, api, launch);
    for method in ["sendMessage", "sendMessage", "editMessageText"] {
        bot.api.fail(method, wait.clone());
    }
    let asked = bot.api.says(ANN, "offline:echo after all");
    bot.api.answer(ANN, asked, "after all");
    assert!(!bot.api.has_webhook());
    assert_eq!(bot.api.sent(ANN).len(), 1);
    let finished = bot.stop();
    assert!(finished.err.contains("another program asks for this bot's updates"), "{}", finished.err);
}
