//! A line for each tick in `JOB.jsonl`, for whoever follows one job over all its runs; as the predecessor had it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::atomic_file;

const EXTENSION: &str = "jsonl";
const MODE: u32 = 0o600;
/// How far back a line is looked for that a killed server may have written already.
const TAIL: u64 = 1 << 20;

/// The file of a job in the door's folder.
pub(super) fn path(root: &Path, job: &str) -> PathBuf {
    // A job's name may have dots in it.
    root.join(format!("{job}.{EXTENSION}"))
}

/// Adds a line, unless the last ones have one of the same time.
pub(super) fn append(path: &Path, line: &Value) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let lines = tail.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    if lines.into_iter().any(|known| known["scheduled_at"] == line["scheduled_at"]) {
        return Ok(());
    }
    // After a line that was cut off a new one begins.
    let start = if tail.last().is_some_and(|byte| *byte != b'\n') { "\n" } else { "" };
    file.write_all(format!("{start}{line}\n").as_bytes())
}

/// Removes the lines of before `oldest` from the files of all jobs.
pub(super) fn prune(root: &Path, oldest: DateTime<Utc>) -> io::Result<()> {
    let files = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?.flatten().map(|file| file.path()),
    };
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)) {
        let mut text = String::new();
        File::open(&path)?.read_to_string(&mut text)?;
        let is_old = |line: &&str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let time = line["fired_at"].as_str().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
            time.is_some_and(|time| time < oldest)
        };
        // They are in the order of their ends, which is nearly that.
        let old: usize = text.split_inclusive('\n').take_while(is_old).map(str::len).sum();
        if old > 0 {
            atomic_file::replace(&path, &text.as_bytes()[old..], MODE)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn line(day: u32) -> Value {
        let at = format!("2026-01-{day:02}T03:00:00+01:00");
        json!({"job": "a", "scheduled_at": at, "fired_at": at, "text": "ok"})
    }

    #[test]
    fn a_line_is_there_once_and_goes_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "a.b");
        assert!(file.ends_with("a.b.jsonl"));
        for day in [1, 2, 2, 3] {
            append(&file, &line(day)).unwrap();
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let days = || {
            let text = fs::read_to_string(&file).unwrap();
            let days = text.lines().map(|line| {
                serde_json::from_str::<Value>(line)
                    .map_or(0, |line| line["fired_at"].as_str().unwrap()[8..10].parse().unwrap())
            });
            days.collect::<Vec<u32>>()
        };
        assert_eq!(days(), [1, 2, 3]);
        // A machine that lost power in the middle of a line.
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"job\": \"a").unwrap();
        append(&file, &line(4)).unwrap();
        assert_eq!(days(), [1, 2, 3, 0, 4]);
        prune(folder.path(), "2026-01-02T12:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(days(), [3, 0, 4]);
        prune(&folder.path().join("none"), "2026-01-02T12:00:00Z".parse().unwrap()).unwrap();
    }
}
