use proptest::prelude::*;
use serde_json::json;

use super::*;

fn prompt(text: String) -> Prompt {
    Prompt {
        run_id: Uuid::nil(),
        text,
        options: Options::default(),
        from_door: FromDoor::default(),
        session: Session::Fork { from: "a".into(), into: "b".into(), is_named: true },
        workspace: "/w".into(),
        silence: Some(Duration::from_secs(1)),
        verbose: true,
        variables: Variables::default(),
    }
}

fn shell(command: String) -> Shell {
    let limit = Duration::from_millis(1500);
    Shell { run_id: Uuid::nil(), command, output: "/tmp/o".into(), workspace: "/w".into(), limit }
}

fn report(complaint: Option<String>, text: &str) -> RunReport {
    RunReport {
        outcome: Outcome::RateLimited { resets_at: Some(7) },
        complaint,
        envelope: json!({"result": text, "big": 1}),
        session_id: None,
        reaped: u64::MAX,
    }
}

/// The one line of an encoded message, without its line feed.
fn line(encoded: &[u8]) -> &[u8] {
    let (last, line) = encoded.split_last().unwrap();
    assert!(*last == b'\n' && !line.contains(&b'\n'));
    line
}

fn to_worker() -> impl Strategy<Value = ToWorker> {
    prop_oneof![
        any::<String>().prop_map(|text| ToWorker::Prompt(Box::new(prompt(text)))),
        any::<String>().prop_map(|command| ToWorker::Shell(shell(command))),
        Just(ToWorker::Cancel),
    ]
}

#[test]
fn what_is_no_message_is_told_what_it_is() {
    for (line, expected) in [
        ("", "a message of an unknown kind, empty"),
        ("Q{}", "a message of an unknown kind, Q"),
        ("\u{1}", r"a message of an unknown kind, \x01"),
        ("C now", "a message of an unknown kind, C"),
        ("P{}", "the prompt in a message is unreadable: missing field `run_id`"),
        ("S[", "the shell command in a message is unreadable: EOF"),
    ] {
        let error = ToWorker::decode(line.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{line:?}: {error}");
    }
    let error = FromWorker::decode(b"Rnull").unwrap_err().to_string();
    assert!(error.starts_with("the report in a message is unreadable: "), "{error}");
    assert!(FromWorker::decode(b"Lx").is_err());
}

#[test]
fn an_event_is_one_line() {
    assert_eq!(FromWorker::Event(b"{\n}").encode(), Err(ProtocolError::NotOneLine));
    assert_eq!(FromWorker::Event(b"{}").encode().unwrap(), b"E{}\n");
}

#[test]
fn a_message_that_never_ends_is_not_kept() {
    let mut lines = Lines::new(10);
    lines.push(b"123456789\n1234567890");
    assert_eq!(lines.take_line(), Ok(Some(&b"123456789"[..])));
    assert_eq!(lines.take_line(), Ok(None));
    lines.push(b"1");
    let too_long = Err(ProtocolError::TooLong { found: 11, longest: 10 });
    assert_eq!(lines.take_line(), too_long);
    assert_eq!(lines.take_line(), too_long);
    lines.push(b"\n");
    assert!(lines.take_line().is_err(), "with its line feed it is longer still");
}

proptest! {
    #[test]
    fn a_worker_hears_what_was_said(message in to_worker()) {
        let encoded = message.encode().unwrap();
        prop_assert_eq!(ToWorker::decode(line(&encoded)), Ok(message));
    }

    #[test]
    fn the_engine_hears_what_was_said(
        event in "[^\n]*",
        complaint in any::<Option<String>>(),
        text: String,
        exit_code: Option<u8>,
        cancelled: bool,
    ) {
        let end = ShellEnd { exit_code, timed_out: !cancelled, cancelled, complaint: complaint.clone() };
        let messages = [
            FromWorker::Event(event.as_bytes()),
            FromWorker::Stuck,
            FromWorker::Report(Box::new(report(complaint, &text))),
            FromWorker::ShellEnd(end),
        ];
        for message in messages {
            let encoded = message.encode().unwrap();
            prop_assert_eq!(FromWorker::decode(line(&encoded)), Ok(message));
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(kind in prop::sample::select(&b"PSCELRX?"[..]), bytes: Vec<u8>) {
        for line in [bytes.clone(), [&[kind][..], &bytes].concat()] {
            let _ = ToWorker::decode(&line);
            let _ = FromWorker::decode(&line);
        }
    }

    /// However the bytes are cut, the same lines come out.
    #[test]
    fn lines_come_out_as_they_went_in(
        lines in prop::collection::vec("[^\n]{0,8}", 0..8),
        cuts in prop::collection::vec(0..70_usize, 0..8),
    ) {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let (mut reader, mut found) = (Lines::new(64), Vec::new());
        for cut in cuts.windows(2) {
            reader.push(&bytes[cut[0]..cut[1]]);
            while let Some(line) = reader.take_line().unwrap() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        prop_assert_eq!(found, lines);
    }
}
