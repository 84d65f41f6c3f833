//! The two ends of a worker's talk with the engine: what it is told, on standard input, and what it says, on standard
//! output.
//!
//! Standard input stays open while the worker is at work. Closing it cancels, which the kernel does for a `serve` that
//! was killed.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::process::{Control, Order};
use crate::process::events::{self, Interest, Signals};
use crate::turn::protocol::{FromWorker, LONGEST_TO_WORKER, Lines, ToWorker};

/// How much is read at once, bytes.
const BLOCK: usize = 64 * 1024;

/// What the engine says.
#[derive(Debug)]
pub struct Inbox<R> {
    input: R,
    lines: Lines,
}

impl<R: Read + AsFd> Inbox<R> {
    /// Nothing was read yet.
    pub const fn new(input: R) -> Self {
        Self { input, lines: Lines::new(LONGEST_TO_WORKER) }
    }

    /// Waits for the first message. `None`: there will be none.
    pub fn first(&mut self, signals: &Signals) -> io::Result<Option<ToWorker>> {
        let mut block = vec![0; BLOCK];
        loop {
            while let Some(signal) = signals.next()? {
                if events::asks_to_stop(signal) {
                    return Ok(None);
                }
            }
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if events::is_readable(&self.input.as_fd())? {
                match self.input.read(&mut block)? {
                    0 => return Ok(None),
                    count => self.lines.push(&block[..count]),
                }
            } else {
                events::wait(signals, &[Interest::readable(&self.input.as_fd())], None)?;
            }
        }
    }

    /// Whether a cancel has come with the message before it: whoever cancels at once writes before that is read.
    pub fn is_cancelled(&mut self) -> bool {
        !matches!(self.take(), Ok(None))
    }

    /// The next message of those that were read.
    fn take(&mut self) -> io::Result<Option<ToWorker>> {
        let Some(line) = self.lines.take_line().map_err(io::Error::other)? else { return Ok(None) };
        let message = ToWorker::decode(line).map_err(io::Error::other)?;
        self.lines.forget_taken();
        Ok(Some(message))
    }
}

impl<R: Read + AsFd> Control for Inbox<R> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    fn order(&mut self) -> io::Result<Order> {
        let mut block = [0; 64];
        loop {
            match self.take() {
                Ok(Some(ToWorker::Cancel)) => return Ok(Order::Cancel),
                Ok(None) => {}
                // Whoever cannot be understood is not there to wait for an answer.
                Ok(Some(_)) => return Ok(Order::Gone),
                Err(error) => {
                    tracing::warn!("what the engine says is not understood, the run ends: {error}");
                    return Ok(Order::Gone);
                }
            }
            if !events::is_readable(&self.input.as_fd()).unwrap_or(true) {
                return Ok(Order::None);
            }
            match self.input.read(&mut block) {
                Ok(0) => return Ok(Order::Gone),
                Ok(count) => self.lines.push(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Order::Gone),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What the engine is told.
pub(super) struct ToEngine<W>(W);

impl<W: Write> ToEngine<W> {
    pub(super) const fn new(out: W) -> Self {
        Self(out)
    }

    /// Says it at once.
    pub(super) fn send(&mut self, message: &FromWorker<'_>) -> io::Result<()> {
        self.0.write_all(&message.encode().map_err(io::Error::other)?)?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::PipeWriter;
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::turn::protocol::Shell;

    fn shell() -> ToWorker {
        let (output, workspace) = ("/o".into(), "/w".into());
        ToWorker::Shell(Shell { run_id: Uuid::nil(), command: "c".into(), output, workspace, limit: Duration::ZERO })
    }

    /// An engine that has said these bytes, and the worker that hears them.
    fn talk(bytes: &[u8]) -> (Inbox<File>, PipeWriter) {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(bytes).unwrap();
        (Inbox::new(File::from(std::os::fd::OwnedFd::from(reader))), writer)
    }

    fn first(bytes: &[u8]) -> io::Result<Option<ToWorker>> {
        let (mut inbox, engine) = talk(bytes);
        drop(engine);
        inbox.first(&Signals::block_all().unwrap())
    }

    #[test]
    fn a_message_comes_whole_or_not_at_all() {
        let line = shell().encode().unwrap();
        assert_eq!(first(&line).unwrap(), Some(shell()));
        assert_eq!(first(&line[..10]).unwrap(), None);
        assert_eq!(first(b"").unwrap(), None);
        assert!(first(b"nonsense\n").is_err());
    }

    /// Whoever cancels at once writes before the job is read.
    #[test]
    fn a_cancel_right_behind_the_first_message_is_one() {
        let line = [shell().encode().unwrap(), ToWorker::Cancel.encode().unwrap()].concat();
        for (bytes, cancelled) in [(&line[..], true), (&line[..line.len() - 1], false)] {
            let (mut inbox, _engine) = talk(bytes);
            assert_eq!(inbox.first(&Signals::block_all().unwrap()).unwrap(), Some(shell()));
            assert_eq!(inbox.is_cancelled(), cancelled);
        }
    }

    #[test]
    fn an_order_is_heard_while_the_run_goes_on() {
        let (mut inbox, mut engine) = talk(b"");
        assert_eq!(inbox.order().unwrap(), Order::None);
        engine.write_all(b"C").unwrap();
        assert_eq!(inbox.order().unwrap(), Order::None, "half of a message");
        engine.write_all(b"\nC\n").unwrap();
        assert_eq!(inbox.order().unwrap(), Order::Cancel);
        assert_eq!(inbox.order().unwrap(), Order::Cancel);
        assert_eq!(inbox.order().unwrap(), Order::None);
        drop(engine);
        assert_eq!(inbox.order().unwrap(), Order::Gone);
        let (mut inbox, _engine) = talk(b"nonsense\n");
        assert_eq!(inbox.order().unwrap(), Order::Gone);
    }
}
