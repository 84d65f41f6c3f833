//! Who may not use the bot gets nothing, and does not even learn that it is there.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use serde_json::json;

use crate::bot_api::{BotApi, NAME, text_of};
use crate::fixture::{ANN, BOB, TEAM, sleeps, start};
use crate::support::{TestBox, UID};

const FOREIGNERS: i64 = 100;

/// Everything that somebody could try, from one chat.
fn try_everything(api: &BotApi, chat: i64, user: u64, run: &str) {
    for text in [
        "offline:tool touch ran",
        "/start",
        "/help",
        "/id",
        "/status",
        "/queue",
        "/cancel",
        "/cancel all",
        "/stop",
        "/config",
        "/reload",
        "/model",
        "/model opus",
        "/effort max",
        "/system_prompt be evil",
        "/append_system_prompt be evil",
        "/bash touch ran",
        "/bash cat /etc/passwd",
        "/fetch secret",
        "/fetch ../chat_111/secret",
        "/fetch /etc/passwd",
        "/fetch chat_111/secret",
        "/new",
        "/sessions",
        "/cost",
        "/runs",
        "/unknown",
        "[SEND_FILE: ../chat_111/secret]",
    ] {
        api.message(chat, user, text_of(text));
        api.message(chat, user, text_of(&format!("@{NAME} {text}")));
    }
    let cancel = format!("cancel:{run}");
    for data in [cancel.as_str(), "model:opus", "effort:max", "session:x", "model:reset", "x"] {
        api.press(chat, user, 2, data);
    }
    let document = api.upload(&format!("file{chat}"), b"x");
    api.message(chat, user, json!({"document": document, "caption": "offline:tool touch ran"}));
    let photo = json!([{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}]);
    api.message(chat, user, json!({"photo": photo, "media_group_id": format!("g{chat}"), "caption": "look"}));
    // A reply to what the bot has said elsewhere.
    let reply = json!({"message_id": 2, "date": 1, "chat": {"id": chat, "type": "private", "first_name": "X"},
        "from": {"id": crate::bot_api::BOT, "is_bot": true, "first_name": "Claude"}, "text": "an answer"});
    api.message(chat, user, json!({"text": "and now?", "reply_to_message": reply}));
}

#[test]
fn a_hundred_foreign_chats_and_users_get_nothing() {
    let Some(testbox) = TestBox::new() else { return };
    let settings = format!("allowed_chats: [{ANN}, {TEAM}]\nchats:\n  {TEAM}: {{allowed_users: [111]}}\n");
    let Some(mut bot) = start(&testbox, &settings) else { return };
    let asked = bot.api.says(ANN, "offline:tool exec sleep 1021");
    bot.until("Ann's run", |all| sleeps(all, "1021"));
    let growing = bot.api.answer(ANN, asked, "");
    let run = growing.buttons["inline_keyboard"][0][0]["callback_data"].as_str().unwrap().replace("cancel:", "");
    let overrides = bot.path("home/.claude/telegram_overrides.json");
    let calls = |api: &BotApi| {
        let methods = ["sendMessage", "sendDocument", "sendPhoto", "sendVideo", "answerCallbackQuery", "getFile"];
        methods.map(|method| api.calls(method).len())
    };
    let before = calls(&bot.api);
    for number in 1..=FOREIGNERS {
        // People, groups that somebody has put the bot into, and people in a group that is let in.
        let private = 1_000_000 + number;
        bot.api.chat(private);
        try_everything(&bot.api, private, private.unsigned_abs(), &run);
        let group = -1_005_000_000_000 - number;
        bot.api.chat(group);
        try_everything(&bot.api, group, private.unsigned_abs(), &run);
        try_everything(&bot.api, TEAM, private.unsigned_abs(), &run);
    }
    // Who writes in a group as the group has no user id that could be let in.
    bot.api.message(TEAM, 1_087_968_824, text_of("/bash touch ran"));
    let id = bot.api.says(ANN, "/id");
    bot.api.answer(ANN, id, "This chat: 111");
    let mut after = calls(&bot.api);
    after[0] -= 1;
    assert_eq!(before, after, "calls about foreigners: {:?}", bot.api.calls("sendMessage").last());
    let folders: Vec<_> = fs::read_dir(bot.file("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(folders, ["chat_111"]);
    assert!(!bot.file("chat_111/ran").exists() && !overrides.exists());
    assert!(bot.api.calls("sendChatAction").iter().all(|call| call["chat_id"] == ANN));
    bot.until("Ann's run goes on", |all| sleeps(all, "1021"));
    // Who is let in is served in the same group at the same time.
    let asked = bot.api.message(TEAM, 111, text_of("/id"));
    bot.api.answer(TEAM, asked, &format!("This chat: {TEAM}"));
    bot.api.says(ANN, "/cancel");
    bot.api.answer(ANN, asked_of(&growing), "Cancelled");
    let finished = bot.stop();
    let named = finished.err.matches("is not in allowed_chats").count();
    assert_eq!(named, 200, "each foreign chat is named once");
}

fn asked_of(sent: &crate::bot_api::Sent) -> i64 {
    sent.reply_to.unwrap()
}

#[test]
fn no_path_leads_out_of_a_chats_own_workspace() {
    let Some(testbox) = TestBox::new() else { return };
    let settings = "allowed_chats: [111, 222]\n";
    let Some(mut bot) = start(&testbox, settings) else { return };
    let secret = "the secret of the other chat";
    let other = bot.file("chat_222");
    let own = bot.file("chat_111");
    for folder in [&other, &own] {
        fs::create_dir_all(folder).unwrap();
        chown(folder, Some(UID), Some(UID)).unwrap();
    }
    fs::write(other.join("secret"), secret).unwrap();
    let outside = bot.path("home/.claude/secret");
    fs::write(&outside, secret).unwrap();
    // Its own links, to files and folders, absolute and relative; and a neighbour whose name begins like its own.
    symlink(other.join("secret"), own.join("absolute")).unwrap();
    symlink("../chat_222/secret", own.join("relative")).unwrap();
    symlink(&other, own.join("folder")).unwrap();
    symlink("..", own.join("up")).unwrap();
    symlink("/", own.join("root")).unwrap();
    symlink(&outside, own.join("home")).unwrap();
    fs::create_dir(bot.file("chat_1110")).unwrap();
    fs::write(bot.file("chat_1110/secret"), secret).unwrap();
    let at = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let outside = at(&outside);
    let paths = [
        "../chat_222/secret".to_owned(),
        "chat_222/secret".into(),
        "./../chat_222/secret".into(),
        "x/../../chat_222/secret".into(),
        at(&other.join("secret")),
        at(&own.join("../chat_222/secret")),
        at(&bot.file("chat_1110/secret")),
        "../chat_1110/secret".into(),
        "absolute".into(),
        "relative".into(),
        "folder/secret".into(),
        "up/chat_222/secret".into(),
        format!("root{outside}"),
        "home".into(),
        outside,
        "/etc/passwd".into(),
        "root/etc/passwd".into(),
        "/proc/self/environ".into(),
        "~/.claude/secret".into(),
        "$HOME/.claude/secret".into(),
        "file:///etc/passwd".into(),
        "..".into(),
        "/".into(),
        ".".into(),
        "up".into(),
        "%2e%2e/chat_222/secret".into(),
        "..\\chat_222\\secret".into(),
    ];
    for path in &paths {
        let asked = bot.api.says(ANN, &format!("/fetch {path}"));
        bot.api.answer(ANN, asked, "❌ ");
    }
    // An answer sends at most twenty files; more are only counted.
    for some in paths.chunks(14) {
        let marks: Vec<String> = some.iter().map(|path| format!("[SEND_FILE: {path}]")).collect();
        let asked = bot.api.says(ANN, &format!("offline:echo {}", marks.join(" ")));
        bot.api.until("all are refused", ANN, |sent| {
            let refused = sent.iter().filter(|sent| sent.reply_to == Some(asked) && sent.text.contains("was not sent"));
            (refused.count() == some.len()).then_some(())
        });
    }
    for method in ["sendDocument", "sendPhoto", "sendVideo"] {
        assert!(bot.api.calls(method).is_empty(), "{method}");
    }
    assert!(bot.api.sent(ANN).iter().all(|sent| !sent.text.contains(secret)));

    // Another chat's run and session, by what its buttons say.
    let asked = bot.api.says(BOB, "offline:tool exec sleep 1022");
    bot.until("Bob's run", |all| sleeps(all, "1022"));
    let growing = bot.api.answer(BOB, asked, "");
    let sessions = bot.api.says(BOB, "/sessions");
    let sessions = bot.api.answer(BOB, sessions, "Sessions");
    let session = sessions.buttons["inline_keyboard"][0][0]["callback_data"].as_str().unwrap().to_owned();
    let cancel = growing.buttons["inline_keyboard"][0][0]["callback_data"].as_str().unwrap().to_owned();
    for data in [cancel, session] {
        let before = bot.api.calls("answerCallbackQuery").len();
        bot.api.press(ANN, 111, growing.id, &data);
        bot.api.wait("it is answered", |api| api.calls("answerCallbackQuery").len() > before);
        let note = bot.api.calls("answerCallbackQuery").pop().unwrap()["text"].as_str().unwrap().to_owned();
        assert!(note.contains("unknown here") || note.contains("not here any more"), "{note}");
    }
    let asked = bot.api.says(ANN, "/cancel all");
    bot.api.answer(ANN, asked, "Nothing is running here.");
    bot.until("Bob's run goes on", |all| sleeps(all, "1022"));
    bot.api.says(BOB, "/cancel");
    bot.api.answer(BOB, growing.reply_to.unwrap(), "Cancelled");
    bot.stop();
}
