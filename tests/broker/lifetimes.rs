//! What begins and ends with what.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use claudebox::broker::protocol::LeaseError;
use rstest::rstest;
use uuid::Uuid;

use crate::api::Api;
use crate::stand::{Broker, KEY, answer, command, eventually, post, read_until, start};

#[test]
fn the_end_of_the_owners_connection_ends_everything() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(None);
    let mut stream = post(&lease);
    let idle = UnixStream::connect(lease.socket()).unwrap();
    let mut asked = api.asked();
    asked.begin_events();
    asked.send(start(1).as_bytes());
    read_until(&mut stream, start(1).as_bytes());
    // Nothing says yet what this one costs: while the run is open, a client that hangs up would not end it.
    let _other = post(&lease);
    let mut unpriced = api.asked();
    unpriced.begin_events();
    let socket = lease.socket().to_owned();
    drop(lease);
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the answer was not ended, but cut");
    idle.set_read_timeout(Some(crate::stand::DEADLINE)).unwrap();
    assert_eq!(std::io::Read::read(&mut &idle, &mut [0]).unwrap_or(0), 0);
    assert!(asked.is_hung_up() && unpriced.is_hung_up());
    eventually("the socket is removed", || !socket.exists());
    assert!(UnixStream::connect(&socket).is_err());
    assert!(broker.sockets().is_empty());
}

#[test]
fn two_runs_have_nothing_of_each_other() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let (poor, rich) = (broker.open(Some(0.0)), broker.open(None));
    assert_ne!(poor.socket(), rich.socket());
    assert_eq!(answer(post(&poor)).status(), "400");
    let stream = post(&rich);
    let mut asked = api.asked();
    drop(poor);
    eventually("one socket is left", || broker.sockets().len() == 1);
    asked.answer("200 OK", "", "for the rich one");
    assert_eq!(answer(stream).body, b"for the rich one");
}

#[test]
fn sockets_are_for_whom_they_are() {
    let broker = Broker::start("http://127.0.0.1:9");
    let lease = broker.open(None);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&broker.path("control")), 0o600);
    assert_eq!(mode(&broker.path("sockets")), 0o711);
    assert_eq!(mode(lease.socket()), 0o666);
    assert_eq!(mode(&broker.path("audit")), 0o600);
    let name = lease.socket().file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
}

#[test]
fn a_run_is_open_once() {
    let broker = Broker::start("http://127.0.0.1:9");
    let run = Uuid::now_v7();
    let lease = broker.open_as(run, None).unwrap();
    let Err(LeaseError::Refused(why)) = broker.open_as(run, None) else { panic!("it was opened twice") };
    assert!(why.contains("is open already"), "{why}");
    drop(lease);
    eventually("it can be opened again", || broker.open_as(run, None).is_ok());
    assert!(matches!(broker.open_as(run, Some(-1.0)), Err(LeaseError::Refused(why)) if why.contains("at least 0")));
}

#[rstest]
#[case("{\"budget\":{\"usd\":1}}\n", "must be open")]
#[case("nonsense\n", "unreadable")]
#[case("{\"open\":{\"run\":\"x\"}}\n", "unreadable")]
fn what_is_no_message_is_refused(#[case] line: &str, #[case] why: &str) {
    let broker = Broker::start("http://127.0.0.1:9");
    let mut stream = UnixStream::connect(broker.path("control")).unwrap();
    stream.set_read_timeout(Some(crate::stand::DEADLINE)).unwrap();
    std::io::Write::write_all(&mut stream, line.as_bytes()).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stream, &mut said).unwrap();
    assert!(said.starts_with("{\"refused\":") && said.contains(why), "{said}");
}

#[test]
fn term_removes_every_socket() {
    let api = Api::start();
    let mut broker = Broker::start(&api.url());
    let (one, other) = (broker.open(None), broker.open(None));
    let mut stream = post(&one);
    let mut asked = api.asked();
    asked.begin_events();
    asked.send(start(1).as_bytes());
    read_until(&mut stream, start(1).as_bytes());
    assert_eq!(broker.terminate(), Some(0));
    assert!(broker.sockets().is_empty());
    assert!(!broker.path("control").exists());
    assert!(broker.verify().status.success());
    drop(other);
}

#[test]
fn what_an_earlier_broker_has_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = folder.path().join("sockets");
    fs::create_dir(&sockets).unwrap();
    let left = sockets.join("0123456789abcdef0123456789abcdef");
    let _listeners = (UnixListener::bind(&left).unwrap(), UnixListener::bind(folder.path().join("control")).unwrap());
    let (file, other) = (sockets.join("f".repeat(32)), sockets.join("other"));
    fs::write(&file, "no socket").unwrap();
    let _other = UnixListener::bind(&other).unwrap();
    let command = command(folder.path(), &[("ANTHROPIC_API_KEY", KEY)]);
    let broker = Broker::of(folder, command, None);
    assert!(!left.exists());
    assert!(file.exists() && other.exists(), "what is not a run's socket stays");
    assert!(broker.open(None).socket().exists());
}

#[rstest]
#[case(&[], "set ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or CLAUDE_CODE_OAUTH_TOKEN")]
#[case(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "ftp://x")], "ANTHROPIC_BASE_URL is not usable")]
#[case(&[("ANTHROPIC_API_KEY", "a secret")], "ANTHROPIC_API_KEY is not usable")]
fn a_start_that_cannot_be_says_why(#[case] env: &[(&str, &str)], #[case] why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), env).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains(why) && !said.contains("a secret") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_list_that_is_too_wide_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("allow");
    fs::write(&list, "example.com\n*.com\n").unwrap();
    fs::set_permissions(&list, Permissions::from_mode(0o644)).unwrap();
    let mut command = command(folder.path(), &[("ANTHROPIC_API_KEY", KEY)]);
    let output = command.args(["--egress", "127.0.0.1:0", "--allow"]).arg(&list).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains("line 2 of the allow-list, '*.com', is too wide"), "{said}");
    assert!(!folder.path().join("control").exists(), "a broker that did not start leaves no socket");
}

#[test]
fn an_idle_broker_sleeps() {
    let broker = Broker::start("http://127.0.0.1:9");
    let _lease = broker.open(None);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", broker.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    let (_one, wait) = std::sync::mpsc::channel::<()>();
    let _ = wait.recv_timeout(Duration::from_millis(500));
    assert!(ticks() - before <= 2, "it does not spin");
}
