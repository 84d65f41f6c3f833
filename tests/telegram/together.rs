//! All doors in one box: what begins at one is seen and ended from the others, and cron tells its chat.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::bot_api::BotApi;
use crate::client::{Client, Network, prompt};
use crate::fixture::{ANN, BOB, Bot, USUAL, sleeps, start_with, with_cli};
use crate::support::TestBox;

/// A box with every door. The jobs are those of `cron.yaml`.
fn everything(testbox: &TestBox, jobs: &str) -> Option<(Bot, Client)> {
    let api = BotApi::start();
    for chat in [ANN, BOB] {
        api.chat(chat);
    }
    write_jobs(testbox, jobs);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let work = testbox.path("work");
    let launch = with_cli(testbox, &api, USUAL)?
        .env("CLAUDEBOX_MODE_API", "1")
        .env("CLAUDEBOX_MODE_API_BIND", "127.0.0.1")
        .env("CLAUDEBOX_MODE_API_PORT", &port.to_string())
        .env("CLAUDEBOX_MODE_CRON", "1")
        .env("CLAUDEBOX_MODE_CRON_FILE", testbox.path("cron.yaml").to_str().unwrap())
        .env("CLAUDEBOX_WORKSPACE", work.to_str().unwrap());
    let bot = start_with(testbox, api, launch);
    let http = Client::new(Network::of(i32::try_from(std::process::id()).unwrap()), port);
    Some((bot, http))
}

fn write_jobs(testbox: &TestBox, jobs: &str) {
    let new = testbox.path("cron.yaml.new");
    fs::write(&new, jobs).unwrap();
    fs::rename(new, testbox.path("cron.yaml")).unwrap();
}

fn job(name: &str, instruction: &str, more: &str) -> String {
    format!(
        "jobs:\n  - {{name: {name}, schedule: '* * * * * *', instruction: {instruction:?}, workspace: jobs{more}}}\n"
    )
}

fn live(http: &Client) -> Vec<Value> {
    let runs = http.get("/runs?state=running").send().json(200);
    runs["runs"].as_array().unwrap().clone()
}

#[test]
fn what_begins_at_one_door_is_seen_and_ended_from_the_others() {
    let Some(testbox) = TestBox::new() else { return };
    let jobs = job("long", "offline:tool exec sleep 1041", &format!(", telegram_chat_id: {ANN}"));
    let Some((mut bot, http)) = everything(&testbox, &jobs) else { return };
    bot.until("the job's tool runs", |all| sleeps(all, "1041"));
    // No more of it than this one.
    write_jobs(&testbox, &job("long", "offline:tool exec sleep 1041", ", enabled: false"));
    let run = live(&http).remove(0);
    assert_eq!((&run["door"], &run["requester"]), (&json!("cron"), &json!("long")));
    let id = run["runId"].as_str().unwrap().to_owned();

    // The chat that it reports to sees it and may end it; another one may not.
    let asked = bot.api.says(BOB, "/status");
    let told = bot.api.answer(BOB, asked, "Elsewhere in this box: 1").text;
    assert!(!told.contains("long") && !told.contains(&id), "{told}");
    let asked = bot.api.says(BOB, &format!("/cancel {id}"));
    bot.api.answer(BOB, asked, "That run is unknown here.");
    let asked = bot.api.says(ANN, "/status");
    let told = bot.api.answer(ANN, asked, "of the job long: offline:tool exec sleep 1041").text;
    assert!(told.contains(&format!("/cancel {id}")), "{told}");
    let asked = bot.api.says(ANN, &format!("/cancel {id}"));
    bot.api.answer(ANN, asked, "Stopping.");
    assert_eq!(http.end_of(&id)["state"], "cancelled");
    // And is told of its end.
    bot.api.until("the report", ANN, |sent| {
        sent.iter().find(|sent| sent.text.contains("long") && sent.text.contains("ancelled")).map(drop)
    });

    // What the API does in the chat's workspace.
    let begun = http.begin(prompt(&format!("chat_{ANN}"), "offline:tool exec sleep 1042"));
    bot.until("the API's tool runs", |all| sleeps(all, "1042"));
    let asked = bot.api.says(ANN, "/status");
    bot.api.answer(ANN, asked, "of http: offline:tool exec sleep 1042");
    let asked = bot.api.says(ANN, &format!("/cancel {begun}"));
    bot.api.answer(ANN, asked, "Stopping.");
    assert_eq!(http.end_of(&begun)["state"], "cancelled");

    // What a chat does, from the API. (The other one would tell Claude of the report first.)
    let asked = bot.api.says(BOB, "offline:tool exec sleep 1043");
    bot.until("the chat's tool runs", |all| sleeps(all, "1043"));
    let run = live(&http).into_iter().find(|run| run["door"] == "telegram").unwrap();
    http.delete(&format!("/runs/{}", run["runId"].as_str().unwrap())).send().json(200);
    bot.until("its tool is ended", |all| !sleeps(all, "1043"));
    bot.api.answer(BOB, asked, "ancelled");
    bot.stop();
}

#[test]
fn a_job_tells_its_chat_and_a_reply_asks_on() {
    let Some(testbox) = TestBox::new() else { return };
    let jobs = job("news", "offline:echo all is **well**", &format!(", telegram_chat_id: {ANN}"));
    let Some((bot, http)) = everything(&testbox, &jobs) else { return };
    let report = bot.api.until("the report", ANN, |sent| {
        sent.iter().find(|sent| sent.text.contains("news") && sent.text.contains("all is well")).cloned()
    });
    write_jobs(&testbox, &job("news", "offline:echo x", ", enabled: false"));
    let reply = json!({"message_id": report.id, "date": 1_780_000_000, "chat": {"id": ANN, "type": "private",
        "first_name": "Ann"}, "from": {"id": 1, "is_bot": true, "first_name": "bot"}, "text": report.text});
    let asked = bot.api.message(ANN, 111, json!({"text": "offline:echo asked on", "reply_to_message": reply}));
    bot.api.answer(ANN, asked, "This message replies to the report of the scheduled job \"news\"");
    let runs = http.get("/runs?limit=500").send().json(200);
    let runs = runs["runs"].as_array().unwrap().clone();
    let of = |door: &str| runs.iter().find(|run| run["door"] == door).unwrap().clone();
    // A session of its own, that knows what was reported.
    let asked_on = http.end_of(of("telegram")["runId"].as_str().unwrap());
    assert_ne!(asked_on["sessionId"], of("cron")["sessionId"]);
    let prompt = asked_on["prompt"].as_str().unwrap();
    assert!(prompt.contains("all is **well**") && prompt.ends_with("offline:echo asked on"), "{prompt}");
    bot.stop();
}

/// Printed, for whoever wants to know: what a box with every door takes while nothing happens.
#[test]
fn every_door_idles_in_little_memory() {
    let Some(testbox) = TestBox::new() else { return };
    let jobs = job("never", "offline:echo x", ", enabled: false");
    let Some((mut bot, http)) = everything(&testbox, &jobs) else { return };
    assert_eq!(http.get("/health").send().status, 200);
    let mut figures = Vec::new();
    bot.until("its processes are there", |all| {
        figures = all
            .iter()
            .map(|process| (process.name.clone(), process.status("VmRSS"), process.status("RssAnon")))
            .collect();
        !figures.is_empty()
    });
    eprintln!("idle, every door on: {figures:?}");
    bot.stop();
}
