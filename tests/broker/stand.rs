//! A broker as a process, and what a run's owner and its CLI do.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use claudebox::broker::protocol::{FromBroker, Lease, LeaseError, Open, Usage};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

/// What has not happened by then never will.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// The true credential. It must come back nowhere.
pub(crate) const KEY: &str = "the-true-key";

pub(crate) struct Broker {
    child: Child,
    pub(crate) folder: TempDir,
    egress: Option<SocketAddr>,
}

/// What an answer was.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status line and the headers, their names in lower case.
    pub(crate) head: String,
    /// Without the marks of its pieces.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end, rather than to that of the connection.
    pub(crate) is_whole: bool,
}

pub(crate) fn command(folder: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claudebox"));
    command.arg("broker").arg("--control").arg(folder.join("control")).arg("--sockets").arg(folder.join("sockets"));
    command.arg("--audit").arg(folder.join("audit"));
    command.env_clear().envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Broker {
    /// With an API key, in front of `url`.
    pub(crate) fn start(url: &str) -> Self {
        Self::with(&[("ANTHROPIC_BASE_URL", url), ("ANTHROPIC_API_KEY", KEY)])
    }

    pub(crate) fn with(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = command(folder.path(), env);
        Self::of(folder, command, None)
    }

    /// With a proxy whose list is `allow`.
    pub(crate) fn with_egress(allow: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("allow"), allow).unwrap();
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = command(folder.path(), &[("ANTHROPIC_API_KEY", KEY)]);
        command.arg("--egress").arg(address.to_string()).arg("--allow").arg(folder.path().join("allow"));
        Self::of(folder, command, Some(address))
    }

    pub(crate) fn of(folder: TempDir, mut command: Command, egress: Option<SocketAddr>) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child, folder, egress }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn egress(&self) -> SocketAddr {
        self.egress.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn open(&self, budget: Option<f64>) -> Lease {
        self.open_as(Uuid::now_v7(), budget).unwrap()
    }

    pub(crate) fn open_as(&self, run: Uuid, budget: Option<f64>) -> Result<Lease, LeaseError> {
        let open = Open { run, budget_usd: budget, ..Open::default() };
        Lease::open(&self.path("control"), open, DEADLINE)
    }

    /// The names in the folder of sockets.
    pub(crate) fn sockets(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("sockets")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Ends it in order: its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// The lines of the audit log of this event.
    pub(crate) fn audit(&self, event: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("audit")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    }

    pub(crate) fn verify(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claudebox"));
        command.args(["audit", "verify"]).arg(self.path("audit")).output().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again whether `is_so`, until the deadline.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

/// The next message that `wanted` takes.
pub(crate) fn told<T>(lease: &mut Lease, mut wanted: impl FnMut(FromBroker) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        while let Some(message) = lease.next_message().unwrap() {
            if let Some(found) = wanted(message) {
                return found;
            }
        }
        assert!(begun.elapsed() < DEADLINE, "the broker did not say it");
        let mut ready = [PollFd::new(lease.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(1000u16)).unwrap();
    }
}

pub(crate) fn final_usage(lease: &mut Lease) -> Usage {
    told(lease, |message| match message {
        FromBroker::Usage(usage) if usage.is_final => Some(usage),
        _ => None,
    })
}

/// Sends a request as the CLI does, with its own stand-in for a key.
pub(crate) fn send(lease: &Lease, request: &str, headers: &str, body: &str) -> UnixStream {
    send_as(lease.stand_in(), lease.socket(), request, headers, body)
}

/// The same with this key.
pub(crate) fn send_as(key: &str, socket: &Path, request: &str, headers: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: anything\r\nx-api-key: {key}\r\nAccept-Encoding: gzip, br\r\n\
         Content-Type: application/json\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

pub(crate) fn post(lease: &Lease) -> UnixStream {
    send(lease, "POST /v1/messages?beta=true", "", "{}")
}

/// Reads until exactly these bytes of the body have come: what was read.
pub(crate) fn read_until(stream: &mut UnixStream, wanted: &[u8]) -> Vec<u8> {
    until(stream, wanted)
}

pub(crate) fn read_until_tcp(stream: &mut TcpStream, wanted: &[u8]) -> Vec<u8> {
    until(stream, wanted)
}

fn until(stream: &mut impl std::io::Read, wanted: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(wanted.len()).any(|part| part == wanted) {
        let mut byte = [0; 4096];
        let length = stream.read(&mut byte).unwrap();
        assert!(length > 0, "the connection ended: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&byte[..length]);
    }
    read
}

/// Everything to the end of the connection.
pub(crate) fn answer(mut stream: UnixStream) -> Answer {
    let mut bytes = Vec::new();
    // A cut connection may end in a reset: what came before it counts.
    let ended = stream.read_to_end(&mut bytes);
    let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "no end: {}", String::from_utf8_lossy(&bytes));
    parse(&bytes)
}

pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no head: {:?}", String::from_utf8_lossy(bytes));
    });
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let mut rest = &bytes[end + 4..];
    if !head.contains("transfer-encoding: chunked") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        return Answer { is_whole: length.is_none_or(|length| length == rest.len()), head, body: rest.to_vec() };
    }
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Answer { head, body, is_whole: false };
        };
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        if length == 0 {
            return Answer { head, body, is_whole: true };
        }
        body.extend_from_slice(&rest[..length.min(rest.len())]);
        rest = rest.get(length + 2..).unwrap_or_default();
    }
}

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The message of an error in the API's shape.
    pub(crate) fn error(&self, kind: &str) -> String {
        let error = self.json();
        assert_eq!((error["type"].as_str(), error["error"]["type"].as_str()), (Some("error"), Some(kind)));
        error["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// An event as the API sends it.
pub(crate) fn event(kind: &str, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n")
}

/// The first event of a message of an unknown model, which costs 15 USD for a million tokens read.
pub(crate) fn start(read: u64) -> String {
    let usage = format!(r#"{{"input_tokens":{read},"output_tokens":1}}"#);
    event("message_start", &format!(r#","message":{{"id":"m","model":"unknown-model","usage":{usage}}}"#))
}

pub(crate) fn text(letters: usize) -> String {
    let text = "x".repeat(letters);
    event("content_block_delta", &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#))
}

pub(crate) fn delta(written: u64) -> String {
    event("message_delta", &format!(r#","delta":{{"stop_reason":"end_turn"}},"usage":{{"output_tokens":{written}}}"#))
}
