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

    /// Waits for `wanted`, gives what came before it, and goes on after it. The error says why it will not come.
    pub(crate) fn expect(&mut self, wanted: &str) -> Result<String, &'static str> {
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

    /// Waits for the end.
    pub(crate) fn wait_for_end(&mut self) -> Result<(), &'static str> {
        let deadline = Instant::now() + *DEADLINE;
        loop {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.text.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Timeout) => return Err("in time"),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Comes back with the first that comes, or after `time`.
    pub(crate) fn take_for(&mut self, time: Duration) {
        if let Ok(chunk) = self.chunks.recv_timeout(time) {
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
