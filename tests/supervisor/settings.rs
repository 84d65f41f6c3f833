//! Settings that cannot be used: all of them are told before anything is done.

use rstest::rstest;
use serde_json::{Value, json};

use crate::stubs::{hook, servers};
use crate::support::{Launch, TestBox};

const GRACE: &str = "CLAUDEBOX_GRACE_SECONDS=\"soon\" is not usable: whole seconds from 0 to 3600";
const PORT: &str = "CLAUDEBOX_MODE_API_PORT=\"http\" is not usable: a whole number from 1 to 65535";
const RUNS: &str = "CLAUDEBOX_MAX_RUNS=\"0\" is not usable: a whole number from 1 to 1000000";

/// One setting of the box and two of its servers.
fn three(launch: Launch<'_>) -> Launch<'_> {
    let launch = launch.env("CLAUDEBOX_GRACE_SECONDS", "soon").env("CLAUDEBOX_MODE_API", "1");
    launch.env("CLAUDEBOX_MODE_API_PORT", "http").env("CLAUDEBOX_MAX_RUNS", "0")
}

#[rstest]
#[case::of_a_box(&["init", "--"])]
#[case::of_its_servers(&["serve"])]
fn three_mistakes_are_three_lines(#[case] args: &[&str]) {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", "#!/bin/sh\necho a hook has run\n");
    let finished = three(testbox.claudebox(args)).start().finish().exits(78);
    assert_eq!(finished.err, format!("claudebox: {GRACE}\nclaudebox: {PORT}\nclaudebox: {RUNS}\n"));
    assert_eq!(finished.out, "");
    let json = three(testbox.claudebox(args)).env("CLAUDEBOX_LOG_FORMAT", "json").start().finish().exits(78).err;
    let objects = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<(Value, Value)> =
        objects.map(|object| (object["level"].clone(), object["message"].clone())).collect();
    assert_eq!(told, [GRACE, PORT, RUNS].map(|message| (json!("error"), json!(message))));
}

/// Before a hook has run for them, and the same as ever where there is one.
#[test]
fn one_mistake_is_one_line() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", "#!/bin/sh\necho a hook has run\n");
    let finished = servers(&testbox).env("CLAUDEBOX_MODE_API_PORT", "http").start().finish().exits(78);
    assert_eq!((finished.err.as_str(), finished.out.as_str()), (&*format!("claudebox: {PORT}\n"), ""));
}

/// Those of the servers mean nothing there.
#[rstest]
#[case::start(&["init", "--", "two", "words"])]
#[case::in_a_box_that_is_up(&["run", "two", "words"])]
#[case::terminal(&["init", "--", "auth"])]
fn a_prompt_is_told_of_those_that_concern_it(#[case] args: &[&str]) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = three(testbox.claudebox(args)).env("CLAUDEBOX_LOG_TIME", "at noon");
    let time = "CLAUDEBOX_LOG_TIME=\"at noon\" is not usable: allowed are auto, always and never";
    assert_eq!(launch.start().finish().exits(78).err, format!("claudebox: {GRACE}\nclaudebox: {time}\n"));
}

#[test]
fn the_doctor_has_all_of_them_with_what_they_mean() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = three(testbox.claudebox(&["doctor", "--json"])).start().finish().exits(1);
    let found: Value = serde_json::from_str(&finished.out).unwrap();
    let checks: Vec<(&str, &str)> = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["name"].as_str().unwrap(), check["found"].as_str().unwrap()))
        .collect();
    let expected = [GRACE, PORT, RUNS].map(|line| ("settings", line.split_once(':').unwrap().0));
    assert_eq!(checks, expected);
    let remedy = "set it to something else, or leave it out: whole seconds from 0 to 3600. \
                  Seconds between TERM and KILL at shutdown. Default: 7.";
    assert_eq!(found["checks"][0]["remedy"], remedy);
    let lines = three(testbox.claudebox(&["doctor"])).start().finish().exits(1).out;
    assert!(lines.ends_with("3 things are wrong with this box.\n"), "{lines}");
}
