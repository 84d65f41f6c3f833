//! A box with servers: `serve` is started, started again when it ends, and stopped with the box.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output};

use rstest::rstest;

use crate::stubs::{SERVE_DOWN, SERVE_UP, cli, hook, ready, serve_of, servers, servers_with};
use crate::support::process::Process;
use crate::support::{GUARD, NOT_PID1, Running, TestBox, UID};

const SAY_READY: &str = "syswrite($link, 'ready');";
/// Every serve says that it is up and dies.
const DIES: &str = r#"print "up $restarts\n"; kill KILL => $$;"#;

/// Runs a claudebox role in the box, as `docker exec` does.
fn exec(running: &Running, testbox: &TestBox, role: &str) -> Output {
    let target = running.pid1().to_string();
    Command::new("nsenter")
        .args(["--target", &target, "--pid", "--mount"])
        .arg(testbox.program())
        .arg(role)
        .output()
        .unwrap()
}

/// Whether somebody listens at `address` (IPv4) in the network of the process `pid`.
fn listens(pid: i32, address: &str) -> bool {
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    // The second column is the address, the fourth the state: 0A listens.
    sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|columns| columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "0A")
}

fn says(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn environment(pid: i32) -> Vec<String> {
    let block = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    block.split_terminator('\0').map(str::to_owned).collect()
}

/// Checklist 30: and the folder that nobody mounted is made.
#[test]
fn serve_runs_as_the_user_and_its_end_is_the_boxs() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let processes = running.processes();
    let serve = serve_of(&processes).unwrap();
    assert_eq!(serve.parent, processes[0].pid);
    // Its own user, who has Claude's ids with files alone and no rights beyond.
    assert_eq!(serve.status("Uid"), format!("{GUARD}\t{GUARD}\t{GUARD}\t{UID}"));
    assert_eq!(serve.status("CapPrm"), "0".repeat(16));
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", serve.pid)).unwrap().to_str(), Some("/"));
    assert_eq!(says(&exec(&running, &testbox, "healthcheck")), (Some(0), "healthy: the servers are ready\n".into()));
    let folder = fs::metadata(testbox.path("workspaces")).unwrap();
    assert_eq!((folder.uid(), folder.gid(), folder.mode() & 0o7777), (UID, UID, 0o755));
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert_eq!((finished.out, finished.err), (String::new(), format!("{SERVE_UP}{SERVE_DOWN}")));
}

/// Checklist 30.
#[test]
fn a_serve_that_runs_is_not_one_that_is_ready() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers_with(&testbox, r#"print "up\n"; sleep 1 while 1;"#).start();
    running.expect("up\n");
    assert_eq!(
        says(&exec(&running, &testbox, "healthcheck")),
        (Some(1), "unhealthy: the servers are not ready\n".into())
    );
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}

/// Checklist 28.
#[rstest]
#[case::pid1(r#"exec "$@""#)]
#[case::subreaper(NOT_PID1)]
#[case::no_new_privileges(r#"exec setpriv --no-new-privs "$@""#)]
fn a_killed_serve_is_started_again_ever_later(#[case] tail: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).tail(tail).start();
    for restarts in 0..4 {
        running.until("serve is ready", ready);
        let processes = running.processes();
        let serve = serve_of(&processes).unwrap();
        let expected = format!("CLAUDEBOX_RESTARTS={restarts}");
        assert!(environment(serve.pid).contains(&expected), "{expected}");
        if restarts < 3 {
            claudebox::sys::kill(serve.pid, libc::SIGKILL).unwrap();
            running.until("it is not ready", |all| !ready(all));
        }
    }
    let processes = running.processes();
    let supervisor = processes.iter().find(|process| process.name == "claudebox ready").unwrap();
    claudebox::sys::kill(supervisor.pid, libc::SIGTERM).unwrap();
    let finished = running.finish().exits(0);
    assert!(!finished.out.contains("left behind"), "{}", finished.out);
    // Each serve said its lines whole, and between two of them is PID 1's.
    let last = format!("{SERVE_UP}{SERVE_DOWN}");
    let said = finished.err.strip_prefix(SERVE_UP).and_then(|rest| rest.strip_suffix(&last));
    let restarts: Vec<&str> = said.unwrap_or_else(|| panic!("{}", finished.err)).split(SERVE_UP).collect();
    let restarts = restarts.iter().map(|line| line.strip_suffix('\n').unwrap_or(line));
    let delays: Vec<f64> = restarts.enumerate().map(|(index, line)| delay(line, index + 1)).collect();
    assert_eq!(delays.len(), 3, "{}", finished.err);
    for (delay, longest) in delays.iter().zip([0.5, 1.0, 2.0]) {
        // Half of it is chance, and what is told has one digit.
        assert!((longest / 2.0 - 0.05..=longest + 0.05).contains(delay), "{}", finished.err);
    }
}

fn delay(line: &str, restart: usize) -> f64 {
    let (head, delay) = line.rsplit_once(" in ").unwrap();
    assert!(head.starts_with("claudebox: warning: serve was ended by SIGKILL after "), "{line}");
    assert!(head.ends_with(&format!(" s; restart {restart}")), "{line}");
    delay.trim_end_matches(" s").parse().unwrap()
}

/// Checklist 29: what a restart does not mend.
#[rstest]
#[case::done(0, "syswrite($link, 'done');", "serve ended with exit code 0, its work done: the box ends")]
#[case::usage(64, "", "error: serve ended with exit code 64: restarting cannot fix this, stopping the box")]
#[case::config(78, "", "error: serve ended with exit code 78: restarting cannot fix this, stopping the box")]
fn a_final_exit_code_ends_the_box_with_one_line(#[case] code: i32, #[case] says: &str, #[case] line: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let serve = format!("print \"up\\n\"; {says} exit {code};");
    let finished = servers_with(&testbox, &serve).start().finish().exits(code);
    assert_eq!(finished.out, "up\n");
    let own: Vec<&str> = finished.err.lines().filter(|line| !line.contains("init hook")).collect();
    assert_eq!(own, [format!("claudebox: {line}")]);
}

/// Claude's tools run as the same user: what they send is no order to the box.
#[rstest]
#[case(libc::SIGTERM)]
#[case(libc::SIGHUP)]
#[case(libc::SIGINT)]
#[case(libc::SIGQUIT)]
fn a_signal_of_anybody_restarts_serve_and_the_box_goes_on(#[case] signal: i32) {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let first = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(first, signal).unwrap();
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|serve| serve.pid != first));
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    let line = "claudebox: warning: serve ended with exit code 0, though the box does not end, after ";
    assert_eq!(finished.err.matches(line).count(), 1, "{}", finished.err);
}

/// `kill -STOP`: it lives, and nobody is served.
#[test]
fn a_stopped_serve_is_not_ready_and_is_replaced() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let first = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(first, libc::SIGSTOP).unwrap();
    running.until("it is not ready", |all| !ready(all));
    assert_eq!(
        says(&exec(&running, &testbox, "healthcheck")),
        (Some(1), "unhealthy: the servers are not ready\n".into())
    );
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|serve| serve.pid != first));
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert!(finished.err.contains("serve does not answer: it is killed\n"), "{}", finished.err);
}

#[test]
fn a_stopped_serve_that_is_continued_is_ready_again() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let first = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(first, libc::SIGSTOP).unwrap();
    running.until("it is not ready", |all| !ready(all));
    claudebox::sys::kill(first, libc::SIGCONT).unwrap();
    running.until("it is ready again", ready);
    assert_eq!(serve_of(&running.processes()).unwrap().pid, first);
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert!(finished.err.contains("claudebox: serve answers again\n"), "{}", finished.err);
}

/// At the address that `serve` knows.
#[test]
fn a_killed_offline_model_is_started_again() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).env("CLAUDEBOX_OFFLINE", "1").start();
    running.until("serve is ready", ready);
    let serve = serve_of(&running.processes()).unwrap().pid;
    let its = environment(serve);
    let url = its.iter().find_map(|set| set.strip_prefix("ANTHROPIC_BASE_URL=http://")).unwrap().to_owned();
    let models = |all: &[Process]| -> Vec<Process> {
        all.iter().filter(|process| process.command().iter().any(|word| word == "offline-model")).cloned().collect()
    };
    for _ in 0..2 {
        let first = models(&running.processes()).remove(0).pid;
        claudebox::sys::kill(first, libc::SIGKILL).unwrap();
        running.until("another listens there", |all| {
            models(all).iter().any(|model| model.pid != first && model.command().last() == Some(&url))
                && listens(serve, &url)
        });
    }
    assert_eq!(serve_of(&running.processes()).unwrap().pid, serve);
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert_eq!(finished.err.matches("warning: the offline model was ended by SIGKILL; it is started").count(), 2);
}

/// Checklist 13.
#[test]
fn term_in_backoff_ends_the_box_at_once() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers_with(&testbox, DIES).env("CLAUDEBOX_GRACE_SECONDS", "3600").start();
    // The next delay is 2 seconds at least.
    running.expect("up 3\n");
    running.until("PID 1 is alone", |all| all.len() == 1);
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(128 + libc::SIGTERM);
    assert!(!finished.out.contains("up 4"), "{}", finished.out);
}

/// Checklist 12.
#[test]
fn term_during_the_hooks_ends_the_box_without_a_serve() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", "#!/bin/sh\nexec sleep 1000\n");
    let mut running = servers(&testbox).start();
    running.until("the hook runs", |all| all.iter().any(|process| process.command() == ["sleep", "1000"]));
    assert!(!ready(&running.processes()));
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}

/// Checklist 14 and 24.
#[test]
fn a_second_term_kills_a_serve_that_stays() {
    let Some(testbox) = TestBox::new() else { return };
    let serve = r#"$SIG{TERM} = sub { print "got TERM\n" }; print "up\n"; sleep 1 while 1;"#;
    let mut running = servers_with(&testbox, serve).env("CLAUDEBOX_GRACE_SECONDS", "3600").start();
    running.expect("up\n");
    running.signal(libc::SIGTERM);
    running.expect("got TERM\n");
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGKILL);
}

/// Where PID 1 may not signal another user's process, what it says over the link is all there is.
#[test]
fn without_the_capability_to_kill_serve_is_asked_over_the_link() {
    let Some(testbox) = TestBox::new() else { return };
    let tail = r#"exec setpriv --bounding-set -kill "$@""#;
    let mut running = servers(&testbox).env("CLAUDEBOX_GRACE_SECONDS", "3600").tail(tail).start();
    running.until("serve is ready", ready);
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

#[test]
fn a_stopped_serve_is_no_dead_one_and_a_stop_wakes_it() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).env("CLAUDEBOX_GRACE_SECONDS", "3600").start();
    running.until("serve is ready", ready);
    let serve = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(serve, libc::SIGSTOP).unwrap();
    running.until("it is stopped", |all| serve_of(all).is_some_and(|serve| serve.state == 'T'));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// The doors' secrets are `serve`'s alone.
#[test]
fn serve_gets_the_secrets_and_nobody_else_does() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", "#!/bin/sh\nenv >hook-environment\n");
    let secrets = ["CLAUDEBOX_MODE_API_TOKEN=one", "CLAUDE_MODE_API_TOKEN=two", "CLAUDEBOX_TELEGRAM_BOT_TOKEN=three"];
    let mut launch = servers(&testbox).env("CLAUDEBOX_OFFLINE", "1").env("CLAUDEBOX_RUN_ID", "of-another-box");
    for (name, value) in secrets.iter().filter_map(|secret| secret.split_once('=')) {
        launch = launch.env(name, value);
    }
    let mut running = launch.start();
    running.until("serve is ready", ready);
    let processes = running.processes();
    let serve = serve_of(&processes).unwrap();
    let its = environment(serve.pid);
    for wanted in secrets.iter().chain(&["CLAUDEBOX_RESTARTS=0", "PWD=/", "USER=claude"]) {
        assert!(its.iter().any(|set| set == wanted), "{wanted}: {its:?}");
    }
    assert!(its.iter().any(|set| set.starts_with("ANTHROPIC_BASE_URL=http://127.0.0.1:")), "{its:?}");
    let offline = processes.iter().find(|process| process.command().contains(&"offline-model".to_owned())).unwrap();
    let hooks = fs::read_to_string(testbox.path("workspaces/hook-environment")).unwrap();
    for environment in [environment(offline.pid), hooks.lines().map(str::to_owned).collect()] {
        assert!(environment.iter().any(|set| set == "CLAUDEBOX_MODE_API=1"));
        assert!(!environment.iter().any(|set| set.contains("_TOKEN") || set.contains("RUN_ID")), "{environment:?}");
    }
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// Claude runs as the same user as `serve`.
#[test]
fn the_user_cannot_look_into_serve() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let serve = serve_of(&running.processes()).unwrap().inner;
    let look = |path: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &running.pid1().to_string(), "--pid", "--mount", "--"]);
        command.args(["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "cat", path]).output().unwrap()
    };
    assert_eq!(look("/proc/self/environ").status.code(), Some(0));
    let refused = look(&format!("/proc/{serve}/environ"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permission denied"));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// As in the images: everybody runs the program, root alone reads it. The kernel shows its processes to nobody else then,
/// from their first instant on; that a process makes itself undumpable comes too late for one that waits for it.
#[test]
fn a_program_that_only_root_reads_hides_its_processes_from_the_start() {
    let Some(testbox) = TestBox::new() else { return };
    fs::create_dir(testbox.path("unreadable")).unwrap();
    let program = testbox.script("unreadable/claudebox", "");
    fs::copy(testbox.program(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).unwrap();
    let mut running = servers(&testbox).env("CLAUDEBOX_OFFLINE", "1").program(&program).start();
    running.until("serve is ready", ready);
    let processes = running.processes();
    // This one does nothing to hide itself.
    let model = processes.iter().find(|process| process.command().contains(&"offline-model".to_owned())).unwrap();
    assert_eq!(model.status("Uid"), format!("{UID}\t{UID}\t{UID}\t{UID}"));
    let mut command = Command::new("nsenter");
    command.args(["--target", &running.pid1().to_string(), "--pid", "--mount", "--"]);
    command.args(["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]);
    let refused = command.args(["cat", &format!("/proc/{}/environ", model.inner)]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permission denied"), "{refused:?}");
    assert_eq!(says(&exec(&running, &testbox, "healthcheck")), (Some(0), "healthy: the servers are ready\n".into()));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
    // And it answers a prompt.
    let path = testbox.script("cli", &cli("echo the CLI"));
    let launch = testbox.claudebox(&["init", "--", "hello", "there"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    assert_eq!(launch.program(&program).start().finish().exits(0).out, "done\n");
}

/// After the boot: KILL, SETGID, SETUID and SETPCAP.
#[test]
fn pid_1_keeps_four_capabilities() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let pid1 = running.processes().remove(0);
    assert_eq!(
        ["CapEff", "CapPrm", "CapAmb"].map(|set| pid1.status(set)),
        ["00000000000001e0", "00000000000001e0", "0000000000000000"]
    );
    // What `sudo` in the box lives on.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert!(own.contains(&format!("CapBnd:\t{}", pid1.status("CapBnd"))));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// Checklist 8, with a daemon that lives on meanwhile: but for its questions to `serve`, which are further apart.
#[test]
fn an_idle_pid_1_with_servers_never_wakes_up() {
    let Some(testbox) = TestBox::new() else { return };
    let daemon = "until [ -e go ]; do sleep 0.01; done; for n in $(seq 100); do /bin/true; done; sleep 1.5; echo >done";
    hook(&testbox, "1.sh", &format!("#!/bin/sh\nsetsid sh -c '{daemon}; exec sleep 1000' &\n"));
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    running.until("PID 1 waits, and so does the worker it has started", |processes| {
        let idle = |process: &&Process| process.name == "claudebox" && process.state == 'S';
        processes[0].state == 'S' && processes.iter().filter(idle).count() == 2
    });
    let pid1 = running.processes().remove(0);
    let wakeups = || (pid1.status("voluntary_ctxt_switches"), pid1.status("nonvoluntary_ctxt_switches"));
    let before = wakeups();
    let folder = testbox.path("workspaces");
    fs::write(folder.join("go"), "").unwrap();
    running.until("a while has passed", |_| folder.join("done").exists());
    assert_eq!(wakeups(), before);
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// Checklist 37: `docker run --user`.
#[test]
fn a_start_without_root_needs_the_folder_and_has_servers_then() {
    let Some(testbox) = TestBox::new() else { return };
    let tail = format!(r#"exec setpriv --reuid {UID} --regid {UID} --clear-groups "$@""#);
    let finished = servers(&testbox).tail(&tail).start().finish().exits(78);
    let why = format!("claudebox: the workspaces' folder {} cannot be used (", testbox.path("workspaces").display());
    assert!(finished.err.starts_with(&why) && finished.err.lines().count() == 1, "{}", finished.err);
    let work = testbox.path("work");
    let launch = servers(&testbox).env("CLAUDEBOX_WORKSPACES_DIR", work.to_str().unwrap());
    let mut running = launch.tail(&tail).start();
    running.until("serve is ready", ready);
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

#[test]
fn a_prompt_goes_before_the_servers() {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("echo the CLI"));
    let launch = testbox.claudebox(&["init", "--", "hello", "there"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let finished = launch.env("CLAUDEBOX_MODE_API", "1").start().finish().exits(0);
    assert_eq!((finished.out.as_str(), testbox.note().as_str()), ("done\n", "the CLI\n"));
}

/// A `serve` that is ready and then dies is not ready any more, and the next one may be.
#[test]
fn readiness_is_that_of_the_serve_that_runs() {
    let Some(testbox) = TestBox::new() else { return };
    let serve = format!(
        r#"if (!$restarts) {{ {SAY_READY} sleep 1 while 1 }} print "again\n"; sysread($link, my $word, 64); {SAY_READY}
sysread($link, $word, 64); print "told $word\n"; exit 5;"#
    );
    let mut running = servers_with(&testbox, &serve).start();
    running.until("serve is ready", ready);
    claudebox::sys::kill(running.processes()[1].pid, libc::SIGKILL).unwrap();
    running.expect("again\n");
    assert!(!ready(&running.processes()));
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}
