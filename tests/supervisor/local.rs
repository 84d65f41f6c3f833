//! `claudebox run` in a box whose servers run: its prompt is theirs to carry out.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rstest::rstest;
use serde_json::Value;

use crate::stubs::{ready, servers};
use crate::support::output::Stream;
use crate::support::process::Process;
use crate::support::{DEADLINE, Launch, Running, TestBox, UID};

const SESSION: &str = "11111111-2222-4333-8444-555555555555";

/// A CLI whose prompt is what it does, in bash, after its first event and before its result.
const STUB: &str = r#"#!/bin/bash
echo '{"type":"system","subtype":"init","session_id":"SESSION","model":"stub","cwd":"/","tools":["Bash"]}'
answer() { echo '{"type":"result","subtype":"success","is_error":false,"result":"'"$1"'","session_id":"SESSION","total_cost_usd":0.10,"structured_output":{"user_name":1.0}}'; exit; }
fail() { echo '{"type":"result","subtype":"success","is_error":true,"result":"'"$1"'","api_error_status":400,"session_id":"SESSION"}'; exit 1; }
until_there() { until [ -e "$1" ]; do sleep 0.01; done; }
arguments="$*"
prompt=$(perl -MJSON::PP -0777 -ne 'print decode_json($_)->{message}{content}[-1]{text}')
eval "$prompt"
answer done
"#;

/// A box with servers and this CLI.
pub(crate) fn launch(testbox: &TestBox) -> Launch<'_> {
    let stub = testbox.script("claude", &STUB.replace("SESSION", SESSION));
    servers(testbox).env("CLAUDEBOX_CLAUDE_BIN", &stub)
}

/// The same, up, with a workspace.
pub(crate) fn start(testbox: &TestBox) -> Running {
    let mut running = launch(testbox).start();
    running.until("serve is ready", ready);
    make_workspace(testbox, "a");
    running
}

pub(crate) fn make_workspace(testbox: &TestBox, name: &str) {
    let folder = testbox.path("workspaces").join(name);
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(UID), Some(UID)).unwrap();
}

/// `claudebox run ARGS` in the workspace `a`, as `docker exec` does.
pub(crate) fn run(running: &Running, testbox: &TestBox, args: &[&str]) -> Command {
    run_by(running, testbox, r#"exec "$@""#, args)
}

/// The same, started by these shell commands: it is their `"$@"`.
pub(crate) fn run_by(running: &Running, testbox: &TestBox, shell: &str, args: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &running.pid1().to_string(), "--pid", "--mount", "--", "bash", "-c"]);
    // One that waits for good fails its test.
    let within = format!("timeout --foreground --signal KILL {}", DEADLINE.as_secs());
    command
        .arg(format!("cd \"$0\" && set -- {within} \"$@\" && {shell}"))
        .arg(testbox.path("workspaces/a"))
        .arg(testbox.program())
        .arg("run");
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.env("CLAUDEBOX_WORKSPACES_DIR", testbox.path("workspaces"));
    command.env("CLAUDEBOX_CLAUDE_BIN", testbox.path("claude"));
    command
}

/// As [`run`], without the servers: there are none in this state folder.
pub(crate) fn run_alone(running: &Running, testbox: &TestBox, args: &[&str]) -> Command {
    let mut command = run(running, testbox, args);
    command.env("CLAUDEBOX_STATE_DIR", testbox.path("work/alone"));
    command.env("CLAUDEBOX_WORKSPACE", testbox.path("workspaces/a"));
    command
}

pub(crate) fn says(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (as_shells_say(output.status), text(&output.stdout), text(&output.stderr))
}

/// The exit code, 128+n for the end by signal n.
fn as_shells_say(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

pub(crate) fn begin(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The runs of the servers in the box of this PID 1, the newest first.
pub(crate) fn runs(pid1: i32) -> Vec<Value> {
    let ask = r"exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /runs HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3; cat <&3";
    let output =
        Command::new("nsenter").args(["--target", &pid1.to_string(), "--net", "bash", "-c", ask]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str::<Value>(body).unwrap()["runs"].as_array().unwrap().clone()
}

pub(crate) fn stop(running: Running) {
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// The process `claudebox run`, not the shells that became it.
pub(crate) fn client(processes: &[Process]) -> Option<&Process> {
    processes.iter().find(|process| {
        let command = process.command();
        command.get(1).is_some_and(|role| role == "run") && command[0].ends_with("claudebox")
    })
}

/// The process of a run of the servers.
fn worker(processes: &[Process]) -> Option<&Process> {
    processes.iter().find(|process| process.is_worker() && process.is_marked())
}

pub(crate) fn sleeps(processes: &[Process], seconds: &str) -> usize {
    processes.iter().filter(|process| process.command() == ["sleep", seconds]).count()
}

#[test]
fn a_prompt_is_a_run_of_the_servers_in_the_workspace_one_stands_in() {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    let output = run(&running, &testbox, &["pwd >where; id -u >>where", "--output-format", "json"]).output().unwrap();
    let (code, out, err) = says(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let result: Value = serde_json::from_str(&out).unwrap();
    let listed = runs(running.pid1());
    assert_eq!(listed.len(), 1, "{listed:?}");
    let workspace = testbox.path("workspaces/a");
    for (name, value) in [("door", "local"), ("requester", "local"), ("state", "succeeded"), ("outcome", "ok")] {
        assert_eq!(listed[0][name], value);
    }
    assert_eq!((&listed[0]["runId"], &listed[0]["workspace"]), (&result["runId"], &workspace.to_str().unwrap().into()));
    assert_eq!(fs::read_to_string(workspace.join("where")).unwrap(), format!("{}\n{UID}\n", workspace.display()));
    stop(running);
}

/// Output, complaint and exit code, but for what differs from run to run.
fn comparable(output: &Output) -> (Option<i32>, Vec<String>, String) {
    let (code, out, err) = says(output);
    let line = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(mut json) if json.is_object() => {
            if json.get("runId").is_some() {
                json["runId"] = "ID".into();
            }
            json.to_string()
        }
        _ => line.to_owned(),
    };
    (code, out.lines().map(line).collect(), err)
}

#[rstest]
#[case::ok("answer done", &[], 0)]
#[case::events(r#"echo '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t","name":"x","input":{"a_b":1e-7}}]}}'"#, &[], 0)]
#[case::model_error("fail 'bad request'", &[], 1)]
#[case::no_result("echo oops >&2; exit 5", &[], 74)]
#[case::killed("kill -KILL $$", &[], 137)]
#[case::hung("exec sleep 1000", &["--timeout", "2"], 124)]
#[case::leftovers("setsid nohup sleep 1000 >/dev/null 2>&1 & sleep 0", &[], 0)]
#[case::schema("answer \"$(tr a b <<<answer)\"", &["--json-schema", "{}"], 0)]
fn output_complaint_and_exit_code_are_those_of_a_run_without_servers(
    #[case] prompt: &str,
    #[case] options: &[&str],
    #[case] code: i32,
) {
    let Some(testbox) = TestBox::new() else { return };
    let running = start(&testbox);
    for format in ["text", "json", "json-verbose", "stream-json"] {
        let args = [&[prompt, "--no-continue", "--output-format", format], options].concat();
        let through = comparable(&run(&running, &testbox, &args).output().unwrap());
        let alone = comparable(&run_alone(&running, &testbox, &args).output().unwrap());
        assert_eq!(through, alone, "{format}");
        assert_eq!(through.0, Some(code), "{format}: {through:?}");
    }
    assert_eq!(runs(running.pid1()).len(), 4);
    stop(running);
}

#[test]
fn a_client_that_is_killed_takes_its_run_with_it() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let mut child = begin(&mut run(&running, &testbox, &["setsid nohup sleep 1000 & sleep 1000"]));
    running.until("the run's tools run", |all| sleeps(all, "1000") == 2);
    let client = client(&running.processes()).unwrap().pid;
    claudebox::sys::kill(client, libc::SIGKILL).unwrap();
    child.wait().unwrap();
    let pid1 = running.pid1();
    running.until("the run has ended", |_| runs(pid1)[0]["state"] != "running");
    let listed = runs(pid1);
    let how = (&listed[0]["state"], &listed[0]["error"]);
    assert_eq!(how, (&"cancelled".into(), &"cancelled: its client went away".into()));
    assert_eq!((sleeps(&running.processes(), "1000"), worker(&running.processes())), (0, None));
    stop(running);
}

/// Makes the file of the session, so that it can be continued.
const REMEMBER: &str = r#"mkdir -p "$CLAUDE_CONFIG_DIR/projects/x"; echo '{"type":"user","entrypoint":"sdk-cli"}' >"$CLAUDE_CONFIG_DIR/projects/x/11111111-2222-4333-8444-555555555555.jsonl""#;

#[test]
fn two_prompts_in_one_workspace_take_turns_in_one_session() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let prompt = format!("{REMEMBER}; touch first; until_there go; echo \"first $arguments\" >>order");
    let mut first = begin(&mut run(&running, &testbox, &[&prompt]));
    running.until("the first runs", |_| testbox.path("workspaces/a/first").exists());
    let mut second = begin(
        run(&running, &testbox, &["echo \"second $arguments\" >>order"]).env("CLAUDEBOX_STDERR_IS_TERMINAL", "1"),
    );
    let mut said = Stream::read(second.stderr.take().unwrap());
    said.expect("claudebox: waiting: 1 run is before this one in its workspace, ").unwrap();
    said.expect(" is at work; Ctrl-C stops\n").unwrap();
    assert!(!testbox.path("workspaces/a/order").exists());
    let refused = says(&run(&running, &testbox, &["touch refused", "--busy", "reject"]).output().unwrap());
    assert_eq!((refused.0, refused.1.as_str()), (Some(75), ""));
    assert!(refused.2.starts_with("claudebox: the workspace is busy with run "), "{}", refused.2);
    fs::write(testbox.path("workspaces/a/go"), "").unwrap();
    assert_eq!((first.wait().unwrap().code(), second.wait().unwrap().code()), (Some(0), Some(0)));
    let order = fs::read_to_string(testbox.path("workspaces/a/order")).unwrap();
    let lines: Vec<&str> = order.lines().collect();
    assert!(lines[0].starts_with("first ") && !lines[0].contains("--resume"), "{order}");
    assert!(lines[1].starts_with("second ") && lines[1].contains(&format!("--resume {SESSION}")), "{order}");
    assert!(!testbox.path("workspaces/a/refused").exists());
    stop(running);
}

#[test]
fn a_run_that_replaces_another_ends_it_and_says_so_to_its_client() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let first = begin(&mut run(&running, &testbox, &["sleep 1000"]));
    running.until("the first runs", |all| sleeps(all, "1000") == 1);
    let second = says(&run(&running, &testbox, &["answer second", "--busy", "replace"]).output().unwrap());
    assert_eq!(second, (Some(0), "second\n".into(), String::new()));
    let (code, out, err) = says(&first.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(143), ""));
    assert_eq!(err, "claudebox: error: cancelled: another run took its place\n");
    stop(running);
}

#[rstest]
#[case(libc::SIGINT, "stopped")]
#[case(libc::SIGTERM, "error: ended by SIGTERM")]
#[case(libc::SIGHUP, "error: ended by SIGHUP")]
fn a_signal_to_the_client_ends_the_run(#[case] signal: i32, #[case] said: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let child =
        begin(&mut run(&running, &testbox, &["setsid nohup sleep 1000 & sleep 1000", "--output-format", "json"]));
    running.until("the run's tools run", |all| sleeps(all, "1000") == 2);
    claudebox::sys::kill(client(&running.processes()).unwrap().pid, signal).unwrap();
    let output = child.wait_with_output().unwrap();
    let (_, out, err) = says(&output);
    // Not an exit code: a shell's loop ends with the prompt that Ctrl-C has ended.
    assert_eq!((output.status.signal(), err), (Some(signal), format!("claudebox: {said}\n")));
    // It is told only once everything of it has ended.
    assert_eq!(sleeps(&running.processes(), "1000"), 0);
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&result["outcome"], &result["signal"]), (&"killed".into(), &signal.into()));
    assert_eq!(runs(running.pid1())[0]["state"], "cancelled");
    stop(running);
}

#[test]
fn a_second_signal_does_not_wait_for_the_runs_end() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let mut child = begin(&mut run(&running, &testbox, &["trap 'touch told' TERM; touch started; until_there never"]));
    running.until("the run is there", |_| testbox.path("workspaces/a/started").exists());
    let mut signalled = 0;
    running.until("the client has gone", |all| {
        if signalled == 0 || (signalled == 1 && testbox.path("workspaces/a/told").exists()) {
            claudebox::sys::kill(client(all).unwrap().pid, libc::SIGINT).unwrap();
            signalled += 1;
        }
        child.try_wait().unwrap().is_some()
    });
    // One that had waited would say how the run ended.
    assert_eq!((says(&child.wait_with_output().unwrap()), signalled), ((Some(130), String::new(), String::new()), 2));
    running.until("nothing of the run is left", |all| worker(all).is_none());
    stop(running);
}

/// The one who waits is taken out, and nothing of it is ever started.
#[test]
fn a_signal_takes_a_prompt_out_of_the_queue() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let mut first = begin(&mut run(&running, &testbox, &["touch first; until_there go"]));
    running.until("the first runs", |_| testbox.path("workspaces/a/first").exists());
    let mut second = begin(run(&running, &testbox, &["touch started"]).env("CLAUDEBOX_DEBUG", "1"));
    let mut said = Stream::read(second.stderr.take().unwrap());
    said.expect("waiting: 1 run is before this one in its workspace, ").unwrap();
    said.expect("Ctrl-C stops\n").unwrap();
    let all = running.processes();
    let last = all.iter().rfind(|process| client(std::slice::from_ref(process)).is_some()).unwrap();
    claudebox::sys::kill(last.pid, libc::SIGINT).unwrap();
    assert_eq!(second.wait().unwrap().signal(), Some(libc::SIGINT));
    assert_eq!(said.expect("claudebox: stopped\n"), Ok(String::new()));
    fs::write(testbox.path("workspaces/a/go"), "").unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert!(!testbox.path("workspaces/a/started").exists());
    stop(running);
}

/// The files below `folder` that hold this text.
fn holding(folder: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match fs::symlink_metadata(&path) {
        Ok(entry) if entry.is_dir() => holding(&path, text),
        Ok(entry) if entry.is_file() => {
            let has = fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes());
            if has { vec![path] } else { Vec::new() }
        }
        _ => Vec::new(),
    });
    found.collect()
}

/// A key or a token of a call is its prompt's alone: nothing keeps it, and the next call has none of it.
#[test]
fn variables_go_with_a_call_and_are_kept_nowhere() {
    let Some(testbox) = TestBox::new() else { return };
    // What the engine gives every process of the box.
    let of_box = [("CLAUDEBOX_ENV_A", "box"), ("CLAUDEBOX_ENV_C", "box"), ("CLAUDEBOX_DEBUG", "1")];
    let mut running = of_box.iter().fold(launch(&testbox), |launch, (name, value)| launch.env(name, value)).start();
    running.until("serve is ready", ready);
    make_workspace(&testbox, "a");
    let seen = |given: &[(&str, &str)]| {
        let prompt = r#"printf %s "A=$A B=$B C=$C HOME=$HOME PATH=${PATH%%:*} $CLAUDEBOX_CALL_VARIABLES" >seen"#;
        let mut command = run(&running, &testbox, &[prompt, "--output-format", "json-verbose"]);
        let output = command.envs(of_box).envs(given.iter().copied()).output().unwrap();
        let (code, out, err) = says(&output);
        assert_eq!(code, Some(0), "{err}");
        assert!(!out.contains("s3cret") && !err.contains("s3cret"), "{out} {err}");
        fs::read_to_string(testbox.path("workspaces/a/seen")).unwrap()
    };
    let home = testbox.path("home").display().to_string();
    let rest = format!("HOME={home} PATH={home}/.claude/bin ");
    let usual = format!("A=box B= C=box {rest}");
    assert_eq!(seen(&[]), usual);
    let names = ("CLAUDEBOX_CALL_VARIABLES", "CLAUDEBOX_ENV_A CLAUDEBOX_ENV_B CLAUDEBOX_ENV_HOME CLAUDEBOX_ENV_PATH");
    let path = ("CLAUDEBOX_ENV_PATH", "/usr/bin:/bin");
    let given = [
        names,
        ("CLAUDEBOX_ENV_A", "s3cret-a"),
        ("CLAUDEBOX_ENV_B", "s3cret-b"),
        ("CLAUDEBOX_ENV_HOME", "/root"),
        path,
    ];
    assert_eq!(seen(&given), format!("A=s3cret-a B=s3cret-b C= {rest}"));
    assert_eq!(seen(&[]), usual);
    let listed = serde_json::to_string(&runs(running.pid1())).unwrap();
    assert!(!listed.contains("s3cret"), "{listed}");
    running.signal(libc::SIGTERM);
    let log = running.finish().exits(0).err;
    assert!(!log.contains("s3cret"), "{log}");
    let held = holding(&testbox.path("home"), "s3cret");
    assert!(held.is_empty(), "{held:?}");
}

/// The next server does not know its variables: without them it would be another run.
#[test]
fn a_prompt_with_variables_does_not_outlive_its_server_in_the_queue() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = start(&testbox);
    let mut first = begin(&mut run(&running, &testbox, &["touch first; until_there go"]));
    running.until("the first runs", |_| testbox.path("workspaces/a/first").exists());
    let given = [
        ("CLAUDEBOX_CALL_VARIABLES", "CLAUDEBOX_ENV_A"),
        ("CLAUDEBOX_ENV_A", "x"),
        ("CLAUDEBOX_STDERR_IS_TERMINAL", "1"),
    ];
    let mut second = begin(run(&running, &testbox, &["touch started"]).envs(given));
    Stream::read(second.stderr.take().unwrap()).expect("waiting: 1 run").unwrap();
    let all = running.processes();
    let serve = all.iter().find(|process| process.command().get(1).is_some_and(|role| role == "serve")).unwrap();
    claudebox::sys::kill(serve.pid, libc::SIGKILL).unwrap();
    assert_eq!((first.wait().unwrap().code(), second.wait().unwrap().code()), (Some(74), Some(74)));
    let states = |running: &mut Running| {
        running.until("serve is ready again", ready);
        let listed = runs(running.pid1());
        listed.iter().map(|run| run["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states(&mut running), ["interrupted", "interrupted"]);
    assert!(!testbox.path("workspaces/a/started").exists());
    stop(running);
}
