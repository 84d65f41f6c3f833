//! How much a box can gain, and which variables reach Claude.

use rstest::rstest;

use crate::stubs::{cli, docker_socket};
use crate::support::TestBox;

const STATUS: &str = "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status";

/// Checklist 32. What a hook, which is root, has is what the box was given.
#[rstest]
#[case::utility(&["init", "--", "auth"], false)]
#[case::prompt(&["init", "--", "hello", "there"], false)]
#[case::interactive(&["init"], true)]
fn hardened_leaves_nothing_to_gain(#[case] args: &[&str], #[case] terminal: bool) {
    for (hardened, no_new_privileges) in [("1", '1'), ("0", '0')] {
        let Some(testbox) = TestBox::new() else { return };
        let path = testbox.script("cli", &cli(STATUS));
        let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).env("CLAUDEBOX_HARDENED", hardened);
        let mut running = if terminal { launch.on_terminal() } else { launch }.before(STATUS).start();
        let given = running.value("CapBnd:").trim().to_owned();
        assert_ne!(u64::from_str_radix(&given, 16).unwrap(), 0);
        running.finish().exits(0);
        let bounding = if hardened == "1" { "0".repeat(16) } else { given };
        assert_eq!(testbox.note(), format!("CapBnd:\t{bounding}\nNoNewPrivs:\t{no_new_privileges}\n"));
    }
}

#[test]
fn hardened_refuses_a_docker_socket() {
    let Some(testbox) = TestBox::new() else { return };
    let before = std::fs::read_to_string(testbox.path("etc/group")).unwrap();
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").before(&docker_socket(4242));
    let finished = launch.env("CLAUDEBOX_HARDENED", "1").start().finish().exits(78);
    assert_eq!(finished.out, "");
    let why = "claudebox: CLAUDEBOX_HARDENED is on and /var/run/docker.sock is mounted: ";
    assert!(finished.err.starts_with(why) && finished.err.lines().count() == 1, "{}", finished.err);
    assert_eq!(std::fs::read_to_string(testbox.path("etc/group")).unwrap(), before);
}

/// In every mode, and for init hooks too.
#[rstest]
#[case::utility(&["init", "--", "auth"], false)]
#[case::prompt(&["init", "--", "hello", "there"], false)]
#[case::interactive(&["init"], true)]
fn prefixed_variables_reach_claude_without_their_prefix(#[case] args: &[&str], #[case] terminal: bool) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("env | grep -E 'FORWARD|_ENV_|_TOKEN|^HOME=' | sort"));
    let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let launch = launch
        .env("CLAUDEBOX_ENV_FORWARD_NEW", "a b=c")
        .env("CLAUDE_ENV_FORWARD_OLD", "old")
        .env("CLAUDEBOX_ENV_FORWARD_BOTH", "new wins")
        .env("CLAUDE_ENV_FORWARD_BOTH", "old")
        .env("CLAUDEBOX_ENV_FORWARD_EMPTY", "")
        .env("CLAUDEBOX_ENV_HOME", "/root")
        .env("CLAUDEBOX_MODE_API_TOKEN", "secret")
        .env("CLAUDE_MODE_API_TOKEN", "secret");
    if terminal { launch.on_terminal() } else { launch }.start().finish().exits(0);
    let home = testbox.path("home");
    let expected =
        format!("FORWARD_BOTH=new wins\nFORWARD_EMPTY=\nFORWARD_NEW=a b=c\nFORWARD_OLD=old\nHOME={}\n", home.display());
    assert_eq!(testbox.note(), expected);
}
