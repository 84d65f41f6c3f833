//! A client without a library between the test and the wire: one connection per request, read as slowly or as long as a
//! test likes, and dropped when it likes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_mins(2);

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Open {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    connection: BufReader<TcpStream>,
    /// Bytes left of the body, or of this chunk of it. `None`: the next chunk's size comes.
    left: Option<u64>,
    chunked: bool,
    ended: bool,
}

impl Open {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn whole(mut self) -> io::Result<Answer> {
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(Answer { status: self.status, headers: self.headers, body })
    }

    /// The connection, for a body of a known length that nothing of was read yet.
    pub(crate) fn into_raw(self) -> (impl Read, u64) {
        let length = self.left.expect("the body has a length");
        (self.connection, length)
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.connection.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(|_| cut())?;
        self.left = Some(size);
        if size == 0 {
            self.ended = true;
        }
        Ok(())
    }
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_none() && !self.ended {
            self.next_chunk()?;
        }
        let left = self.left.unwrap_or(0);
        if self.ended || left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.connection.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(cut());
        }
        let left = left - count as u64;
        self.left = Some(left);
        if left == 0 && self.chunked {
            let mut end = [0; 2];
            self.connection.read_exact(&mut end)?;
            self.left = None;
        }
        Ok(count)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off")
}

fn header<'headers>(headers: &'headers [(String, String)], name: &str) -> Option<&'headers str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The server on this port of the loopback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server(pub(crate) u16);

impl Server {
    pub(crate) fn connect(self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.0))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Asks, and waits for the head of the answer. `headers` are whole lines, each with its line end.
    pub(crate) fn open(self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Open> {
        open_on(self.connect()?, method, path, headers, body)
    }

    pub(crate) fn ask(self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        self.open(method, path, headers, body)?.whole()
    }

    pub(crate) fn get(self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "", b"")
    }

    /// `POST /run` of this body.
    pub(crate) fn run(self, body: &Value, headers: &str) -> io::Result<Answer> {
        self.open_run(body, headers)?.whole()
    }

    pub(crate) fn open_run(self, body: &Value, headers: &str) -> io::Result<Open> {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        self.open("POST", "/run", &headers, body.to_string().as_bytes())
    }

    /// A run of this prompt that is answered at once; its id.
    pub(crate) fn start(self, workspace: &str, prompt: &str) -> String {
        let body = serde_json::json!({"prompt": prompt, "workspace": workspace, "async": true, "busy": "queue"});
        let answer = self.run(&body, "").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["runId"].as_str().unwrap().to_owned()
    }

    /// `GET /runs/ID`.
    pub(crate) fn view(self, run: &str) -> Value {
        let answer = self.get(&format!("/runs/{run}")).unwrap();
        assert_eq!(answer.status, 200, "{run}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn is_healthy(self) -> bool {
        self.get("/health").is_ok_and(|answer| answer.status == 200)
    }
}

/// Asks over this connection, its last request, and waits for the head of the answer.
pub(crate) fn open_on(mut stream: TcpStream, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Open> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    answer(stream)
}

/// Reads the head of an answer.
pub(crate) fn answer(stream: TcpStream) -> io::Result<Open> {
    let mut connection = BufReader::with_capacity(64 << 10, stream);
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(cut());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let chunked = header(&headers, "transfer-encoding").is_some();
    let length = header(&headers, "content-length").and_then(|length| length.parse().ok());
    let left = if chunked { None } else { Some(length.unwrap_or(0)) };
    Ok(Open { status, headers, connection, left, chunked, ended: false })
}
