//! A running `claudebox offline-model`, and HTTP by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// How long anything may take before a test gives up on it.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_claudebox"))
            .arg("offline-model")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.strip_prefix("http://").and_then(|rest| rest.strip_suffix('\n'));
        let address = address.unwrap_or_else(|| panic!("not an address: {line:?}")).to_owned();
        Self { child, stdout, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The whole answer: status line, headers and body as they came.
    pub(crate) fn exchange(&self, method: &str, path: &str, body: &str) -> String {
        self.exchange_with(method, path, "", body)
    }

    pub(crate) fn exchange_with(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut answer = Vec::new();
        // A cut connection may end in a reset: what came before it counts.
        let _ = self.send(method, path, headers, body).read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        stream
    }

    /// Signals the server and awaits its end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        std::thread::scope(|scope| {
            let (done, ended) = mpsc::channel();
            let child = &mut self.child;
            scope.spawn(move || done.send(child.wait()));
            ended.recv_timeout(DEADLINE).unwrap_or_else(|_| {
                kill(pid, Signal::SIGKILL).unwrap();
                panic!("still there after {signal}")
            })
        })
        .unwrap()
    }

    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn one_message(prompt: &str, stream: bool) -> Value {
    json!({"model": "claude-test", "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

pub(crate) fn messages(prompt: &str, stream: bool) -> String {
    one_message(prompt, stream).to_string()
}

/// The JSON object in an answer, whatever its framing.
pub(crate) fn json_body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let object = body.find('{').zip(body.rfind('}'));
    let (start, end) = object.unwrap_or_else(|| panic!("no JSON: {answer}"));
    serde_json::from_str(&body[start..=end]).unwrap()
}
