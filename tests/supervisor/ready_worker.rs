//! The worker that `serve` keeps ready for the next run.

use std::process::Command;

use claudebox::process::mark;

use crate::stubs::{ready, serve_of, servers};
use crate::support::process::Process;
use crate::support::{Running, TestBox};

const STAYS: &str = r#"#!/bin/bash
cat >/dev/null
echo '{"type":"system","subtype":"init","session_id":"s"}'
exec sleep 3001
"#;

/// Asks for a run, from inside the box's network, and does not wait for it.
fn post_run(running: &Running) {
    let body = r#"{"prompt":"x","workspace":"a","createWorkspace":true,"async":true}"#;
    let head =
        "POST /run HTTP/1.1\\r\\nhost: localhost\\r\\ncontent-type: application/json\\r\\nconnection: close\\r\\n";
    let length = body.len();
    let exchange = format!(
        "exec 3<>/dev/tcp/127.0.0.1/8080; printf '{head}content-length: {length}\\r\\n\\r\\n{body}' >&3; cat <&3"
    );
    let mut command = Command::new("nsenter");
    command.args(["--target", &running.pid1().to_string(), "--net", "bash", "-c", &exchange]);
    let answer = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn workers(processes: &[Process]) -> Vec<i32> {
    processes.iter().filter(|process| process.is_worker()).map(|process| process.pid).collect()
}

fn cli(processes: &[Process]) -> Option<&Process> {
    processes.iter().find(|process| process.command() == ["sleep", "3001"])
}

fn cookie(pid: i32) -> String {
    let block = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    block.split('\0').find_map(|variable| variable.strip_prefix("CLAUDEBOX_RUN_ID=")).unwrap().to_owned()
}

#[test]
fn the_worker_that_waited_carries_its_runs_mark_and_ends_with_serve() {
    let Some(testbox) = TestBox::new() else { return };
    let program = testbox.script("claude", STAYS);
    let mut running = servers(&testbox).env("CLAUDEBOX_CLAUDE_BIN", &program).start();
    running.until("a worker waits", |all| ready(all) && workers(all).len() == 1);
    let waiting = workers(&running.processes());
    assert!(!mark::is_on(waiting[0], None));

    post_run(&running);
    running.until("the run has started and another worker waits", |all| cli(all).is_some() && workers(all).len() == 2);
    let processes = running.processes();
    let cli_of_run = cli(&processes).unwrap();
    assert_eq!(cli_of_run.parent, waiting[0]);
    let run = cookie(cli_of_run.pid).parse().unwrap();
    assert!(mark::is_on(waiting[0], Some(&run)) && mark::is_on(cli_of_run.pid, Some(&run)));

    let before = workers(&processes);
    let serve = serve_of(&processes).unwrap().pid;
    claudebox::sys::kill(serve, libc::SIGKILL).unwrap();
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|new| new.pid != serve));
    let processes = running.processes();
    assert!(cli(&processes).is_none() && workers(&processes).iter().all(|pid| !before.contains(pid)));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

#[test]
fn a_waiting_worker_that_was_killed_is_not_missed() {
    let Some(testbox) = TestBox::new() else { return };
    let program = testbox.script("claude", STAYS);
    let mut running = servers(&testbox).env("CLAUDEBOX_CLAUDE_BIN", &program).start();
    running.until("a worker waits", |all| ready(all) && workers(all).len() == 1);
    let waiting = workers(&running.processes())[0];
    claudebox::sys::kill(waiting, libc::SIGKILL).unwrap();
    post_run(&running);
    running.until("the run has started", |all| cli(all).is_some_and(|cli| cli.parent != waiting));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}
