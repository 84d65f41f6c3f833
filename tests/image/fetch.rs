//! `images/steps/fetch`, which brings what vendors' hosts have into the image: only what has the checksum that is pinned.
//!
//! Without Docker: the script, curl, and a server here.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use rstest::rstest;

const CONTENT: &str = "the tool\n";
/// `printf 'the tool\n' | sha256sum`
const SUM: &str = "50f81feaabfb4e0fdb8195bd608c3ab90f419ceb7012991e53bce768368267a2";

/// Answers `/1.2.3/arm64` with the content and anything else with 404, for as long as the test runs.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut lines = BufReader::new(&connection).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let found = first.starts_with("GET /1.2.3/arm64 ");
            let (status, body) = if found { ("200 OK", CONTENT) } else { ("404 Not Found", "nothing here\n") };
            let _ = write!(connection, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

fn fetch(folder: &Path, pins: &str, architecture: &str, protocols: &str) -> Output {
    std::fs::write(folder.join("pins"), pins).expect("pins can be written");
    Command::new("images/steps/fetch")
        .arg("tool")
        .arg(folder.join("out"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PINS", folder.join("pins"))
        .env("ARCH", architecture)
        .env("FETCH_PROTOCOLS", protocols)
        .env("no_proxy", "127.0.0.1")
        .output()
        .expect("the script can be started")
}

#[test]
fn what_has_the_pinned_checksum_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let pins =
        format!("vendor tool 1.2.3 http://127.0.0.1:{}/{{version}}/{{arch}}\nsha256 tool arm64 {SUM}\n", serve());
    let output = fetch(folder.path(), &pins, "arm64", "=http");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("out")).expect("it is there"), CONTENT);
}

#[rstest]
#[case::another_checksum(
    "sha256 tool arm64 0000000000000000000000000000000000000000000000000000000000000000",
    "arm64",
    "1.2.3",
    "=http",
    "has the checksum"
)]
#[case::of_another_architecture("sha256 tool amd64 SUM", "arm64", "1.2.3", "=http", "no checksum is pinned for arm64")]
#[case::no_checksum("sha256 other arm64 SUM", "arm64", "1.2.3", "=http", "no checksum is pinned")]
#[case::not_known_yet("sha256 tool arm64 -", "arm64", "1.2.3", "=http", "no checksum is pinned")]
#[case::no_checksum_at_all("sha256 tool arm64 0123", "arm64", "1.2.3", "=http", "is not one")]
#[case::not_there("sha256 tool arm64 SUM", "arm64", "9.9.9", "=http", "cannot be fetched")]
#[case::not_encrypted("sha256 tool arm64 SUM", "arm64", "1.2.3", "=https", "cannot be fetched")]
#[case::an_unknown_machine("sha256 tool riscv64 SUM", "riscv64", "1.2.3", "=http", "pins for amd64 and arm64")]
fn anything_else_ends_the_build_and_leaves_nothing(
    #[case] sum: &str,
    #[case] architecture: &str,
    #[case] version: &str,
    #[case] protocols: &str,
    #[case] why: &str,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let sum = sum.replace("SUM", SUM);
    let pins = format!("vendor tool {version} http://127.0.0.1:{}/{{version}}/{{arch}}\n{sum}\n", serve());
    let output = fetch(folder.path(), &pins, architecture, protocols);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why), "{why:?} is missing in {said}");
    assert!(!folder.path().join("out").exists(), "something was left: {said}");
}
