//! What reaches the main child: every signal but CHLD, and signal state as it was before claudebox.

use rstest::rstest;

use crate::stubs::{cli, listener};
use crate::support::{NOT_PID1, TestBox};

/// Checklist 10. 34 is the first real-time signal.
#[rstest]
#[case::pid1(None)]
#[case::subreaper(Some(NOT_PID1))]
fn every_signal_reaches_the_main_child(#[case] tail: Option<&str>) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&listener("HUP INT QUIT USR1 USR2 WINCH CONT RTMIN", ""));
    let mut running = if let Some(tail) = tail { launch.tail(tail) } else { launch }.start();
    running.expect("ready\n");
    let supervisor = running.supervisor();
    for (signal, name) in [
        (libc::SIGHUP, "HUP"),
        (libc::SIGINT, "INT"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGWINCH, "WINCH"),
        (libc::SIGCONT, "CONT"),
        (34, "RTMIN"),
    ] {
        claudebox::sys::kill(supervisor, signal).unwrap();
        assert_eq!(running.expect(&format!("got {name}\n")), "", "before {name}");
    }
    claudebox::sys::kill(supervisor, libc::SIGTERM).unwrap();
    running.finish().exits(128 + libc::SIGTERM);
}

/// Checklist 11: neither one that somebody sent, nor the one that an orphan's death raises.
#[test]
fn sigchld_is_never_forwarded() {
    let Some(testbox) = TestBox::new() else { return };
    let leave_an_orphan = r#"
if (my $child = fork) { waitpid($child, 0) } elsif (fork) { exit 0 } else { exec "sleep", "infinity" }
$SIG{CHLD} = "IGNORE"; # forgets the one of the child above
"#;
    let mut running = testbox.main_child(&listener("CHLD RTMIN", leave_an_orphan)).start();
    running.expect("ready\n");
    running.signal(libc::SIGCHLD);
    let (pid1, orphan) = (running.pid1(), running.processes().remove(2));
    assert_eq!(orphan.parent, pid1);
    claudebox::sys::kill(orphan.pid, libc::SIGKILL).unwrap();
    running.until("the orphan is reaped", |processes| processes.len() == 2);
    running.signal(34);
    assert_eq!(running.expect("got RTMIN\n"), "");
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}

/// Puts a stub in the place where claudebox finds itself, so that its offline model never gets up. Linux gives the path
/// that a program was started from, and a mount put over that path since is what a second start gets.
const FROZEN_MODEL: &str = r#"
    touch "$BOX/twin"
    mount --bind "$BOX/claudebox" "$BOX/twin"
    exec 9<"$BOX/twin"
    mount --bind "$BOX/frozen" "$BOX/twin"
"#;

/// Checklist 13.
#[rstest]
#[case::pid1(r#"exec "$@""#)]
#[case::subreaper(r#""$@"; echo "code $?"; read -r line"#)]
fn a_term_while_the_offline_model_starts_stops_everything(#[case] tail: &str) {
    let Some(testbox) = TestBox::new() else { return };
    // The model's output is claudebox's; only its standard error is the box's.
    testbox.script("frozen", "#!/bin/sh\necho \"starting $*\" >&2\nexec sleep infinity\n");
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").env("CLAUDEBOX_OFFLINE", "1");
    let launch = launch.before("exec 2>&1").before(FROZEN_MODEL).program("/proc/self/fd/9");
    let mut running = launch.with_input().tail(tail).start();
    running.expect("starting child");
    running.expect("offline-model\n");
    let processes = running.processes();
    let model = processes.last().unwrap();
    claudebox::sys::kill(model.parent, libc::SIGTERM).unwrap();
    if tail.contains("code") {
        running.expect("code 143\n");
        running.until("only the shell is left", |all| all.iter().filter(|process| process.state != 'Z').count() == 1);
        running.write("end\n");
    } else {
        let finished = running.finish().exits(128 + libc::SIGTERM);
        assert!(!finished.out.contains("main child"), "{}", finished.out);
    }
}

/// Checklist 13: the kernel throws away what PID 1 neither blocks nor handles, so it has to block before it boots. Here
/// it hangs in the middle of its boot when TERM comes.
#[test]
fn a_term_during_boot_is_not_lost() {
    let Some(testbox) = TestBox::new() else { return };
    // Its first log line goes to a pipe that is full.
    let full = r#"
        mkfifo "$BOX/log"; exec 2<>"$BOX/log"
        dd if=/dev/zero of="$BOX/log" bs=4096 count=1000 oflag=nonblock status=none 2>/dev/null
    "#;
    let launch = testbox.main_child("#!/bin/sh\nexec sleep infinity\n").env("CLAUDEBOX_DEBUG", "1").before(full);
    let mut running = launch.before("echo ready").start();
    running.expect("ready\n");
    running.until("PID 1 waits for its reader", |processes| {
        let waits_in = std::fs::read_to_string(format!("/proc/{}/wchan", processes[0].pid)).unwrap();
        processes[0].name == "claudebox" && waits_in.contains("pipe_write")
    });
    running.signal(libc::SIGTERM);
    let mut log = std::fs::File::open(testbox.path("log")).unwrap();
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    running.finish().exits(128 + libc::SIGTERM);
}

/// Checklist 14. Without the second one the test would take an hour.
#[test]
fn a_second_term_kills() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(&listener("TERM", "")).env("CLAUDEBOX_GRACE_SECONDS", "3600");
    let mut running = launch.start();
    running.expect("ready\n");
    running.signal(libc::SIGTERM);
    running.expect("got TERM\n");
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGKILL);
}

/// Shows the signal state it was started with, which a shell would have changed; as a CLI it also gives an answer.
const SHOW: &str = r#"#!/usr/bin/perl
use FindBin;
open(my $status, "<", "/proc/self/status");
open(my $note, ">>", "$FindBin::Bin/work/note");
print $note grep({ /^Sig(Blk|Ign)/ } <$status>), "- end\n";
print qq({"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s"}\n);
"#;

/// Checklist 15. Each way to start is compared with the same program started without claudebox.
#[rstest]
#[case::nothing("--default-signal")]
#[case::usual_ones("--ignore-signal=USR1 --ignore-signal=HUP --block-signal=USR2")]
#[case::ones_that_matter_to_claudebox("--ignore-signal=CHLD,PIPE,TTOU --block-signal=TERM,CHLD,RTMIN+3")]
fn the_childs_blocked_and_ignored_signals_are_the_original_ones(#[case] odd: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let tail = format!(
        r#"
        env {odd} "$BOX/main-child"
        env {odd} "$@" auth
        unshare --pid --fork --kill-child --mount-proc env {odd} "$@" auth
        env {odd} "$@" hello there
        "#
    );
    let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_CLAUDE_BIN", &testbox.script("main-child", SHOW));
    let finished = launch.before(r#"umask 0; touch "$BOX/work/note""#).tail(&tail).start().finish().exits(0);
    let note = testbox.note();
    let shown: Vec<&str> = note.split_terminator("- end\n").collect();
    assert_eq!(shown.len(), 4, "{}\n{}", finished.out, finished.err);
    let original = shown[0];
    assert!(original.contains("SigBlk") && original.contains("SigIgn"), "{original}");
    assert_eq!(original.contains("SigBlk:\t0000000000000000"), odd == "--default-signal", "{original}");
    assert_eq!(&shown[1..], [original; 3]);
}

/// Checklist 16: for the main child, and for what the CLI of a prompt starts.
#[rstest]
#[case::utility(&["init", "--", "auth"])]
#[case::prompt(&["init", "--", "hello", "there"])]
fn a_pipe_that_nobody_reads_ends_its_writer_silently(#[case] args: &[&str]) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli(r#"{ yes | head -1; echo "yes: ${PIPESTATUS[0]}"; } 2>&1"#));
    testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).start().finish().exits(0);
    assert_eq!(testbox.note(), "y\nyes: 141\n");
}
