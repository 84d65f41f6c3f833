//! What decides what Claude may do is out of its hands, and so are the secrets of files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use rstest::rstest;

use crate::local::{launch, make_workspace, run, says};
use crate::stubs::ready;
use crate::support::{TestBox, UID};

/// The token `secret`.
const TOKENS: &str = "- {name: ci, sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b}\n";

/// A file in the box, as root's; its path in there.
fn file(testbox: &TestBox, name: &str, text: &str) -> PathBuf {
    let path = testbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn hook(testbox: &TestBox, name: &str, says: &str) -> PathBuf {
    let path = file(testbox, name, &format!("#!/bin/sh\necho {says} as $(id -u) >>note\n"));
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    if name.starts_with("home") {
        chown(testbox.path("home/.claude"), Some(UID), Some(UID)).unwrap();
    }
    path
}

/// Hooks of both places in a default box, each name once; in a hardened one those alone that Claude cannot write.
#[rstest]
#[case::default("0", "new as 0\nold as 0\n")]
#[case::hardened("1", "new as 0\n")]
fn hooks_are_roots(#[case] hardened: &str, #[case] ran: &str) {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "etc/claudebox/init.d/1.sh", "new");
    hook(&testbox, "home/.claude/init.d/1.sh", "hidden");
    hook(&testbox, "home/.claude/init.d/2.sh", "old");
    let launch = testbox.main_child("#!/bin/sh\n").env("CLAUDEBOX_HARDENED", hardened);
    let finished = launch.start().finish().exits(0);
    assert_eq!(testbox.note(), ran, "{}", finished.err);
    let told: Vec<&str> = finished.err.lines().filter(|line| line.contains("/etc/claudebox/init.d")).collect();
    assert_eq!(told.len(), 1, "{}", finished.err);
    let what =
        if hardened == "1" { "were not run, because CLAUDEBOX_HARDENED is on" } else { "and Claude could change it" };
    assert!(told[0].contains(what), "{told:?}");
}

/// As an engine mounts a folder of a person's.
const READ_ONLY: &str = "mkdir -p /etc/claudebox; mount -t tmpfs tmpfs /etc/claudebox; cp -a $BOX/policy/. /etc/claudebox; \
     mount -o remount,ro /etc/claudebox";

/// Mounted so that the box cannot write to them, they are as good as root's.
#[rstest]
#[case::ours(None, "", 0)]
#[case::claudes(Some(UID), "", 78)]
#[case::read_only(Some(UID), READ_ONLY, 0)]
#[case::writable_elsewhere(Some(UID), "mkdir -p /etc/claudebox; mount -o bind,ro $BOX/policy /etc/claudebox", 78)]
fn hooks_that_claude_could_change_stop_a_hardened_box(
    #[case] owner: Option<u32>,
    #[case] mount: &str,
    #[case] code: i32,
) {
    let Some(testbox) = TestBox::new() else { return };
    let top = if mount.is_empty() { "etc/claudebox" } else { "policy" };
    let path = hook(&testbox, &format!("{top}/init.d/1.sh"), "hook");
    for path in path.ancestors().take(3) {
        chown(path, owner, owner).unwrap();
    }
    let launch = testbox.main_child("#!/bin/sh\n").before(mount).env("CLAUDEBOX_HARDENED", "1");
    let finished = launch.start().finish().exits(code);
    assert_eq!(testbox.path("work/note").exists(), code == 0, "{}", finished.err);
    if code != 0 {
        let said = finished.err.lines().last().unwrap();
        assert!(said.starts_with("claudebox: init hook /etc/claudebox/init.d/1.sh was not run: "), "{said}");
    }
}

/// Tokens, chats and jobs: where Claude could write them a hardened box does not start, and a default one says so once.
#[rstest]
#[case::tokens("CLAUDEBOX_MODE_API_TOKENS_FILE", TOKENS, "tokens.yml")]
#[case::jobs("CLAUDEBOX_MODE_CRON_FILE", "jobs: [{name: a, schedule: 0 0 1 1 *, instruction: x}]\n", "cron.yaml")]
#[case::chats("CLAUDEBOX_TELEGRAM_CONFIG", "allowed_chats: [1]\n", "telegram.yml")]
fn what_decides_is_out_of_claudes_hands(
    #[case] setting: &str,
    #[case] text: &str,
    #[case] name: &str,
    #[values("0", "1")] hardened: &str,
    #[values(true, false)] is_claudes: bool,
) {
    let Some(testbox) = TestBox::new() else { return };
    let path = if is_claudes {
        file(&testbox, &format!("home/{name}"), text)
    } else {
        file(&testbox, &format!("etc/claudebox/{name}"), text)
    };
    let mut launch = launch(&testbox)
        .env("CLAUDEBOX_HARDENED", hardened)
        .env("CLAUDEBOX_WORKSPACE", testbox.path("work").to_str().unwrap());
    launch = match name {
        "cron.yaml" => launch.env("CLAUDEBOX_MODE_CRON", "1"),
        "telegram.yml" => launch
            .env("CLAUDEBOX_MODE_TELEGRAM", "1")
            .env("CLAUDEBOX_TELEGRAM_BOT_TOKEN", "1:abc")
            .env("CLAUDEBOX_TELEGRAM_API_URL", "http://127.0.0.1:9"),
        _ => launch,
    };
    // In its own place it is found.
    if is_claudes {
        launch = launch.env(setting, path.to_str().unwrap());
    }
    let mut running = launch.start();
    let refused = is_claudes && hardened == "1";
    let err = if refused {
        running.finish().exits(78).err
    } else {
        running.until("serve is ready", ready);
        running.signal(libc::SIGTERM);
        running.finish().exits(0).err
    };
    let told =
        |what: &str| err.lines().filter(|line| line.contains(what) && line.contains(path.to_str().unwrap())).count();
    let place = format!("/etc/claudebox/{name}");
    assert_eq!(told("Claude could change it"), usize::from(is_claudes), "{err}");
    assert!(!is_claudes || err.contains(&place), "{err}");
    assert!(refused || err.contains("the HTTP door on 0.0.0.0:8080 is open") == (name != "tokens.yml"), "{err}");
}

/// The servers get the doors' secrets and the CLI its own, neither the names of the files; the files are closed to Claude.
#[rstest]
fn secrets_are_in_files(#[values("0", "1")] hardened: &str) {
    let Some(testbox) = TestBox::new() else { return };
    for (name, text) in [("key", "the-api-key\n"), ("token", "the-door-token")] {
        let path = file(&testbox, &format!("secrets/{name}"), text);
        // As engines mount what belongs to a person.
        chown(&path, Some(UID), Some(UID)).unwrap();
    }
    let mount = "mkdir -p /run/secrets; for one in key token; do touch /run/secrets/$one; mount --bind $BOX/secrets/$one /run/secrets/$one; done";
    let launch = launch(&testbox).before(mount).env("CLAUDEBOX_HARDENED", hardened);
    let launch = launch
        .env("ANTHROPIC_API_KEY_FILE", "/run/secrets/key")
        .env("CLAUDEBOX_MODE_API_TOKEN_FILE", "/run/secrets/token");
    let mut running = launch.start();
    running.until("serve is ready", ready);
    make_workspace(&testbox, "a");
    let asks = "env >environment; cat /run/secrets/key /run/secrets/token >read 2>/dev/null; true";
    assert_eq!(says(&run(&running, &testbox, &[asks]).output().unwrap()).0, Some(0));
    let read = |name: &str| fs::read_to_string(testbox.path("workspaces/a").join(name)).unwrap();
    assert_eq!(read("read"), "");
    let environment = read("environment");
    // Which the broker has.
    let is_one = |line: &str| line.starts_with("ANTHROPIC_API_KEY=") && line.ends_with("-claudebox-stand-in");
    assert!(environment.lines().any(is_one) && !environment.contains("the-api-key"), "{environment}");
    assert!(!environment.contains("_FILE=") && !environment.contains("the-door-token"), "{environment}");
    running.signal(libc::SIGTERM);
    let err = running.finish().exits(0).err;
    // With a token the door is not open.
    assert!(!err.contains("is open") && !err.contains("/run/secrets"), "{err}");
}

/// Where its folder is nobody's to close.
#[test]
fn a_secret_that_claude_can_read_is_told_and_refused_in_a_hardened_box() {
    let Some(testbox) = TestBox::new() else { return };
    let path = file(&testbox, "work/key", "the-api-key");
    for (hardened, code) in [("0", 0), ("1", 78)] {
        let launch = testbox.main_child("#!/bin/sh\necho $ANTHROPIC_API_KEY\n").env("CLAUDEBOX_HARDENED", hardened);
        let launch = launch.env("CLAUDEBOX_BROKER", "0");
        let finished = launch.env("ANTHROPIC_API_KEY_FILE", path.to_str().unwrap()).start().finish().exits(code);
        let said = format!("Claude can read the secret in {} (ANTHROPIC_API_KEY_FILE): ", path.display());
        assert!(finished.err.contains(&said), "{}", finished.err);
        assert_eq!(finished.out, if code == 0 { "the-api-key\n" } else { "" });
    }
}

#[rstest]
#[case::missing("/run/secrets/none", "there is no such file; is the secret mounted?")]
#[case::both("/etc/hostname", "ANTHROPIC_API_KEY is set too, and is the same secret; set one of the two")]
fn a_secret_that_cannot_be_had_stops_the_start(#[case] path: &str, #[case] why: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child("#!/bin/sh\necho main child\n").env("ANTHROPIC_API_KEY_FILE", path);
    let launch = if why.starts_with("ANTHROPIC") { launch.env("ANTHROPIC_API_KEY", "x") } else { launch };
    let finished = launch.start().finish().exits(78);
    assert_eq!(finished.err, format!("claudebox: ANTHROPIC_API_KEY_FILE={path:?} is not usable: {why}\n"));
}
