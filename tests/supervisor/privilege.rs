//! Who the main child is, and what it does not get.

use std::os::unix::fs::DirBuilderExt as _;

use rstest::rstest;

use crate::stubs::cli;
use crate::support::{TestBox, UID};

const WHOAMI: &str = r#"
echo "user $(id -u) $(id -ru) group $(id -g) $(id -rg) groups $(id -G | tr ' ' '\n' | sort -n | tr '\n' ' ')"
echo "HOME=$HOME USER=$USER LOGNAME=$LOGNAME PWD=$PWD cwd $(pwd -P)"
grep -E '^(Cap(Inh|Prm|Eff|Amb)|Uid|Gid)' /proc/self/status
"#;

/// Checklist 31 and 32: the main child, the CLI of a prompt, and the interactive CLI.
#[rstest]
#[case::utility(&["init", "--", "auth"], false)]
#[case::prompt(&["init", "--", "hello", "there"], false)]
#[case::interactive(&["init"], true)]
fn the_cli_runs_as_the_user_and_with_nothing_else(#[case] args: &[&str], #[case] terminal: bool) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli(WHOAMI));
    let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).env("HOME", "/root").env("USER", "root");
    if terminal { launch.on_terminal() } else { launch }.start().finish().exits(0);
    let (home, work) = (testbox.path("home"), testbox.path("work"));
    let (home, work) = (home.display(), work.display());
    let none = "0000000000000000";
    let ids = format!("{UID}\t{UID}\t{UID}\t{UID}");
    let expected = format!(
        "user {UID} {UID} group {UID} {UID} groups 44 998 {UID} \n\
         HOME={home} USER=claude LOGNAME=claude PWD={work} cwd {work}\n\
         Uid:\t{ids}\nGid:\t{ids}\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\n"
    );
    assert_eq!(testbox.note(), expected);
}

/// Checklist 33.
#[test]
fn root_cannot_be_regained() {
    let Some(testbox) = TestBox::new() else { return };
    let script = r#"#!/usr/bin/perl
use POSIX;
print "setuid: ", setuid(0) ? "root" : "$!", "\n";
print "setgid: ", setgid(0) ? "root" : "$!", "\n";
$> = 0; print "seteuid: $>\n";
open(my $shadow, "<", "/etc/shadow") or print "shadow: $!\n";
"#;
    let finished = testbox.main_child(script).start().finish().exits(0);
    let refused = "Operation not permitted";
    let expected = format!("setuid: {refused}\nsetgid: {refused}\nseteuid: {UID}\nshadow: Permission denied\n");
    assert_eq!(finished.out, expected);
}

/// Checklist 40. `ls` itself has one more, for the folder.
#[rstest]
#[case::utility(&["init", "--", "auth"])]
#[case::prompt(&["init", "--", "hello", "there"])]
fn the_cli_gets_descriptors_0_to_2_only(#[case] args: &[&str]) {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("ls /proc/self/fd"));
    let open = r#"exec 5</etc/hostname 7<"$BOX" 8>"$BOX/log"; ls /proc/self/fd; echo "- end""#;
    let mut running = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).before(open).start();
    let given = running.expect("- end\n");
    assert!(["5", "7", "8"].iter().all(|fd| given.lines().any(|line| line == *fd)), "what claudebox gets: {given}");
    running.finish().exits(0);
    assert_eq!(testbox.note(), "0\n1\n2\n3\n");
}

/// A box that cannot start says so in one line and exits 78.
#[rstest]
#[case::missing_user(&[("CLAUDEBOX_USER", "nobody-here")], "there is no user \"nobody-here\"")]
#[case::root(&[("CLAUDEBOX_USER", "root")], "is root")]
#[case::missing_workspace(&[("CLAUDEBOX_WORKSPACE", "/no/such/folder")], "the workspace /no/such/folder does not exist")]
#[case::workspace_is_a_file(&[("CLAUDEBOX_WORKSPACE", "/etc/passwd")], "the workspace /etc/passwd is not a folder")]
#[case::closed_workspace(&[("CLAUDEBOX_WORKSPACE", "BOX/closed")], "cannot enter the workspace ")]
fn a_box_without_a_user_or_workspace_ends_with_one_line(
    #[case] env: &[(&str, &str)],
    #[case] message: &str,
    #[values("0", "1")] offline: &str,
) {
    let Some(testbox) = TestBox::new() else { return };
    let mut launch = testbox.main_child("#!/bin/sh\necho main child\n");
    std::fs::DirBuilder::new().mode(0o700).create(testbox.path("closed")).unwrap();
    for (name, value) in env {
        launch = launch.env(name, &value.replace("BOX", testbox.path("").to_str().unwrap()));
    }
    let finished = launch.env("CLAUDEBOX_OFFLINE", offline).start().finish().exits(78);
    assert_eq!(finished.out, "");
    assert!(finished.err.starts_with("claudebox: ") && finished.err.contains(message), "{}", finished.err);
    assert_eq!(finished.err.lines().count(), 1, "{}", finished.err);
}

/// Checklist 37: `docker run --read-only`.
#[test]
fn a_read_only_root_needs_a_place_for_temporary_files() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = || testbox.main_child("#!/bin/sh\necho main child\n").before("mount -t tmpfs -o ro tmpfs /mnt");
    let finished = launch().env("CLAUDE_CODE_TMPDIR", "/mnt").start().finish().exits(78);
    let why = "claudebox: the file system of /mnt is read-only, and the CLI has to write there: add --tmpfs /mnt";
    assert!(finished.err.starts_with(why) && finished.err.lines().count() == 1, "{}", finished.err);
    assert_eq!(launch().start().finish().exits(0).out, "main child\n");
}

/// Checklist 37: `docker run --user`. The id need not be in the user database.
#[rstest]
#[case::known(UID, None, "1000 claude")]
#[case::unknown(1_885_580_785, Some("home"), "1885580785 1885580785")]
fn a_start_without_root_works_as_whoever_that_is(#[case] id: u32, #[case] home: Option<&str>, #[case] who: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let tail = format!(r#"exec setpriv --reuid {id} --regid {id} --clear-groups "$@""#);
    let script = "#!/bin/sh\necho \"$(id -u) $USER\"\necho \"HOME=$HOME\"\npwd\nexit 3\n";
    let mut launch = testbox.main_child(script).tail(&tail);
    if let Some(home) = home {
        launch = launch.env("HOME", testbox.path(home).to_str().unwrap());
    }
    let finished = launch.start().finish().exits(3);
    let expected = format!("{who}\nHOME={}\n{}\n", testbox.path("home").display(), testbox.path("work").display());
    assert_eq!(finished.out, expected, "{}", finished.err);
}
