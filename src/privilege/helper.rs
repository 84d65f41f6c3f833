//! The re-exec helper: `claudebox child PLAN PROGRAM [ARGS...]`, a step between `fork` and the real program.
//!
//! It sets up everything a child may not inherit from PID 1 (user, session, terminal, signals, descriptors) in a
//! process of its own, where each step can fail with a message, and then becomes the program. The plan travels as one
//! JSON argument; it holds no secret, the environment is the program's own.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Pid, getpgrp, getpid, getppid, setpgid, setsid, tcgetpgrp, tcsetpgrp};
use serde::{Deserialize, Serialize};

use super::apply::{DropError, Kernel, drop_to, harden};
use super::exec::{self, ExecError};
use super::plan::{Credentials, Kept};
use super::walls::{WallError, Walls};
use crate::config::mode::Mode;
use crate::exit_code::ExitCode;
use crate::sys::{self, SignalState};

/// The hidden role's name on the command line.
pub const ROLE: &str = "child";

/// What the helper does before it becomes the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The user to become; `None` keeps the current one.
    pub credentials: Option<Credentials>,
    /// What it can do beyond that user, for good or for a start.
    #[serde(default)]
    pub kept: Kept,
    /// How far the drop goes.
    pub mode: Mode,
    /// Which session and process group the program is in.
    pub group: Group,
    /// Signal that ends the program when its parent dies, so that none is left behind by a killed supervisor.
    pub parent_death_signal: Option<i32>,
    /// The parent's pid, to notice a parent that died before the signal above was asked for.
    pub parent: i32,
    /// Signal mask and ignored signals to give to the program.
    pub signals: SignalState,
    /// Its working directory, entered as its user.
    pub directory: PathBuf,
    /// What stands around the program.
    #[serde(default)]
    pub walls: Walls,
}

/// Session and process group of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Its own group. Where the parent's group is in the foreground of the terminal on standard input, and nobody else
    /// in it reads the output (a pager, which needs the terminal), it takes that place: Ctrl-C reaches it, once.
    Foreground,
    /// Its own session, without a terminal.
    Session,
}

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HelperError {
    #[error("the `child` role is internal: {0}")]
    BadPlan(String),
    #[error(transparent)]
    Drop(#[from] DropError),
    #[error("cannot enter the workspace {}: {source}; mount it, fix its permissions, or set CLAUDEBOX_WORKSPACE", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// The parent died in the meantime.
    #[error("the supervisor has gone")]
    Orphaned,
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Wall(#[from] WallError),
    #[error("cannot prepare the child process: {0}")]
    System(#[from] Errno),
}

impl HelperError {
    /// The exit code of the child that could not start.
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::BadPlan(_) => ExitCode::Usage,
            Self::Directory { .. } | Self::Drop(_) | Self::Wall(_) => ExitCode::Config,
            Self::Exec(error) => error.exit_code(),
            Self::Orphaned | Self::System(_) => ExitCode::Internal,
        }
    }
}

/// Runs the helper with the arguments after the role's name. Returns only if the program could not be started.
pub fn run(args: impl IntoIterator<Item = OsString>) -> HelperError {
    match become_program(args) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn become_program(args: impl IntoIterator<Item = OsString>) -> Result<Infallible, HelperError> {
    let (plan, program) = parse(args)?;
    carry_out(&plan, &program, None)
}

/// Carries the plan out in this process and becomes `program`, with this environment or the process's own.
pub fn carry_out(plan: &Plan, program: &[CString], environment: Option<&[CString]>) -> Result<Infallible, HelperError> {
    enter_group(plan.group)?;
    sys::close_on_exec_from(3).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    match (&plan.credentials, plan.mode) {
        (Some(credentials), mode) => drop_to(&mut Kernel, credentials, plan.kept, mode)?,
        (None, Mode::Hardened) => harden(&mut Kernel)?,
        (None, Mode::Sudo) => {}
    }
    // After the drop: a change of user clears the parent-death signal.
    if let Some(signal) = plan.parent_death_signal {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::try_from(signal)?)?;
        if getppid().as_raw() != plan.parent {
            return Err(HelperError::Orphaned);
        }
    }
    std::env::set_current_dir(&plan.directory)
        .map_err(|source| HelperError::Directory { path: plan.directory.clone(), source })?;
    plan.walls.put_up()?;
    execute(program, environment, plan.signals)
}

/// Becomes `program` (looked up on PATH unless it holds a slash), with this environment or the process's own, and exactly
/// these signals blocked and ignored.
pub fn execute(
    program: &[CString],
    environment: Option<&[CString]>,
    signals: SignalState,
) -> Result<Infallible, HelperError> {
    for signal in sys::SIGNALS {
        sys::set_disposition(signal, signals.ignores(signal));
    }
    sys::set_mask(signals.blocked);
    Ok(exec::exec(program, environment)?)
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Plan, Vec<CString>), HelperError> {
    let mut args = args.into_iter();
    let plan = args.next().ok_or_else(|| HelperError::BadPlan("no plan".into()))?;
    let plan =
        serde_json::from_slice(plan.as_encoded_bytes()).map_err(|error| HelperError::BadPlan(error.to_string()))?;
    let program: Result<Vec<CString>, _> = args.map(|arg| CString::new(arg.into_vec())).collect();
    let program = program.map_err(|error| HelperError::BadPlan(error.to_string()))?;
    if program.is_empty() {
        return Err(HelperError::BadPlan("no program".into()));
    }
    Ok((plan, program))
}

fn enter_group(group: Group) -> Result<(), HelperError> {
    match group {
        Group::Session => {
            setsid()?;
        }
        Group::Foreground => {
            let stdin = io::stdin();
            // Until the next step this is the parent's group. In the background the terminal is a shell's.
            let has_terminal = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp()) && io::stdout().is_terminal();
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            if has_terminal {
                // Every signal is still blocked here, SIGTTOU too, so this background group may ask. A terminal that
                // is not this session's own refuses: the program then runs without job control, as under any shell.
                let _ = tcsetpgrp(&stdin, getpid());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::walls::fence::Fence;
    use super::*;

    fn arg(text: &str) -> OsString {
        OsString::from(text)
    }

    #[test]
    fn a_plan_survives_the_command_line() {
        let plan = Plan {
            credentials: Some(Credentials { uid: 1000, gid: 1000, groups: vec![1000, 998] }),
            kept: Kept::Warden,
            mode: Mode::Sudo,
            group: Group::Foreground,
            parent_death_signal: Some(15),
            parent: 1,
            signals: SignalState { blocked: 1 << 63, ignored: 1 << 12 },
            directory: "/work space".into(),
            walls: Walls {
                fence: Some(Fence { write: vec!["/w".into()], ..Fence::default() }),
                filter: true,
                strict: true,
            },
        };
        let json = serde_json::to_string(&plan).unwrap();
        let (parsed, program) = parse([arg(&json), arg("claude"), arg("-p")]).unwrap();
        assert_eq!(parsed, plan);
        assert_eq!(program, [c"claude".to_owned(), c"-p".to_owned()]);
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_changed() {
        for args in [vec![], vec![arg("{}"), arg("true")], vec![arg("not json")]] {
            assert!(matches!(run(args), HelperError::BadPlan(_)));
        }
    }
}
