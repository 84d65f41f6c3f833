//! What stops a run, and what only asks, waits for no file that is on its way.

use std::fs;

use serde_json::json;

use crate::bot_api::Sent;
use crate::fixture::{ANN, USUAL, sleeps, start};
use crate::support::TestBox;

fn answers(sent: &[Sent], asked: i64) -> Vec<&Sent> {
    sent.iter().filter(|sent| sent.reply_to == Some(asked)).collect()
}

#[test]
fn neither_an_upload_nor_a_download_holds_up_a_stop() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    let asked = bot.api.says(ANN, "offline:tool exec sleep 1051");
    bot.until("the tool runs", |all| sleeps(all, "1051"));
    fs::write(bot.file("chat_111/f.bin"), "bytes").unwrap();
    // An upload and a download that do not end.
    bot.api.hold("sendDocument");
    bot.api.hold("getFile");
    let fetch = bot.api.says(ANN, "/fetch f.bin");
    bot.api.wait("the upload", |api| !api.calls("sendDocument").is_empty());
    let document = bot.api.upload("slow", b"content");
    let with_file = bot.api.message(ANN, 111, json!({"document": document, "caption": "read it"}));
    bot.api.wait("the download", |api| !api.calls("getFile").is_empty());

    let status = bot.api.says(ANN, "/status");
    let shown = bot.api.answer(ANN, status, "running for").text;
    println!("{shown}");
    assert!(shown.contains("📤 sending f.bin") && shown.contains("📥 taking in: read it"), "{shown}");
    let choice = bot.api.says(ANN, "/id");
    bot.api.answer(ANN, choice, "This chat");
    // A press, and then a command.
    let growing = bot.api.answer(ANN, asked, "");
    let data = growing.buttons["inline_keyboard"][0][0]["callback_data"].as_str().unwrap().to_owned();
    bot.api.press(ANN, 111, growing.id, &data);
    bot.api.answer(ANN, asked, "✋ Cancelled.");
    bot.until("the tool is gone", |all| !sleeps(all, "1051"));
    bot.api.says(ANN, "/cancel all");
    bot.api.answer(ANN, fetch, "✋ Cancelled.");
    bot.api.answer(ANN, with_file, "✋ Cancelled. Nothing was asked.");
    let status = bot.api.says(ANN, "/status");
    bot.api.answer(ANN, status, "Nothing is running here.");
    bot.api.release("getFile");
    bot.api.release("sendDocument");
    let last = bot.api.says(ANN, "offline:echo still here");
    bot.api.answer(ANN, last, "still here");
    let sent = bot.api.sent(ANN);
    assert_eq!((answers(&sent, fetch).len(), answers(&sent, with_file).len()), (1, 1), "{sent:#?}");
    assert!(!bot.file("chat_111/uploads/slow-uslow").exists());
    bot.settle();
    bot.stop();
}

#[test]
fn a_prompt_is_stopped_before_it_is_a_run_and_the_next_one_waits_its_turn() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut bot) = start(&testbox, USUAL) else { return };
    bot.api.hold("getFile");
    let document = bot.api.upload("one", b"content");
    let first = bot.api.message(ANN, 111, json!({"document": document, "caption": "offline:echo first"}));
    bot.api.wait("the download", |api| !api.calls("getFile").is_empty());
    let second = bot.api.says(ANN, "offline:echo second");
    // What is cancelled is the oldest.
    bot.api.says(ANN, "/cancel");
    bot.api.answer(ANN, first, "✋ Cancelled. Nothing was asked.");
    bot.api.answer(ANN, second, "second");
    bot.api.release("getFile");
    // A kill while a file comes loses nothing.
    bot.api.hold("getFile");
    let document = bot.api.upload("two", b"content");
    let third = bot.api.message(ANN, 111, json!({"document": document, "caption": "third"}));
    let calls = bot.api.calls("getFile").len();
    bot.api.wait("the download", |api| api.calls("getFile").len() > calls - 1);
    let fourth = bot.api.says(ANN, "fourth");
    bot.kill_serve();
    bot.api.release("getFile");
    bot.api.answer(ANN, fourth, "fourth");
    bot.api.answer(ANN, third, "third");
    bot.settle();
    let sent = bot.api.sent(ANN);
    let answered: Vec<i64> = sent.iter().filter_map(|sent| sent.reply_to).collect();
    assert_eq!(answered, [first, second, third, fourth], "{sent:#?}");
    bot.stop();
}
