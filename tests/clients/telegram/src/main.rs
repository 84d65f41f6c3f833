//! What the Telegram door has sent in tests, sent again to another Bot API server: teremock's, which reads every call into
//! teloxide's types and gives back the message that it makes of it.
//!
//! Usage: telegram-second-opinion FOLDER, with the files that `tests/telegram` writes there when
//! `CLAUDEBOX_TELEGRAM_CALLS` names it: each a list of `[method, fields]`.
//!
//! That server hands out no updates, so the bot itself cannot be put in front of it; its calls can.

use std::collections::HashMap;
use std::error::Error;

use serde_json::Value;
use teloxide::dispatching::UpdateHandler;
use teremock::{MockBot, MockMessageText};

type Failure = Box<dyn Error + Send + Sync>;

/// The calls that both servers know, as teremock writes them.
const METHODS: [(&str, &str); 5] = [
    ("sendmessage", "SendMessage"),
    ("editmessagetext", "EditMessageText"),
    ("sendchataction", "SendChatAction"),
    ("answercallbackquery", "AnswerCallbackQuery"),
    ("setmycommands", "SetMyCommands"),
];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("usage: telegram-second-opinion FOLDER")?;
    let nothing: UpdateHandler<Failure> = teloxide::dptree::entry();
    // The server lives as long as this does.
    let bot = MockBot::new(MockMessageText::new().text("x"), nothing).await;
    let client = reqwest::Client::new();
    let (mut counts, mut faults) = (HashMap::<&str, usize>::new(), Vec::new());
    for file in std::fs::read_dir(&folder)? {
        let calls: Vec<(String, Value)> = serde_json::from_slice(&std::fs::read(file?.path())?)?;
        // Messages have other numbers there: an edit is of the last one in its chat.
        let mut last: HashMap<String, Value> = HashMap::new();
        for (method, mut fields) in calls {
            let Some((_, name)) = METHODS.iter().find(|(known, _)| *known == method) else { continue };
            let chat = fields["chat_id"].to_string();
            if let Some(object) = fields.as_object_mut() {
                // It knows no message of a user's.
                object.remove("reply_parameters");
            }
            if method == "editmessagetext" {
                let Some(id) = last.get(&chat) else { continue };
                fields["message_id"] = id.clone();
            }
            let answer = client.post(bot.api_url().join(&format!("/bot1:x/{name}"))?).json(&fields).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            *counts.entry(name).or_default() += 1;
            let same = method != "sendmessage" || body["result"]["text"] == fields["text"];
            if !(body["ok"] == true && same || text.contains("not modified")) {
                faults.push(format!("{name} {fields}\n  {status}: {text}"));
            }
            if method == "sendmessage" {
                last.insert(chat, body["result"]["message_id"].clone());
            }
        }
    }
    for (name, count) in &counts {
        println!("{name}: {count} calls");
    }
    let sent = counts.get("SendMessage").copied().unwrap_or_default();
    if !faults.is_empty() || sent < 50 {
        return Err(format!("{} faults, {sent} messages\n{}", faults.len(), faults.join("\n")).into());
    }
    println!("ok - teremock takes every call");
    Ok(())
}
