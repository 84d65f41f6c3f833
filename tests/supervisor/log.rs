//! A log that cannot be written changes nothing but the log.

use rstest::rstest;
use serde_json::Value;

use crate::stubs::{cli, hook, ready, servers};
use crate::support::TestBox;

/// Tails that start claudebox with a standard error that takes nothing.
const FULL: &str = r#"exec "$@" 2>/dev/full"#;
const NOBODY_READS: &str = r#"exec perl -e 'pipe(R, W); close R; open(STDERR, ">&W"); exec @ARGV' -- "$@""#;

#[rstest]
fn a_prompt_is_answered(#[values(FULL, NOBODY_READS)] tail: &str, #[values("text", "json")] format: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("true"));
    hook(&testbox, "1.sh", "#!/bin/sh\nexit 0\n");
    let launch = testbox.claudebox(&["init", "--", "hello", "there"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let launch = launch.env("CLAUDEBOX_DEBUG", "1").env("CLAUDEBOX_LOG_FORMAT", format);
    assert_eq!(launch.tail(tail).start().finish().exits(0).out, "done\n");
}

#[rstest]
fn a_refused_start_has_its_exit_code(#[values(FULL, NOBODY_READS)] tail: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").env("CLAUDEBOX_USER", "nobody-here");
    assert_eq!(launch.tail(tail).start().finish().exits(78).out, "");
}

/// Both PID 1 and `serve` say what they do.
#[rstest]
fn servers_are_served_and_stop_in_order(#[values(FULL, NOBODY_READS)] tail: &str) {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", "#!/bin/sh\nexit 0\n");
    let mut running = servers(&testbox).tail(tail).start();
    running.until("serve is ready", ready);
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// PID 1 and `serve` each stamp their own lines, and no line twice. What a prompt says on standard error is no log.
#[test]
fn lines_of_a_servers_log_begin_with_their_time() {
    let Some(testbox) = TestBox::new() else { return };
    let log = |wanted: &str| {
        let mut running = servers(&testbox).env("CLAUDEBOX_LOG_TIME", wanted).start();
        running.until("serve is ready", ready);
        running.signal(libc::SIGTERM);
        running.finish().exits(0).err
    };
    for wanted in ["auto", "always"] {
        let err = log(wanted);
        assert!(err.lines().count() >= 3, "{err}");
        for line in err.lines() {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{line}");
            assert!(rest.starts_with("claudebox: "), "{line}");
        }
    }
    let plain = log("never");
    assert!(plain.lines().all(|line| line.starts_with("claudebox: ")), "{plain}");
    let path = testbox.script("cli", &cli("true"));
    let prompt = |wanted: &str| {
        let launch = testbox.claudebox(&["init", "--", "hi"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
        launch.env("CLAUDEBOX_DEBUG", "1").env("CLAUDEBOX_LOG_TIME", wanted).start().finish().exits(0).err
    };
    let (auto, always) = (prompt("auto"), prompt("always"));
    assert!(auto.lines().any(|line| line.starts_with("claudebox: debug: ")), "{auto}");
    assert!(always.lines().all(|line| !line.starts_with("claudebox: debug: ")), "{always}");
}

/// Objects for programs to the very end, whatever a hook prints between them.
#[test]
fn json_logs_are_objects_to_the_end() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", "#!/bin/sh\nprintf 'a line without an end'\n");
    hook(&testbox, "2.sh", "#!/bin/sh\nprintf 'another' >&2; exit 3\n");
    let launch = testbox.main_child("#!/bin/sh\n").env("CLAUDEBOX_LOG_FORMAT", "json");
    let err = launch.start().finish().exits(78).err;
    let others = ["", "a line without an end", "another"];
    let lines = err.lines().filter(|line| !others.contains(line));
    let objects: Vec<Value> =
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{err}"))).collect();
    let last = objects.last().unwrap();
    assert_eq!(last["level"], "error");
    assert!(last["message"].as_str().unwrap().starts_with("init hook 2.sh failed with exit code 3; "), "{err}");
}

/// Before the logs were started, too: in a child, and where a setting is wrong.
#[rstest]
#[case::start(&["init", "--", "auth"], ("CLAUDEBOX_USER", "nobody-here"), 78)]
#[case::setting(&["init", "--", "auth"], ("CLAUDEBOX_GRACE_SECONDS", "soon"), 78)]
#[case::program(&["init", "--", "auth"], ("CLAUDEBOX_CLAUDE_BIN", "/no/such/cli"), 127)]
fn a_failure_is_an_object(#[case] args: &[&str], #[case] (name, value): (&str, &str), #[case] code: i32) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.claudebox(args).env(name, value).env("CLAUDEBOX_LOG_FORMAT", "json");
    let err = launch.start().finish().exits(code).err;
    let object: Value = serde_json::from_str(&err).unwrap_or_else(|_| panic!("{err}"));
    assert_eq!(object["level"], "error", "{err}");
}
