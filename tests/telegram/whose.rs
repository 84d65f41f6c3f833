//! Who is answered, and whose words and files a prompt is about.

use std::fs;

use serde_json::{Value, json};

use crate::bot_api::{BOT, text_of};
use crate::fixture::{ANN, TEAM, USUAL, start};
use crate::support::TestBox;
use crate::thoughts::prompts;

fn channel_post(text: &str) -> Value {
    let channel = json!({"id": -1_009, "type": "channel", "title": "News"});
    let mut post = text_of(text);
    post["from"] = json!({"id": 777_000, "is_bot": false, "first_name": "Telegram"});
    post["sender_chat"] = channel.clone();
    post["is_automatic_forward"] = true.into();
    post["forward_origin"] = json!({"type": "channel", "date": 1, "message_id": 4, "chat": channel});
    post
}

#[test]
fn other_bots_and_posts_of_the_linked_channel_are_not_answered() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    let robot = json!({"id": 700, "is_bot": true, "first_name": "Robot", "username": "other_bot"});
    let ours = json!({"message_id": 1, "date": 1, "chat": {"id": TEAM, "type": "supergroup", "title": "Team"},
        "from": {"id": BOT, "is_bot": true, "first_name": "Claude"}, "text": "an answer"});
    let name = crate::bot_api::NAME;
    for text in ["offline:echo hello", "/status", "/bash touch ran", &format!("@{name} offline:echo hello")] {
        let mut said = text_of(text);
        said["from"] = robot.clone();
        bot.api.message(TEAM, 700, said.clone());
        said["reply_to_message"] = ours.clone();
        bot.api.message(TEAM, 700, said);
        bot.api.message(TEAM, 777_000, channel_post(text));
    }
    bot.api.update(json!({"callback_query": {"id": "p", "from": robot, "chat_instance": "1", "data": "model:opus", "message": ours}}));
    let asked = bot.api.message(TEAM, 5, text_of("offline:echo a person"));
    bot.api.answer(TEAM, asked, "a person");
    // An anonymous admin is a person, though Telegram has a bot stand in.
    let mut admin = text_of("offline:echo an admin");
    admin["from"] =
        json!({"id": 1_087_968_824, "is_bot": true, "first_name": "Group", "username": "GroupAnonymousBot"});
    admin["sender_chat"] = json!({"id": TEAM, "type": "supergroup", "title": "Team"});
    let asked = bot.api.message(TEAM, 5, admin);
    bot.api.answer(TEAM, asked, "an admin");
    bot.settle();
    assert_eq!(bot.api.sent(TEAM).len(), 2, "{:#?}", bot.api.sent(TEAM));
    assert_eq!(prompts(&bot).len(), 2);
    assert!(!bot.file(&format!("chat_{TEAM}/ran")).exists() && bot.api.calls("answerCallbackQuery").is_empty());

    // Who asks for posts of the channel gets them.
    let settings = format!("{USUAL}chats:\n  {TEAM}: {{channel_posts: true, groups: mention}}\n");
    fs::write(bot.path("home/.claude/telegram.yml"), settings).unwrap();
    let asked = bot.api.says(ANN, "/reload");
    bot.api.answer(ANN, asked, "read again");
    let post = bot.api.message(TEAM, 777_000, channel_post("the news"));
    bot.api.answer(TEAM, post, "You said");
    assert_eq!(prompts(&bot).pop().unwrap(), "\"News\" writes:\n\nthe news");
    bot.stop();
}

#[test]
fn a_reply_takes_the_file_it_replies_to() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, "allowed_chats: [111, -1001234567890]\ndefault: {groups: mention}\n") else {
        return;
    };
    let mut report = bot.api.upload("F", b"pages");
    report["file_name"] = "report.pdf".into();
    let replied = json!({"message_id": 1, "date": 1, "chat": {"id": TEAM, "type": "supergroup", "title": "Team"},
        "from": {"id": 6, "is_bot": false, "first_name": "Cy"}, "document": report, "caption": "for Friday"});
    let mut ask = text_of(&format!("@{} summarise this", crate::bot_api::NAME));
    ask["reply_to_message"] = replied;
    let asked = bot.api.message(TEAM, 5, ask.clone());
    bot.api.answer(TEAM, asked, "You said");
    let place = bot.file(&format!("chat_{TEAM}/uploads/report-uF.pdf"));
    assert_eq!(fs::read(&place).unwrap(), b"pages");
    let prompt = prompts(&bot).pop().unwrap();
    assert!(prompt.contains("In reply to this message of \"Cy\"") && prompt.contains("> for Friday"), "{prompt}");
    assert!(prompt.contains("- uploads/report-uF.pdf (file, 5 bytes, of the message replied to)"), "{prompt}");
    // What Claude has made of it meanwhile stays.
    fs::write(&place, "changed").unwrap();
    let asked = bot.api.message(TEAM, 5, ask);
    bot.api.answer(TEAM, asked, "You said");
    assert_eq!(fs::read(&place).unwrap(), b"changed");
    // A file without a word is told of with the next prompt, once.
    let photo = json!([{"file_id": "P", "file_unique_id": "uP", "width": 9, "height": 9}]);
    bot.api.upload("P", b"pixels");
    let sent = bot.api.message(ANN, 111, json!({"photo": photo}));
    bot.api.answer(ANN, sent, "Now say what to do with it.");
    for (text, told) in [("what is that?", true), ("and now?", false)] {
        let asked = bot.api.says(ANN, text);
        bot.api.answer(ANN, asked, "You said");
        bot.settle();
        let prompt = prompts(&bot).pop().unwrap();
        assert_eq!(prompt.contains("uploads/photo-") && prompt.contains("-uP.jpg (photo)"), told, "{prompt}");
    }
    bot.stop();
}

#[test]
fn an_answer_that_cannot_take_the_place_of_working_leaves_none_behind() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    let refused = |why: &str| json!({"ok": false, "error_code": 400, "description": format!("Bad Request: {why}")});
    bot.api.fail("editMessageText", refused("message can't be edited"));
    let asked = bot.api.says(ANN, "offline:echo the answer");
    bot.api.answer(ANN, asked, "the answer");
    bot.settle();
    let sent = bot.api.sent(ANN);
    println!("{sent:#?}");
    assert!(sent.len() == 1 && !sent[0].text.contains("Working") && sent[0].buttons.is_null(), "{sent:#?}");
    // A text whose markup Telegram does not take is told without it.
    bot.api.fail("editMessageText", refused("can't parse entities"));
    let asked = bot.api.says(ANN, "offline:echo a **bold** word");
    bot.api.wait("it is at work", |api| api.sent(ANN).iter().any(|sent| sent.reply_to == Some(asked)));
    bot.api.fail("sendMessage", refused("can't parse entities"));
    bot.api.answer(ANN, asked, "a bold word");
    bot.settle();
    assert_eq!(bot.api.sent(ANN).len(), 2, "{:#?}", bot.api.sent(ANN));
    bot.stop();
}

#[test]
fn the_answer_of_a_prompt_with_a_sub_agent_is_its_last_result() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    let asked = bot.api.says(ANN, "offline:agent offline:tool sleep 1; echo found");
    bot.api.answer(ANN, asked, "Background work that has ended: 1.");
    bot.settle();
    let last = bot.api.sent(ANN).pop().unwrap();
    assert!(!last.text.contains("The Agent tool answered"), "{last:?}");
    // What is ended is said below the answer.
    let asked = bot.api.says(ANN, "offline:background sleep 4321");
    bot.api.answer(ANN, asked, "sleep 4321");
}
