//! The OpenAI door: which session a request goes on with, and what of a conversation the CLI is told.

use serde_json::{Value, json};

use crate::access::{token, with_tokens};
use crate::client::{Answer, Client};
use crate::fixture::{start, with_cli};
use crate::openai::{ask, chat, user};
use crate::support::TestBox;

fn said(answer: &Answer) -> String {
    answer.json(200)["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn go_on(http: &Client, messages: &Value) -> Answer {
    chat(http, "a", messages.clone(), json!({})).header("x-claude-continue", "1").send()
}

fn add(messages: &mut Value, role: &str, content: &str) {
    messages.as_array_mut().unwrap().push(json!({"role": role, "content": content}));
}

fn output_text(answer: &Answer) -> String {
    answer.json(200)["output"][0]["content"][0]["text"].as_str().unwrap().to_owned()
}

/// What a run was told before its prompt.
fn attachments(http: &Client, answer: &Answer) -> usize {
    http.look(answer.header("x-run-id"))["options"]["attachments"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_conversation_is_told_again_or_its_session_resumed() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let http = &api.http;
    let mut messages = user("offline:echo one");
    messages.as_array_mut().unwrap().insert(0, json!({"role": "system", "content": "be brief"}));

    // Without the header, each request is a session of its own, and is told everything.
    let first = chat(http, "a", messages.clone(), json!({})).send();
    let mut longer = messages.clone();
    add(&mut longer, "assistant", &said(&first));
    add(&mut longer, "user", "offline:echo two");
    let second = chat(http, "a", longer.clone(), json!({})).send();
    assert_eq!(said(&second), "[claudebox offline model] two");
    assert_ne!(first.header("x-claude-session"), second.header("x-claude-session"));
    assert_eq!(attachments(&api.http, &second), 1);

    // With it, the same conversation is recognised, and only what is new is told.
    let first = go_on(http, &messages);
    let session = first.header("x-claude-session").to_owned();
    let mut conversation = messages.clone();
    for turn in ["two", "three"] {
        let last = if turn == "two" { said(&first) } else { format!("[claudebox offline model] {}", "two") };
        add(&mut conversation, "assistant", &last);
        add(&mut conversation, "user", &format!("offline:echo {turn}"));
        let answer = go_on(http, &conversation);
        assert_eq!(said(&answer), format!("[claudebox offline model] {turn}"));
        assert_eq!((answer.header("x-claude-session"), attachments(&api.http, &answer)), (session.as_str(), 0));
    }
    // One that went another way at an earlier point cannot be resumed there, and has a session of its own from then on.
    let mut other = messages.clone();
    add(&mut other, "assistant", &said(&first));
    add(&mut other, "user", "offline:echo other");
    let branch = go_on(http, &other);
    assert_eq!((said(&branch).as_str(), attachments(http, &branch)), ("[claudebox offline model] other", 1));
    assert_ne!(branch.header("x-claude-session"), session);
    add(&mut other, "assistant", &said(&branch));
    add(&mut other, "user", "offline:echo more");
    let answer = go_on(http, &other);
    assert_eq!((answer.header("x-claude-session"), attachments(http, &answer)), (branch.header("x-claude-session"), 0));
    // The first message of one goes on with the workspace's last session.
    let answer = go_on(http, &user("offline:echo on"));
    assert_eq!(answer.header("x-claude-session"), branch.header("x-claude-session"));
    api.stop();
}

#[test]
fn a_conversation_is_the_callers_own() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, with_tokens(&testbox, launch));
    let (boss, talker) = (token(&api, "boss"), token(&api, "talker"));
    let mut messages = user("offline:echo one");
    let first = go_on(&boss, &messages);
    add(&mut messages, "assistant", &said(&first));
    add(&mut messages, "user", "offline:echo two");
    // Somebody else's, of the same words in the same workspace, is told whole.
    let theirs = go_on(&talker, &messages);
    assert_eq!((said(&theirs).as_str(), attachments(&boss, &theirs)), ("[claudebox offline model] two", 1));
    assert_ne!(theirs.header("x-claude-session"), first.header("x-claude-session"));
    // And leaves the first one as it was.
    let own = go_on(&boss, &messages);
    assert_eq!((own.header("x-claude-session"), attachments(&boss, &own)), (first.header("x-claude-session"), 0));
    api.stop();
}

#[test]
fn a_conversation_whose_session_is_gone_is_told_again() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    for stream in [false, true] {
        let messages = user("offline:echo one");
        let first = go_on(&api.http, &messages);
        let projects = testbox.path("home/.claude/projects");
        std::fs::remove_dir_all(&projects).unwrap();
        let mut longer = messages;
        add(&mut longer, "assistant", &said(&first));
        add(&mut longer, "user", "offline:echo two");
        let answer = chat(&api.http, "a", longer, json!({"stream": stream})).header("x-claude-continue", "1").send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("two"), "{}", answer.text());
        assert_eq!(attachments(&api.http, &answer), 1);
    }
    api.stop();
}

#[test]
fn a_session_can_be_named() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let first = chat(&api.http, "a", user("offline:echo one"), json!({})).send();
    let session = first.header("x-claude-session").to_owned();
    chat(&api.http, "a", user("offline:echo other"), json!({})).send();
    let named =
        chat(&api.http, "a", user("offline:echo two"), json!({})).header("x-claudebox-session", &session).send();
    assert_eq!((named.header("x-claude-session"), named.status), (session.as_str(), 200));
    let unknown = chat(&api.http, "a", user("x"), json!({}));
    let unknown = unknown.header("x-claude-session", "01234567-89ab-4cde-8f01-23456789abcd").send();
    assert_eq!(unknown.json(404)["error"]["code"], "session_not_found");

    // Responses name the one before them.
    let respond = |body: Value| ask(&api.http, "/openai/v1/responses", "a", &body).send();
    let one = respond(json!({"model": "haiku", "input": "offline:echo one"}));
    let id = one.json(200)["id"].clone();
    let two = respond(json!({"model": "haiku", "input": "offline:echo two", "previous_response_id": id}));
    assert_eq!(two.json(200)["output"][0]["content"][0]["text"], "[claudebox offline model] two");
    assert_eq!(one.header("x-claude-session"), two.header("x-claude-session"));
    // The session has gone on since: a branch of its own, which is told what was before.
    let branch = respond(json!({"model": "haiku", "input": "offline:echo other", "previous_response_id": id}));
    assert_eq!(branch.json(200)["output"][0]["content"][0]["text"], "[claudebox offline model] other");
    assert_ne!(branch.header("x-claude-session"), one.header("x-claude-session"));
    assert_eq!(attachments(&api.http, &branch), 1);
    let asked = json!({"model": "haiku", "input": "offline:echo more", "previous_response_id": branch.json(200)["id"]});
    assert_eq!(respond(asked).header("x-claude-session"), branch.header("x-claude-session"));
    // A branch of the branch is told both, from the first word on.
    let deep = respond(json!({"input": "offline:echo deep", "previous_response_id": branch.json(200)["id"]}));
    assert_eq!(output_text(&deep), "[claudebox offline model] deep");
    assert_eq!(attachments(&api.http, &deep), 1);
    api.stop();
}
