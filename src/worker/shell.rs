//! A shell command in a workspace, ended as a run is: with every process it has started.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::peer::ToEngine;
use super::process::{self, Control, Launch, LineReader, Verdict};
use crate::claude::outcome::Intervention;
use crate::config::name;
use crate::exit_code::ExitCode;
use crate::privilege::walls::Walls;
use crate::process::events::Signals;
use crate::turn::protocol::{FromWorker, Shell, ShellEnd};

/// Behind walls a name in a folder of the servers is out of the command's reach: its file can be opened, no more.
const FENCED: &str = r#"exec >"$1" 2>&1 || exit; exec bash -c "$2""#;
/// Writes everything to the file that is its first argument. A pipe would hold up what nobody reads any more.
///
/// Who reads it has it open, so its name goes at once: nothing is left of it, whoever is killed.
const SCRIPT: &str = r#"exec >"$1" 2>&1 || exit; rm -f -- "$1"; exec bash -c "$2""#;

/// Carries `shell` out and says how it ended.
pub fn carry_out(
    shell: &Shell,
    signals: &Signals,
    control: &mut (dyn Control + 'static),
    out: impl Write,
    mut walls: Walls,
    behind_walls: &[(String, Option<OsString>)],
) -> io::Result<()> {
    let text = match &mut walls.fence {
        Some(fence) => {
            fence.write.push(fs::canonicalize(&shell.output)?);
            FENCED
        }
        None => SCRIPT,
    };
    let script = ["bash", "-c", text, "bash"].map(Into::into);
    let own = [shell.output.clone().into_os_string(), shell.command.clone().into()];
    let launch = Launch {
        command: script.into_iter().chain(own).collect(),
        workspace: shell.workspace.clone(),
        environment: [behind_walls, &[(name::RUN_ID.into(), Some(shell.run_id.to_string().into()))]].concat(),
        input: String::new(),
        deadline: Some(Instant::now() + shell.limit),
        silence: None,
        background: Duration::ZERO,
        memory: None,
        walls,
    };
    let mut listener = Listener(ToEngine::new(out));
    let ended = process::run(signals, Some(control), None, &launch, &mut listener);
    // Where the command has not done so.
    let _ = fs::remove_file(&shell.output);
    let ended = ended?;
    let end = ShellEnd {
        exit_code: ended.status.exit_code().map(ExitCode::code),
        timed_out: ended.intervention == Some(Intervention::TimedOut),
        cancelled: matches!(ended.intervention, Some(Intervention::Cancelled(_))),
        complaint: (!ended.stderr.is_empty()).then(|| ended.stderr.trim().to_owned()),
    };
    listener.0.send(&FromWorker::ShellEnd(end))
}

/// Hears nothing of the command: its output goes into the file.
struct Listener<W>(ToEngine<W>);

impl<W: Write> LineReader for Listener<W> {
    fn line(&mut self, _: &[u8]) -> Verdict {
        Verdict::Continue
    }

    fn waits_for_a_tool(&self) -> bool {
        true
    }

    fn stuck(&mut self) {
        // Nobody there to help: what can be ended has been.
        let _ = self.0.send(&FromWorker::Stuck);
    }
}
