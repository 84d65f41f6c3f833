//! Every recorded output of the real CLI parses, and yields the outcome its name says.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use claudebox::claude::event::{Event, Kind};
use claudebox::claude::outcome::Outcome;
use claudebox::claude::transcript::{ProcessEnd, Rest, Transcript};
use claudebox::process::status::ChildStatus;
use rstest::rstest;
use serde_json::Value;

const RATE_LIMITED: Outcome = Outcome::RateLimited { resets_at: None };

#[rstest]
#[case::json("json", 0, Outcome::Ok)]
#[case::streamjson("streamjson", 0, Outcome::Ok)]
#[case::partial("partial", 0, Outcome::Ok)]
#[case::tool("tool", 0, Outcome::Ok)]
#[case::think("think", 0, Outcome::Ok)]
#[case::jsonschema("jsonschema", 0, Outcome::Ok)]
#[case::jsonschema_refuses("jsonschema_refuses", 0, Outcome::SchemaMissed)]
#[case::budget("budget_tiny", 1, Outcome::Budget)]
#[case::max_turns("maxturns", 1, Outcome::MaxTurns)]
#[case::err_400("err_400", 1, Outcome::ModelError)]
#[case::err_500("err_500_max2", 1, Outcome::ModelError)]
#[case::err_529("err_529", 1, Outcome::ModelError)]
#[case::cut_then_whole("err_DROP", 0, Outcome::Ok)]
#[case::cut_once("cut_once", 0, Outcome::Ok)]
#[case::cut_for_good("cut_max2", 1, Outcome::ModelError)]
#[case::no_credentials("no_credentials", 1, Outcome::Auth)]
#[case::err_401("err_401", 1, Outcome::Auth)]
#[case::err_401_two_retries("err_401_max2", 1, Outcome::Auth)]
#[case::err_401_token("err_401_oauth", 1, Outcome::Auth)]
#[case::err_403("err_403", 1, Outcome::Auth)]
#[case::err_429("err_429", 1, RATE_LIMITED)]
#[case::rate_warning("oauth_rate", 0, Outcome::Ok)]
#[case::resume_unknown("resume_unknown_sj", 1, Outcome::SessionNotFound)]
#[case::continue_none("continue_none", 0, Outcome::Ok)]
#[case::interrupted("sig_SLOW_SIGINT_stream-json", 0, Outcome::Killed { signal: Some(2) })]
#[case::terminated("sig_TOOL_HANG_SIGTERM_stream-json", 143, Outcome::Killed { signal: Some(15) })]
#[case::background("background", 0, Outcome::Ok)]
fn yields_its_outcome(#[case] name: &str, #[case] exit_code: u8, #[case] expected: Outcome) {
    assert_eq!(outcome(&events(name), name.starts_with("jsonschema"), exit_code), expected);
}

#[test]
fn a_refused_rate_limit_says_when_it_resets() {
    let events = events("err_429_oauth");
    let announced = events.iter().find_map(|event| match event.kind() {
        Kind::RateLimit { status: "rejected", resets_at } => resets_at,
        _ => None,
    });
    assert!(announced.is_some());
    assert_eq!(outcome(&events, false, 1), Outcome::RateLimited { resets_at: announced });
}

#[test]
fn every_turn_of_a_warm_process_is_told_apart() {
    let events = events("warm_two_turns");
    let outcomes = turns(&events);
    assert!(outcomes.len() > 2 && outcomes.iter().all(|outcome| *outcome == Outcome::Ok), "{outcomes:?}");
}

#[test]
fn an_interrupted_turn_of_a_warm_process_is_no_success() {
    let outcomes = turns(&events("control_requests"));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Killed { signal: None }).count(), 2);
    assert!(outcomes.contains(&Outcome::Ok));
}

/// A sub-agent reports, a background shell ends, a wake-up fires: each begins a turn after the first result. A run is not
/// over before the last result of these, and while the CLI works on one the earlier result is no answer.
#[rstest]
#[case::sub_agent_cold("subagent_cold", 2)]
#[case::sub_agent_warm("subagent_warm", 2)]
#[case::background_shell("session_state", 2)]
#[case::wakeup("wakeup", 2)]
fn a_turn_that_began_by_itself_has_the_answer(#[case] name: &str, #[case] results: usize) {
    let events = exchanged(name);
    let last = events.iter().rfind(|event| event.kind() == Kind::Result).unwrap();
    assert_eq!(events.iter().filter(|event| event.kind() == Kind::Result).count(), results);
    let mut transcript = Transcript::default();
    for event in &events {
        transcript.add(event);
        let answered = transcript.result().is_some_and(|result| result["result"] == last.json()["result"]);
        // A cold CLI prints all results at its end, one after the other; it is idle after the last one.
        let is_cold = name == "subagent_cold";
        assert!(answered || is_cold || transcript.rest() != Rest::Nothing, "over with {}", event.json());
        assert!(answered || !transcript.is_over(), "over with {}", event.json());
        if event.kind() == Kind::Init {
            assert_eq!(transcript.result(), None, "answered in the middle of a turn");
        }
    }
    assert_eq!(transcript.rest(), Rest::Nothing);
    assert_eq!(transcript.result().unwrap()["result"], last.json()["result"]);
    let turns = |event: &Event| event.json()["num_turns"].as_u64().unwrap();
    let all: u64 = events.iter().filter(|event| event.kind() == Kind::Result).map(turns).sum();
    assert_eq!(transcript.result().unwrap()["num_turns"], all);
}

/// While a shell runs on, the answer is there and may be replaced; the shell is named.
#[test]
fn a_background_shell_is_known_until_it_ends() {
    let mut transcript = Transcript::default();
    let mut seen = Vec::new();
    for event in exchanged("background_bash") {
        transcript.add(&event);
        if event.kind() == Kind::Result {
            seen.push(transcript.rest());
        }
    }
    assert_eq!((seen[0], seen[1], seen.last()), (Rest::Background, Rest::Nothing, Some(&Rest::Background)));
    transcript.note_cut();
    let ended = transcript.background_ended().unwrap();
    assert_eq!((&ended[0]["kind"], &ended[0]["command"]), (&"shell".into(), &"tail -f /dev/null".into()));
}

/// A recording without a case above would be a fact nobody checks.
#[test]
fn no_recording_is_left_out() {
    let source = include_str!("fixtures.rs");
    let exchanges = std::fs::read_dir(folder().with_file_name("control")).unwrap();
    let unused: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .chain(exchanges)
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !source.contains(&format!("(\"{name}\"")))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "claude-cli"].iter().collect()
}

fn events(name: &str) -> Vec<Event> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    text.lines().map(|line| Event::parse(unwrap_timed(line).to_string().as_bytes()).unwrap()).collect()
}

/// What the CLI wrote in a recording of both directions, each line of which is `{"t": ms, "dir": "in"|"out"|..., "line": ...}`.
fn exchanged(name: &str) -> Vec<Event> {
    let path = folder().with_file_name("control").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said = lines.filter(|line| line["dir"] == "out" && line["line"].is_object());
    said.map(|line| Event::parse(line["line"].to_string().as_bytes()).unwrap()).collect()
}

/// Recordings of warm processes have `{"ms": ..., "line": EVENT}`.
fn unwrap_timed(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    if value.get("ms").is_some() { value["line"].take() } else { value }
}

fn outcome(events: &[Event], schema: bool, exit_code: u8) -> Outcome {
    let mut transcript = Transcript::default();
    for event in events {
        transcript.add(event);
    }
    transcript.outcome(&ProcessEnd { status: ChildStatus::Exited(exit_code), stderr: "", intervention: None, schema })
}

/// The outcome of each turn: the events up to and with its result.
fn turns(events: &[Event]) -> Vec<Outcome> {
    let whole = events.split_inclusive(|event| event.kind() == Kind::Result);
    let whole = whole.filter(|turn| turn.last().is_some_and(|event| event.kind() == Kind::Result));
    whole.map(|turn| outcome(turn, false, 0)).collect()
}
