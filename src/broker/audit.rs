//! The audit log: a line of JSON for each verdict, in a chain that a change breaks.
//!
//! A line's hash is the SHA-256 of the hash before it and of the line without its own hash. So nobody can change, take out or
//! put in a line without writing all lines after it anew. Lines taken off the end leave no trace here: keep the last hash
//! elsewhere where that matters.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::protocol::hex;

/// A file of this size is moved to FILE.1, and another one begun; bytes.
const LARGEST: u64 = 10 * 1024 * 1024;
/// Longest line that is written or read; bytes. A name of a host has 253 at most, a path is cut.
const LONGEST_LINE: u64 = 64 * 1024;
/// What stands before the hash, and after it.
const HASH: (&str, &str) = (",\"hash\":\"", "\"}");
const HEX: usize = 64;

/// The audit log, or none. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit(Option<Arc<Mutex<Log>>>);

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    largest: u64,
    last: Link,
}

/// Where the chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    seq: u64,
    hash: String,
}

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened, read or written.
    #[error("the audit log {path} cannot be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The chain cannot go on from the file's last line.
    #[error("the audit log {0} ends with a line that is none: move the file away, or mend it")]
    LastLine(PathBuf),
}

/// What a file of the log is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The chain holds for this many lines.
    Unbroken(u64),
    /// It breaks in this line, counted from 1.
    Broken {
        /// The line.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Audit {
    /// Opens `path`, which goes on where it ends. `None`: nothing is logged.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        Ok(Self(path.map(|path| Log::open(path, LARGEST)).transpose()?.map(|log| Arc::new(Mutex::new(log)))))
    }

    /// Writes a line. One that cannot be written is said on the log of the box: the audit log ends no run.
    pub(super) fn write(&self, event: &str, facts: impl Serialize) {
        let Some(log) = &self.0 else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.write(event, facts) {
            tracing::error!(event, %error, "a line of the audit log could not be written");
        }
    }
}

impl Log {
    fn open(path: &Path, largest: u64) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Io { path: path.to_owned(), source };
        let mut log = append_to(path).map_err(failed)?;
        let mut length = log.metadata().map_err(failed)?.len();
        let whole = end_of_last_line(&mut log, length).map_err(failed)?;
        if whole < length {
            tracing::warn!("the audit log's last line was not finished and is taken away: {} bytes", length - whole);
            log.set_len(whole).map_err(failed)?;
            length = whole;
        }
        let last = match last_line(&mut log, length).map_err(failed)? {
            Some(line) => link(&line).ok_or_else(|| AuditError::LastLine(path.to_owned()))?,
            // Nothing, or what was there was moved: then the chain goes on from that.
            None => match File::open(rotated(path)) {
                Ok(mut before) => {
                    let length = before.metadata().map_err(failed)?.len();
                    let line = last_line(&mut before, length).map_err(failed)?;
                    let end = line.map_or_else(|| Some(Link::first()), |line| link(&line));
                    end.ok_or_else(|| AuditError::LastLine(rotated(path)))?
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Link::first(),
                Err(error) => return Err(failed(error)),
            },
        };
        Ok(Self { path: path.to_owned(), file: log, length, largest, last })
    }

    fn write(&mut self, event: &str, facts: impl Serialize) -> io::Result<()> {
        let line = line(&self.last, event, facts)?;
        if self.length + line.len() as u64 > self.largest && self.length > 0 {
            fs::rename(&self.path, rotated(&self.path))?;
            (self.file, self.length) = (append_to(&self.path)?, 0);
        }
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // No half a line: the next one would be part of it.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        self.last = link(line.trim_end()).ok_or_else(|| io::Error::other("a line was made that is none"))?;
        Ok(())
    }
}

impl Link {
    fn first() -> Self {
        Self { seq: 0, hash: "0".repeat(HEX) }
    }
}

/// The first and the last fields of a line.
#[derive(Deserialize)]
struct Head {
    seq: u64,
    prev: String,
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The line after `last`, with its line feed.
fn line(last: &Link, event: &str, facts: impl Serialize) -> io::Result<String> {
    let mut fields = Map::new();
    fields.insert("seq".into(), (last.seq + 1).into());
    fields.insert("time".into(), Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true).into());
    fields.insert("event".into(), event.into());
    if let Value::Object(facts) = serde_json::to_value(facts)? {
        fields.extend(facts);
    }
    fields.insert("prev".into(), last.hash.clone().into());
    let mut line = serde_json::to_string(&fields)?;
    let hash = hash(&last.hash, &line);
    line.pop();
    Ok(format!("{line}{}{hash}{}\n", HASH.0, HASH.1))
}

fn hash(prev: &str, line: &str) -> String {
    hex(&Sha256::new().chain_update(prev).chain_update(line).finalize())
}

/// A line's text without its hash, and the hash.
fn split(line: &str) -> Option<(String, &str)> {
    let open = line.strip_suffix(HASH.1)?;
    let at = open.len().checked_sub(HEX)?;
    let (body, hash) = (open.get(..at)?.strip_suffix(HASH.0)?, open.get(at..)?);
    Some((format!("{body}}}"), hash))
}

fn link(line: &str) -> Option<Link> {
    let (body, hash) = split(line)?;
    let head: Head = serde_json::from_str(&body).ok()?;
    Some(Link { seq: head.seq, hash: hash.to_owned() })
}

/// Where the last whole line ends.
fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let (begin, bytes) = tail(file, length)?;
    Ok(bytes.iter().rposition(|&byte| byte == b'\n').map_or(begin, |at| begin + at as u64 + 1))
}

/// The last line of a file that ends with one. `None`: the file is empty.
fn last_line(file: &mut File, length: u64) -> io::Result<Option<String>> {
    let (_, mut bytes) = tail(file, length)?;
    if bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    let begin = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    Ok(Some(String::from_utf8_lossy(&bytes[begin..]).into_owned()))
}

fn tail(file: &mut File, length: u64) -> io::Result<(u64, Vec<u8>)> {
    let begin = length.saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut bytes)?;
    Ok((begin, bytes))
}

/// Follows the chain through `path`. Its first line must go on from the last of FILE.1 where that is beside it.
pub fn verify(path: &Path) -> Result<Verdict, AuditError> {
    let failed = |source| AuditError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut last = match File::open(rotated(path)) {
        Ok(mut before) => {
            let length = before.metadata().map_err(failed)?.len();
            last_line(&mut before, length).map_err(failed)?.as_deref().and_then(link)
        }
        Err(_) => None,
    };
    let mut count = 0;
    loop {
        let mut line = Vec::new();
        let length = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            return Ok(Verdict::Unbroken(count));
        }
        count += 1;
        match follow(&line, last.as_ref()) {
            Ok(followed) => last = Some(followed),
            Err(why) => return Ok(Verdict::Broken { line: count, why }),
        }
    }
}

/// The link that this line is, after `last`. `last` is none where the file before it is gone.
fn follow(line: &[u8], last: Option<&Link>) -> Result<Link, &'static str> {
    let line =
        std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n')).ok_or("it is not a whole line")?;
    let (body, stated) = split(line).ok_or("it ends without a hash")?;
    let Ok(Head { seq, prev }) = serde_json::from_str(&body) else { return Err("it is not a line of an audit log") };
    if hash(&prev, &body) != stated {
        return Err("its hash is not that of its text");
    }
    let first = Link::first();
    let last = last.or((seq == 1).then_some(&first));
    if last.is_some_and(|last| last.hash != prev) {
        return Err("it does not follow the line before it");
    }
    if last.is_some_and(|last| last.seq + 1 != seq) {
        return Err("its number does not follow that of the line before it");
    }
    Ok(Link { seq, hash: stated.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    fn log(lines: u64) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut log = Log::open(&path, LARGEST).unwrap();
        for number in 0..lines {
            log.write("tried", json!({"number": number, "text": "\",\"hash\":\""})).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn a_chain_goes_on_after_a_restart() {
        let (_folder, path) = log(3);
        Log::open(&path, LARGEST).unwrap().write("again", json!({})).unwrap();
        assert_eq!(verify(&path).unwrap(), Verdict::Unbroken(4));
        let text = fs::read_to_string(&path).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["seq"], &last["event"]), (&json!(4), &json!("again")));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[rstest]
    #[case::changed(|lines: &mut Vec<String>| lines[1] = lines[1].replace("\"number\":1", "\"number\":7"), 2)]
    #[case::taken_out(|lines: &mut Vec<String>| drop(lines.remove(1)), 2)]
    #[case::taken_off_the_front(|lines: &mut Vec<String>| { lines.remove(0); lines[0] = "{}".into(); }, 1)]
    #[case::put_in(|lines: &mut Vec<String>| lines.insert(2, lines[1].clone()), 3)]
    #[case::swapped(|lines: &mut Vec<String>| lines.swap(1, 2), 2)]
    #[case::half_a_line(|lines: &mut Vec<String>| lines[3].truncate(20), 4)]
    fn what_was_changed_is_found(#[case] change: fn(&mut Vec<String>), #[case] line: u64) {
        let (_folder, path) = log(4);
        assert_eq!(verify(&path).unwrap(), Verdict::Unbroken(4));
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        assert!(matches!(verify(&path).unwrap(), Verdict::Broken { line: found, .. } if found == line));
    }

    #[test]
    fn a_line_that_was_made_anew_does_not_fit() {
        let (_folder, path) = log(2);
        let first: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        let forged = line(&Link { seq: 1, hash: "f".repeat(HEX) }, "forged", json!({})).unwrap();
        fs::write(&path, format!("{}\n{forged}", first[0])).unwrap();
        let why = "it does not follow the line before it";
        assert_eq!(verify(&path).unwrap(), Verdict::Broken { line: 2, why });
    }

    #[test]
    fn a_full_file_is_moved_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut log = Log::open(&path, 1000).unwrap();
        (0..20).for_each(|number| log.write("tried", json!({"number": number})).unwrap());
        assert!(fs::metadata(&path).unwrap().len() <= 1000);
        assert!(matches!(verify(&path).unwrap(), Verdict::Unbroken(lines) if (1..20).contains(&lines)));
        assert!(matches!(verify(&rotated(&path)).unwrap(), Verdict::Unbroken(_)));
        // The first line of the new file has to be the one after the last of the old file.
        let old = fs::read_to_string(rotated(&path)).unwrap();
        fs::write(rotated(&path), old.lines().next().unwrap().to_owned() + "\n").unwrap();
        assert!(matches!(verify(&path).unwrap(), Verdict::Broken { line: 1, .. }));
        // A box that ended between the move and the first line.
        let (_folder, path) = self::log(2);
        fs::rename(&path, rotated(&path)).unwrap();
        Log::open(&path, LARGEST).unwrap().write("again", json!({})).unwrap();
        assert_eq!(verify(&path).unwrap(), Verdict::Unbroken(1));
    }

    #[test]
    fn a_line_that_a_kill_has_cut_is_taken_away() {
        let (_folder, path) = log(2);
        let mut file = append_to(&path).unwrap();
        file.write_all(b"{\"seq\":3,\"ti").unwrap();
        assert!(matches!(verify(&path).unwrap(), Verdict::Broken { line: 3, .. }));
        Log::open(&path, LARGEST).unwrap().write("again", json!({})).unwrap();
        assert_eq!(verify(&path).unwrap(), Verdict::Unbroken(3));
    }

    #[test]
    fn a_file_that_is_no_log_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "something else\n").unwrap();
        assert!(matches!(Log::open(&path, LARGEST), Err(AuditError::LastLine(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else\n");
    }
}
