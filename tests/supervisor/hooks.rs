//! Init hooks: as root, in order, once per container, and bounded.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use rstest::rstest;

use crate::support::{Launch, TestBox};

const EXECUTABLE: u32 = 0o755;
const PLAIN: u32 = 0o644;

/// Writes a hook.
fn hook(testbox: &TestBox, name: &str, mode: u32, text: &str) {
    let folder = testbox.path("home/.claude/init.d");
    fs::create_dir_all(&folder).unwrap();
    chown(testbox.path("home/.claude"), Some(1000), Some(1000)).unwrap();
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
}

/// A hook that writes its name to `note` in the workspace, and ends with `code`.
fn noting(testbox: &TestBox, name: &str, code: u32) {
    hook(testbox, name, EXECUTABLE, &format!("#!/bin/sh\necho {name} >>note\nexit {code}\n"));
}

fn start(testbox: &TestBox) -> Launch<'_> {
    testbox.main_child("#!/bin/sh\necho main child\n")
}

/// Checklist 39.
#[test]
fn hooks_run_in_byte_order_as_root_before_the_main_child() {
    let Some(testbox) = TestBox::new() else { return };
    let who = r#"echo "$(basename "$0") $(id -u):$(id -g) HOME=$HOME USER=$USER" >>note"#;
    for name in ["b.sh", "A.sh", "C.sh", "10-x.sh", "9-x"] {
        hook(&testbox, name, EXECUTABLE, &format!("#!/bin/sh\n{who}\n"));
    }
    // Bash reads what is not executable.
    hook(&testbox, "2-plain.sh", PLAIN, &format!("[[ -n $BASH_VERSION ]] && {who}\n"));
    hook(&testbox, "1-notes.txt", PLAIN, "exit 1\n");
    let finished = testbox.main_child("#!/bin/sh\ncat note\n").start().finish().exits(0);
    let as_root = "0:0 HOME=/root USER=root";
    let order = ["10-x.sh", "2-plain.sh", "9-x", "A.sh", "C.sh", "b.sh"].map(|name| format!("{name} {as_root}\n"));
    assert_eq!(finished.out, order.concat());
}

/// Programs of Claude's that are called as system programs are, and a folder on PATH that everybody can write to.
#[test]
fn a_hook_runs_no_program_of_claudes() {
    let Some(testbox) = TestBox::new() else { return };
    let open = testbox.path("open");
    for folder in [testbox.path("home/.claude/bin"), open.clone()] {
        fs::create_dir_all(&folder).unwrap();
        for name in ["bash", "sh", "id", "only-claudes"] {
            fs::write(folder.join(name), format!("#!/bin/sh\necho {name} of Claude >>note\n")).unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(EXECUTABLE)).unwrap();
        }
    }
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    // Bash reads the first.
    hook(&testbox, "1.sh", PLAIN, "echo \"plain as $(id -un)\" >>note\n");
    let tries = "#!/usr/bin/env bash\necho \"as $(id -un)\" >>note\nonly-claudes || echo PATH=$PATH >>note\n";
    hook(&testbox, "2.sh", EXECUTABLE, tries);
    let launch = start(&testbox);
    let path = format!("{}:/usr/local/sbin:/usr/bin:/sbin:/bin:relative:/opt", open.display());
    launch.env("PATH", &path).start().finish().exits(0);
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(testbox.note(), format!("plain as root\nas root\nPATH={system}:/opt\n"));
}

/// Groups, the home, the ids: what a hook changes counts at this start.
#[test]
fn what_a_hook_does_to_the_user_counts_at_once() {
    let Some(testbox) = TestBox::new() else { return };
    let home = testbox.path("another-home");
    let text = format!(
        "#!/bin/sh\nsed -i 's/^staff:x:50:/staff:x:50:claude/' /etc/group\n\
         mkdir {home}\nsed -i 's,^\\(claude:.*\\):[^:]*:/bin/sh$,\\1:{home}:/bin/sh,' /etc/passwd\n",
        home = home.display()
    );
    hook(&testbox, "1.sh", EXECUTABLE, &text);
    let who = "#!/bin/sh\nid -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '\necho $HOME\necho >$HOME/mine\n";
    let finished = testbox.main_child(who).start().finish().exits(0);
    assert_eq!(finished.out, format!("44 50 998 1000 {}\n", home.display()), "{}", finished.err);
}

/// With the hooks of the image's user.
#[test]
fn a_hook_may_make_the_user() {
    let Some(testbox) = TestBox::new() else { return };
    let home = testbox.path("made");
    let line = format!("made:x:1234:1234::{}:/bin/sh", home.display());
    hook(&testbox, "1.sh", EXECUTABLE, &format!("#!/bin/sh\nmkdir {}\necho '{line}' >>/etc/passwd\n", home.display()));
    let launch = testbox.main_child("#!/bin/sh\nid -un\necho $HOME\necho >$HOME/mine\n").env("CLAUDEBOX_USER", "made");
    let finished = launch.start().finish().exits(0);
    assert_eq!(finished.out, format!("made\n{}\n", home.display()), "{}", finished.err);
    let launch = testbox.main_child("#!/bin/sh\n").env("CLAUDEBOX_USER", "another");
    assert!(launch.start().finish().exits(78).err.contains("there is no user \"another\" in this box"));
}

/// What a copy, an editor or another system has left, on a mount where every file is executable.
#[test]
fn what_is_not_named_as_a_hook_is_none() {
    let Some(testbox) = TestBox::new() else { return };
    for name in ["._1.sh", "1.sh~", "1.sh.bak", "1.sh.disabled", "1.sh.dpkg-old", "README.md", "x.py", ".hidden"] {
        hook(&testbox, name, EXECUTABLE, &format!("#!/bin/sh\necho {name} >>note\nexit 1\n"));
    }
    noting(&testbox, "1.sh", 0);
    noting(&testbox, "2-program", 0);
    let finished = start(&testbox).start().finish().exits(0);
    assert_eq!(testbox.note(), "1.sh\n2-program\n");
    let told: Vec<&str> = finished.err.lines().filter(|line| line.contains("is no init hook")).collect();
    assert_eq!(told.len(), 2, "{}", finished.err);
}

/// A program of another machine, a script from Windows: no line of them runs, and what is wrong is said.
#[rstest]
#[case::program(b"\xcf\xfa\xed\xfe\x07\n echo ran >>note\n", "it is no program for this machine", 126)]
#[case::windows(b"#!/bin/bash\r\necho ran >>note\n", "its first line names \"/bin/bash\\r\", which is not there", 127)]
fn a_hook_that_is_no_program_runs_nothing(
    #[case] text: &[u8],
    #[case] why: &str,
    #[case] code: i32,
    #[values("1.sh", "1")] name: &str,
) {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, name, EXECUTABLE, "");
    fs::write(testbox.path("home/.claude/init.d").join(name), text).unwrap();
    let finished = start(&testbox).start().finish().exits(78);
    assert!(!testbox.path("work/note").exists());
    let last = format!("claudebox: init hook {name} failed with exit code {code}; ");
    assert!(finished.err.contains(why) && finished.err.contains(&last), "{}", finished.err);
}

/// Standard output is the main child's alone.
#[test]
fn the_log_has_what_hooks_print_and_their_names_durations_and_exit_codes() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", EXECUTABLE, "#!/bin/sh\necho to stdout\necho to stderr >&2\nread line || echo no input\n");
    hook(&testbox, "2.sh", EXECUTABLE, "#!/bin/sh\nexit 7\n");
    let finished = start(&testbox).env("CLAUDEBOX_HOOKS_ON_ERROR", "continue").start().finish().exits(0);
    assert_eq!(finished.out, "main child\n");
    for line in ["to stdout\n", "to stderr\n", "no input\n", "claudebox: init hook 1.sh is done: exit code 0, 0."] {
        assert!(finished.err.contains(line), "{line}: {}", finished.err);
    }
    let failed = finished.err.lines().find(|line| line.starts_with("claudebox: init hook 2.sh failed")).unwrap();
    assert!(failed.starts_with("claudebox: init hook 2.sh failed with exit code 7, 0.") && failed.ends_with(" s"));
}

/// Checklist 39: a restart keeps the container's `/var`, a new container has another.
#[test]
fn hooks_run_once_per_container() {
    let Some(testbox) = TestBox::new() else { return };
    noting(&testbox, "a.sh", 0);
    for _ in 0..3 {
        start(&testbox).start().finish().exits(0);
    }
    assert_eq!(testbox.note(), "a.sh\n");
    noting(&testbox, "added.sh", 0);
    start(&testbox).start().finish().exits(0);
    assert_eq!(testbox.note(), "a.sh\nadded.sh\n");
    fs::remove_dir_all(testbox.path("var/lib")).unwrap();
    start(&testbox).start().finish().exits(0);
    assert_eq!(testbox.note(), "a.sh\nadded.sh\na.sh\nadded.sh\n");
}

/// Checklist 39: what was done before a failure is not done again.
#[test]
fn a_failing_hook_stops_the_start_and_the_next_start_goes_on_with_it() {
    let Some(testbox) = TestBox::new() else { return };
    noting(&testbox, "1.sh", 0);
    noting(&testbox, "2.sh", 3);
    noting(&testbox, "3.sh", 0);
    let finished = start(&testbox).start().finish().exits(78);
    assert_eq!((testbox.note(), finished.out), ("1.sh\n2.sh\n".into(), String::new()));
    let why = finished.err.lines().last().unwrap();
    assert!(why.starts_with("claudebox: init hook 2.sh failed with exit code 3; mend or remove /"), "{why}");
    assert_eq!(finished.err.matches("mend or remove").count(), 1, "{}", finished.err);
    noting(&testbox, "2.sh", 0);
    assert_eq!(start(&testbox).start().finish().exits(0).out, "main child\n");
    assert_eq!(testbox.note(), "1.sh\n2.sh\n2.sh\n3.sh\n");
}

#[test]
fn a_failing_hook_may_be_passed_over() {
    let Some(testbox) = TestBox::new() else { return };
    noting(&testbox, "1.sh", 3);
    hook(&testbox, "2.sh", EXECUTABLE, "#!/no/such/shell\n");
    hook(&testbox, "3.sh", EXECUTABLE, "#!/bin/sh\nkill -9 $$\n");
    noting(&testbox, "4.sh", 0);
    let start = || start(&testbox).env("CLAUDEBOX_HOOKS_ON_ERROR", "continue").start().finish().exits(0);
    let finished = start();
    assert_eq!((testbox.note(), finished.out), ("1.sh\n4.sh\n".into(), "main child\n".into()));
    for how in ["1.sh failed with exit code 3;", "2.sh failed with exit code 127;", "3.sh was ended by signal 9;"] {
        assert!(finished.err.contains(&format!("claudebox: warning: init hook {how}")), "{how}: {}", finished.err);
    }
    // It has not succeeded yet.
    start();
    assert_eq!(testbox.note(), "1.sh\n4.sh\n1.sh\n");
}

#[test]
fn a_bad_setting_is_refused_before_any_hook() {
    let Some(testbox) = TestBox::new() else { return };
    noting(&testbox, "1.sh", 0);
    let finished = start(&testbox).env("CLAUDEBOX_HOOKS_ON_ERROR", "ignore").start().finish().exits(78);
    assert!(finished.err.contains("allowed are stop and continue"), "{}", finished.err);
    assert!(!testbox.path("work/note").exists());
}

/// `docker run --user`: there is no root to run them.
#[test]
fn hooks_that_cannot_run_are_mentioned() {
    let Some(testbox) = TestBox::new() else { return };
    noting(&testbox, "1.sh", 3);
    let finished =
        start(&testbox).tail(r#"exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@""#).start().finish();
    let finished = finished.exits(0);
    assert_eq!(
        finished.err,
        "claudebox: warning: init hooks run as root, and this box was started as claude: none runs\n"
    );
    assert!(!testbox.path("work/note").exists());
}

/// A process in a session of its own that ignores TERM, and one in the hook's session that does; then the hook waits.
const STUBBORN: &str = r#"#!/bin/bash
setsid bash -c 'trap "" TERM; echo $$ >escapee; while :; do sleep 1000; done' &
bash -c 'trap "" TERM; echo $$ >child; while :; do sleep 1000; done' &
until [ -s escapee ] && [ -s child ]; do sleep 0.01; done
echo stubborn >&2
wait
"#;

/// It takes a moment to clean up.
const OBEDIENT: &str = "#!/bin/sh\ntrap 'sleep 0.2; echo cleaned up >&2; exit' TERM\nsleep 1000 & wait\n";

/// The stubborn ones have ended too when the next hook runs.
#[test]
fn a_hook_that_takes_too_long_is_ended_with_what_it_started() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", EXECUTABLE, STUBBORN);
    let look = r#"for name in escapee child; do
    read -r pid <$name
    while read -r key value _ && [ "$key" != State: ]; do :; done 2>/dev/null </proc/$pid/status
    [ -e /proc/$pid ] && [ "$value" != Z ] && echo "$name lives" >>note
done; echo looked >>note
"#;
    hook(&testbox, "2.sh", EXECUTABLE, &format!("#!/bin/bash\n{look}"));
    let limited = |launch: Launch<'_>| launch.env("CLAUDEBOX_HOOK_TIMEOUT", "1").start().finish();
    let finished = limited(start(&testbox).env("CLAUDEBOX_HOOKS_ON_ERROR", "continue")).exits(0);
    assert_eq!(testbox.note(), "looked\n", "{}", finished.err);
    let finished = limited(start(&testbox)).exits(78);
    let why = finished.err.lines().last().unwrap();
    assert!(why.starts_with("claudebox: init hook 1.sh took longer than "), "{why}");
}

/// Checklist 12. The kernel ends everything with PID 1; as an ordinary process it is for claudebox to do.
#[rstest]
#[case::obedient(OBEDIENT, None)]
#[case::stubborn(STUBBORN, None)]
#[case::stubborn_under_a_subreaper(STUBBORN, Some(crate::support::NOT_PID1))]
fn a_stop_in_the_middle_of_a_hook_ends_it_and_the_box(#[case] text: &str, #[case] tail: Option<&str>) {
    let Some(testbox) = TestBox::new() else { return };
    let daemon = "#!/bin/sh\nsetsid nohup sleep 2000 >/dev/null 2>&1 &\n";
    hook(&testbox, "0.sh", EXECUTABLE, daemon);
    hook(&testbox, "1.sh", EXECUTABLE, text);
    let launch = start(&testbox);
    let mut running = if let Some(tail) = tail { launch.tail(tail) } else { launch }.start();
    running.until("the hook waits", |all| all.iter().any(|process| process.command() == ["sleep", "1000"]));
    running.until("the daemon", |all| all.iter().any(|process| process.command() == ["sleep", "2000"]));
    let supervisor = running.supervisor();
    claudebox::sys::kill(supervisor, libc::SIGTERM).unwrap();
    let finished = running.finish().exits(128 + libc::SIGTERM);
    assert!(!finished.out.contains("main child") && !finished.out.contains("left behind"), "{}", finished.out);
    let why = finished.err.lines().last().unwrap();
    assert_eq!(why, "claudebox: ended by signal 15 during the init hooks");
    assert_eq!(finished.err.contains("cleaned up"), text == OBEDIENT, "{}", finished.err);
}

#[test]
fn a_hook_may_leave_a_daemon_that_lives_as_long_as_the_box() {
    let Some(testbox) = TestBox::new() else { return };
    let daemon = "#!/bin/sh\n(setsid sh -c 'trap \"echo daemon got TERM; exit\" TERM; echo up; sleep 2000 & wait' &)\n";
    hook(&testbox, "1.sh", EXECUTABLE, daemon);
    let mut running = testbox.main_child("#!/bin/sh\necho main child\nread line\n").with_input().start();
    running.expect("main child\n");
    running.until("the daemon is there", |all| all.iter().any(|process| process.command() == ["sleep", "2000"]));
    running.close_input();
    let finished = running.finish().exits(1);
    assert!(finished.err.contains("daemon got TERM"), "{}", finished.err);
}
