//! The process that makes sure that the CLI is there, in a box with servers: they answer meanwhile, and say that they take no runs.
//!
//! It is a child because PID 1 knows neither HTTP nor TLS, and it is root's because the store is. It says how far it is, a line
//! each, and ends with 0 when the CLI is there. Any other end is tried again, ever later.

use std::io::{self, Read};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use super::restart::spread;
use crate::backoff::Backoff;
use crate::process::events;
use crate::process::link::LONGEST_STATE;
use crate::process::spawn::{Spawn, Streams, spawn};
use crate::process::status::ChildStatus;
use crate::sys;

/// Before the second try.
const FIRST_DELAY: Duration = Duration::from_secs(5);
/// No delay is longer: each try may fetch the whole package again.
const LONGEST_DELAY: Duration = Duration::from_mins(5);
/// Read at most at once, bytes: more is left for the next look.
const BLOCK: usize = 4096;
/// So many times: a pipe holds no more.
const MOST_BLOCKS: usize = 17;

/// The installing process, and when the next one is due.
pub(super) struct Installer {
    plan: Spawn,
    pid: Option<i32>,
    output: Option<ChildStdout>,
    /// What it has said, as far as that is no line yet.
    heard: Vec<u8>,
    /// Its last line.
    said: String,
    backoff: Backoff,
    due: Option<Instant>,
    /// Why no run can be started; `None`: the CLI is there.
    state: Option<String>,
}

impl Installer {
    /// One that is due at once.
    pub(super) fn new(plan: Spawn) -> Self {
        Self {
            plan,
            pid: None,
            output: None,
            heard: Vec::new(),
            said: String::new(),
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            due: Some(Instant::now()),
            state: Some("the Claude CLI is being checked".into()),
        }
    }

    /// Why no run can be started; `None`: the CLI is there.
    pub(super) const fn state(&self) -> Option<&String> {
        self.state.as_ref()
    }

    /// When it is to be started; `None` while it runs, and when it is done.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What it says, to be waited for.
    pub(super) const fn output(&self) -> Option<&ChildStdout> {
        self.output.as_ref()
    }

    /// Starts it if that is due.
    pub(super) fn start_if_due(&mut self) {
        if self.due.take_if(|at| *at <= Instant::now()).is_none() {
            return;
        }
        let streams = Streams { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: Stdio::inherit() };
        match spawn(&self.plan, streams) {
            Ok(mut child) => {
                self.pid = Some(child.id().cast_signed());
                self.output = child.stdout.take();
            }
            Err(error) => {
                self.said = format!("the Claude CLI cannot be checked: {error}");
                self.failed();
            }
        }
    }

    /// Takes the end of the process `pid`; whether it was this one.
    pub(super) fn has_ended(&mut self, pid: i32, status: ChildStatus) -> bool {
        if self.pid.take_if(|own| *own == pid).is_none() {
            return false;
        }
        self.listen();
        self.output = None;
        self.heard.clear();
        if status == ChildStatus::Exited(0) {
            self.state = None;
        } else {
            if self.said.is_empty() {
                self.said = format!("the process that installs the Claude CLI {status}");
            }
            self.failed();
        }
        true
    }

    fn failed(&mut self) {
        let delay = spread(self.backoff.next_delay(), sys::chance());
        self.due = Some(Instant::now() + delay);
        let said = std::mem::take(&mut self.said);
        tracing::warn!("no run can be started; the Claude CLI is tried again in {:.0} s", delay.as_secs_f64());
        self.state = Some(said);
    }

    /// Takes what it says.
    pub(super) fn listen(&mut self) {
        let mut block = [0; BLOCK];
        for _ in 0..MOST_BLOCKS {
            let Some(output) = &mut self.output else { break };
            match read_some(output, &mut block) {
                Ok(None) => break,
                Ok(Some(count)) if count > 0 => self.heard.extend_from_slice(&block[..count]),
                // It has closed it; its end is on its way.
                _ => self.output = None,
            }
        }
        while let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]);
            self.said = line.chars().filter(|char| !char.is_control()).collect();
            if !self.said.is_empty() {
                self.state = Some(self.said.clone());
            }
        }
        if self.heard.len() > LONGEST_STATE {
            self.heard.clear();
        }
    }
}

/// Reads without waiting.
fn read_some(output: &mut ChildStdout, block: &mut [u8]) -> io::Result<Option<usize>> {
    if events::is_readable(output)? { output.read(block).map(Some) } else { Ok(None) }
}
