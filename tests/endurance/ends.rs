//! However a run ends, nothing of it is left: not what changed its session, not what forked twice, ignores TERM, has
//! cleared its environment or belongs to root. And the workspace is free only after that.

use rstest::rstest;
use serde_json::{Value, json};

use crate::stand::{Stand, eventually, lives, serve_of};
use crate::support::Running;
use crate::support::process::Process;

/// Seconds that the processes sleep which a run tries to leave behind: six of them.
const LEFT: [&str; 6] = ["3001", "3002", "3003", "3004", "3005", "3006"];

/// Notes how many of a former run's processes it sees. A run `first` leaves all it can behind.
const ESCAPES: &str = r#"
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -o 'sleep 300[1-9]' | wc -l >"$STARTS/$name.sees"
init
if [ "$name" = first ]; then
    setsid sleep 3001 </dev/null >/dev/null 2>&1 &
    (setsid sh -c '(sleep 3002 & exit) & exit' &) </dev/null >/dev/null 2>&1
    setsid sh -c 'trap "" TERM HUP INT; exec sleep 3003' </dev/null >/dev/null 2>&1 &
    (env -i /usr/bin/setsid /bin/sh -c '/bin/sleep 3004 & exit' &) </dev/null >/dev/null 2>&1
    ("$BOX/setpriv" --reuid 0 --regid 0 --clear-groups setsid sleep 3005 &) </dev/null >/dev/null 2>&1
    ("$BOX/setpriv" --reuid 0 --regid 0 --clear-groups env -i /usr/bin/setsid /bin/sh -c 'trap "" TERM; /bin/sleep 3006 & exit' &) </dev/null >/dev/null 2>&1
fi
case $rest in *result*) result "$name" ;; esac
[ "$seconds" = 0 ] || sleep "$seconds"
result "$name"
"#;

/// How a run comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Cancel,
    Disconnect,
    Replace,
    TimeOut,
    Silence,
    Result,
    KillOfItsWorker,
    KillOfItsCli,
    KillOfServe,
}

fn is_left(process: &Process) -> bool {
    process.command().get(1).is_some_and(|seconds| LEFT.contains(&seconds.as_str())) && lives(process)
}

fn is_cli(process: &Process) -> bool {
    process.command().get(1).is_some_and(|script| script.ends_with("/stub"))
}

fn find(running: &Running, what: impl Fn(&Process) -> bool) -> Process {
    let mut found = None;
    eventually("the process is there", || {
        found = running.processes().into_iter().find(&what);
        found.is_some()
    });
    found.unwrap()
}

fn kill(running: &Running, what: impl Fn(&Process) -> bool) {
    claudebox::sys::kill(find(running, what).pid, libc::SIGKILL).unwrap();
}

#[rstest]
#[case(By::Cancel, "cancelled", "killed")]
#[case(By::Disconnect, "cancelled", "killed")]
#[case(By::Replace, "cancelled", "killed")]
#[case(By::TimeOut, "failed", "hung")]
#[case(By::Silence, "failed", "hung")]
#[case(By::Result, "succeeded", "ok")]
#[case(By::KillOfItsWorker, "failed", "truncated")]
#[case(By::KillOfItsCli, "failed", "killed")]
#[case(By::KillOfServe, "interrupted", "killed")]
fn nothing_of_a_run_is_left_when_it_ends(#[case] by: By, #[case] state: &str, #[case] outcome: &str) {
    let Some(stand) = Stand::new(ESCAPES) else { return };
    stand.setuid("/usr/bin/setpriv", "setpriv");
    stand.workspace("w");
    let mut launch = stand.launch();
    if by == By::Silence {
        launch = launch.env("CLAUDEBOX_RUN_SILENCE_SECONDS", "1");
    }
    let running = launch.start();
    stand.wait_for_health();

    let words = if by == By::Result { "result" } else { "" };
    let mut body = json!({"prompt": format!("first 1000 {words}"), "workspace": "w", "stream": true});
    body["async"] = (by != By::Disconnect).into();
    body["stream"] = (by == By::Disconnect).into();
    if by == By::TimeOut {
        body["timeoutSeconds"] = 1.into();
    }
    let client = stand.server.open_run(&body, "").unwrap();
    let first = client.header("x-run-id").unwrap().to_owned();
    eventually("its CLI has started", || stand.starts("first") == 1);
    if !matches!(by, By::TimeOut | By::Silence | By::Result) {
        eventually("it has started all it can", || {
            let processes = running.processes();
            LEFT.iter()
                .all(|left| processes.iter().any(|process| process.command().get(1).is_some_and(|arg| arg == left)))
        });
    }
    // What waits is to see nothing of the first.
    let next = if by == By::Replace {
        let body = json!({"prompt": "next 0", "workspace": "w", "busy": "replace", "async": true});
        stand.server.run(&body, "").unwrap().json()["runId"].as_str().unwrap().to_owned()
    } else {
        stand.server.start("w", "next 0")
    };
    match by {
        By::Cancel => {
            let answer = stand.server.ask("DELETE", &format!("/runs/{first}"), "", b"").unwrap().json();
            assert_eq!((&answer["status"], &answer["state"]), (&json!("ok"), &json!("cancelled")));
            assert_eq!(running.processes().iter().filter(|process| is_left(process)).count(), 0, "{answer}");
        }
        By::Disconnect => drop(client),
        By::Replace | By::TimeOut | By::Silence | By::Result => {}
        By::KillOfItsWorker => kill(&running, |process| process.is_worker() && process.is_marked()),
        By::KillOfItsCli => kill(&running, is_cli),
        By::KillOfServe => {
            let serve = serve_of(&running).unwrap();
            claudebox::sys::kill(serve.pid, libc::SIGKILL).unwrap();
            eventually("it is dead", || !lives(&serve));
            stand.wait_for_health();
        }
    }
    let end = stand.wait_for_end(&first);
    let left: Vec<Vec<String>> =
        running.processes().iter().filter(|process| is_left(process)).map(Process::command).collect();
    assert!(left.is_empty(), "left: {left:?} {end}");
    assert_eq!((&end["state"], &end["outcome"]), (&json!(state), &json!(outcome)), "{end}");
    // After the death of `serve`, PID 1 has reaped them before anybody could count.
    if by != By::KillOfServe {
        let reaped = |end: &Value| end["leftoverProcesses"].as_u64().unwrap();
        assert!(reaped(&end) >= LEFT.len() as u64, "{end}");
    }
    assert_eq!(stand.wait_for_end(&next)["state"], "succeeded");
    let sees = std::fs::read_to_string(stand.testbox.path("starts/next.sees")).unwrap();
    assert_eq!((sees.trim(), stand.starts("next"), stand.starts("first")), ("0", 1, 1));
    running.kill();
}
