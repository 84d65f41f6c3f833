//! Starting a child through the re-exec helper (`privilege::helper`).

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::privilege::helper::{self, Group, Plan};
use crate::privilege::plan::{Credentials, Mode};
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
    /// How far the drop goes.
    pub mode: Mode,
    /// Session and group.
    pub group: Group,
    /// Signal the child gets when this process dies first.
    pub parent_death_signal: Option<i32>,
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

/// Starts the child. It is reaped by `process::reaper`, so nothing may wait on the returned handle.
pub fn spawn(spawn: &Spawn, streams: Streams) -> io::Result<Child> {
    let plan = Plan {
        credentials: spawn.credentials.clone(),
        mode: spawn.mode,
        group: spawn.group,
        parent_death_signal: spawn.parent_death_signal,
        parent: std::process::id().cast_signed(),
        signals: sys::inherited_signals(),
        directory: spawn.directory.clone(),
    };
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

/// This program's path, for starting itself in another role.
#[must_use]
pub fn own_executable() -> PathBuf {
    // The link works even when the file has been replaced, but then names the process "exe".
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}
