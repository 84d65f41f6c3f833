//! The end of a box: bounded, and of everything in it.

use rstest::rstest;

use crate::stubs::listener;
use crate::support::{NOT_PID1, TestBox};

/// A main child that leaves three processes behind: a child of its own, one in another session that ignores HUP, and one
/// that has no parent any more. Each says when it gets TERM. The files tell that each can hear it.
fn leaves_three(reaction: &str, then: &str) -> String {
    format!(
        r#"#!/bin/bash
cat >leftover <<'END'
#!/usr/bin/perl
use POSIX; $| = 1;
$SIG{{TERM}} = sub {{ print "$ARGV[0] got TERM\n"; {reaction} }};
print "$ARGV[0] is there\n";
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM));
open(my $file, ">", $ARGV[0]); close $file;
sigsuspend(POSIX::SigSet->new) while 1;
END
perl leftover grandchild & grandchild=$!
setsid nohup perl leftover escapee </dev/null 2>/dev/null & escapee=$!
(setsid perl leftover orphan &)
until [ -e grandchild ] && [ -e escapee ] && [ -e orphan ]; do sleep 0.01; done
echo ready
{then}
"#
    )
}

const LEFT: [&str; 3] = ["grandchild", "escapee", "orphan"];

fn all_got_term(output: &str) -> bool {
    LEFT.iter().all(|name| output.matches(&format!("{name} got TERM\n")).count() == 1)
}

/// Checklist 25.
#[rstest]
#[case::pid1(None)]
#[case::subreaper(Some(NOT_PID1))]
fn leftovers_of_a_normal_exit_get_term_and_the_code_is_kept(#[case] tail: Option<&str>) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&leaves_three("exit", "exit 6"));
    let finished = if let Some(tail) = tail { launch.tail(tail) } else { launch }.start().finish().exits(6);
    assert!(all_got_term(&finished.out), "{}", finished.out);
    assert_eq!(finished.out.contains("nothing else is left"), tail.is_some());
    assert!(!finished.out.contains("left behind"), "{}", finished.out);
}

/// Checklist 25.
#[rstest]
#[case::pid1(None)]
#[case::subreaper(Some(NOT_PID1))]
fn leftovers_that_ignore_term_are_killed(#[case] tail: Option<&str>) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&leaves_three("", "exit 6"));
    let finished = if let Some(tail) = tail { launch.tail(tail) } else { launch }.start().finish().exits(6);
    assert!(all_got_term(&finished.out), "{}", finished.out);
    assert!(!finished.out.contains("left behind"), "{}", finished.out);
}

/// Checklist 25: a stop, not an end of the main child's own.
#[rstest]
#[case::pid1(None)]
#[case::subreaper(Some(NOT_PID1))]
fn a_stop_ends_grandchildren_and_escapees_too(#[case] tail: Option<&str>) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&leaves_three("exit", "exec sleep infinity"));
    let mut running = if let Some(tail) = tail { launch.tail(tail) } else { launch }.start();
    running.expect("ready\n");
    let supervisor = running.supervisor();
    claudebox::sys::kill(supervisor, libc::SIGTERM).unwrap();
    let finished = running.finish().exits(128 + libc::SIGTERM);
    assert!(all_got_term(&finished.out), "{}", finished.out);
    assert!(!finished.out.contains("left behind"), "{}", finished.out);
}

/// Checklist 25: and when the main child has to be killed, as an ordinary process, what it had started dies with it.
#[test]
fn a_kill_of_everything_leaves_nothing_behind() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox
        .main_child(&leaves_three("", "trap 'echo main child got TERM' TERM; echo armed; while :; do wait; done"));
    let mut running = launch.env("CLAUDEBOX_GRACE_SECONDS", "3600").tail(NOT_PID1).start();
    running.expect("armed\n");
    let supervisor = running.supervisor();
    claudebox::sys::kill(supervisor, libc::SIGTERM).unwrap();
    running.expect("main child got TERM\n");
    claudebox::sys::kill(supervisor, libc::SIGTERM).unwrap();
    let finished = running.finish().exits(128 + libc::SIGKILL);
    assert!(finished.out.ends_with("main child got TERM\nnothing else is left\n"), "{}", finished.out);
}

/// Checklist 25: a stopped process acts on TERM only when it is continued.
#[rstest]
#[case::pid1(None)]
#[case::subreaper(Some(NOT_PID1))]
fn a_stopped_leftover_gets_to_end_itself(#[case] tail: Option<&str>) {
    let Some(testbox) = TestBox::new() else { return };
    let launch =
        testbox.main_child(&leaves_three("exit", "kill -STOP $grandchild $escapee; read -r line; exit 6")).with_input();
    let mut running = if let Some(tail) = tail { launch.tail(tail) } else { launch }.start();
    running.expect("ready\n");
    running.until("two are stopped", |all| all.iter().filter(|process| process.state == 'T').count() == 2);
    running.write("end\n");
    let finished = running.finish().exits(6);
    assert!(all_got_term(&finished.out), "{}", finished.out);
}

/// Checklist 7: who kills a box that is not PID 1 does not leave its main child running.
#[test]
fn a_killed_supervisor_takes_its_main_child_along() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&listener("TERM", "")).with_input();
    let mut running = launch.tail(r#""$@"; echo "code $?"; read -r line"#).start();
    running.expect("ready\n");
    let supervisor = running.supervisor();
    claudebox::sys::kill(supervisor, libc::SIGKILL).unwrap();
    running.expect("got TERM\n");
}

/// Checklist 24: that the whole stop stays below ten seconds with the default grace is a unit test's.
#[test]
fn a_main_child_that_ignores_term_is_killed_after_the_grace() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&listener("TERM", "")).env("CLAUDEBOX_GRACE_SECONDS", "1").start();
    running.expect("ready\n");
    running.signal(libc::SIGTERM);
    running.expect("got TERM\n");
    running.finish().exits(128 + libc::SIGKILL);
}

#[rstest]
#[case::that_dies_of_it("", 128 + libc::SIGTERM)]
#[case::that_handles_it("$SIG{TERM} = sub { print \"bye\\n\"; exit 4 };", 4)]
fn term_ends_a_well_behaved_main_child_and_its_code_is_kept(#[case] setup: &str, #[case] code: i32) {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&listener("USR1", setup)).env("CLAUDEBOX_GRACE_SECONDS", "3600").start();
    running.expect("ready\n");
    running.signal(libc::SIGTERM);
    running.finish().exits(code);
}

/// Checklist 9 and 24.
#[test]
fn a_stopped_main_child_still_ends_on_term() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child("#!/bin/sh\nkill -STOP $$\n").env("CLAUDEBOX_GRACE_SECONDS", "3600");
    let mut running = launch.start();
    running.until("the main child is stopped", |all| all.len() == 2 && all[1].state == 'T');
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}
