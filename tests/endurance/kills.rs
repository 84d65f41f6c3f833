//! `serve` and PID 1 are killed at random moments under load: nothing that was accepted is lost, nothing that was
//! finished changes, nothing runs twice, and nothing stays stuck.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Server;
use crate::stand::{Chance, PLAIN, Stand, eventually, lives, number, pause, serve_of};
use crate::support::Running;

const WORKSPACES: u64 = 12;
const CLIENTS: u64 = 10;
/// PID 1 waits ever longer before it starts `serve` again, which a restart of the box begins anew.
const MOST_IN_A_ROW: u32 = 3;

/// A run as a client knows it.
#[derive(Debug, Clone)]
struct Seen {
    id: String,
    name: String,
    /// Its result, if the client has seen it.
    result: Option<Vec<u8>>,
}

/// What all clients have seen, and what they share.
struct Clients {
    server: Server,
    seen: Mutex<Vec<Seen>>,
    count: AtomicU64,
    stop: AtomicBool,
}

impl Clients {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn saw(&self, id: &str, name: &str, result: Option<Vec<u8>>) {
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen { id: id.to_owned(), name: name.to_owned(), result });
    }

    /// One client: asks for runs in every way there is, until it is told to stop.
    fn work(&self, mut chance: Chance) {
        while !self.stopped() {
            let name = format!("r{}", self.count.fetch_add(1, Ordering::SeqCst));
            let seconds = chance.below(300);
            let busy = if chance.below(5) == 0 { "reject" } else { "queue" };
            let mut body = json!({
                "prompt": format!("{name} 0.{seconds:03} please"), "busy": busy,
                "workspace": format!("w{}", chance.below(WORKSPACES)),
            });
            let key = format!("Idempotency-Key: key-of-{name}\r\n");
            match chance.below(5) {
                0 | 1 => {
                    body["async"] = true.into();
                    let keyed = chance.below(2) == 0;
                    if let Some(id) = self.ask(&body, keyed.then_some(&key), &name)
                        && chance.below(2) == 0
                    {
                        self.poll(&id, &name);
                    }
                }
                2 => drop(self.ask(&body, Some(&key), &name)),
                3 => drop(self.ask(&body, None, &name)),
                _ => {
                    body["stream"] = true.into();
                    self.follow(&body, &name);
                }
            }
        }
    }

    /// Asks for a run. With a key it is asked for again until there is an answer. The id, if it was accepted.
    fn ask(&self, body: &Value, key: Option<&String>, name: &str) -> Option<String> {
        loop {
            match self.server.run(body, key.map_or("", String::as_str)) {
                Ok(answer) if answer.status == 200 => {
                    let id = answer.header("x-run-id").unwrap().to_owned();
                    // Of a run that is only accepted there is no more than that.
                    let is_result = body["async"] != true;
                    self.saw(&id, name, is_result.then_some(answer.body));
                    return Some(id);
                }
                // A server that is told of the end of PID 1 before its own says so. What waits has been accepted.
                Ok(answer) if answer.status == 503 => {
                    if let Some(id) = answer.json()["runId"].as_str() {
                        self.saw(id, name, None);
                    }
                    key?;
                }
                Ok(answer) => {
                    assert_eq!(answer.status, 409, "{}", answer.text());
                    return None;
                }
                Err(_) if key.is_none() => return None,
                Err(_) => pause(Duration::from_millis(10)),
            }
        }
    }

    /// Reads a run's result as soon as it is there.
    fn poll(&self, id: &str, name: &str) {
        while !self.stopped() {
            if let Ok(answer) = self.server.get(&format!("/run/result?runId={id}")) {
                assert_eq!(answer.status, 200, "{}", answer.text());
                if answer.json()["status"] != "running" {
                    return self.saw(id, name, Some(answer.body));
                }
            }
            pause(Duration::from_millis(10));
        }
    }

    /// Follows a run, whose acceptance is seen as soon as its stream begins.
    fn follow(&self, body: &Value, name: &str) {
        let Ok(answer) = self.server.open_run(body, "") else { return };
        if answer.status == 200 {
            self.saw(answer.header("x-run-id").unwrap(), name, None);
            let _ = answer.whole();
        }
    }
}

/// Who was killed when, and what came of it.
#[derive(Default)]
struct Kills {
    of_serve: u64,
    of_pid1: u64,
    in_a_row: u32,
    longest: Duration,
    /// From before the kill until after it, milliseconds since 1970.
    times: Vec<(i64, i64)>,
}

fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Kills `serve`, or PID 1 and starts the box again, as `docker restart` does.
fn kill(stand: &Stand, mut running: Running, kills: &mut Kills, chance: &mut Chance) -> Running {
    let before = now();
    let of_serve = kills.in_a_row < MOST_IN_A_ROW && chance.below(3) < 2;
    if of_serve {
        // It may be about to start, and while it becomes another program it has no command line.
        let mut serve = None;
        eventually("there is a serve to kill", || {
            serve = serve_of(&running);
            serve.is_some()
        });
        let serve = serve.unwrap();
        let _ = claudebox::sys::kill(serve.pid, libc::SIGKILL);
        eventually("it is dead", || !lives(&serve));
        kills.in_a_row += 1;
        kills.of_serve += 1;
    } else {
        running.kill();
        running = stand.launch().start();
        kills.in_a_row = 0;
        kills.of_pid1 += 1;
    }
    kills.times.push((before, now()));
    running
}

/// No process belongs to a run that has ended.
fn no_process_of_a_dead_run(server: Server, running: &Running) {
    let mut ended: HashMap<String, bool> = HashMap::new();
    for process in running.processes() {
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        let cookie = environment.split('\0').find_map(|variable| variable.strip_prefix("CLAUDEBOX_RUN_ID="));
        let Some(run) = cookie else { continue };
        let has_ended = *ended.entry(run.to_owned()).or_insert_with(|| {
            // A worker is started while the ledger takes its run in.
            let answer = server.get(&format!("/runs/{run}")).unwrap();
            answer.status == 200 && !answer.json()["finishedAt"].is_null()
        });
        assert!(!(has_ended && lives(&process)), "{process:?} {:?} outlives its run {run}", process.command());
    }
}

/// Every run in `runs` is in the ledger, and a result that was seen is still that result.
fn nothing_is_lost_or_changed<'runs>(server: Server, runs: impl IntoIterator<Item = &'runs Seen>) {
    for seen in runs {
        assert_eq!(server.get(&format!("/runs/{}", seen.id)).unwrap().status, 200, "lost: {seen:?}");
        if let Some(result) = &seen.result {
            let again = server.get(&format!("/run/result?runId={}", seen.id)).unwrap();
            let before = String::from_utf8_lossy(result);
            assert_eq!(again.text(), before, "changed: {}", seen.id);
        }
    }
}

fn milliseconds(time: &Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap().timestamp_millis()
}

#[derive(Default)]
struct Tally {
    succeeded: u64,
    interrupted: u64,
}

/// How every run ended that was accepted, once all have.
fn all_ended_rightly(stand: &Stand, seen: &[Seen], kills: &Kills) -> Tally {
    let mut tally = Tally::default();
    let mut met = HashSet::new();
    for run in seen.iter().filter(|run| met.insert(&run.id)) {
        let view = stand.server.view(&run.id);
        let starts = stand.starts(&run.name);
        match view["state"].as_str().unwrap() {
            "succeeded" => {
                tally.succeeded += 1;
                assert_eq!(
                    (&view["result"]["result"], starts),
                    (&json!(format!("answer to {}", run.name)), 1),
                    "{view}"
                );
            }
            "interrupted" => {
                tally.interrupted += 1;
                let (started, finished) = (milliseconds(&view["startedAt"]), milliseconds(&view["finishedAt"]));
                let by_a_kill = kills.times.iter().any(|&(before, after)| started <= after && finished >= before);
                assert!(by_a_kill && starts <= 1, "{view}");
            }
            _ => panic!("{view}"),
        }
    }
    tally
}

/// The clients of a stand, at work.
struct Load {
    clients: Arc<Clients>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(server: Server, seed: u64) -> Self {
        let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let clients = Arc::new(Clients { server, seen: Mutex::default(), count, stop });
        let start = |number| {
            let (clients, chance) = (Arc::clone(&clients), Chance::new(seed + 1 + number));
            std::thread::spawn(move || clients.work(chance))
        };
        Self { threads: (0..CLIENTS).map(start).collect(), clients }
    }

    fn seen_so_far(&self) -> Vec<Seen> {
        assert!(!self.threads.iter().any(JoinHandle::is_finished), "a client has failed");
        self.clients.seen.lock().unwrap().clone()
    }

    /// Everything they have seen, once all of them have ended.
    fn stop(self) -> Vec<Seen> {
        self.clients.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.clients.seen.lock().unwrap().clone()
    }
}

/// Kills as often as told, and looks at everything after each one that was waited for.
fn kill_again_and_again(
    stand: &Stand,
    mut running: Running,
    load: &Load,
    mut chance: Chance,
    wanted: u64,
) -> (Running, Kills) {
    let mut kills = Kills::default();
    let mut checked = 0;
    while kills.of_serve + kills.of_pid1 < wanted {
        pause(Duration::from_millis(chance.below(400)));
        running = kill(stand, running, &mut kills, &mut chance);
        if chance.below(6) == 0 {
            // The next one comes while it starts.
            pause(Duration::from_millis(chance.below(100)));
            continue;
        }
        let killed = Instant::now();
        stand.wait_for_health();
        kills.longest = kills.longest.max(killed.elapsed());
        no_process_of_a_dead_run(stand.server, &running);
        let seen = load.seen_so_far();
        let sample = (0..20).filter_map(|_| seen.get(chance.index(seen.len() + 1)));
        nothing_is_lost_or_changed(stand.server, seen[checked..].iter().chain(sample));
        checked = seen.len();
    }
    (running, kills)
}

fn nothing_is_stuck(server: Server) {
    for number in 0..WORKSPACES {
        let body = json!({"prompt": format!("last{number} 0"), "workspace": format!("w{number}"), "busy": "reject"});
        let answer = server.run(&body, "").unwrap().json();
        assert_eq!(answer["state"], "succeeded", "stuck: {answer}");
    }
}

#[test]
fn nothing_is_lost_changed_doubled_or_stuck_by_kills_at_any_moment() {
    let Some(stand) = Stand::new(PLAIN) else { return };
    let seed = number("CLAUDEBOX_TEST_SEED", u64::from(std::process::id()));
    eprintln!("CLAUDEBOX_TEST_SEED={seed}");
    for number in 0..WORKSPACES {
        stand.workspace(&format!("w{number}"));
    }
    let running = stand.launch().start();
    stand.wait_for_health();
    let load = Load::start(stand.server, seed);
    let wanted = number("CLAUDEBOX_TEST_KILLS", 30);
    let (running, kills) = kill_again_and_again(&stand, running, &load, Chance::new(seed), wanted);
    let runs = load.stop();
    for state in ["queued", "running"] {
        let path = format!("/runs?state={state}");
        eventually("all runs end", || stand.server.get(&path).unwrap().json()["runs"] == json!([]));
    }
    nothing_is_lost_or_changed(stand.server, &runs);
    let tally = all_ended_rightly(&stand, &runs, &kills);
    nothing_is_stuck(stand.server);
    let doubled: Vec<String> = doubled(&stand.order());
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    running.kill();
    let running = stand.launch().start();
    stand.wait_for_health();
    nothing_is_lost_or_changed(stand.server, &runs);
    no_process_of_a_dead_run(stand.server, &running);
    eprintln!(
        "kills={wanted} (serve {}, PID 1 {}) accepted={} finished={} interrupted={} lost=0 changed=0 doubled=0 stuck=0 \
         longest until /health={} ms",
        kills.of_serve,
        kills.of_pid1,
        tally.succeeded + tally.interrupted,
        tally.succeeded,
        tally.interrupted,
        kills.longest.as_millis()
    );
    assert!(tally.interrupted > 0, "no kill hit a run");
    running.kill();
}

/// Its client was told so, and did not go away.
#[test]
fn a_run_that_waits_when_the_box_stops_is_the_next_boxs() {
    let Some(stand) = Stand::new(PLAIN) else { return };
    stand.workspace("w");
    let running = stand.launch().start();
    stand.wait_for_health();
    let first = stand.server.start("w", "first 1000");
    eventually("the first one runs", || stand.starts("first") == 1);
    let server = stand.server;
    let client = std::thread::spawn(move || {
        server.run(&json!({"prompt": "next 0", "workspace": "w", "busy": "queue"}), "").unwrap()
    });
    eventually("the next one waits", || server.get("/status").unwrap().json()["queued"] == 1);
    running.signal(libc::SIGTERM);
    let answer = client.join().unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("shutting_down")), "{}", answer.text());
    running.finish().exits(0);
    let running = stand.launch().start();
    stand.wait_for_health();
    assert_eq!(stand.wait_for_end(answer.json()["runId"].as_str().unwrap())["state"], "succeeded");
    assert_eq!(stand.wait_for_end(&first)["state"], "interrupted");
    assert_eq!((stand.starts("first"), stand.starts("next")), (1, 1));
    running.kill();
}

/// Names of runs whose CLI was started more than once.
fn doubled(order: &[String]) -> Vec<String> {
    let mut met = HashSet::new();
    order.iter().filter(|name| !met.insert(*name)).cloned().collect()
}
