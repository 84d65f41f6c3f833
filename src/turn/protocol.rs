//! What the engine and a worker say to each other, over the worker's standard input and output.
//!
//! A message is one line: its first byte says which it is, the rest is JSON, or nothing.
//!
//! | to the worker | | from the worker | |
//! |---|---|---|---|
//! | `P` | [`Prompt`] | `E` | an event of the CLI's, JSON |
//! | `S` | [`Shell`] | `L` | processes are left that this user may not end |
//! | `C` | cancel | `R` | [`RunReport`], the last line |
//! | | | `X` | [`ShellEnd`], the last line |
//!
//! Both ends are the same program, started by one another. All the same no bytes make either of them panic or take
//! memory without an end: somebody of the worker's user may write into its pipes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::claude::arguments::{FromDoor, Options, Session};
use crate::claude::outcome::Outcome;
use crate::config::call::Variables;
use crate::json_text;

/// Longest message to a worker, bytes: a prompt with what is attached to it, as much as any body that a door takes.
pub const LONGEST_TO_WORKER: usize = 1 << 30;
/// Longest message from a worker, bytes: some times the longest line of the CLI's, and the turns that a report has.
pub const LONGEST_FROM_WORKER: usize = 256 << 20;

/// How much memory for lines is kept, bytes.
const KEPT: usize = 64 * 1024;

const PROMPT: u8 = b'P';
const SHELL: u8 = b'S';
const CANCEL: u8 = b'C';
const EVENT: u8 = b'E';
const STUCK: u8 = b'L';
const REPORT: u8 = b'R';
const SHELL_END: u8 = b'X';

/// What a worker is told.
#[derive(Debug, Clone, PartialEq)]
pub enum ToWorker {
    /// Have the CLI answer a prompt.
    Prompt(Box<Prompt>),
    /// Carry out a shell command.
    Shell(Shell),
    /// End what is at work; said twice, at once.
    Cancel,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromWorker<'line> {
    /// An event, as JSON that nobody has looked into.
    Event(&'line [u8]),
    /// Processes are left that somebody with more rights has to end.
    Stuck,
    /// How the prompt's run ended, or why nothing was begun.
    Report(Box<RunReport>),
    /// How the shell command ended.
    ShellEnd(ShellEnd),
}

/// A prompt to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The run's id.
    pub run_id: Uuid,
    /// What is asked.
    pub text: String,
    /// Options.
    pub options: Options,
    /// What its door says besides.
    #[serde(default, skip_serializing_if = "FromDoor::is_empty")]
    pub from_door: FromDoor,
    /// The session to go on with, which the worker takes.
    pub session: Session,
    /// Where the CLI works: an absolute path without links.
    pub workspace: PathBuf,
    /// Longest silence while no tool runs.
    pub silence: Option<Duration>,
    /// Whether the report has every turn.
    pub verbose: bool,
    /// Variables of the CLI's environment that are this run's own.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub variables: Variables,
}

/// A shell command to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// An id that its processes are found by.
    pub run_id: Uuid,
    /// What `bash -c` gets.
    pub command: String,
    /// The file that takes its output. Its name is removed.
    pub output: PathBuf,
    /// Where it works: an absolute path without links.
    pub workspace: PathBuf,
    /// How long it may take.
    pub limit: Duration,
}

/// How a prompt's run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// How the run ended.
    pub outcome: Outcome,
    /// What went wrong and what to do, one line.
    pub complaint: Option<String>,
    /// The CLI's result with our fields, as one JSON object.
    pub envelope: Value,
    /// The session it was in.
    pub session_id: Option<String>,
    /// How many processes it had left behind; all of them are gone.
    pub reaped: u64,
}

/// How a shell command ended. None of its processes is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellEnd {
    /// Its exit code, 128+n for signal n; `None` if that is unknown.
    pub exit_code: Option<u8>,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// Whether it was ended because somebody wanted that.
    pub cancelled: bool,
    /// What was said before its output went into the file: why there is none.
    pub complaint: Option<String>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProtocolError {
    /// More of it came than a message may have, or it is to be sent.
    #[error("a message of {found} bytes or more, where {longest} are allowed")]
    TooLong {
        /// How much of it there is, bytes.
        found: usize,
        /// Most it may have, bytes.
        longest: usize,
    },
    #[error("a message of more than one line")]
    NotOneLine,
    #[error("a message of an unknown kind, {}", .0.map_or("empty".into(), |kind| kind.escape_ascii().to_string()))]
    Unknown(Option<u8>),
    #[error("the {what} in a message is unreadable: {why}")]
    Unreadable { what: &'static str, why: String },
}

impl ToWorker {
    /// Its line, with the line feed.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        match self {
            Self::Prompt(prompt) => json_line(PROMPT, "prompt", prompt, LONGEST_TO_WORKER),
            Self::Shell(shell) => json_line(SHELL, "shell command", shell, LONGEST_TO_WORKER),
            Self::Cancel => Ok(vec![CANCEL, b'\n']),
        }
    }

    /// The message of this line, its line feed left out.
    pub fn decode(line: &[u8]) -> Result<Self, ProtocolError> {
        match line.split_first() {
            Some((&PROMPT, json)) => read("prompt", json).map(Self::Prompt),
            Some((&SHELL, json)) => read("shell command", json).map(Self::Shell),
            Some((&CANCEL, b"")) => Ok(Self::Cancel),
            other => Err(ProtocolError::Unknown(other.map(|(kind, _)| *kind))),
        }
    }
}

impl<'line> FromWorker<'line> {
    /// Its line, with the line feed.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        match self {
            Self::Event(json) if json.contains(&b'\n') => Err(ProtocolError::NotOneLine),
            Self::Event(json) => whole([&[EVENT], *json, b"\n"].concat(), LONGEST_FROM_WORKER),
            Self::Stuck => Ok(vec![STUCK, b'\n']),
            Self::Report(report) => json_line(REPORT, "report", report, LONGEST_FROM_WORKER),
            Self::ShellEnd(end) => json_line(SHELL_END, "end of a shell command", end, LONGEST_FROM_WORKER),
        }
    }

    /// The message of this line, its line feed left out.
    pub fn decode(line: &'line [u8]) -> Result<Self, ProtocolError> {
        match line.split_first() {
            Some((&EVENT, json)) => Ok(Self::Event(json)),
            Some((&STUCK, b"")) => Ok(Self::Stuck),
            Some((&REPORT, json)) => read("report", json).map(Self::Report),
            Some((&SHELL_END, json)) => read("end of a shell command", json).map(Self::ShellEnd),
            other => Err(ProtocolError::Unknown(other.map(|(kind, _)| *kind))),
        }
    }
}

fn json_line(kind: u8, what: &'static str, value: &impl Serialize, longest: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut line = vec![kind];
    serde_json::to_writer(&mut line, value)
        .map_err(|error| ProtocolError::Unreadable { what, why: error.to_string() })?;
    line.push(b'\n');
    whole(line, longest)
}

fn whole(line: Vec<u8>, longest: usize) -> Result<Vec<u8>, ProtocolError> {
    // What the other end would not take is not begun to be sent.
    if line.len() > longest { Err(ProtocolError::TooLong { found: line.len(), longest }) } else { Ok(line) }
}

fn read<T: serde::de::DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, ProtocolError> {
    json_text::parse(json).map_err(|error| ProtocolError::Unreadable { what, why: error.to_string() })
}

/// Bytes as they come, taken out line by line.
#[derive(Debug)]
pub struct Lines {
    data: Vec<u8>,
    /// Where in `data` the next line begins.
    begin: usize,
    /// This much of `data` is known to hold no line feed from `begin` on.
    searched: usize,
    longest: usize,
}

impl Lines {
    /// Lines of `longest` bytes at most, their line feed counted.
    #[must_use]
    pub const fn new(longest: usize) -> Self {
        Self { data: Vec::new(), begin: 0, searched: 0, longest }
    }

    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.forget_taken();
        self.data.extend_from_slice(bytes);
    }

    /// Gives the memory of the lines back that were taken. A prompt may be long, and its run too.
    pub fn forget_taken(&mut self) {
        if self.begin > 0 {
            self.data.drain(..self.begin);
            (self.searched, self.begin) = (self.searched - self.begin, 0);
            self.data.shrink_to(KEPT);
        }
    }

    /// The next whole line, without its line feed. `None`: more has to come.
    pub fn take_line(&mut self) -> Result<Option<&[u8]>, ProtocolError> {
        let found = self.data[self.searched..].iter().position(|&byte| byte == b'\n');
        let end = found.map_or(self.data.len(), |at| self.searched + at + 1);
        let length = end - self.begin;
        if length > self.longest {
            return Err(ProtocolError::TooLong { found: length, longest: self.longest });
        }
        self.searched = end;
        if found.is_none() {
            return Ok(None);
        }
        let begin = std::mem::replace(&mut self.begin, end);
        Ok(Some(&self.data[begin..end - 1]))
    }
}

#[cfg(test)]
mod tests;
