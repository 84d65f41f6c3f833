//! Each run's events on disk, one JSON object per line: readable while they grow, from any offset, as often as one likes.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Deserialize;
use uuid::Uuid;

const EXTENSION: &str = "ndjson";
/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// Share of all logs' bytes that one run's log may take.
const SHARE: u64 = 4;

/// The folder of event logs. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Logs {
    folder: PathBuf,
    /// Longest a log may get, bytes.
    longest: u64,
}

impl Logs {
    /// Their folder in the state folder.
    pub const FOLDER: &str = "runs";

    /// The logs in `folder`, which is made if it is not there. `most` bytes of them are kept; a log that is written gets no
    /// longer than a quarter of that.
    pub fn open(folder: PathBuf, most: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder, longest: most / SHARE })
    }

    /// Begins the log of `run`.
    pub fn create(&self, run: Uuid) -> io::Result<Log> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(run))?;
        let length = file.metadata()?.len();
        Ok(Log { file, length, longest: self.longest, dropped: 0 })
    }

    /// The log of `run`, to read. `None`: there is none, or not any more.
    pub fn read(&self, run: Uuid) -> io::Result<Option<LogReader>> {
        match File::open(self.path(run)) {
            Ok(file) => Ok(Some(LogReader { file: Arc::new(file) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the log of `run`, if there is one.
    pub fn remove(&self, run: Uuid) -> io::Result<()> {
        match fs::remove_file(self.path(run)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the oldest logs until the rest fits into `most` bytes, those of `kept` runs never. How many were removed.
    pub fn prune(&self, most: u64, kept: &HashSet<Uuid>) -> io::Result<usize> {
        let mut logs: Vec<(SystemTime, u64, Uuid)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let path = entry.path();
            let id = path.file_stem().and_then(|stem| Uuid::try_parse(stem.to_str()?).ok());
            let metadata = entry.metadata().and_then(|metadata| Ok((metadata.modified()?, metadata.len())));
            // One that is removed meanwhile is no longer of interest.
            if let (Some(id), Ok((modified, length))) = (id, metadata) {
                logs.push((modified, length, id));
            }
        }
        logs.sort_unstable();
        let mut total: u64 = logs.iter().map(|(_, length, _)| length).sum();
        let mut removed = 0;
        for (_, length, id) in logs.into_iter().filter(|(_, _, id)| !kept.contains(id)) {
            if total <= most {
                break;
            }
            self.remove(id)?;
            total -= length;
            removed += 1;
        }
        Ok(removed)
    }

    fn path(&self, run: Uuid) -> PathBuf {
        self.folder.join(run.to_string()).with_extension(EXTENSION)
    }
}

/// A log that is written to.
#[derive(Debug)]
pub struct Log {
    file: File,
    length: u64,
    longest: u64,
    /// How many events were left out.
    dropped: u64,
}

/// What a log that is full still takes.
#[derive(Deserialize)]
struct Kind<'line> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'line, str>,
}

fn is_result(line: &[u8]) -> bool {
    serde_json::from_slice::<Kind<'_>>(line).is_ok_and(|line| line.kind == "result")
}

impl Log {
    /// Appends whole lines, each with its line feed; how long the log is now. One that is full takes the run's result and
    /// says once, in an event of its own, that the rest is left out.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<u64> {
        if self.dropped == 0 && self.length + lines.len() as u64 <= self.longest {
            return self.write(lines);
        }
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            if self.dropped == 0 && self.length + line.len() as u64 <= self.longest || is_result(line) {
                self.write(line)?;
                continue;
            }
            self.dropped += 1;
            if self.dropped == 1 {
                let limit = self.longest;
                self.write(
                    format!("{{\"type\":\"system\",\"subtype\":\"events_dropped\",\"limitBytes\":{limit}}}\n")
                        .as_bytes(),
                )?;
            }
        }
        Ok(self.length)
    }

    /// How many events were left out because the log was full.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<u64> {
        self.file.write_all(lines)?;
        self.length += lines.len() as u64;
        Ok(self.length)
    }

    /// Makes sure that it is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A log that is read.
#[derive(Debug, Clone)]
pub struct LogReader {
    file: Arc<File>,
}

impl LogReader {
    /// How long it is, bytes.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Where the first line begins that does not begin before `offset`; the log's end if there is none.
    pub fn next_line(&self, offset: u64) -> io::Result<u64> {
        let Some(mut at) = offset.checked_sub(1) else { return Ok(0) };
        // The system reads from no offset beyond 2^63.
        let length = self.length()?;
        if offset >= length {
            return Ok(length);
        }
        let mut block = vec![0; BLOCK];
        loop {
            let count = self.file.read_at(&mut block, at)?;
            if let Some(end) = block[..count].iter().position(|&byte| byte == b'\n') {
                return Ok(at + end as u64 + 1);
            }
            if count == 0 {
                return Ok(at);
            }
            at += count as u64;
        }
    }

    /// The next whole lines from `offset` on, and before `end`; at least one, if there is one. Empty: there is none.
    pub fn lines(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        let mut data = Vec::new();
        loop {
            let at = offset + data.len() as u64;
            let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(BLOCK).min(BLOCK);
            let start = data.len();
            data.resize(start + wanted, 0);
            let count = self.file.read_at(&mut data[start..], at)?;
            data.truncate(start + count);
            if let Some(last) = data.iter().rposition(|&byte| byte == b'\n') {
                data.truncate(last + 1);
                return Ok(data.into());
            }
            if count == 0 {
                return Ok(Bytes::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> (tempfile::TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().join("runs"), 1 << 30).unwrap();
        (folder, logs)
    }

    #[test]
    fn whole_lines_from_any_offset() {
        let (_folder, logs) = logs();
        let run = Uuid::now_v7();
        assert!(logs.read(run).unwrap().is_none());
        let mut log = logs.create(run).unwrap();
        let reader = logs.read(run).unwrap().unwrap();
        assert_eq!(log.append(b"one\n").unwrap(), 4);
        assert_eq!(log.append(b"two\nthr").unwrap(), 11);
        assert_eq!(reader.lines(0, 11).unwrap(), "one\ntwo\n");
        assert_eq!(reader.lines(0, 4).unwrap(), "one\n");
        assert_eq!(reader.lines(4, 11).unwrap(), "two\n");
        assert_eq!(reader.lines(8, 11).unwrap(), "");
        let wide = vec![b'x'; 3 * BLOCK];
        log.append(b"ee\n").unwrap();
        log.append(&wide).unwrap();
        let length = log.append(b"\n").unwrap();
        assert_eq!(reader.lines(14, length).unwrap().len(), wide.len() + 1);
        assert_eq!(reader.length().unwrap(), length);
    }

    #[test]
    fn a_line_begins_after_the_one_before() {
        let (_folder, logs) = logs();
        let run = Uuid::now_v7();
        let mut log = logs.create(run).unwrap();
        let wide = BLOCK as u64 + 4;
        log.append(b"one\n").unwrap();
        log.append(&vec![b'x'; BLOCK]).unwrap();
        log.append(b"\ntwo\n").unwrap();
        let reader = logs.read(run).unwrap().unwrap();
        let found = [0, 1, 3, 4, 5, wide, wide + 1, wide + 2, wide + 5, wide + 6, u64::MAX];
        let expected = [0, 4, 4, 4, wide + 1, wide + 1, wide + 1, wide + 5, wide + 5, wide + 5, wide + 5];
        assert_eq!(found.map(|offset| reader.next_line(offset).unwrap()), expected);
    }

    #[test]
    fn the_oldest_go_first_and_never_a_kept_one() {
        let (_folder, logs) = logs();
        let runs: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
        for (age, run) in (0..).zip(&runs) {
            let mut log = logs.create(*run).unwrap();
            log.append(&[b'\n'; 100]).unwrap();
            log.file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age)).unwrap();
        }
        let kept = HashSet::from([runs[0]]);
        assert_eq!(logs.prune(400, &kept).unwrap(), 0);
        assert_eq!(logs.prune(250, &kept).unwrap(), 2);
        let there: Vec<bool> = runs.iter().map(|run| logs.read(*run).unwrap().is_some()).collect();
        assert_eq!(there, [true, false, false, true]);
    }

    #[test]
    fn a_full_log_takes_the_result_and_says_what_it_left_out() {
        let (_folder, mut logs) = logs();
        logs.longest = 100;
        let run = Uuid::now_v7();
        let mut log = logs.create(run).unwrap();
        let event = format!("{{\"type\":\"assistant\",\"text\":\"{}\"}}\n", "x".repeat(50));
        let result = "{\"cost\":1,\"type\":\"result\"}\n";
        log.append(event.as_bytes()).unwrap();
        assert_eq!(log.dropped(), 0);
        let length = log.append([event.as_str(), &event, result].concat().as_bytes()).unwrap();
        assert_eq!(log.dropped(), 2);
        let text = logs.read(run).unwrap().unwrap().lines(0, length).unwrap();
        let note = "{\"type\":\"system\",\"subtype\":\"events_dropped\",\"limitBytes\":100}\n";
        assert_eq!(text, [event.as_str(), note, result].concat());
    }
}
