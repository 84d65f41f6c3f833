//! Every orphan is reaped, and the main child's status is never lost.

use rstest::rstest;

use crate::stubs::listener;
use crate::support::process::{Process, zombies};
use crate::support::{NOT_PID1, Running, TestBox};

/// Leaves `count` orphans that end together, once standard input gives a line; then runs `after`.
fn leaves_orphans(count: usize, after: &str) -> String {
    format!(
        r#"#!/usr/bin/perl
use strict; $| = 1;
pipe(my $gate, my $latch) or die;
for (1 .. {count}) {{
    defined(my $child = fork) or die "fork: $!";
    if (!$child) {{
        close $latch;
        defined(my $orphan = fork) or die "fork: $!";
        sysread($gate, my $nothing, 1) if !$orphan;
        exit 0;
    }}
    waitpid($child, 0);
}}
print "ready\n";
<STDIN>;
close $latch;
{after}
"#
    )
}

/// Checklist 1.
#[test]
fn an_orphan_storm_of_1000_leaves_no_zombie() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&leaves_orphans(1000, "<STDIN>; exit 7;")).with_input().start();
    running.expect("ready\n");
    let pid1 = running.pid1();
    let orphans = running.processes().iter().filter(|process| process.parent == pid1).count() - 1;
    assert_eq!(orphans, 1000);
    running.write("end them\n");
    running.until("PID 1 and its main child are alone", |processes| processes.len() == 2 && zombies(processes) == 0);
    running.write("end\n");
    running.finish().exits(7);
}

/// Checklist 2: 500 deaths while PID 1 cannot run raise one SIGCHLD.
#[test]
fn a_sigchld_that_stands_for_500_deaths_leaves_no_zombie() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&leaves_orphans(500, "<STDIN>; exit 9;")).with_input().start();
    all_die_at_once(&mut running, 500);
    running.until("all are reaped", |processes| processes.len() == 2 && zombies(processes) == 0);
    running.write("end\n");
    running.finish().exits(9);
}

/// Checklist 2: and the main child's death may be one of them.
#[test]
fn a_sigchld_that_stands_for_500_deaths_does_not_hide_the_main_childs() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&leaves_orphans(500, "exit 9;")).with_input().start();
    all_die_at_once(&mut running, 501);
    running.finish().exits(9);
}

fn all_die_at_once(running: &mut Running, count: usize) {
    running.expect("ready\n");
    running.signal(libc::SIGSTOP);
    running.until("PID 1 is stopped", |processes| processes[0].state == 'T');
    running.write("end them\n");
    running.until("they have ended", |processes| zombies(processes) == count);
    running.signal(libc::SIGCONT);
}

const AS_PID1: &str = "unshare --pid --fork --kill-child --mount-proc";

/// Checklist 3: all 256, as PID 1 and not.
#[rstest]
#[case::pid1(AS_PID1)]
#[case::subreaper("")]
fn every_exit_code_is_kept(#[case] how: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let tail = format!(r#"for code in $(seq 0 255); do {how} "$@" $code; echo "$code became $?"; done"#);
    let finished = testbox.main_child("#!/bin/sh\nexit $2\n").tail(&tail).start().finish();
    let expected: Vec<String> = (0..=255).map(|code| format!("{code} became {code}")).collect();
    assert_eq!(finished.out.lines().collect::<Vec<_>>(), expected, "{}", finished.err);
}

/// Signals whose default action is to end a process, and that a program may use: not 32 and 33, the C library's own.
fn deadly_signals() -> impl Iterator<Item = i32> {
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
        32,
        33,
    ];
    (1..=64).filter(move |signal| !harmless.contains(signal))
}

/// Checklist 4: SIGKILL, SIGSEGV and the real-time signals among them.
#[rstest]
#[case::pid1(AS_PID1)]
#[case::subreaper("")]
fn death_by_signal_n_becomes_128_plus_n(#[case] how: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let numbers: Vec<String> = deadly_signals().map(|signal| signal.to_string()).collect();
    let tail = format!(r#"for n in {}; do {how} "$@" $n; echo "$n became $?"; done"#, numbers.join(" "));
    let finished = testbox.main_child("#!/bin/sh\nkill -$2 $$\necho survived $2\n").tail(&tail).start().finish();
    let expected: Vec<String> = deadly_signals().map(|n| format!("{n} became {}", 128 + n)).collect();
    assert_eq!(finished.out.lines().collect::<Vec<_>>(), expected, "{}", finished.err);
}

/// Checklist 5: the CLI's own commands, a prompt, and the interactive CLI.
#[rstest]
#[case::utility(&["init", "--", "auth"], false)]
#[case::prompt(&["init", "--", "hello", "there"], false)]
#[case::run(&["run", "hello"], false)]
#[case::interactive(&["init"], true)]
fn a_missing_cli_is_127_and_one_that_is_not_executable_126(#[case] args: &[&str], #[case] terminal: bool) {
    let Some(testbox) = TestBox::new() else { return };
    std::fs::write(testbox.path("plain-file"), "text").unwrap();
    for (name, code) in [("nowhere", 127), ("plain-file", 126)] {
        let path = testbox.path(name);
        let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", path.to_str().unwrap());
        let finished = if terminal { launch.on_terminal() } else { launch }.start().finish().exits(code);
        let said = if terminal { &finished.out } else { &finished.err };
        assert!(said.starts_with("claudebox: ") && said.contains(path.to_str().unwrap()), "{said}");
        assert_eq!(said.lines().count() - usize::from(terminal), 1, "one line: {said}");
    }
}

/// Checklist 6: children that end before anybody could have noted their pid. 300 boxes whose main child is `true`.
#[test]
fn a_main_child_that_ends_at_once_is_not_missed() {
    let Some(testbox) = TestBox::new() else { return };
    let tail = format!(
        r#"good=0; for n in $(seq 300); do {AS_PID1} "$@" && good=$((good + 1)); done; echo "$good of 300 gave 0""#
    );
    let launch = testbox.claudebox(&["init", "--", "auth"]).env("CLAUDEBOX_CLAUDE_BIN", "/bin/true").tail(&tail);
    let finished = launch.start().finish();
    assert_eq!(finished.out, "300 of 300 gave 0\n", "{}", finished.err);
}

/// Checklist 6: and 10,000 orphans that end at once, in one box.
#[test]
fn ten_thousand_orphans_do_not_hide_the_main_childs_status() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox
        .main_child(
            r#"#!/usr/bin/perl
$| = 1;
for (1 .. 100) {
    defined(my $parent = fork) or die "fork: $!";
    if (!$parent) {
        for (1 .. 100) { defined(my $orphan = fork) or die "fork: $!"; exit 0 if !$orphan }
        exit 0;
    }
    waitpid($parent, 0) == $parent && $? == 0 or die "a status was taken: $?";
}
print "ready\n";
<STDIN>;
exit 42;
"#,
        )
        .with_input()
        .start();
    running.expect("ready\n");
    running.until("all are reaped", |processes| processes.len() == 2 && zombies(processes) == 0);
    running.write("end\n");
    running.finish().exits(42);
}

fn named<'all>(processes: &'all [Process], name: &str) -> &'all Process {
    processes.iter().find(|process| process.name == name).unwrap()
}

/// Checklist 7.
#[test]
fn a_box_that_is_not_pid_1_reaps_its_orphans_and_keeps_the_code() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&leaves_orphans(50, "<STDIN>; exit 5;")).with_input().tail(NOT_PID1);
    let mut running = launch.start();
    running.expect("ready\n");
    let processes = running.processes();
    let supervisor = named(&processes, "claudebox").pid;
    assert_ne!(supervisor, running.pid1());
    assert_eq!(processes.iter().filter(|process| process.parent == supervisor).count(), 51);
    running.write("end them\n");
    running.until("the shell, the box and its main child are alone", |all| all.len() == 3 && zombies(all) == 0);
    running.write("end\n");
    let finished = running.finish().exits(5);
    assert_eq!(finished.out, "ready\nnothing else is left\n");
}

/// Checklist 8. The kernel counts how often PID 1 gave the processor up, and so how often it woke up: never, while its
/// main child starts 200 processes and then does nothing.
#[test]
fn an_idle_pid_1_never_wakes_up() {
    let Some(testbox) = TestBox::new() else { return };
    let script = r"#!/bin/sh
echo ready; read -r line
for n in $(seq 200); do /bin/true; done; sleep 1.5
echo done; read -r line
";
    let mut running = testbox.main_child(script).with_input().start();
    running.expect("ready\n");
    running.until("PID 1 waits", |processes| processes[0].state == 'S');
    let pid1 = running.processes().remove(0);
    let wakeups = || (pid1.status("voluntary_ctxt_switches"), pid1.status("nonvoluntary_ctxt_switches"));
    let before = wakeups();
    running.write("go\n");
    running.expect("done\n");
    assert_eq!(wakeups(), before);
    running.write("end\n");
    running.finish().exits(0);
}

/// Checklist 9.
#[test]
fn a_stopped_main_child_is_not_a_dead_one() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&listener("USR1 CONT", "kill STOP => $$;")).start();
    running.until("the main child is stopped", |processes| processes.len() == 2 && processes[1].state == 'T');
    // PID 1 reads its signals in one go: once this one is pending in the child, it has seen the stop too.
    running.signal(libc::SIGUSR1);
    running.until("the signal was forwarded", |processes| {
        let pending = u64::from_str_radix(&processes[1].status("ShdPnd"), 16).unwrap();
        pending & (1 << (libc::SIGUSR1 - 1)) != 0
    });
    running.signal(libc::SIGCONT);
    running.expect("ready\n");
    running.expect("got USR1\n");
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}
