//! What a box prints, read by a thread so that waiting for it has a deadline.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// One stream of a box, and what of it a test has waited for.
pub(crate) struct Stream {
    chunks: Receiver<Vec<u8>>,
    text: String,
    /// Everything before this was waited for.
    seen: usize,
}

impl Stream {
    /// Reads `source` to its end in a thread.
    pub(crate) fn read(mut source: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match source.read(&mut buffer) {
                    Ok(count) if count > 0 => {
                        if sender.send(buffer[..count].to_vec()).is_err() {
                            break;
                        }
                    }
                    // A terminal that everybody has left gives an error instead of an end.
                    _ => break,
                }
            }
        });
        Self { chunks, text: String::new(), seen: 0 }
    }
}

/// Waiting for output.
pub(crate) trait Output {
    /// Waits for `wanted`, gives what came before it, and goes on after it. The error says why it cannot come any more.
    fn expect(&mut self, wanted: &str) -> Result<String, &'static str>;
    /// Waits for the end.
    fn to_end(&mut self) -> Result<(), &'static str>;
    /// Takes what comes within `time`, and comes back with the first of it.
    fn take_for(&mut self, time: Duration);
    /// Takes what is there.
    fn take_all(&mut self);
    /// Everything so far.
    fn text(&self) -> &str;
}

impl Output for Stream {
    fn expect(&mut self, wanted: &str) -> Result<String, &'static str> {
        let deadline = Instant::now() + *DEADLINE;
        loop {
            if let Some(at) = self.text[self.seen..].find(wanted) {
                let between = self.text[self.seen..][..at].to_owned();
                self.seen += at + wanted.len();
                return Ok(between);
            }
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Timeout) => return Err("in time"),
                Err(RecvTimeoutError::Disconnected) => return Err("and the output has ended"),
            }
        }
    }

    fn to_end(&mut self) -> Result<(), &'static str> {
        let deadline = Instant::now() + *DEADLINE;
        loop {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Timeout) => return Err("in time"),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take_for(&mut self, time: Duration) {
        if let Ok(chunk) = self.chunks.recv_timeout(time) {
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    fn take_all(&mut self) {
        while let Ok(chunk) = self.chunks.try_recv() {
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    fn text(&self) -> &str {
        &self.text
    }
}
