use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::claude::arguments::{Options, OutputFormat};
use crate::claude::outcome::Outcome;
use crate::store::record::{DoorName, End, Request, Requester, Terms};

/// The text as it is shown, and the files that are sent.
fn shown(markdown: &str) -> (String, Vec<String>) {
    let (mut text, mut files) = (String::new(), Vec::new());
    for part in said(markdown) {
        match part {
            Part::Text(part) => text.push_str(&part.text),
            Part::File(path) => files.push(path),
            Part::Whole(_) => panic!("{markdown:?}"),
        }
    }
    println!("{markdown}\n--> {text}\n--> {files:?}\n");
    (text, files)
}

#[test]
fn a_mark_that_is_talked_about_sends_nothing_and_stays() {
    let cases = [
        ("use `[SEND_FILE: ok.txt]` marker", "use [SEND_FILE: ok.txt] marker"),
        (
            "I write:\n\n```\n[SEND_FILE: ok.txt]\n```\n\nand it is sent.",
            "I write:\n\n[SEND_FILE: ok.txt]\n\nand it is sent.",
        ),
        ("~~~text\n[SEND_FILE: ok.txt]\n~~~", "[SEND_FILE: ok.txt]"),
        ("Like this:\n\n    [SEND_FILE: ok.txt]", "Like this:\n\n[SEND_FILE: ok.txt]"),
        ("``x ` [SEND_FILE: ok.txt] ` y``", "x ` [SEND_FILE: ok.txt] ` y"),
        ("**[SEND_FILE: ok.txt]**", "[SEND_FILE: ok.txt]"),
        ("The mark **[SEND_FILE: ok.txt]** sends", "The mark [SEND_FILE: ok.txt] sends"),
        ("*[SEND_FILE: ok.txt]* and ~~[SEND_FILE: ok.txt]~~", "[SEND_FILE: ok.txt] and [SEND_FILE: ok.txt]"),
        ("unclosed ```\n[SEND_FILE: \n", "unclosed ```\n[SEND_FILE:"),
        ("```\n[SEND_FILE: a.txt]\n", "[SEND_FILE: a.txt]"),
    ];
    for (markdown, text) in cases {
        assert_eq!(shown(markdown), (text.to_owned(), Vec::new()), "{markdown:?}");
    }
}

#[test]
fn a_mark_that_is_said_sends_its_file_and_leaves_nothing_behind() {
    let cases: [(&str, &str, &[&str]); 9] = [
        ("Here: [SEND_FILE: a_b.txt] and [SEND_FILE: c_d.txt].", "Here:  and .", &["a_b.txt", "c_d.txt"]),
        ("Done.\n\n[SEND_FILE: out/r.pdf]", "Done.", &["out/r.pdf"]),
        ("[SEND_FILE: `r.pdf`]", "📎", &["r.pdf"]),
        (
            "Both:\n\n- [SEND_FILE: a.txt]\n- [SEND_FILE: b.txt]\n\nThat is all.",
            "Both:\n\nThat is all.",
            &["a.txt", "b.txt"],
        ),
        ("1. [SEND_FILE: a.txt]\n2) [SEND_FILE: b.txt] [SEND_FILE: c.txt]", "📎", &["a.txt", "b.txt", "c.txt"]),
        ("> [SEND_FILE: a.txt]", "📎", &["a.txt"]),
        ("- the plan: [SEND_FILE: a.txt]\n- the rest", "• the plan:\n• the rest", &["a.txt"]),
        ("2026 [SEND_FILE: a.txt]", "2026", &["a.txt"]),
        ("`[SEND_FILE: shown.txt]` [SEND_FILE: sent.txt]", "[SEND_FILE: shown.txt]", &["sent.txt"]),
    ];
    for (markdown, text, files) in cases {
        let (said, sent) = shown(markdown);
        assert_eq!(
            (said.trim(), sent.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
            (text, files),
            "{markdown:?}"
        );
        assert!(!said.contains('—'), "a stray rule: {said:?}");
    }
}

#[test]
fn what_was_ended_with_the_run_is_said() {
    let end = |result| End {
        at: 1,
        outcome: Some(Outcome::Ok),
        error: None,
        result,
        cost_usd: None,
        cost_estimated: false,
        session_id: None,
        reaped: 0,
    };
    let run = |result| Run {
        id: Uuid::from_u128(7),
        workspace: "/w".into(),
        door: DoorName::Telegram,
        requester: Requester::Chat(5),
        state: State::Succeeded,
        terms: Terms::default(),
        request: Request { prompt: "build".into(), options: Options::default(), format: OutputFormat::Json },
        created_at: 1,
        started_at: Some(1),
        end: Some(end(result)),
    };
    assert_eq!(parts(&run(json!({"result": "Done."})), ""), [Part::Text(Text::plain("Done."))]);
    let ended = json!([{"id": "b6", "kind": "shell", "command": "npm run dev", "seconds": 12.4}]);
    let told = parts(&run(json!({"result": "It runs.", "backgroundEnded": ended})), "");
    let [Part::Text(answer), Part::Text(note)] = told.as_slice() else { panic!("{told:?}") };
    println!("{}\n{}", answer.text, note.text);
    assert_eq!(answer.text, "It runs.");
    assert!(
        note.text.starts_with("⏹ Note: background work was ended with the run: shell b6 (npm run dev)"),
        "{note:?}"
    );
}
