//! `serve` and the whole box are killed at random moments under load: no tick is lost, none has two runs.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::fixture::{Api, start};
use crate::stand::{EACH_SECOND, finished, folders, job, notes, wait_for, with_stub, write_jobs};
use crate::support::TestBox;

const JOBS: usize = 3;

fn jobs(more: &str) -> String {
    let each = |number| {
        job(&format!("j{number}"), EACH_SECOND, "nap 0.2", &format!("workspace: w{number}; on_overlap: queue{more}"))
    };
    format!("jobs:\n{}", (0..JOBS).map(each).collect::<String>())
}

fn all_runs(api: &Api) -> Vec<Value> {
    let mut runs = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.http.get(&format!("/runs?limit=500{cursor}")).send().json(200);
        runs.extend(page["runs"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return runs,
        }
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn no_tick_is_lost_or_has_two_runs() {
    let Some(testbox) = TestBox::new() else { return };
    write_jobs(&testbox, &jobs(""));
    let mut api = start(&testbox, with_stub(&testbox));
    wait_for(&testbox, &mut api, "j0", 1);
    let kills = number("CLAUDEBOX_TEST_KILLS", 6).min(60);
    let mut chance = number("CLAUDEBOX_TEST_SEED", std::process::id() as usize) as u64;
    eprintln!("CLAUDEBOX_TEST_SEED={chance}");
    for kill in 0..kills {
        // PID 1 waits ever longer before it starts `serve` again, which a restart of the box begins anew.
        if kill % 3 == 2 {
            api.running.kill();
            api = start(&testbox, with_stub(&testbox));
        } else {
            api.kill_serve();
        }
        // At any moment: while it takes up what was left, in the middle of runs, between them.
        let begun = folders(&testbox, "j0").len();
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (mut glances, more) = (chance >> 33 & 127, usize::from(kill % 2 == 0));
        api.until("it goes on", |_| {
            glances = glances.saturating_sub(1);
            glances == 0 && folders(&testbox, "j0").len() >= begun + more
        });
    }
    write_jobs(&testbox, &jobs("; enabled: false"));
    let mut stable = (usize::MAX, 0);
    let http = api.http.clone();
    api.until("everything is over", |_| {
        let status = http.get("/status").send().json(200);
        let idle = status["queued"] == 0 && status["busyWorkspaces"] == serde_json::json!([]);
        let all: usize = (0..JOBS).map(|number| folders(&testbox, &format!("j{number}")).len()).sum();
        let over: usize = (0..JOBS).map(|number| finished(&testbox, &format!("j{number}")).len()).sum();
        stable = if idle && all == over && stable.0 == all { (all, stable.1 + 1) } else { (all, 0) };
        // Longer than the file is not looked at, and the ticks of before that are over.
        stable.1 > 600
    });

    let runs = all_runs(&api);
    let mut starts: HashMap<String, usize> = HashMap::new();
    for run in notes(&testbox, "starts") {
        *starts.entry(run).or_default() += 1;
    }
    let (mut succeeded, mut interrupted) = (0, 0);
    for number in 0..JOBS {
        let name = format!("j{number}");
        let metas = finished(&testbox, &name);
        let seconds: Vec<i64> = metas
            .iter()
            .map(|meta| {
                chrono::DateTime::parse_from_rfc3339(meta["scheduled_at"].as_str().unwrap()).unwrap().timestamp()
            })
            .collect();
        assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "lost: {name} {seconds:?}");
        let ids: HashSet<&str> = metas.iter().map(|meta| meta["run_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), metas.len(), "two ticks with one run");
        let of_job: Vec<&Value> = runs.iter().filter(|run| run["requester"] == name.as_str()).collect();
        assert_eq!(of_job.len(), metas.len(), "doubled: {name}");
        for run in of_job {
            let id = run["runId"].as_str().unwrap();
            assert!(ids.contains(id), "a run that is no tick's: {run}");
            let started = starts.get(id).copied().unwrap_or_default();
            match run["state"].as_str().unwrap() {
                "succeeded" => {
                    succeeded += 1;
                    assert_eq!(started, 1, "{run}");
                }
                "interrupted" => {
                    interrupted += 1;
                    assert!(started <= 1, "{run}");
                }
                _ => panic!("{run}"),
            }
        }
    }
    eprintln!(
        "kills={kills} ticks={} succeeded={succeeded} interrupted={interrupted} lost=0 doubled=0",
        succeeded + interrupted
    );
    api.stop();
}
