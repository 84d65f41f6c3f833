//! How much a box can gain, and which variables reach Claude.

use rstest::rstest;

use crate::stubs::{DOCKERS, cli, docker_socket, hook};
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

/// `docker run --user`: three users cannot be, and one would not keep what hardened promises.
#[rstest]
#[case::utility(&["init", "--", "auth"])]
#[case::prompt(&["init", "--", "hello", "there"])]
#[case::interactive(&["init"])]
fn hardened_without_root_is_refused(#[case] args: &[&str]) {
    let user = "setpriv --reuid 1000 --regid 1000 --clear-groups";
    for options in ["", "--inh-caps=+kill,+setuid --ambient-caps=+kill,+setuid"] {
        let Some(testbox) = TestBox::new() else { return };
        let path = testbox.script("cli", &cli("echo ran"));
        let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).env("CLAUDEBOX_HARDENED", "1");
        let finished = launch.tail(&format!(r#"exec {user} {options} "$@""#)).start().finish().exits(78);
        let why = "claudebox: CLAUDEBOX_HARDENED is on, and the box starts as user 1000: ";
        assert!(finished.err.starts_with(why) && finished.err.lines().count() == 1, "{}", finished.err);
        assert!(!testbox.path("work/note").exists());
    }
}

/// Each by its name, all that are missing.
#[rstest]
#[case("-kill", "no CAP_KILL:", "add KILL (")]
#[case("-setpcap", "no CAP_SETPCAP:", "add SETPCAP (")]
#[case("-setuid,-setgid", "no CAP_SETUID, CAP_SETGID:", "add SETUID, SETGID (")]
fn hardened_without_a_capability_is_refused(#[case] dropped: &str, #[case] missing: &str, #[case] remedy: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").env("CLAUDEBOX_HARDENED", "1");
    let tail = format!(r#"exec setpriv --bounding-set {dropped} "$@""#);
    let finished = launch.tail(&tail).start().finish().exits(78);
    let said = &finished.err;
    assert!(
        said.starts_with("claudebox: CLAUDEBOX_HARDENED is on, and this box has ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(said.contains(missing) && said.contains(remedy), "{said}");
    assert_eq!(finished.out, "");
}

/// Without them Claude would have the user of those who look after it, silently.
#[test]
fn hardened_without_a_user_for_the_servers_is_refused() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_MODE_API", "1").env("CLAUDEBOX_HARDENED", "1");
    let launch = launch.env("CLAUDEBOX_WORKSPACES_DIR", testbox.path("work").to_str().unwrap());
    let closed = testbox.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let finished = launch.env("CLAUDEBOX_STATE_DIR", closed.join("state").to_str().unwrap()).start().finish().exits(78);
    let why = "claudebox: CLAUDEBOX_HARDENED is on, and Claude could not be kept from its servers: ";
    assert!(finished.err.lines().last().unwrap().starts_with(why), "{}", finished.err);
}

/// What lets Claude be root goes; what cannot go is told, and is void.
#[test]
fn hardened_takes_the_rule_of_sudo_away() {
    let Some(testbox) = TestBox::new() else { return };
    let rules = testbox.path("etc/sudoers.d");
    std::fs::create_dir(&rules).unwrap();
    for (hardened, expected) in [("0", "claude\n"), ("1", "")] {
        std::fs::write(rules.join("claude"), "claude ALL=(ALL) NOPASSWD: ALL\n").unwrap();
        let launch = testbox.main_child("#!/bin/sh\nls /etc/sudoers.d | grep '^claude$'\nexit 0\n");
        let finished = launch.env("CLAUDEBOX_HARDENED", hardened).start().finish().exits(0);
        assert_eq!(finished.out, expected, "{}", finished.err);
        // The boxes of these tests have the machine's programs, read-only.
        assert_eq!(finished.err.contains("could not be taken away"), hardened == "1", "{}", finished.err);
    }
}

/// PID 1 has the doors' secrets in its environment: Claude cannot read it where it has the same user, nor can root with what
/// Docker gives it.
#[rstest]
#[case::the_same_user(r#"exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@""#, false)]
#[case::root(&format!(r#"exec setpriv --bounding-set {DOCKERS} "$@""#), true)]
fn nobody_reads_the_environment_of_pid_1(#[case] tail: &str, #[case] as_root: bool) {
    let Some(testbox) = TestBox::new() else { return };
    let read = "#!/bin/sh\nid -u >>note\ncat /proc/1/environ >>note 2>&1 || echo refused >>note\n";
    let launch = if as_root {
        hook(&testbox, "1.sh", read);
        testbox.main_child("#!/bin/sh\necho main child\n")
    } else {
        testbox.main_child(read)
    };
    launch.env("CLAUDEBOX_MODE_API_TOKEN", "door-secret").tail(tail).start().finish().exits(0);
    let note = testbox.note();
    assert!(note.starts_with(if as_root { "0\n" } else { "1000\n" }) && note.ends_with("refused\n"), "{note}");
    assert!(!note.contains("door-secret"), "{note}");
}

/// Wherever an engine's socket is, and whoever the box starts as.
#[rstest]
#[case::run("/run/docker.sock", "", "/run/docker.sock")]
#[case::podman("/run/podman/podman.sock", "", "/run/podman/podman.sock")]
#[case::containerd("/run/containerd/containerd.sock", "", "/run/containerd/containerd.sock")]
#[case::named("/run/own/engine", "unix:///run/own/engine", "/run/own/engine")]
#[case::renamed("$BOX/outside/docker.sock", "", "/run/renamed")]
fn hardened_refuses_every_engines_socket(
    #[case] path: &str,
    #[case] docker_host: &str,
    #[case] named: &str,
    #[values(r#"exec "$@""#, r#"exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@""#)] tail: &str,
) {
    let Some(testbox) = TestBox::new() else { return };
    let socket = format!(
        r#"mkdir -p "$(dirname {path})"
perl -e 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un(shift)) or die' {path}
[ {named} != /run/renamed ] || {{ touch /run/renamed; mount --bind {path} /run/renamed; }}"#
    );
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").before(&socket).tail(tail);
    let launch = launch.env("CLAUDEBOX_HARDENED", "1").env("DOCKER_HOST", docker_host);
    let finished = launch.start().finish().exits(78);
    assert!(finished.err.starts_with("claudebox: CLAUDEBOX_HARDENED is on and "), "{}", finished.err);
    // `/var/run` is `/run`.
    let why = format!("{named} is mounted: whoever reaches it is root on the host");
    assert!(finished.err.contains(&why) && finished.err.lines().count() == 1, "{}", finished.err);
    assert!(finished.err.contains("CLAUDEBOX_DOCKER_SOCKET=1"), "{}", finished.err);
}

#[test]
fn an_engines_socket_that_is_asked_for_is_let_in() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").before(&docker_socket(4242));
    let launch = launch.env("CLAUDEBOX_HARDENED", "1").env("CLAUDEBOX_DOCKER_SOCKET", "1");
    assert_eq!(launch.start().finish().exits(0).out, "main child\n");
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
