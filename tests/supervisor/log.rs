//! A log that cannot be written changes nothing but the log.

use rstest::rstest;

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
