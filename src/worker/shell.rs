//! A shell command in a workspace, ended as a run is: with every process it has started.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::job::{Job, REPORT, Report, STUCK};
use super::process::{self, Launch, Reader, Verdict};
use crate::claude::outcome::{Intervention, Outcome};
use crate::config::name;
use crate::process::events::Signals;

/// Writes everything to the file that is its first argument. A pipe would hold up what nobody reads any more.
///
/// Who reads it has it open, so its name goes at once: nothing is left of it, whoever is killed.
const SCRIPT: &str = r#"exec >"$1" 2>&1 || exit; rm -f -- "$1"; exec bash -c "$2""#;

/// A shell command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// What `bash -c` gets.
    pub command: String,
    /// The file that takes its output. Its name is removed.
    pub output: PathBuf,
}

impl Shell {
    /// Carries it out and reports: `exitCode` (as a shell says it) and `timedOut`.
    pub fn carry_out(&self, job: &Job, signals: &Signals, input: &impl AsFd, out: impl Write) -> io::Result<()> {
        let script = ["bash", "-c", SCRIPT, "bash"].map(Into::into);
        let own = [self.output.clone().into_os_string(), self.command.clone().into()];
        let launch = Launch {
            command: script.into_iter().chain(own).collect(),
            workspace: job.workspace.clone(),
            environment: vec![(name::RUN_ID.into(), Some(job.run_id.to_string().into()))],
            input: String::new(),
            deadline: job.options.timeout.map(|timeout| Instant::now() + timeout),
            silence: None,
            background: Duration::ZERO,
            memory: None,
        };
        let mut wire = Wire { out };
        let ended = process::run(signals, Some(input.as_fd()), &launch, &mut wire)?;
        let timed_out = ended.intervention == Some(Intervention::TimedOut);
        let report = Report {
            outcome: if timed_out { Outcome::Hung { silent: false } } else { Outcome::Ok },
            complaint: (!ended.stderr.is_empty()).then(|| ended.stderr.trim().to_owned()),
            envelope: serde_json::json!({
                "exitCode": ended.status.exit_code().map(crate::exit_code::ExitCode::code),
                "timedOut": timed_out,
                "cancelled": matches!(ended.intervention, Some(Intervention::Cancelled(_))),
            }),
            session_id: None,
            reaped: ended.leftovers.try_into().unwrap_or(u64::MAX),
        };
        wire.send(REPORT, &serde_json::to_vec(&report)?)
    }
}

struct Wire<W> {
    out: W,
}

impl<W: Write> Wire<W> {
    fn send(&mut self, kind: u8, text: &[u8]) -> io::Result<()> {
        self.out.write_all(&[&[kind], text, b"\n"].concat())?;
        self.out.flush()
    }
}

impl<W: Write> Reader for Wire<W> {
    fn line(&mut self, _: &[u8]) -> Verdict {
        Verdict::Continue
    }

    fn waits_for_a_tool(&self) -> bool {
        true
    }

    fn stuck(&mut self) {
        // Nobody there to help: what can be ended has been.
        let _ = self.send(STUCK, b"");
    }
}
