//! Everybody who follows a run gets every event once and in order, also over disconnects at any event.

use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::http::Server;
use crate::stand::{Chance, Stand};

const READERS: u64 = 50;
const EVENTS: u64 = 1500;

/// Prints numbered events of all lengths, and pauses now and then so that readers catch up.
const NUMBERED: &str = r#"init
exec perl -e '$| = 1; for my $n (0 .. 1499) {
    print qq({"type":"stub","n":$n,"pad":"), "x" x (($n * 37) % 3000), qq("}\n);
    select(undef, undef, undef, 0.01) if $n % 40 == 0;
}
print qq({"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s"}\n)'
"#;

/// What a reader has got.
#[derive(Default)]
struct Got {
    numbers: Vec<u64>,
    others: Vec<String>,
    last_id: Option<String>,
    ended: bool,
}

impl Got {
    fn take(&mut self, event: &Value) {
        match event["n"].as_u64() {
            Some(number) => self.numbers.push(number),
            None => self.others.push(event["type"].as_str().unwrap().to_owned()),
        }
    }

    /// Follows as server-sent events, for as many events as told at most, after those it has.
    fn follow(&mut self, server: Server, run: &str, most: usize) {
        let resume = self.last_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let stream = server.open("GET", &format!("/runs/{run}/events"), &resume, b"").unwrap();
        assert_eq!(stream.status, 200);
        let (mut kind, mut data, mut id, mut count) = (String::new(), Value::Null, None, 0);
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut kind),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                _ if line.is_empty() && kind == "end" => {
                    assert_eq!(data["state"], "succeeded", "{data}");
                    self.ended = true;
                    return;
                }
                _ if line.is_empty() && kind == "event" => {
                    self.take(&data);
                    self.last_id = id.take();
                    count += 1;
                    if count == most {
                        return;
                    }
                }
                _ => {}
            }
        }
        panic!("the stream ended without the end event");
    }
}

fn read_in_pieces(server: Server, run: &str, mut chance: Chance) -> Got {
    let mut got = Got::default();
    while !got.ended {
        let most = 1 + chance.below(400);
        got.follow(server, run, usize::try_from(most).unwrap());
    }
    got
}

fn read_lines(server: Server, run: &str) -> Got {
    let mut got = Got::default();
    let stream = server.open("GET", &format!("/runs/{run}/events"), "Accept: application/x-ndjson\r\n", b"").unwrap();
    for line in BufReader::new(stream).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        got.ended = event["type"] == "end";
        if !got.ended {
            got.take(&event);
        }
    }
    got
}

#[test]
fn fifty_readers_get_every_event_once_over_disconnects() {
    let Some(stand) = Stand::new(NUMBERED) else { return };
    stand.workspace("w");
    let running = stand.launch().start();
    stand.wait_for_health();
    let run = stand.server.start("w", "numbered 0");
    let expected: Vec<u64> = (0..EVENTS).collect();
    let check = |got: &Got| {
        assert!(got.ended);
        assert_eq!(got.numbers, expected);
        assert_eq!(got.others, ["system", "result"]);
    };
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (server, run) = (stand.server, &run);
            scope.spawn(move || {
                let got = if reader % 5 == 0 {
                    read_lines(server, run)
                } else {
                    read_in_pieces(server, run, Chance::new(reader))
                };
                check(&got);
            });
        }
    });
    // And whoever comes after its end.
    check(&read_lines(stand.server, &run));
    check(&read_in_pieces(stand.server, &run, Chance::new(99)));
    assert_eq!(stand.wait_for_end(&run)["state"], json!("succeeded"));
    running.kill();
}
