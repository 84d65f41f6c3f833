//! One session file of the CLI: whose conversation it holds, and whether it can be gone on with.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

/// A session's working directory stands in one of its first lines; no more than this much of a file is read for it.
const LONGEST_HEAD_BYTES: u64 = 4 << 20;
/// What is in a line that the CLI wrote for a script.
const SCRIPTS: &[u8] = br#""entrypoint":"sdk"#;

/// When the file was last written to; `None` if it is not there.
pub(super) fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The working directory that the session was begun in.
pub(super) fn recorded_cwd(path: &Path) -> Option<PathBuf> {
    lines(path, LONGEST_HEAD_BYTES).find_map(|event| event["cwd"].as_str().map(PathBuf::from))
}

/// Whether the CLI finds a conversation in the file. In an empty file, or one of zeros after a power cut, it does not.
pub(super) fn is_resumable(path: &Path) -> bool {
    let says = |event: &Value| matches!(event["type"].as_str(), Some("user" | "assistant" | "attachment"));
    lines(path, LONGEST_HEAD_BYTES).any(|event| says(&event) && event["isSidechain"] != true)
        // A line longer than the part that is read is a message.
        || fs::metadata(path).is_ok_and(|file| file.len() > LONGEST_HEAD_BYTES)
}

/// Whether the file holds bytes, or none at all, but not a single line of the CLI's.
pub(super) fn is_damaged(path: &Path) -> bool {
    path.is_file() && lines(path, LONGEST_HEAD_BYTES).next().is_none()
}

/// Whether a person on a terminal (or in an editor) has spoken in the session.
///
/// Each line names how the CLI was started when it was written, and a fork has its own name in every line of its copy.
/// Lines of a CLI that did not say so yet may be a person's.
pub(super) fn has_person(path: &Path) -> bool {
    let persons = |event: &Value| {
        matches!(event["type"].as_str(), Some("user" | "assistant"))
            && event["entrypoint"].as_str().is_none_or(|entrypoint| !entrypoint.starts_with("sdk"))
    };
    // A long session of scripts is read to its end for every prompt: most of its lines need no parser.
    let is_scripts = |line: &[u8]| line.windows(SCRIPTS.len()).any(|part| part == SCRIPTS);
    raw_lines(path, u64::MAX).filter(|line| !is_scripts(line)).any(|line| {
        let event = serde_json::from_slice(&line);
        event.is_ok_and(|event| persons(&event))
    })
}

/// The lines that are JSON. What is no line of the CLI's is none of a session either.
fn lines(path: &Path, limit: u64) -> impl Iterator<Item = Value> {
    raw_lines(path, limit).filter_map(|line| serde_json::from_slice(&line).ok())
}

fn raw_lines(path: &Path, limit: u64) -> impl Iterator<Item = Vec<u8>> {
    let file = File::open(path).ok().map(|file| BufReader::new(file.take(limit)));
    file.into_iter().flat_map(|file| file.split(b'\n').map_while(Result::ok))
}
