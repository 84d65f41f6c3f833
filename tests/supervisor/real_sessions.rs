//! Sessions of the terminal and of prompts in one workspace, with the real CLI. Skipped without `CLAUDEBOX_TEST_CLI`.
//!
//! `CLAUDEBOX_TEST_ROUNDS` says how often the terminal is opened and closed (3).

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use rstest::rstest;
use serde_json::Value;

use crate::real_cli::{answer, claude};
use crate::support::{DEADLINE, Running, TestBox};

/// Every session file of the box.
fn files(testbox: &TestBox) -> Vec<PathBuf> {
    let folders = fs::read_dir(testbox.path("home/.claude/projects")).into_iter().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect()
}

/// What was asked in the branch of this file that a later start goes on with: the one that the last line belongs to.
fn branch(path: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let by_id: HashMap<&str, &Value> = lines.iter().filter_map(|line| Some((line["uuid"].as_str()?, line))).collect();
    let last = lines.iter().rev().find(|line| line["type"] == "user" || line["type"] == "assistant");
    let mut asked = Vec::new();
    let mut next = last;
    while let Some(line) = next {
        // A terminal's is a text, a prompt's a list of blocks.
        let content = &line["message"]["content"];
        let text = content.as_str().or_else(|| content[0]["text"].as_str());
        if let (true, Some(text)) = (line["type"] == "user", text) {
            asked.push(text.trim_start_matches("offline:echo ").to_owned());
        }
        next = line["parentUuid"].as_str().and_then(|id| by_id.get(id)).copied();
    }
    asked.reverse();
    asked
}

/// The session file with this text in it.
fn file_with(testbox: &TestBox, text: &str) -> PathBuf {
    let deadline = Instant::now() + *DEADLINE;
    loop {
        let found = files(testbox).into_iter().find(|path| fs::read_to_string(path).unwrap().contains(text));
        match found {
            Some(path) => return path,
            None => assert!(Instant::now() < deadline, "no session file has {text:?}: {:?}", files(testbox)),
        }
        std::thread::yield_now();
    }
}

fn open_terminal(testbox: &TestBox, args: &[&str]) -> Option<Running> {
    let mut running = claude(testbox, args)?.on_terminal().start();
    running.expect("bypass");
    Some(running)
}

/// Asks on the terminal, and waits until the answer is in the session's file.
fn ask(testbox: &TestBox, running: &mut Running, text: &str) -> PathBuf {
    running.write(&format!("offline:echo {text}\r"));
    file_with(testbox, &format!("[claudebox offline model] {text}"))
}

fn prompt(testbox: &TestBox, text: &str, args: &[&str]) -> String {
    let question = format!("offline:echo {text}");
    let (result, _) = answer(testbox, &[&[question.as_str()], args].concat(), 0).unwrap();
    result["sessionId"].as_str().unwrap().to_owned()
}

#[test]
fn every_turn_of_the_terminal_and_of_prompts_is_there_at_the_next_start() {
    let Some(testbox) = TestBox::new() else { return };
    let rounds = std::env::var("CLAUDEBOX_TEST_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let (mut of_terminal, mut of_prompts) = (Vec::new(), Vec::new());
    let mut last = None;
    for round in 0..rounds {
        let Some(mut terminal) = open_terminal(&testbox, &[]) else { return };
        let during = [format!("t{round}-before;"), format!("s{round}-during;"), format!("t{round}-after;")];
        let seen = ask(&testbox, &mut terminal, &during[0]);
        assert!(last.is_none_or(|last| last == seen), "round {round}: the terminal went on with another session");
        last = Some(seen);
        let session = prompt(&testbox, &during[1], &[]);
        assert_eq!(ask(&testbox, &mut terminal, &during[2]), last.clone().unwrap());
        match round % 3 {
            0 => drop(terminal.kill()),
            1 => {
                terminal.signal(libc::SIGTERM);
                // On a busy machine it takes longer than it may, and is killed.
                terminal.finish();
            }
            _ => {
                terminal.write("/exit\r");
                terminal.finish().exits(0);
            }
        }
        let after = format!("s{round}-alone;");
        assert_eq!(prompt(&testbox, &after, &[]), session);
        let [before, between, behind] = during;
        of_terminal.extend([before, behind]);
        of_prompts.extend([between, after]);
        assert_eq!(branch(last.as_ref().unwrap()), of_terminal, "round {round}");
        assert_eq!(branch(&file_with(&testbox, "s0-during;")), of_prompts, "round {round}");
    }
}

#[test]
fn a_session_that_is_open_is_refused_by_its_id_and_copied_where_it_is_asked_for() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut terminal) = open_terminal(&testbox, &[]) else { return };
    let file = ask(&testbox, &mut terminal, "one;");
    let id = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let refused = claude(&testbox, &["offline:echo no;", "--resume", &id]).unwrap().start().finish().exits(75);
    let why = format!("the session {id} cannot be resumed now: it is open on a terminal");
    assert!(refused.err.contains(&why) && refused.err.contains("--fork-session"), "{}", refused.err);
    let copy = prompt(&testbox, "copied;", &["--resume", &id, "--fork-session"]);
    let asked_for = prompt(&testbox, "asked;", &["--continue-interactive"]);
    assert!(copy != id && asked_for != id);
    assert_eq!(branch(&file.with_file_name(format!("{asked_for}.jsonl"))), ["one;", "asked;"]);
    ask(&testbox, &mut terminal, "two;");
    terminal.signal(libc::SIGTERM);
    terminal.finish().exits(143);
    // Nobody has it open any more.
    assert_eq!(prompt(&testbox, "three;", &["--continue-interactive"]), id);
    assert_eq!(branch(&file), ["one;", "two;", "three;"]);
}

#[rstest]
#[case::empty(b"")]
#[case::zeros(&[0; 4096])]
fn a_terminal_whose_session_cannot_be_resumed_begins_another(#[case] damage: &[u8]) {
    let Some(testbox) = TestBox::new() else { return };
    let Some(mut terminal) = open_terminal(&testbox, &[]) else { return };
    let file = ask(&testbox, &mut terminal, "one;");
    drop(terminal.kill());
    fs::write(&file, damage).unwrap();
    let mut terminal = claude(&testbox, &[]).unwrap().on_terminal().start();
    terminal.expect("is damaged, nothing in it can be read: it is left as it is; a new session begins");
    terminal.expect("Enter opens it");
    terminal.write("\r");
    terminal.expect("bypass");
    assert_ne!(ask(&testbox, &mut terminal, "two;"), file);
    assert_eq!(fs::read(&file).unwrap(), damage);
}
