//! Kills, floods and faults: nothing is lost, nothing is answered twice.

use std::collections::HashMap;

use serde_json::json;

use crate::bot_api::{BotApi, Sent, text_of};
use crate::fixture::{ANN, TEAM, USUAL, sleeps, start};
use crate::support::TestBox;

/// How many messages answer each, once all have an answer and nothing runs. One that still has its button is none: the
/// server was killed between its sending and the moment when it could be written down.
fn answers(api: &BotApi, chat: i64, asked: &[i64]) -> HashMap<i64, usize> {
    let answers = |sent: &Sent, asked: i64| sent.reply_to == Some(asked) && sent.buttons.is_null();
    api.until("each has an answer", chat, |sent| {
        asked.iter().all(|asked| sent.iter().any(|sent| answers(sent, *asked))).then_some(())
    });
    let status = api.message(chat, 5, text_of("/status"));
    let status = api.answer(chat, status, "");
    assert!(status.text.starts_with("Nothing is running here."), "{status:?}");
    let sent = api.sent(chat);
    asked.iter().map(|asked| (*asked, sent.iter().filter(|sent| answers(sent, *asked)).count())).collect()
}

#[test]
fn a_kill_in_mid_run_loses_no_message_and_answers_none_twice() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    let running = bot.api.says(ANN, "offline:tool exec sleep 1031");
    bot.until("the tool runs", |all| sleeps(all, "1031"));
    bot.api.answer(ANN, running, "🔧");
    let waiting: Vec<i64> = (0..3).map(|number| bot.api.says(ANN, &format!("offline:echo waited {number}"))).collect();
    bot.api.answer(ANN, waiting[2], "3 runs are before");
    let shell = bot.api.says(TEAM, "/bash echo once >>count; exec sleep 1032");
    bot.until("the command runs", |all| sleeps(all, "1032"));
    bot.kill_serve();
    // While there was nobody, and after.
    let later: Vec<i64> = (0..3).map(|number| bot.api.says(ANN, &format!("offline:echo later {number}"))).collect();
    let all: Vec<i64> = [running].into_iter().chain(waiting.clone()).chain(later.clone()).collect();
    let counted = answers(&bot.api, ANN, &all);
    assert!(counted.values().all(|count| *count == 1), "{counted:?}\n{:#?}", bot.api.sent(ANN));
    bot.api.answer(ANN, running, "⚠️ Interrupted");
    for (number, asked) in waiting.iter().enumerate() {
        bot.api.answer(ANN, *asked, &format!("waited {number}"));
    }
    for (number, asked) in later.iter().enumerate() {
        bot.api.answer(ANN, *asked, &format!("later {number}"));
    }
    bot.until("nothing is left of the first", |all| !sleeps(all, "1031") && !sleeps(all, "1032"));
    bot.api.answer(TEAM, shell, "It is not repeated.");
    assert_eq!(std::fs::read_to_string(bot.file(&format!("chat_{TEAM}/count"))).unwrap(), "once\n");
    // Again, with nothing open: nothing is told again.
    bot.settle();
    let (ann, team) = (bot.api.sent(ANN).len(), bot.api.sent(TEAM).len());
    bot.kill_serve();
    let asked = bot.api.says(ANN, "/id");
    bot.api.answer(ANN, asked, "This chat");
    let now = (bot.api.sent(ANN), bot.api.sent(TEAM));
    assert_eq!((now.0.len(), now.1.len()), (ann + 1, team), "{now:#?}");
    bot.stop();
}

#[test]
fn a_flood_with_kills_in_it_is_answered_once_each() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, "allowed_chats: [111, 222, -1001234567890]\ndefault: {continue: false}\n")
    else {
        return;
    };
    let chats = [ANN, 222, TEAM];
    let mut asked: HashMap<i64, Vec<i64>> = HashMap::new();
    for round in 0..3 {
        for chat in chats {
            for number in 0..4 {
                let text = format!("offline:echo {chat} {round} {number}");
                asked.entry(chat).or_default().push(bot.api.message(chat, 5, text_of(&text)));
            }
            // Commands between them.
            bot.api.message(chat, 5, text_of("/status"));
        }
        let first = asked[&ANN][round * 4];
        bot.api.answer(ANN, first, "");
        if round < 2 {
            bot.kill_serve();
        }
    }
    for chat in chats {
        let counted = answers(&bot.api, chat, &asked[&chat]);
        assert!(counted.values().all(|count| *count == 1), "{counted:?}\n{:#?}", bot.api.sent(chat));
        let sent: Vec<Sent> = bot.api.sent(chat).into_iter().filter(|sent| sent.buttons.is_null()).collect();
        for (number, asked) in asked[&chat].iter().enumerate() {
            let text = &sent.iter().find(|sent| sent.reply_to == Some(*asked)).unwrap().text;
            let expected = format!("{chat} {} {}", number / 4, number % 4);
            assert!(text.contains(&expected) || text.contains("Interrupted"), "{expected}: {text}");
        }
    }
    bot.stop();
}

#[test]
fn an_outage_of_telegram_is_outlasted() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let fault = json!({"ok": false, "error_code": 502, "description": "Bad Gateway"});
    let wait = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 2", "parameters": {"retry_after": 2}});
    for method in ["getUpdates", "sendMessage", "sendMessage", "editMessageText"] {
        bot.api.fail(method, fault.clone());
    }
    bot.api.fail("sendMessage", wait);
    let asked = bot.api.says(ANN, "offline:echo after the outage");
    bot.api.answer(ANN, asked, "after the outage");
    // One that is gone is not waited for: its answer comes as a new one.
    bot.api.fail(
        "editMessageText",
        json!({"ok": false, "error_code": 400, "description": "Bad Request: message to edit not found"}),
    );
    let asked = bot.api.says(ANN, "offline:slow 3");
    bot.api.until("an answer", ANN, |sent| {
        sent.iter().find(|sent| sent.reply_to == Some(asked) && sent.buttons.is_null()).map(drop)
    });
    bot.stop();
}
