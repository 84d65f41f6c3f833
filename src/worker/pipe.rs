//! What a program writes, read line by line without waiting and without holding more than a line.

use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Longest line of its output, bytes; a longer one is dropped. An event holds a file of the size that tools read at most.
const LONGEST_LINE_BYTES: usize = 32 * 1024 * 1024;
/// How much of a pipe is taken before what came is looked at, bytes.
const GULP_BYTES: usize = 1024 * 1024;

/// A pipe from the CLI, and what came through it and was not taken yet.
pub(super) struct Source<R> {
    /// `None` once it is closed.
    pub(super) pipe: Option<R>,
    data: Vec<u8>,
    /// This much of `data` is known to hold no line feed.
    searched: usize,
    /// How many bytes of the line that is being read were dropped already.
    dropped: usize,
}

/// A line of a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line feed.
    Whole(Vec<u8>),
    /// One that was too long; how many bytes it had.
    Dropped(usize),
}

impl<R: Read + AsFd> Source<R> {
    pub(super) fn new(pipe: R) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(Self { pipe: Some(pipe), data: Vec::new(), searched: 0, dropped: 0 })
    }

    /// Takes what is in the pipe, [`GULP_BYTES`] at most; how many bytes that was.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let mut filled = 0;
        while let Some(pipe) = &mut self.pipe
            && filled < GULP_BYTES
        {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    self.data.extend_from_slice(&buffer[..count]);
                    filled += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// The next line that is there to its end.
    pub(super) fn take_line(&mut self) -> Option<Line> {
        let Some(end) = self.data[self.searched..].iter().position(|&byte| byte == b'\n') else {
            if self.data.len() > LONGEST_LINE_BYTES || self.dropped > 0 {
                self.dropped += self.data.len();
                self.data = Vec::new();
            }
            self.searched = self.data.len();
            return None;
        };
        let mut line: Vec<u8> = self.data.drain(..=self.searched + end).collect();
        line.pop();
        self.searched = 0;
        let dropped = std::mem::take(&mut self.dropped);
        Some(if dropped > 0 { Line::Dropped(dropped + line.len()) } else { Line::Whole(line) })
    }

    /// A last line without its line feed.
    pub(super) fn take_rest(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.data);
        match std::mem::take(&mut self.dropped) {
            0 => (!line.is_empty()).then_some(Line::Whole(line)),
            dropped => Some(Line::Dropped(dropped + line.len())),
        }
    }

    /// What was not taken, as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    pub(super) fn keep_end(&mut self, most: usize) {
        let excess = self.data.len().saturating_sub(most);
        self.data.drain(..excess);
    }
}

pub(super) fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_dropped_and_the_next_one_is_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut source = Source::new(reader).unwrap();
        let length = LONGEST_LINE_BYTES + 3 * GULP_BYTES;
        let writing = std::thread::spawn(move || {
            writer.write_all(&vec![b'x'; length]).unwrap();
            writer.write_all(b"\nshort\nrest").unwrap();
        });
        let mut lines = Vec::new();
        while source.pipe.is_some() {
            source.fill().unwrap();
            lines.extend(std::iter::from_fn(|| source.take_line()));
            assert!(source.data.len() <= LONGEST_LINE_BYTES + GULP_BYTES, "{} bytes are held", source.data.len());
        }
        writing.join().unwrap();
        assert_eq!(lines, [Line::Dropped(length), Line::Whole(b"short".to_vec())]);
        assert_eq!(source.take_rest(), Some(Line::Whole(b"rest".to_vec())));
        assert_eq!(source.take_rest(), None);
    }
}
