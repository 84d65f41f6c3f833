//! The file of bearer tokens: who may call, at which doors, in which workspaces and how often.
//!
//! It holds SHA-256 sums, never tokens, so that reading it opens nothing. A mistake in it stops the start, with the
//! entry and the field named: an entry that is silently ignored locks somebody out, or lets somebody in.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::name::MODE_API_TOKENS_FILE;
use crate::config::yaml;
use crate::desk::caller::{self, Caller};
use crate::policy;
use crate::store::record::DoorName;

/// Doors that a token can be limited to.
pub const DOORS: [DoorName; 3] = [DoorName::Http, DoorName::OpenAi, DoorName::Mcp];
/// Names that mean something else: the one token of the settings, and nobody.
const TAKEN: [&str; 2] = [caller::DEFAULT, caller::ANONYMOUS];
/// Tokens that are none: what is tried first, and what instructions have in place of one.
const GUESSED: [&str; 6] = ["", "password", "changeme", "TOKEN", "$TOKEN", "your-secret-token"];
const LONGEST_NAME: usize = 64;
const MOST_REQUESTS: u32 = 1_000_000;
const MOST_RUNS: usize = 1_000_000;

/// One accepted token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// SHA-256 of it.
    pub(super) digest: [u8; 32],
    /// The caller whose token it is.
    pub(super) caller: Arc<Caller>,
    /// Requests it is good for in a minute; `None` has no limit.
    pub(super) requests_per_minute: Option<u32>,
}

/// A tokens file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TokensError {
    #[error("{MODE_API_TOKENS_FILE}: cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{MODE_API_TOKENS_FILE}: {path}: {message}")]
    Malformed { path: PathBuf, message: String },
    #[error("{MODE_API_TOKENS_FILE}: {path}: entry {number} ({name:?}), {field}: {allowed}")]
    Entry {
        path: PathBuf,
        /// Which entry, from 1.
        number: usize,
        name: String,
        field: &'static str,
        allowed: String,
    },
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    size: u64,
    inode: u64,
}

/// The stamp of the file as it is now; `None` if there is no such file.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp { seconds: found.mtime(), nanoseconds: found.mtime_nsec(), size: found.size(), inode: found.ino() })
}

/// Reads and checks the whole file. `.json` is JSON, everything else YAML.
pub(super) fn read(path: &Path) -> Result<Vec<Token>, TokensError> {
    let text = policy::read(path, policy::TOKENS).map_err(|source| TokensError::Read { path: path.into(), source })?;
    let malformed = |message| TokensError::Malformed { path: path.into(), message };
    let entries = parse(&text, path.extension().is_some_and(|kind| kind == "json")).map_err(malformed)?;
    if entries.is_empty() {
        return Err(malformed("it holds no token: add one, or unset the setting".into()));
    }
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    let mut tokens = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let name = entry.name.clone();
        let wrong = |(field, allowed): (&'static str, String)| TokensError::Entry {
            path: path.into(),
            number: index + 1,
            name: name.clone(),
            field,
            allowed,
        };
        let token = entry.check().map_err(wrong)?;
        if !names.insert(name.clone()) {
            return Err(wrong(("name", "another entry has this name".into())));
        }
        if !digests.insert(token.digest) {
            return Err(wrong(("sha256", "another entry has this token".into())));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// SHA-256 of a token.
pub(super) fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    workspaces: Option<Vec<String>>,
    doors: Option<Vec<String>>,
    cost_per_day_usd: Option<f64>,
    requests_per_minute: Option<u32>,
    max_runs: Option<usize>,
    max_queued: Option<usize>,
}

fn parse(text: &str, json: bool) -> Result<Vec<Entry>, String> {
    let text = yaml::without_mark(text);
    if json {
        let mut reader = serde_json::Deserializer::from_str(text);
        let entries = serde_path_to_error::deserialize(&mut reader).map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        return Ok(entries);
    }
    // Its messages name the place by themselves.
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

impl Entry {
    /// The error is the field and what is allowed there.
    fn check(self) -> Result<Token, (&'static str, String)> {
        let plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if !plain(&self.name) || self.name.len() > LONGEST_NAME {
            return Err(("name", format!("1 to {LONGEST_NAME} bytes without control characters")));
        }
        if TAKEN.contains(&self.name.as_str()) {
            return Err(("name", format!("{} are claudebox's own names", TAKEN.join(" and "))));
        }
        let digest = hexadecimal(&self.sha256)
            .ok_or_else(|| ("sha256", "64 hexadecimal digits: printf %s \"$TOKEN\" | sha256sum".to_owned()))?;
        if let Some(word) = GUESSED.iter().find(|word| self::digest(word.as_bytes()) == digest) {
            let allowed =
                format!("this is the sum of {word:?}, which anybody guesses: make a token with openssl rand -hex 32");
            return Err(("sha256", allowed));
        }
        if let Some(workspaces) = &self.workspaces {
            let relative = |name: &String| plain(name) && name.split('/').all(|part| !["", ".", ".."].contains(&part));
            if workspaces.is_empty() || !workspaces.iter().all(relative) {
                return Err(("workspaces", "names such as team or team/site; leave it out for all".into()));
            }
        }
        let doors = self.doors.as_deref().map(doors).transpose().map_err(|allowed| ("doors", allowed))?;
        if self.cost_per_day_usd.is_some_and(|dollars| !dollars.is_finite() || dollars <= 0.0) {
            return Err(("cost_per_day_usd", "US dollars, a number above 0, such as 2.50".into()));
        }
        if self.requests_per_minute.is_some_and(|requests| !(1..=MOST_REQUESTS).contains(&requests)) {
            return Err(("requests_per_minute", format!("a whole number from 1 to {MOST_REQUESTS}")));
        }
        for (field, most) in [("max_runs", self.max_runs), ("max_queued", self.max_queued)] {
            if most.is_some_and(|most| !(1..=MOST_RUNS).contains(&most)) {
                return Err((
                    field,
                    format!("a whole number from 1 to {MOST_RUNS}; leave it out for the box's own limit"),
                ));
            }
        }
        let caller = Caller {
            name: self.name,
            workspaces: self.workspaces,
            doors,
            cost_per_day: self.cost_per_day_usd,
            max_runs: self.max_runs,
            max_queued: self.max_queued,
        };
        Ok(Token { digest, caller: Arc::new(caller), requests_per_minute: self.requests_per_minute })
    }
}

/// The doors of these names; what is allowed, if one is none that takes a token, or there is none.
fn doors(names: &[String]) -> Result<Vec<DoorName>, String> {
    let door_of = |name: &String| DOORS.into_iter().find(|door| door.name() == name);
    let doors: Option<Vec<DoorName>> = names.iter().map(door_of).collect();
    let allowed = || format!("some of {}; leave it out for all", DOORS.map(DoorName::name).join(", "));
    doors.filter(|doors| !doors.is_empty()).ok_or_else(allowed)
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SUM: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read_text(kind: &str, text: &str) -> Result<Vec<Token>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("tokens.{kind}"));
        fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = format!("- name: ci\n  sha256: {SUM}\n  workspaces: [site]\n  requests_per_minute: 5\n");
        let json = format!(
            "[{{\"name\": \"ci\",\t\"sha256\": \"{SUM}\", \"workspaces\": [\"site\"], \"requests_per_minute\": 5}}]"
        );
        let marked = [("yml", format!("\u{feff}{yaml}")), ("json", format!("\u{feff}{json}"))];
        for (kind, text) in marked.into_iter().chain([("yml", yaml), ("json", json)]) {
            let tokens = read_text(kind, &text).unwrap();
            assert_eq!(tokens.len(), 1);
            assert_eq!(tokens[0].digest, digest(b"secret"));
            assert_eq!(tokens[0].requests_per_minute, Some(5));
            assert_eq!(tokens[0].caller.workspaces.as_deref(), Some(&["site".to_owned()][..]));
        }
    }

    #[rstest]
    #[case("sha256: SUM, nme: x", "unknown field `nme`")]
    #[case("sha256: SUM, requests_per_minute: many", "requests_per_minute: invalid type")]
    #[case("sha256: 12", "sha256")]
    #[case("sha256: abcd", "entry 1 (\"ci\"), sha256: 64 hexadecimal digits")]
    #[case("sha256: SUM, workspaces: []", "entry 1 (\"ci\"), workspaces: names such as")]
    #[case("sha256: SUM, workspaces: [../x]", "entry 1 (\"ci\"), workspaces: names such as")]
    #[case("sha256: SUM, workspaces: [/x]", "entry 1 (\"ci\"), workspaces: names such as")]
    #[case("sha256: SUM, doors: [htp]", "entry 1 (\"ci\"), doors: some of http, openai, mcp")]
    #[case("sha256: SUM, cost_per_day_usd: 0", "entry 1 (\"ci\"), cost_per_day_usd: US dollars")]
    #[case("sha256: SUM, max_runs: 0", "entry 1 (\"ci\"), max_runs: a whole number")]
    #[case("sha256: SUM, max_queued: 0", "entry 1 (\"ci\"), max_queued: a whole number")]
    #[case("sha256: SUM, cost_per_day_usd: .nan", "entry 1 (\"ci\"), cost_per_day_usd: US dollars")]
    #[case("sha256: SUM, requests_per_minute: 0", "entry 1 (\"ci\"), requests_per_minute: a whole number")]
    #[case(
        "sha256: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
        "entry 1 (\"ci\"), sha256: this is the sum of \"password\""
    )]
    #[case("workspaces: [a]", "missing field `sha256`")]
    fn a_mistake_is_named_with_its_entry_and_field(#[case] fields: &str, #[case] expected: &str) {
        let message = read_text("yml", &format!("- {{name: ci, {}}}", fields.replace("SUM", SUM))).unwrap_err();
        assert!(message.starts_with("CLAUDEBOX_MODE_API_TOKENS_FILE: FILE: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }

    #[rstest]
    #[case("", "it holds no token")]
    #[case("[]", "it holds no token")]
    #[case("- {name: a, sha256: SUM}\n- {name: b, sha256: SUM}", "entry 2 (\"b\"), sha256: another entry")]
    #[case("- {name: a, sha256: SUM}\n- {name: a, sha256: OTHER}", "entry 2 (\"a\"), name: another entry")]
    #[case("- {name: default, sha256: SUM}", "default and anonymous are claudebox's own names")]
    #[case("- {name: \"a\\nb\", sha256: SUM}", "name: 1 to 64 bytes without control characters")]
    fn a_file_as_a_whole_is_checked(#[case] text: &str, #[case] expected: &str) {
        let message = read_text("yml", &text.replace("SUM", SUM).replace("OTHER", &"0f".repeat(32))).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn json_mistakes_name_the_place() {
        let message = read_text("json", &format!("[{{\"name\": \"ci\", \"sha256\": \"{SUM}\", \"doors\": 5}}]"));
        assert!(message.as_ref().unwrap_err().contains("[0].doors: invalid type"), "{message:?}");
        assert!(read_text("json", "[] []").unwrap_err().contains("trailing characters"));
    }
}
