//! A run for `serve`: its job comes in on standard input, what happens goes out on standard output.
//!
//! Standard input stays open meanwhile: writing to it cancels the run, and so does closing it, which the kernel does for
//! a `serve` that was killed. Output is one message per line, its first byte says which:
//!
//! | byte | rest of the line |
//! |---|---|
//! | `E` | an event, JSON |
//! | `L` | nothing: processes are left that this user may not end |
//! | `R` | the [`Report`], JSON; the last line |

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::one_shot::{self, Finished, Request};
use super::output::Audience;
use super::shell::Shell;
use crate::claude::arguments::Options;
use crate::claude::envelope;
use crate::claude::event::{Event, Kind};
use crate::claude::outcome::Outcome;
use crate::config::call::Variables;
use crate::process::events::{self, Interest, Signals};

/// First byte of an event's line.
pub const EVENT: u8 = b'E';
/// First byte of the line that asks for help with what is left.
pub const STUCK: u8 = b'L';
/// First byte of the report's line.
pub const REPORT: u8 = b'R';
/// Written to a worker's standard input to cancel its run.
pub const CANCEL: &[u8] = b"cancel\n";

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The run's id.
    pub run_id: Uuid,
    /// The prompt.
    pub prompt: String,
    /// Options.
    pub options: Options,
    /// Where the CLI works: an absolute path without links.
    pub workspace: PathBuf,
    /// Longest silence while no tool runs.
    pub silence: Option<Duration>,
    /// Whether the report has every turn.
    pub verbose: bool,
    /// A shell command to carry out in the CLI's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    /// Variables of the CLI's environment that are this run's own.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub variables: Variables,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
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

/// A job that has come.
#[derive(Debug)]
pub struct Received {
    /// What to do.
    pub job: Job,
    /// It was cancelled before anybody had it.
    pub cancelled: bool,
}

/// Waits for a job. `None`: there will be none.
pub fn receive(input: &mut (impl Read + AsFd), signals: &Signals) -> io::Result<Option<Received>> {
    let mut text = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some(signal) = signals.next()? {
            if events::asks_to_stop(signal) {
                return Ok(None);
            }
        }
        if events::is_readable(&input.as_fd())? {
            match input.read(&mut buffer)? {
                0 => return Ok(None),
                count => text.extend_from_slice(&buffer[..count]),
            }
            if let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                let job = serde_json::from_slice(&text[..end])?;
                return Ok(Some(Received { job, cancelled: text.len() > end + 1 }));
            }
        } else {
            events::wait(signals, &[Interest::readable(&input.as_fd())], None)?;
        }
    }
}

/// Carries `request` out, telling `out` of it.
pub fn run(
    request: &Request,
    verbose: bool,
    signals: &Signals,
    input: &impl AsFd,
    out: impl Write,
) -> io::Result<Finished> {
    let mut wire = Wire { out, held: Vec::new(), begun: false };
    let finished = one_shot::run(request, signals, Some(input.as_fd()), &mut wire)?;
    wire.flush()?;
    wire.send(REPORT, &serde_json::to_value(finished.report(verbose))?)?;
    Ok(finished)
}

/// Reports a job that cannot be carried out, and why.
pub fn refuse(job: &Job, outcome: Outcome, why: &str, mut out: impl Write) -> io::Result<()> {
    let report = Report {
        outcome,
        complaint: Some(why.to_owned()),
        envelope: envelope::without_result(job.run_id, &job.workspace, outcome.name(), why),
        session_id: None,
        reaped: 0,
    };
    let mut line = vec![REPORT];
    serde_json::to_writer(&mut line, &report)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

impl Finished {
    fn report(&self, verbose: bool) -> Report {
        let mut envelope = self.envelope();
        if verbose {
            self.transcript.add_details(&mut envelope);
        }
        Report {
            outcome: self.outcome,
            complaint: self.complaint(),
            envelope,
            session_id: self.transcript.session_id().map(str::to_owned),
            reaped: self.ended.leftovers.try_into().unwrap_or(u64::MAX),
        }
    }
}

struct Wire<W> {
    out: W,
    /// Events before the session is known to exist: if it does not, a fresh one is tried and these are dropped.
    held: Vec<Value>,
    begun: bool,
}

impl<W: Write> Wire<W> {
    fn send(&mut self, kind: u8, json: &Value) -> io::Result<()> {
        let mut line = vec![kind];
        serde_json::to_writer(&mut line, json)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        for event in std::mem::take(&mut self.held) {
            self.send(EVENT, &event)?;
        }
        Ok(())
    }
}

impl<W: Write> Audience for Wire<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.held.push(envelope::camel_case(event.json()));
        self.begun |= event.kind() == Kind::Init;
        if self.begun { self.flush() } else { Ok(()) }
    }

    fn forget(&mut self) {
        self.held.clear();
        self.begun = false;
    }

    fn stuck(&mut self) {
        // Nobody there to help: what can be ended has been.
        let _ = self.out.write_all(&[STUCK, b'\n']).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::Path;

    fn received(bytes: &[u8]) -> io::Result<Option<Received>> {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        File::from(writer).write_all(bytes).unwrap();
        receive(&mut File::from(reader), &Signals::block_all().unwrap())
    }

    fn line() -> Vec<u8> {
        let job = Job {
            run_id: Uuid::now_v7(),
            prompt: "p".into(),
            options: Options::default(),
            workspace: "/w".into(),
            silence: None,
            verbose: false,
            shell: None,
            variables: Variables::default(),
        };
        [serde_json::to_vec(&job).unwrap(), b"\n".to_vec()].concat()
    }

    #[test]
    fn a_job_comes_whole_or_not_at_all() {
        let found = received(&line()).unwrap().unwrap();
        assert_eq!((found.job.workspace.as_path(), found.cancelled), (Path::new("/w"), false));
        assert!(received(&line()[..10]).unwrap().is_none());
        assert!(received(b"").unwrap().is_none());
    }

    /// Whoever cancels at once writes before the job is read.
    #[test]
    fn a_cancel_right_behind_the_job_is_one() {
        assert!(received(&[&line(), CANCEL].concat()).unwrap().unwrap().cancelled);
    }
}
