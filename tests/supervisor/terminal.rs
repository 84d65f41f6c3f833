//! The terminal: lent to the main child whole, taken back clean.

use std::path::Path;
use std::process::{Command, Stdio};

use rstest::rstest;

use crate::stubs::{cli, listener};
use crate::support::{Running, TestBox};

/// What `stty ARGS` says of the box's terminal, from outside.
fn stty(running: &Running, args: &[&str]) -> String {
    let output = Command::new("stty").args(args).stdin(running.terminal()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Checklist 17: five times Ctrl-C, and after the last one a signal that PID 1 would forward after any INT of its own.
#[test]
fn ctrl_c_reaches_the_main_child_once() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(&listener("INT USR1", "")).on_terminal().start();
    running.expect("ready\r\n");
    for _ in 0..5 {
        running.write("\x03");
        running.expect("got INT\r\n");
    }
    running.signal(libc::SIGUSR1);
    running.expect("got USR1\r\n");
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(128 + libc::SIGTERM);
    assert_eq!(finished.out.matches("got INT").count(), 5, "{}", finished.out);
}

/// A job that tells what happens to it.
const JOB: &str = r#"#!/usr/bin/perl
use POSIX; $| = 1;
$SIG{CONT} = sub { print "the job goes on\n" };
$SIG{INT} = sub { print "the job was interrupted\n"; exit 0 };
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGINT, SIGCONT));
print "the job runs\n";
sigsuspend(POSIX::SigSet->new) while 1;
"#;

const SHELL: &str = "#!/bin/sh\nPS1='prompt> ' exec bash --norc --noprofile --noediting -i\n";

/// Checklist 18.
#[test]
fn job_control_works_in_a_shell_as_main_child() {
    let Some(testbox) = TestBox::new() else { return };
    let job = testbox.script("job", JOB);
    let mut running = testbox.main_child(SHELL).on_terminal().start();
    let greeting = running.expect("prompt> ");
    assert!(!greeting.contains("no job control"), "{greeting}");
    running.write(&format!("{job}\n"));
    running.expect("the job runs\r\n");
    running.write("\x1a");
    running.expect("Stopped");
    running.expect("prompt> ");
    running.write("jobs\n");
    running.expect("Stopped");
    running.expect("prompt> ");
    running.write("fg\n");
    running.expect("the job goes on\r\n");
    running.write("\x03");
    running.expect("the job was interrupted\r\n");
    running.expect("prompt> ");
    running.write("exit 3\n");
    running.finish().exits(3);
}

/// Reads a line from its terminal after it was stopped and continued.
const STOPPABLE: &str = r#"#!/usr/bin/perl
use POSIX; $| = 1;
$SIG{CONT} = sub { print "continued\n"; print "read: ", scalar(<STDIN>); exit 4 };
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGCONT));
print "ready\n";
sigsuspend(POSIX::SigSet->new) while 1;
"#;

/// Checklist 18: there is no shell to say `fg` in.
#[test]
fn ctrl_z_of_the_main_child_does_not_hang_the_terminal() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = testbox.main_child(STOPPABLE).on_terminal().start();
    running.expect("ready\r\n");
    running.write("\x1a");
    running.expect("continued\r\n");
    running.write("a line\n");
    running.expect("read: a line\r\n");
    running.finish().exits(4);
}

/// An interactive shell as PID 1, with claudebox as the command `./box` in its folder.
fn under_a_shell(testbox: &TestBox, main_child: &str) -> Running {
    let shell = testbox.script("shell", SHELL);
    // The command as a script of its own, because a terminal takes no line as long as all its paths.
    let save = r#"printf '#!/bin/sh\nexec' >"$BOX/box"; printf ' "%s"' "$@" >>"$BOX/box"; chmod 755 "$BOX/box""#;
    let tail = format!("{save}\ncd \"$BOX\" && exec setsid --ctty {shell}");
    let mut running = testbox.main_child(main_child).on_terminal().tail(&tail).start();
    running.expect("prompt> ");
    running
}

/// Checklist 7 and 18: as a job of a shell, the box stops with its main child, and `fg` wakes both.
#[test]
fn ctrl_z_under_a_shell_suspends_the_box_and_fg_resumes_it() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = under_a_shell(&testbox, STOPPABLE);
    running.write("./box\n");
    running.expect("ready\r\n");
    running.write("\x1a");
    running.expect("Stopped");
    running.expect("prompt> ");
    running.write("fg\n");
    running.expect("continued\r\n");
    running.write("a line\n");
    running.expect("read: a line\r\n");
    running.expect("prompt> ");
    running.write("exit $?\n");
    running.finish().exits(4);
}

/// Checklist 18: in the background it leaves the terminal to the shell, from its start to its end; a main child that
/// wants to read stops until `fg`.
#[test]
fn a_box_in_the_background_leaves_the_terminal_to_the_shell() {
    let Some(testbox) = TestBox::new() else { return };
    let reader = "#!/bin/sh\necho ready\nread -r line\necho \"read: $line\"\nexit 4\n";
    let mut running = under_a_shell(&testbox, reader);
    running.write("./box &\n");
    running.expect("ready\r\n");
    running.write("echo $((40 + 2))\n");
    running.expect("\r\n42\r\n");
    running.until("the job is stopped", |all| all.iter().filter(|process| process.state == 'T').count() == 2);
    running.write("fg\n");
    running.expect("fg\r\n");
    running.expect("./box\r\n");
    running.write("a line\n");
    running.expect("read: a line\r\n");
    running.expect("prompt> ");
    running.write("exit $?\n");
    running.finish().exits(4);
}

/// Checklist 18: `bg` after Ctrl-Z, and the end of the box in the background.
#[test]
fn a_box_sent_to_the_background_leaves_the_terminal_to_the_shell() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = under_a_shell(&testbox, &listener("CONT USR1", ""));
    running.write("./box\n");
    running.expect("ready\r\n");
    running.write("\x1a");
    running.expect("Stopped");
    running.expect("prompt> ");
    running.write("bg\n");
    running.expect("got CONT\r\n");
    running.write("echo $((40 + 2))\n");
    running.expect("\r\n42\r\n");
    let supervisor = running.supervisor();
    claudebox::sys::kill(supervisor, libc::SIGTERM).unwrap();
    running.until("only the shell is left", |all| all.len() == 1);
    running.write("echo $((50 + 3))\n");
    running.expect("\r\n53\r\n");
    running.write("exit 5\n");
    running.finish().exits(5);
}

/// Checklist 18: a pager behind it reads from the terminal while the box runs.
#[test]
fn a_box_in_a_pipeline_shares_the_terminal() {
    let Some(testbox) = TestBox::new() else { return };
    let pager = "#!/bin/bash\nread -r text; read -r key </dev/tty; echo \"$text, key: $key\"; cat\n";
    testbox.script("pager", pager);
    let asks = "#!/bin/bash\necho ready\nuntil [ -e paged ]; do sleep 0.01; done\nread -r line\necho \"read: $line\"\n";
    let mut running = under_a_shell(&testbox, asks);
    running.write("./box | ./pager\n");
    running.expect("./box | ./pager\r\n");
    running.write("a key\n");
    running.expect("ready, key: a key\r\n");
    std::fs::write(testbox.path("work/paged"), "").unwrap();
    running.write("a line\n");
    running.expect("read: a line\r\n");
    running.expect("prompt> ");
    running.write("exit 6\n");
    running.finish().exits(6);
}

/// Checklist 17: on a prompt.
#[test]
fn ctrl_c_cancels_a_prompt() {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("trap 'echo TERM; exit' TERM; sleep infinity & wait"));
    let launch = testbox.claudebox(&["init", "--", "hello", "there"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let mut running = launch.on_terminal().start();
    running.until("the CLI runs", |all| all.iter().any(|process| process.name == "sleep"));
    running.write("\x03");
    running.finish().exits(128 + libc::SIGINT);
    assert_eq!(testbox.note(), "TERM\n");
}

/// Checklist 19: once, although PID 1 would forward the signal too if it got it.
#[test]
fn a_resize_arrives_once() {
    let Some(testbox) = TestBox::new() else { return };
    let script = listener("WINCH RTMIN", "").replace(r#"print "got $_[0]\n""#, r#"print "got $_[0] ", `stty size`"#);
    let mut running = testbox.main_child(&script).on_terminal().start();
    running.expect("ready\r\n");
    for columns in 100..105 {
        stty(&running, &["cols", &columns.to_string()]);
        running.expect(&format!("got WINCH 24 {columns}\r\n"));
    }
    running.signal(34);
    running.expect("got RTMIN");
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(128 + libc::SIGTERM);
    assert_eq!(finished.out.matches("got WINCH").count(), 5, "{}", finished.out);
}

/// Checklist 20: with TOSTOP the terminal stops who writes from the background, and PID 1 is in the background while its
/// main child runs. Its settings, `tostop` among them, are those from before in the end.
#[rstest]
#[case::utility(&["init", "--", "auth"])]
#[case::prompt(&["init", "--", "hello", "there"])]
fn under_tostop_a_box_logs_and_takes_its_terminal_back(#[case] args: &[&str]) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("stty raw -echo 2>/dev/null"));
    let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).env("CLAUDEBOX_DEBUG", "1");
    let mut running = launch.before("stty tostop; stty -g; echo starts").on_terminal().start();
    let before = running.expect("starts").lines().next().unwrap().to_owned();
    running.expect("claudebox: debug: workspace ");
    let finished = running.finish().exits(0);
    assert_eq!(stty(&finished.running, &["-g"]).trim(), before);
    assert!(stty(&finished.running, &["-a"]).contains(" tostop"));
}

/// Checklist 21.
#[rstest]
#[case::no_terminal("")]
#[case::stdin_closed("exec <&-")]
#[case::output_closed("exec >&- 2>&-")]
#[case::all_closed("exec <&- >&- 2>&-")]
fn boots_without_a_terminal_and_with_closed_streams(#[case] closing: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("readlink /proc/self/fd/0 /proc/self/fd/2 | wc -l"));
    for args in [["init", "--", "auth"].as_slice(), &["init", "--", "-p", "hello"]] {
        let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).before(closing);
        launch.start().finish().exits(0);
    }
    assert_eq!(testbox.note(), "2\n2\n");
}

/// Checklist 22: what a process of the user pushes into its terminal's input is gone when the box has ended, because the
/// next to read it may be a root shell.
#[test]
fn input_that_user_code_pushed_reaches_no_later_reader() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(_allowed) = Tiocsti::allow() else {
        eprintln!("skipped: this kernel has no TIOCSTI");
        return;
    };
    let push = r#"#!/usr/bin/perl
# TIOCSTI
for my $byte (split //, "rm -rf /\n") { ioctl(STDIN, 0x5412, $byte) or die "TIOCSTI: $!" }
$| = 1;
print "pushed\n";
"#;
    let mut running = testbox.main_child(push).on_terminal().start();
    running.expect("pushed\r\n");
    let finished = running.finish().exits(0);
    assert!(!finished.running.terminal_has_input());
}

/// The kernel's switch for TIOCSTI without privileges, on until this is dropped.
struct Tiocsti {
    before: String,
}

impl Tiocsti {
    const SWITCH: &str = "/proc/sys/dev/tty/legacy_tiocsti";

    /// `None` where it cannot be turned on. Kernels before 6.2 have no switch and always allow it.
    fn allow() -> Option<Self> {
        if !Path::new(Self::SWITCH).exists() {
            return Some(Self { before: String::new() });
        }
        let before = std::fs::read_to_string(Self::SWITCH).ok()?;
        std::fs::write(Self::SWITCH, "1").ok()?;
        Some(Self { before })
    }
}

impl Drop for Tiocsti {
    fn drop(&mut self) {
        if !self.before.is_empty() {
            let _ = std::fs::write(Self::SWITCH, &self.before);
        }
    }
}
