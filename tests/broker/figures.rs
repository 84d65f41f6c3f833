//! What the broker costs. Not a test of anything: `cargo nextest run --test broker --run-ignored only --no-capture`.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::Api;
use crate::stand::{Broker, event, start, text};

const REQUESTS: usize = 300;

#[test]
#[ignore = "prints figures"]
fn first_byte_and_memory() {
    let api = Api::start();
    let address = api.address;
    let broker = Broker::start(&api.url());
    let resident = |when: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
        let lines =
            status.lines().filter(|line| line.starts_with("Vm") && line.contains("RSS") || line.starts_with("Rss"));
        println!("{when}: {}", lines.collect::<Vec<_>>().join("; ").replace('\t', " "));
    };
    resident("idle, no run");
    let lease = broker.open(None);
    thread::spawn(move || {
        loop {
            let mut asked = api.asked();
            asked.begin_events();
            asked.send(start(10).as_bytes());
            (0..20).for_each(|_| asked.send(text(200).as_bytes()));
            asked.send(event("message_stop", "").as_bytes());
            asked.end();
        }
    });
    let body = "x".repeat(50_000);
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = head + &body;
    let mut through = UnixStream::connect(lease.socket()).unwrap();
    let mut direct = TcpStream::connect(address).unwrap();
    direct.set_nodelay(true).unwrap();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        with.push(first_byte(&mut through, &request));
        without.push(first_byte(&mut direct, &request));
    }
    for (name, times) in [("through the broker", &mut with), ("direct", &mut without)] {
        times.sort();
        let at = |part: usize| times[(REQUESTS - 1) * part / 100].as_secs_f64() * 1e3;
        println!("{name}: p50 {:.3} ms, p99 {:.3} ms", at(50), at(99));
    }
    resident("after 300 requests of a run");
    let many: Vec<_> = (0..20).map(|_| broker.open(None)).collect();
    resident("with 21 runs open");
    drop(many);
}

/// How long the first byte of the body takes; the rest is read besides.
fn first_byte(stream: &mut (impl std::io::Read + std::io::Write), request: &str) -> Duration {
    let begun = Instant::now();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut first, mut read, mut bytes) = (None, Vec::new(), vec![0; 65_536]);
    while !read.ends_with(b"0\r\n\r\n") {
        let length = stream.read(&mut bytes).unwrap();
        read.extend_from_slice(&bytes[..length]);
        if first.is_none() && read.windows(6).any(|part| part == b"event:") {
            first = Some(begun.elapsed());
        }
    }
    first.unwrap()
}
