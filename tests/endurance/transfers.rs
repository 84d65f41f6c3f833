//! Files larger than the memory that `serve` may use, up and down, two at a time.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::http::{Server, answer};
use crate::stand::{Stand, kilobytes, number, serve_of};

/// Most that two transfers may add to the memory of `serve`, kilobytes.
const MOST_ADDED: u64 = 8 << 10;

/// The SHA-256 of what can be read from `source`.
fn digest(mut source: impl io::Read) -> String {
    let mut hasher = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    io::copy(&mut source, &mut hasher.stdin.take().unwrap()).unwrap();
    let output = hasher.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn upload(server: Server, source: &Path, path: &str) {
    let mut file = File::open(source).unwrap();
    let length = file.metadata().unwrap().len();
    let mut connection = server.connect().unwrap();
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    io::copy(&mut file, &mut connection).unwrap();
    let answer = answer(connection).unwrap().whole().unwrap();
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
}

fn download(server: Server, path: &str) -> (u64, String) {
    let answer = server.open("GET", path, "", b"").unwrap();
    assert_eq!(answer.status, 200);
    let (body, length) = answer.into_raw();
    (length, digest(body.take(length)))
}

#[test]
fn bodies_of_any_size_take_little_memory() {
    let Some(stand) = Stand::new("") else { return };
    let bytes = number("CLAUDEBOX_TEST_TRANSFER_MB", 256) << 20;
    stand.workspace("w");
    let running = stand.launch().start();
    stand.wait_for_health();
    let serve = serve_of(&running).unwrap();
    let before = kilobytes(&serve, "VmRSS");
    let source = stand.testbox.path("source");
    io::copy(&mut File::open("/dev/urandom").unwrap().take(bytes), &mut File::create(&source).unwrap()).unwrap();
    let expected = digest(File::open(&source).unwrap());

    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let (server, source) = (stand.server, &source);
            scope.spawn(move || upload(server, source, &format!("/files/w/{name}")));
        }
    });
    for name in ["one", "two"] {
        let file = File::open(stand.testbox.path("workspaces/w").join(name)).unwrap();
        assert_eq!(digest(file), expected, "{name}");
    }
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let (server, expected) = (stand.server, &expected);
            scope.spawn(move || assert_eq!(download(server, &format!("/files/w/{name}")), (bytes, expected.clone())));
        }
    });
    let peak = kilobytes(&serve, "VmHWM");
    eprintln!("two transfers of {} MB at once: serve had {before} kB before, {peak} kB at most", bytes >> 20);
    assert!(peak < before + MOST_ADDED, "{peak} kB");
    running.kill();
}
