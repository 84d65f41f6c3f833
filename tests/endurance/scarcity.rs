//! A full disk and too few descriptors: clear refusals, no crash, and everything goes on when there is room again.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::http::open_on;
use crate::stand::{Stand, eventually, lives, pause, serve_of};
use crate::support::Running;

/// A run `held` goes on until `starts/go` is there.
const HELD: &str = r#"init
case $name in held*) until [ -e "$STARTS/go" ]; do sleep 0.02; done ;; esac
result "$name"
"#;

/// The state folder in a file system of its own, which is small.
fn launch_with_little_space(stand: &Stand) -> Running {
    let state = stand.testbox.path("state");
    let mount =
        format!("mkdir -p {0} && mount -t tmpfs -o size=1m,mode=700,uid=1000,gid=1000 tmpfs {0}", state.display());
    stand.launch().before(&mount).env("CLAUDEBOX_STATE_DIR", state.to_str().unwrap()).start()
}

/// Fills the state folder to its last byte; the file to remove again.
fn fill(stand: &Stand, running: &Running) -> PathBuf {
    let state = stand.testbox.path("state/fill");
    let path = PathBuf::from(format!("/proc/{}/root{}", running.pid1(), state.display()));
    let mut file = File::create(&path).unwrap();
    for block in [vec![0; 4096], vec![0; 1]] {
        while file.write_all(&block).is_ok() {}
    }
    path
}

/// Asks for runs until one is refused, which a full disk may do late: the ledger has room in its files. What was let in.
fn refused_at_last(stand: &Stand) -> Vec<(String, String)> {
    let mut accepted = Vec::new();
    for number in 0..1000 {
        let name = format!("full{number}");
        let body = json!({"prompt": format!("{name} 0"), "workspace": "w", "busy": "queue", "async": true});
        let answer = stand.server.run(&body, "").unwrap();
        if answer.status != 200 {
            assert_eq!((answer.status, &answer.json()["code"]), (507, &json!("no_space")), "{}", answer.text());
            return accepted;
        }
        accepted.push((answer.json()["runId"].as_str().unwrap().to_owned(), name));
    }
    panic!("a full disk takes a thousand runs");
}

#[test]
fn a_full_disk_refuses_runs_and_loses_none() {
    let Some(stand) = Stand::new(HELD) else { return };
    stand.workspace("w");
    let running = launch_with_little_space(&stand);
    stand.wait_for_health();
    let held = stand.server.start("w", "held 0");
    eventually("it runs", || stand.starts("held") == 1);
    let waiting = stand.server.start("w", "waiting 0");

    let filler = fill(&stand, &running);
    let mut accepted = refused_at_last(&stand);
    accepted.extend([(held.clone(), "held".into()), (waiting.clone(), "waiting".into())]);
    // Who was to be replaced by a run that is refused waits on.
    let body = json!({"prompt": "replacing 0", "workspace": "w", "busy": "replace", "async": true});
    let answer = stand.server.run(&body, "").unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (507, &json!("no_space")));
    assert_eq!(stand.server.view(&waiting)["state"], "queued");
    assert!(stand.server.is_healthy());
    // It has its result, which is not to be lost, so it does not end before that can be kept.
    fs::write(stand.testbox.path("starts/go"), "").unwrap();
    eventually("its CLI has ended", || {
        !running.processes().iter().any(|process| process.command().get(1).is_some_and(|arg| arg.ends_with("/stub")))
    });
    assert_eq!((&stand.server.view(&held)["state"], stand.starts("waiting")), (&json!("running"), 0));

    fs::remove_file(filler).unwrap();
    for (id, name) in &accepted {
        let end = stand.wait_for_end(id);
        assert_eq!((&end["state"], stand.starts(name)), (&json!("succeeded"), 1), "{name}: {end}");
        assert_eq!(end["result"]["result"], json!(format!("answer to {name}")));
    }
    assert_eq!(stand.starts("replacing"), 0);
    let after = stand.server.start("w", "after 0");
    assert_eq!(stand.wait_for_end(&after)["state"], "succeeded");
    running.kill();
}

#[test]
fn a_serve_that_dies_on_a_full_disk_comes_back_when_there_is_room() {
    let Some(stand) = Stand::new(HELD) else { return };
    stand.workspace("w");
    let running = launch_with_little_space(&stand);
    stand.wait_for_health();
    let held = stand.server.start("w", "held 0");
    eventually("it runs", || stand.starts("held") == 1);
    let waiting = stand.server.start("w", "waiting 0");
    let filler = fill(&stand, &running);
    let accepted = refused_at_last(&stand);
    let serve = serve_of(&running).unwrap();
    claudebox::sys::kill(serve.pid, libc::SIGKILL).unwrap();
    let mut another = None;
    eventually("another one starts", || {
        another = serve_of(&running).filter(|other| other.pid != serve.pid);
        another.is_some()
    });
    // The first thing it does is to mark what ran as interrupted.
    let another = another.unwrap();
    eventually("it has tried", || !lives(&another));
    fs::remove_file(filler).unwrap();
    stand.wait_for_health();
    assert_eq!(stand.wait_for_end(&held)["state"], "interrupted");
    for (id, name) in accepted.into_iter().chain([(waiting, "waiting".into())]) {
        let end = stand.wait_for_end(&id);
        assert_eq!((&end["state"], stand.starts(&name)), (&json!("succeeded"), 1), "{name}: {end}");
    }
    running.kill();
}

/// What a process has used of the processor, hundredths of a second.
fn processor_time(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// They do not even send a request. There are fewer descriptors than connections, and runs need some too.
#[test]
fn a_thousand_idle_connections_neither_spin_nor_stop_runs() {
    let Some(stand) = Stand::new(HELD) else { return };
    for name in ["w", "x", "y"] {
        stand.workspace(name);
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).unwrap();
    let running = stand.launch().before("ulimit -n 256").start();
    stand.wait_for_health();
    let held = stand.server.start("w", "held 0");
    eventually("it runs", || stand.starts("held") == 1);
    let waiting = stand.server.start("w", "waiting 0");
    let serve = serve_of(&running).unwrap();
    let connections: Vec<TcpStream> = (0..1000).map(|_| stand.server.connect().unwrap()).collect();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", serve.pid)).unwrap().count();
    // The last that it takes, it has taken.
    let mut before = 0;
    eventually("it takes no more", || {
        let now = descriptors();
        pause(Duration::from_millis(200));
        std::mem::replace(&mut before, now) == now
    });
    let used = processor_time(serve.pid);
    pause(Duration::from_secs(2));
    let used = processor_time(serve.pid) - used;
    eprintln!("{} descriptors, {used} ticks in two seconds", descriptors());
    assert!(used < 50, "it spins: {used} of 200 ticks");
    // Descriptors are left for runs, and one of the idle makes room for who asks for something.
    for name in ["x", "y"] {
        let connection = stand.server.connect().unwrap();
        let body = json!({"prompt": format!("{name} 0"), "workspace": name}).to_string();
        let answer = open_on(connection, "POST", "/run", "Content-Type: application/json\r\n", body.as_bytes());
        let answer = answer.unwrap().whole().unwrap().json();
        assert_eq!(answer["state"], "succeeded", "{answer}");
    }
    fs::write(stand.testbox.path("starts/go"), "").unwrap();
    eventually("the one that waited runs", || stand.starts("waiting") == 1);
    drop(connections);
    stand.wait_for_health();
    for run in [held, waiting] {
        assert_eq!(stand.wait_for_end(&run)["state"], "succeeded");
    }
    assert!(lives(&serve));
    running.kill();
}
