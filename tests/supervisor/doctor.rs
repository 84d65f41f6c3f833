//! `claudebox doctor` on a healthy box and on broken ones: each names the fault and the way out.

use std::os::unix::fs::chown;

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
        finished.out.contains("there are some (ANTHROPIC_API_KEY)") && !finished.out.contains("sk-secret"),
        "{}",
        finished.out
    );
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
