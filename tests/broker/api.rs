//! A scripted API: what it was asked, and answers that a test writes piece by piece.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::stand::DEADLINE;

/// A request that has come whole, and the connection to answer it on.
pub(crate) struct Asked {
    /// Its line and headers; the headers' names in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    stream: TcpStream,
}

pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, sender) = (stream.unwrap(), sender.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some((head, body)) = read(&mut reader) {
                        let stream = stream.try_clone().unwrap();
                        if sender.send(Asked { head, body, stream }).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.recv_timeout(DEADLINE).unwrap()
    }

    /// The next request, if it comes in time.
    pub(crate) fn asked_within(&self, time: Duration) -> Option<Asked> {
        self.asked.recv_timeout(time).ok()
    }

    /// Whether nothing has been asked that was not looked at.
    pub(crate) fn is_unasked(&self) -> bool {
        self.asked.try_recv().is_err()
    }
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    /// A status with these headers, and a body whose length is not said.
    pub(crate) fn begin(&mut self, status: &str, headers: &str) {
        self.stream.set_nodelay(true).unwrap();
        write!(self.stream, "HTTP/1.1 {status}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    }

    /// A stream of events.
    pub(crate) fn begin_events(&mut self) {
        self.begin("200 OK", "Content-Type: text/event-stream; charset=utf-8\r\nRequest-Id: req_1\r\n");
    }

    /// A piece of the body.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let piece = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.stream.write_all(&piece).unwrap();
    }

    pub(crate) fn end(mut self) {
        self.stream.write_all(b"0\r\n\r\n").unwrap();
    }

    /// Closes the connection in the middle of the answer.
    pub(crate) fn cut(self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        write!(self.stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").unwrap();
    }

    /// Waits until the broker has closed its end.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The reader of this connection takes the end; a byte that can no longer be sent tells it as well.
        let mut stream = &self.stream;
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if stream.write_all(b"1\r\nx\r\n").is_err() {
                return true;
            }
            thread::yield_now();
        }
        false
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        match line.trim_end().split_once(": ").filter(|_| !head.is_empty()) {
            Some((name, value)) => head = format!("{head}{}: {value}\n", name.to_lowercase()),
            None => head = format!("{head}{}\n", line.trim_end()),
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    if head.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut piece = vec![0; length + 2];
            reader.read_exact(&mut piece).ok()?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&piece[..length]);
        }
    }
    Some((head, body))
}
