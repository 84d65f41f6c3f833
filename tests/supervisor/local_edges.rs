//! `claudebox run` and the local door where something is not as usual: no server, somebody else, the real CLI.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::local::{begin, launch, make_workspace, run, run_alone, run_by, runs, says, sleeps, start, stop};
use crate::stubs::{ready, serve_of, servers};
use crate::support::output::Stream;
use crate::support::{GUARD, TestBox, UID};

#[test]
fn a_dead_servers_socket_is_no_server() {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    let state = testbox.path("work/alone");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(UID), Some(UID)).unwrap();
    drop(UnixListener::bind(state.join("serve.sock")).unwrap());
    let output = run_alone(&running, &testbox, &["echo here >alone"]).output().unwrap();
    assert_eq!(says(&output), (Some(0), "done\n".into(), String::new()));
    assert_eq!(fs::read_to_string(testbox.path("workspaces/a/alone")).unwrap(), "here\n");
    assert!(runs(running.pid1()).is_empty());
    stop(running);
}

/// The state folder keeps others out, Claude's own user among them. Should somebody open it, the kernel still says who they are.
#[test]
fn another_user_is_refused() {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    let inside = |script: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &running.pid1().to_string(), "--pid", "--mount", "--", "sh", "-c", script]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let state = "/var/lib/claudebox/boxes/default";
    let owners = inside(&format!("stat -c '%a %u %g' {state} {state}/serve.sock"));
    assert_eq!(owners, format!("2770 0 {GUARD}\n600 {UID} {GUARD}\n"));
    let enter = format!(r#"exec setpriv --reuid {UID} --regid {UID} --clear-groups "$@""#);
    let mut command = run_by(&running, &testbox, &enter, &["touch closed"]);
    command.env("CLAUDEBOX_WORKSPACE", testbox.path("workspaces/a"));
    let (was, _, err) = says(&command.output().unwrap());
    // There is no door for it, so it runs Claude by itself.
    assert_eq!((was, runs(running.pid1()).len()), (Some(0), 0), "{err}");
    inside(&format!("chmod 777 {state} {state}/serve.sock"));
    let refused = "claudebox: only root and the user of the servers may use this door\n";
    for (uid, code, said) in [(4242, 77, refused), (UID, 77, refused), (0, 0, "")] {
        let become_user = format!(r#"exec setpriv --reuid {uid} --regid {uid} --clear-groups "$@""#);
        let mut command = run_by(&running, &testbox, &become_user, &[&format!("touch by-{uid}")]);
        let (was, _, err) = says(&command.output().unwrap());
        assert_eq!((was, err.as_str()), (Some(code), said), "{uid}");
    }
    let there = |uid: u32| testbox.path(&format!("workspaces/a/by-{uid}")).exists();
    assert_eq!((there(4242), there(UID), there(0)), (false, false, true));
    stop(running);
}

/// The environment of a run is the servers', without their secrets; not the client's.
#[test]
fn no_secret_reaches_the_run() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = launch(&testbox).env("CLAUDEBOX_WEBHOOK_SECRET", "secret-1").env("OF_THE_BOX", "seen");
    let mut running = launch.start();
    running.until("serve is ready", ready);
    make_workspace(&testbox, "a");
    let mut command = run(&running, &testbox, &["env >environment"]);
    command.env("CLAUDEBOX_TELEGRAM_BOT_TOKEN", "secret-2").env("OF_THE_CLIENT", "secret-3");
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let environment = fs::read_to_string(testbox.path("workspaces/a/environment")).unwrap();
    assert!(environment.contains("OF_THE_BOX=seen\n") && !environment.contains("secret-"), "{environment}");
    stop(running);
}

/// Otherwise it would wait for the run it is part of, which waits for it.
#[test]
fn a_run_inside_a_run_does_not_wait_for_it() {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    let program = testbox.program();
    let prompt = format!("export CLAUDEBOX_WORKSPACE=$PWD; answer \"$({} run 'answer inner')\"", program.display());
    let output = run(&running, &testbox, &[&prompt, "--timeout", "30"]).output().unwrap();
    assert_eq!(says(&output), (Some(0), "inner\n".into(), String::new()));
    assert_eq!(runs(running.pid1()).len(), 1);
    stop(running);
}

#[test]
fn a_long_prompt_arrives_whole_and_a_longer_one_is_refused() {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    for (length, code, said) in [(9_000_000, 0, "9000019\n"), (10_000_001, 64, "")] {
        let mut child = begin(run(&running, &testbox, &["answer ${#prompt}"]).stdin(Stdio::piped()));
        let mut input = child.stdin.take().unwrap();
        // Who refuses it does not read it to its end.
        let _ = write!(input, "#{}", "x".repeat(length - 1));
        drop(input);
        let (was, out, err) = says(&child.wait_with_output().unwrap());
        assert_eq!((was, out.as_str()), (Some(code), said), "{err}");
    }
    stop(running);
}

/// Who reads no more of a stream wants no more of the run.
#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    let shell = r#"{ "$@"; echo "code $?" >&2; } | head -n 1"#;
    let prompt = r#"while echo '{"type":"system","subtype":"x"}'; do sleep 0.01; done"#;
    let output = run_by(&running, &testbox, shell, &[prompt, "--output-format", "stream-json"]).output().unwrap();
    let (_, out, err) = says(&output);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["subtype"], "init");
    assert_eq!(err, "claudebox: error: ended by SIGPIPE\ncode 141\n");
    assert_eq!(runs(running.pid1())[0]["state"], "cancelled");
    stop(running);
}

#[test]
fn a_serve_that_dies_is_said_and_the_next_one_has_a_door() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let child = begin(&mut run(&running, &testbox, &["sleep 1000"]));
    running.until("the run's tool runs", |all| sleeps(all, "1000") == 1);
    let serve = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(serve, libc::SIGKILL).unwrap();
    let (code, _, err) = says(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(74), "{err}");
    assert!(err.starts_with("claudebox: the servers ended before the run did"), "{err}");
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|new| new.pid != serve));
    let output = run(&running, &testbox, &["answer again"]).output().unwrap();
    assert_eq!(says(&output), (Some(0), "again\n".into(), String::new()));
    let states: Vec<Value> = runs(running.pid1()).iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states, ["succeeded", "interrupted"]);
    stop(running);
}

/// Who waits goes with the box: the next one does not run what nobody asks for any more.
#[test]
fn the_stop_of_the_box_ends_runs_and_takes_out_those_that_wait() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let first = begin(&mut run(&running, &testbox, &["sleep 1000"]));
    running.until("the first runs", |all| sleeps(all, "1000") == 1);
    let mut second = begin(run(&running, &testbox, &["touch started"]).env("CLAUDEBOX_DEBUG", "1"));
    let mut said = Stream::read(second.stderr.take().unwrap());
    said.expect("waiting: 1 run is before this one in its workspace, ").unwrap();
    stop(running);
    for client in [first, second] {
        // PID 1 ends the clients too, so each has its answer or a signal.
        assert!(!client.wait_with_output().unwrap().status.success());
    }
    let mut running = launch(&testbox).start();
    running.until("serve is ready", ready);
    let states: Vec<Value> = runs(running.pid1()).iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states, ["cancelled", "interrupted"]);
    assert!(!testbox.path("workspaces/a/started").exists());
    stop(running);
}

/// A socket's path holds 107 bytes.
#[test]
fn servers_without_a_place_for_the_socket_go_on_without_the_door() {
    let Some(testbox) = TestBox::new() else { return };
    let state = testbox.path(&format!("work/{}", "x".repeat(110)));
    let mut running = launch(&testbox).env("CLAUDEBOX_STATE_DIR", state.to_str().unwrap()).start();
    running.until("serve is ready", ready);
    make_workspace(&testbox, "a");
    let mut command = run(&running, &testbox, &["answer alone"]);
    command.env("CLAUDEBOX_STATE_DIR", &state).env("CLAUDEBOX_WORKSPACE", testbox.path("workspaces/a"));
    assert_eq!(says(&command.output().unwrap()), (Some(0), "alone\n".into(), String::new()));
    assert!(runs(running.pid1()).is_empty());
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert_eq!(finished.err.matches("there is no local door").count(), 1, "{}", finished.err);
}

/// Each line is a prompt, the exit code and the outcome.
const REAL: [(&[&str], i32, &str); 5] = [
    (&["offline:echo one"], 0, "ok"),
    (&["offline:error 400"], 1, "model_error"),
    (&["offline:error 401"], 77, "auth"),
    (&["offline:silent", "--timeout", "3"], 124, "hung"),
    (&["hi", "--resume", "99999999-2222-4333-8444-555555555555"], 66, "session_not_found"),
];

/// With the offline model.
#[test]
fn the_real_cli_answers_through_the_servers_and_its_errors_have_their_codes() {
    let Some(testbox) = TestBox::new() else { return };
    let Ok(cli) = std::env::var("CLAUDEBOX_TEST_CLI") else {
        eprintln!("skipped: CLAUDEBOX_TEST_CLI does not name a CLI");
        return;
    };
    let seen = testbox.path("claude");
    fs::write(&seen, "").unwrap();
    let launch = servers(&testbox).before(&format!("mount --bind '{cli}' '{}'", seen.display()));
    let launch = launch.env("CLAUDEBOX_CLAUDE_BIN", seen.to_str().unwrap()).env("CLAUDEBOX_OFFLINE", "1");
    let mut running = launch.start();
    running.until("serve is ready", ready);
    make_workspace(&testbox, "a");
    for (args, code, outcome) in REAL {
        let args = [args, &["--output-format", "json"]].concat();
        let (was, out, err) = says(&run(&running, &testbox, &args).output().unwrap());
        assert_eq!(was, Some(code), "{args:?}: {out}{err}");
        let result: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&result["outcome"], err.is_empty()), (&outcome.into(), code == 0), "{err}");
    }
    assert_eq!(runs(running.pid1()).len(), REAL.len());
    stop(running);
}
