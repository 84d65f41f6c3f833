//! Starting a child through the helper (`privilege::helper`): as a program of its own, or in a fork of this process.

use std::ffi::{CString, OsString};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::config::mode::Mode;
use crate::exit_code::ExitCode;
use crate::privilege::helper::{self, Group, Plan};
use crate::privilege::plan::{Credentials, Kept};
use crate::privilege::walls::Walls;
use crate::sys;

/// A child to start.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// Program (looked up on the child's PATH unless it holds a slash) and arguments.
    pub command: Vec<OsString>,
    /// Environment changes: a value sets, `None` removes.
    pub environment: Vec<(String, Option<OsString>)>,
    /// Working directory.
    pub directory: PathBuf,
    /// User to run as; `None` keeps this process's.
    pub credentials: Option<Credentials>,
    /// What it can do beyond that user.
    pub kept: Kept,
    /// How far the drop goes.
    pub mode: Mode,
    /// Session and group.
    pub group: Group,
    /// Signal the child gets when this process dies first.
    pub parent_death_signal: Option<i32>,
    /// What stands around it.
    pub walls: Walls,
}

/// Standard streams of a child.
pub struct Streams {
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

impl Streams {
    /// This process's own streams.
    #[must_use]
    pub fn inherited() -> Self {
        Self { stdin: Stdio::inherit(), stdout: Stdio::inherit(), stderr: Stdio::inherit() }
    }
}

/// A child of [`fork`], with pipes as its standard streams.
#[derive(Debug)]
pub struct Forked {
    /// Its pid.
    pub pid: i32,
    /// Standard input.
    pub stdin: PipeWriter,
    /// Standard output.
    pub stdout: PipeReader,
    /// Standard error.
    pub stderr: PipeReader,
}

/// Starts the child. It is reaped by `process::reaper`, so nothing may wait on the returned handle.
pub fn spawn(spawn: &Spawn, streams: Streams) -> io::Result<Child> {
    let plan = plan(spawn);
    let mut command = Command::new(own_executable());
    command.arg(helper::ROLE).arg(serde_json::to_string(&plan)?).args(&spawn.command);
    for (name, value) in &spawn.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr).spawn()
}

/// Starts the child with the helper's work done in a fork of this process, which must have one thread: as safe as the
/// helper's own process image then, and a millisecond faster. It is reaped by `process::reaper`.
pub fn fork(spawn: &Spawn) -> io::Result<Forked> {
    let plan = plan(spawn);
    let program: Vec<CString> = spawn.command.iter().cloned().map(text).collect::<io::Result<_>>()?;
    let environment = environment(&spawn.environment)?;
    let ((input, stdin), (stdout, output), (stderr, errors)) = (io::pipe()?, io::pipe()?, io::pipe()?);
    if let Some(pid) = sys::fork()? {
        return Ok(Forked { pid, stdin, stdout, stderr });
    }
    // Whatever happens here, this copy of the process must not return to what its parent goes on with.
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let streams = dup2_stdin(&input).and_then(|()| dup2_stdout(&output)).and_then(|()| dup2_stderr(&errors));
        let error =
            match streams.map_err(Into::into).and_then(|()| helper::carry_out(&plan, &program, Some(&environment))) {
                Ok(never) => match never {},
                Err(error) => error,
            };
        // Its parent may be gone.
        let _ = writeln!(io::stderr(), "claudebox: {error}");
        error.exit_code()
    }));
    sys::exit_forked(failed.unwrap_or(ExitCode::Internal).code())
}

fn plan(spawn: &Spawn) -> Plan {
    Plan {
        credentials: spawn.credentials.clone(),
        kept: spawn.kept,
        mode: spawn.mode,
        group: spawn.group,
        parent_death_signal: spawn.parent_death_signal,
        parent: std::process::id().cast_signed(),
        signals: sys::inherited_signals(),
        directory: spawn.directory.clone(),
        walls: spawn.walls.clone(),
    }
}

/// This process's environment with these changes, as `NAME=VALUE`.
pub fn environment(changes: &[(String, Option<OsString>)]) -> io::Result<Vec<CString>> {
    let is_set = |name: &OsString| changes.iter().any(|(change, _)| name == change.as_str());
    let kept = std::env::vars_os().filter(|(name, _)| !is_set(name));
    let set = changes.iter().filter_map(|(name, value)| Some((name.into(), value.clone()?)));
    let variables = kept.chain(set).map(|(mut variable, value)| {
        variable.push("=");
        variable.push(value);
        text(variable)
    });
    variables.collect()
}

fn text(text: OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(io::Error::other)
}

/// This program's path, for starting itself in another role.
pub fn own_executable() -> PathBuf {
    // The link works even when the file has been replaced, but then names the process "exe".
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}
