//! 200 workspaces with five runs each, all waiting at once, three times over: each runs once, in turn, and in memory that
//! does not grow.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::json;

use crate::stand::{Stand, eventually, kilobytes, number, serve_of};

const RUNS_EACH: u64 = 5;
const ROUNDS: u64 = 3;
const SLOTS: usize = 8;
/// What the memory of `serve` may differ by between two rounds that were the same, kilobytes.
const SLACK: u64 = 2048;

/// The first runs hold all slots until everybody waits.
const GATED: &str = r#"init
case $name in gate*) until [ -e "$STARTS/open$seconds" ]; do sleep 0.05; done ;; esac
result "$name"
"#;

/// Workspaces take turns: when one gets its `k`th run started, every other has had its `k - 1`st. But a workspace waits
/// again only once its run has ended, so the runs that were at work together may change places: those of this turn, and
/// those of the turn before.
fn assert_fair(order: &[String]) {
    let mut counts: HashMap<&str, u64> = order.iter().map(|name| (name.split_once('.').unwrap().0, 0)).collect();
    for name in order {
        let workspace = name.split_once('.').unwrap().0;
        let count = counts.get_mut(workspace).unwrap();
        *count += 1;
        let count = *count;
        let behind = counts.values().filter(|&&other| other + 1 < count).count();
        assert!(behind < 2 * SLOTS, "{name} starts before {behind} workspaces had a run less: {order:?}");
    }
}

#[test]
fn a_thousand_runs_at_once_run_once_each_and_in_turn() {
    let Some(stand) = Stand::new(GATED) else { return };
    let workspaces = number("CLAUDEBOX_TEST_WORKSPACES", 200);
    for number in 0..workspaces {
        stand.workspace(&format!("w{number}"));
    }
    for number in 0..SLOTS {
        stand.workspace(&format!("gate{number}"));
    }
    let launch = stand.launch().env("CLAUDEBOX_MAX_RUNS", &SLOTS.to_string()).env("CLAUDEBOX_MAX_QUEUED", "5000");
    let running = launch.start();
    stand.wait_for_health();
    let serve = serve_of(&running).unwrap();
    let mut memory = vec![kilobytes(&serve, "VmRSS")];
    for round in 0..ROUNDS {
        let before = stand.order().len();
        for number in 0..SLOTS {
            stand.server.start(&format!("gate{number}"), &format!("gate{number}.{round} {round}"));
        }
        eventually("all slots are taken", || stand.order().len() == before + SLOTS);
        let ids: Mutex<Vec<(String, String)>> = Mutex::default();
        std::thread::scope(|scope| {
            for client in 0..RUNS_EACH {
                let (ids, server) = (&ids, stand.server);
                scope.spawn(move || {
                    for workspace in 0..workspaces {
                        let name = format!("w{workspace}.{client}.{round}");
                        let id = server.start(&format!("w{workspace}"), &format!("{name} 0"));
                        ids.lock().unwrap().push((id, name));
                    }
                });
            }
        });
        let runs = workspaces * RUNS_EACH;
        assert_eq!(stand.server.get("/status").unwrap().json()["queued"], json!(runs));
        std::fs::write(stand.testbox.path(&format!("starts/open{round}")), "").unwrap();
        for (id, name) in ids.into_inner().unwrap() {
            let end = stand.wait_for_end(&id);
            assert_eq!(end["result"]["result"], json!(format!("answer to {name}")), "{end}");
            assert_eq!(stand.starts(&name), 1, "{name}");
        }
        let order = stand.order().split_off(before + SLOTS);
        assert_eq!(order.len() as u64, runs);
        assert_fair(&order);
        memory.push(kilobytes(&serve, "VmRSS"));
    }
    let peak = kilobytes(&serve, "VmHWM");
    eprintln!("serve's memory: {memory:?} kB before and after each round, at most {peak} kB");
    let [.., second, third] = memory[..] else { unreachable!("there are three rounds") };
    assert!(third <= second + SLACK, "it grows: {memory:?}");
    running.kill();
}
