//! HTTP by hand, one connection for each request, from inside a box's network: a test decides when a body is sent and
//! when a connection is closed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use crate::support::DEADLINE;

/// The network of a box.
#[derive(Clone)]
pub(crate) struct Network(Arc<File>);

impl Network {
    /// That of a process.
    pub(crate) fn of(pid: i32) -> Self {
        Self(Arc::new(File::open(format!("/proc/{pid}/ns/net")).unwrap()))
    }

    /// Does something in it. A socket stays in the network it was made in.
    fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            // Of this thread alone, so it is one that ends here.
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                action()
            });
            thread.join().unwrap()
        })
    }

    /// A port of the box's loopback.
    pub(crate) fn listen(&self) -> TcpListener {
        self.inside(|| TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }
}

/// Calls a box's API.
#[derive(Clone)]
pub(crate) struct Client {
    network: Network,
    port: u16,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(network: Network, port: u16) -> Self {
        Self { network, port, token: None }
    }

    /// The same with a token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Ask<'_> {
        self.ask("GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Ask<'_> {
        self.ask("POST", path)
    }

    pub(crate) fn delete(&self, path: &str) -> Ask<'_> {
        self.ask("DELETE", path)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let ask =
            Ask { client: self, line: format!("{method} {path} HTTP/1.1\r\n"), headers: Vec::new(), body: Vec::new() };
        match &self.token {
            Some(token) => ask.header("authorization", &format!("Bearer {token}")),
            None => ask,
        }
    }

    /// `POST /run`, not sent yet. The workspace is made if it is missing.
    pub(crate) fn asks(&self, mut body: Value) -> Ask<'_> {
        body["createWorkspace"] = true.into();
        self.post("/run").json(&body)
    }

    /// The result of a run.
    #[track_caller]
    pub(crate) fn run(&self, body: Value) -> Value {
        self.asks(body).send().json(200)
    }

    /// Starts a run; its id.
    #[track_caller]
    pub(crate) fn begin(&self, mut body: Value) -> String {
        body["async"] = true.into();
        let answer = self.asks(body).send().json(200);
        answer["runId"].as_str().unwrap().to_owned()
    }

    /// Waits for the end of a run; the run.
    #[track_caller]
    pub(crate) fn end_of(&self, id: &str) -> Value {
        let mut answering = self.get(&format!("/runs/{id}/events")).open();
        assert_eq!(answering.status, 200);
        let mut last = None;
        while let Some(event) = answering.event() {
            last = Some(event);
        }
        let last = last.unwrap();
        assert_eq!(last.name, "end", "{last:?}");
        last.data
    }

    /// A run as it stands.
    #[track_caller]
    pub(crate) fn look(&self, id: &str) -> Value {
        self.get(&format!("/runs/{id}")).send().json(200)
    }
}

/// A request.
pub(crate) struct Ask<'client> {
    client: &'client Client,
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sends it, and reads the whole answer.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        self.open().rest()
    }

    /// Sends it, and reads the head of the answer.
    #[track_caller]
    pub(crate) fn open(self) -> Answering {
        let mut waiting = self.leave();
        waiting.head()
    }

    /// Sends it, and reads nothing yet.
    pub(crate) fn leave(self) -> Waiting {
        let port = self.client.port;
        let mut stream = self.client.network.inside(|| TcpStream::connect(("127.0.0.1", port)).unwrap());
        stream.set_read_timeout(Some(*DEADLINE)).unwrap();
        let has = |wanted: &str| self.headers.iter().any(|(name, _)| name == wanted);
        let mut head = self.line.clone();
        if !has("host") {
            write!(head, "host: 127.0.0.1:{port}\r\n").unwrap();
        }
        if !has("content-length")
            && !has("transfer-encoding")
            && (!self.body.is_empty() || self.line.starts_with("POST"))
        {
            write!(head, "content-length: {}\r\n", self.body.len()).unwrap();
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("connection: close\r\n\r\n");
        // Who answers before the body is read may close the connection meanwhile.
        let _ = stream.write_all(&[head.as_bytes(), &self.body].concat());
        Waiting { stream }
    }
}

/// A request that was sent. Dropped, its connection is closed.
pub(crate) struct Waiting {
    stream: TcpStream,
}

impl Waiting {
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answering {
        let deadline = Instant::now() + *DEADLINE;
        let mut reader = BufReader::new(self.stream.try_clone().unwrap());
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = line();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{first:?} is no answer"));
        let mut headers = Vec::new();
        loop {
            let header = line();
            let Some((name, value)) = header.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut answering = Answering { status, headers, reader, left: None, text: Vec::new(), over: false, deadline };
        answering.left = match status {
            204 | 304 => Some(0),
            _ => answering.header("content-length").map(|length| length.parse().unwrap()),
        };
        answering
    }
}

/// An answer whose body is still coming. Dropped, its connection is closed.
pub(crate) struct Answering {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    /// Bytes of the body that are to come; `None` if it comes in chunks.
    left: Option<usize>,
    /// What has come and was not taken.
    text: Vec<u8>,
    over: bool,
    /// A heartbeat is no end: what has not ended by then never will.
    deadline: Instant,
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

impl Answering {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Takes in more of the body; whether there was more.
    fn more(&mut self) -> bool {
        if self.over {
            return false;
        }
        assert!(Instant::now() < self.deadline, "the answer has no end");
        let length = if let Some(length) = self.left.take() {
            self.over = true;
            length
        } else {
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            // A body that is cut has no last chunk.
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("cut: {size:?}"));
            self.over = size == 0;
            size
        };
        let mut piece = vec![0; length];
        self.reader.read_exact(&mut piece).unwrap();
        self.text.extend(piece);
        if !self.over {
            let mut end = [0; 2];
            self.reader.read_exact(&mut end).unwrap();
        }
        length > 0
    }

    /// The next line of the body; `None` after the last.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned());
            }
            if !self.more() {
                assert!(self.text.is_empty(), "cut in a line: {:?}", self.text);
                return None;
            }
        }
    }

    /// The next line of the body as JSON.
    pub(crate) fn value(&mut self) -> Option<Value> {
        Some(serde_json::from_str(&self.line()?).unwrap())
    }

    /// The next server-sent event.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), id: None, data: Value::Null };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                None if line.is_empty() && !event.name.is_empty() => return Some(event),
                _ => assert!(line.is_empty() || line.starts_with(':'), "{line:?} is no event"),
            }
        }
    }

    /// The data of the next server-sent event without a name, as text.
    pub(crate) fn data(&mut self) -> Option<String> {
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("data", data)) => return Some(data.to_owned()),
                _ => assert!(line.is_empty() || line.starts_with(':'), "{line:?} is no event"),
            }
        }
    }

    /// All events that are still to come.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// The whole answer.
    pub(crate) fn rest(mut self) -> Answer {
        while self.more() {}
        Answer { status: self.status, headers: self.headers, body: self.text }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or_else(|| panic!("no {name}: {:?}", self.headers), |(_, value)| value.as_str())
    }

    /// Whether it has this header.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body, once its status was checked.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that it is a problem of this status and code; its body.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.json(status);
        assert_eq!(body["code"], code, "{body}");
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
        body
    }

    /// `Retry-After`, seconds.
    #[track_caller]
    pub(crate) fn retry_after(&self) -> u64 {
        self.header("retry-after").parse().unwrap()
    }
}

/// A run's body: a prompt in a workspace.
pub(crate) fn prompt(workspace: &str, prompt: &str) -> Value {
    json!({"workspace": workspace, "prompt": prompt})
}

/// `body` with further fields.
pub(crate) fn with(mut body: Value, mut more: Value) -> Value {
    body.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    body
}
