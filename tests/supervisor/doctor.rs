//! `claudebox doctor` on a healthy box and on broken ones: each names the fault and the way out.

use std::os::unix::fs::{PermissionsExt as _, chown};

use rstest::rstest;
use serde_json::Value;

use crate::support::{Launch, TestBox};

/// `claudebox doctor ARGS` with a CLI that says the right version.
fn doctor<'testbox>(testbox: &'testbox TestBox, args: &[&str]) -> Launch<'testbox> {
    let version = claudebox::claude::PINNED_VERSION;
    let cli = testbox.script("claude", &format!("#!/bin/sh\necho '{version} (Claude Code)'\n"));
    let args: Vec<&str> = ["doctor"].iter().chain(args).copied().collect();
    testbox.claudebox(&args).env("CLAUDEBOX_CLAUDE_BIN", &cli)
}

/// The check `name` of a box that is not healthy.
fn fault(launch: Launch<'_>, name: &str) -> (String, String) {
    let found: Value = serde_json::from_str(&launch.start().finish().exits(1).out).unwrap();
    assert_eq!(found["healthy"], false);
    let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(check["state"], "wrong", "{found}");
    (check["found"].as_str().unwrap().to_owned(), check["remedy"].as_str().unwrap().to_owned())
}

#[test]
fn a_healthy_box_is_healthy() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = doctor(&testbox, &[]).env("CLAUDEBOX_OFFLINE", "1").start().finish().exits(0);
    assert!(finished.out.ends_with("This box is healthy.\n"), "{}", finished.out);
    assert!(!finished.out.contains('\x1b'), "colours without a terminal: {}", finished.out);
}

/// `docker run IMAGE doctor`.
#[test]
fn a_box_that_is_started_for_it_is_prepared_and_looked_at() {
    let Some(testbox) = TestBox::new() else { return };
    let version = claudebox::claude::PINNED_VERSION;
    let stub =
        format!("#!/bin/sh\n[ \"$*\" = doctor ] && echo 'the CLI: all is lost'\necho '{version} (Claude Code)'\n");
    let cli = testbox.script("claude", &stub);
    let init = |args: &[&str]| {
        let args: Vec<&str> = ["init", "--"].iter().chain(args).copied().collect();
        testbox.claudebox(&args).env("CLAUDEBOX_CLAUDE_BIN", &cli).env("CLAUDEBOX_OFFLINE", "1").start().finish()
    };
    let finished = init(&["doctor"]).exits(0);
    assert!(finished.out.ends_with("This box is healthy.\n") && !finished.out.contains("lost"), "{}", finished.out);
    let found: Value = serde_json::from_str(&init(&["doctor", "--json"]).exits(0).out).unwrap();
    assert_eq!(found["healthy"], true);
    assert!(init(&["doctor", "--cli"]).exits(0).out.starts_with("the CLI: all is lost\n"));
}

/// The check `name`: its state and what was found.
fn check(launch: Launch<'_>, name: &str) -> (String, String) {
    let found: Value = serde_json::from_str(&launch.env("CLAUDEBOX_OFFLINE", "1").start().finish().out).unwrap();
    let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    (check["state"].as_str().unwrap().to_owned(), check["found"].as_str().unwrap().to_owned())
}

/// What a process of the user really has, whoever started the box.
#[rstest]
#[case::hardened("1", r#"exec "$@""#, ("ok", "hardened: no process of claude can gain privileges"))]
#[case::default("0", r#"exec "$@""#, ("ok", "sudo: Claude can become root in this box"))]
#[case::engine("0", r#"exec setpriv --no-new-privs "$@""#, ("note", "CLAUDEBOX_HARDENED is off, and a process of claude cannot gain privileges all the same"))]
#[case::user("1", r#"exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@""#, ("wrong", "CLAUDEBOX_HARDENED is on, and PID 1 is claude: no box starts so"))]
fn the_mode_is_that_of_a_process(#[case] hardened: &str, #[case] tail: &str, #[case] expected: (&str, &str)) {
    let Some(testbox) = TestBox::new() else { return };
    let (state, found) = check(doctor(&testbox, &["--json"]).env("CLAUDEBOX_HARDENED", hardened).tail(tail), "mode");
    assert_eq!((state.as_str(), found.as_str()), expected);
}

/// In a box that Claude shares its user with: hardened, it would not have started.
#[test]
fn a_supervisor_of_claudes_user_is_told() {
    let Some(testbox) = TestBox::new() else { return };
    let version = claudebox::claude::PINNED_VERSION;
    let program = testbox.program();
    let doctor = format!(
        "#!/bin/sh\n[ $1 = auth ] || exec echo {version}\nCLAUDEBOX_HARDENED=1 {} doctor --json\n",
        program.display()
    );
    let launch = testbox.main_child(&doctor);
    let (state, found) = check(launch.tail(r#"exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@""#), "mode");
    assert_eq!(
        (state.as_str(), found.as_str()),
        ("wrong", "CLAUDEBOX_HARDENED is on, and PID 1 is claude: no box starts so")
    );
}

/// The files that the box would read, and its hooks.
#[test]
fn a_file_that_claude_could_change_is_told() {
    let Some(testbox) = TestBox::new() else { return };
    let file = testbox.path("work/tokens.yml");
    std::fs::write(&file, "").unwrap();
    for (hardened, state) in [("0", "note"), ("1", "wrong")] {
        let launch = doctor(&testbox, &["--json"]).env("CLAUDEBOX_HARDENED", hardened).env("CLAUDEBOX_MODE_API", "1");
        let launch = launch.env("CLAUDEBOX_WORKSPACES_DIR", testbox.path("work").to_str().unwrap());
        let found = check(launch.env("CLAUDEBOX_MODE_API_TOKENS_FILE", file.to_str().unwrap()), "policy");
        let said =
            format!("Claude could change {} ({} belongs to its user)", file.display(), testbox.path("work").display());
        assert!(found.0 == state && found.1.starts_with(&said), "{found:?}");
    }
}

/// The doctor may be root, and Claude's own folder comes first on its PATH.
#[rstest]
fn no_program_of_claudes_is_run(#[values("0", "1")] hardened: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let note = testbox.path("note");
    std::fs::create_dir_all(testbox.path("home/.claude/bin")).unwrap();
    chown(testbox.path("home/.claude"), Some(1000), Some(1000)).unwrap();
    for name in ["test", "sh", "env", "claude", "claudebox"] {
        let text = format!("#!/bin/sh\necho \"{name} as $(id -u)\" >>{}\n", note.display());
        testbox.script(&format!("home/.claude/bin/{name}"), &text);
    }
    std::fs::write(&note, "").unwrap();
    std::fs::set_permissions(&note, std::fs::Permissions::from_mode(0o666)).unwrap();
    doctor(&testbox, &[]).env("CLAUDEBOX_OFFLINE", "1").env("CLAUDEBOX_HARDENED", hardened).start().finish().exits(0);
    assert_eq!(std::fs::read_to_string(note).unwrap(), "");
}

#[test]
fn a_workspace_of_somebody_else() {
    let Some(testbox) = TestBox::new() else { return };
    chown(testbox.path("work"), Some(4321), Some(4321)).unwrap();
    let (found, remedy) = fault(doctor(&testbox, &["--json"]).env("CLAUDEBOX_OFFLINE", "1"), "workspace");
    assert!(found.contains("owner 4321:4321") && remedy.contains("CLAUDEBOX_WORKSPACE="), "{found} {remedy}");
}

#[test]
fn no_credentials() {
    let Some(testbox) = TestBox::new() else { return };
    let (found, remedy) = fault(doctor(&testbox, &["--json"]), "credentials");
    assert!(found.contains("none") && remedy.contains("ANTHROPIC_API_KEY"), "{found} {remedy}");
}

#[test]
fn credentials_are_never_shown() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = doctor(&testbox, &[]).env("CLAUDEBOX_ENV_ANTHROPIC_API_KEY", "sk-secret").start().finish();
    assert!(
        finished.out.contains("there are some (ANTHROPIC_API_KEY); the broker has them")
            && !finished.out.contains("sk-secret"),
        "{}",
        finished.out
    );
    let finished =
        doctor(&testbox, &[]).env("ANTHROPIC_API_KEY", "sk-secret").env("CLAUDEBOX_BROKER", "0").start().finish();
    assert!(finished.out.contains("Claude can read them: CLAUDEBOX_BROKER is off"), "{}", finished.out);
}

#[test]
fn no_workspace() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = doctor(&testbox, &["--json"]).env("CLAUDEBOX_WORKSPACE", "/nonexistent");
    let (found, remedy) = fault(launch, "workspace");
    assert!(found.contains("/nonexistent does not exist") && remedy.contains("-v"), "{found} {remedy}");
}

#[test]
fn dead_dns() {
    let Some(testbox) = TestBox::new() else { return };
    let (found, remedy) = fault(doctor(&testbox, &["--json"]).env("ANTHROPIC_API_KEY", "x"), "DNS");
    assert!(found.contains("api.anthropic.com") && remedy.contains("/etc/resolv.conf"), "{found} {remedy}");
}

#[test]
fn a_socket_without_its_group() {
    let Some(testbox) = TestBox::new() else { return };
    let socket = "mkdir -p /run; perl -MIO::Socket::UNIX -e \
                  'IO::Socket::UNIX->new(Local => \"/run/docker.sock\", Listen => 1) or die' && \
                  chmod 660 /run/docker.sock && chgrp 4444 /run/docker.sock && ln -sfn /run /var/run";
    let launch = doctor(&testbox, &["--json"]).env("CLAUDEBOX_OFFLINE", "1").before(socket);
    let (found, remedy) = fault(launch, "docker");
    assert!(found.contains("group 4444") && remedy.contains("--group-add 4444"), "{found} {remedy}");
}
