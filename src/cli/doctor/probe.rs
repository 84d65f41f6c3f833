//! What a process of the box's user is and may do: asked of one that is started as Claude is, in the box's mode.
//!
//! The doctor may be root. It starts nothing that is looked up on PATH, where Claude's own folder comes first, and nothing
//! that has more rights than Claude.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use super::super::healthcheck;
use crate::boot::Booted;
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::privilege::helper::Group;
use crate::privilege::plan::Kept;
use crate::privilege::walls::Walls;
use crate::process::spawn::{Spawn, Streams, own_executable, spawn};

/// Hidden role: says what this process is and may do.
pub(in super::super) const ROLE: &str = "doctor-probe";

/// What such a process found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    no_new_privileges: bool,
    /// Capabilities in its permitted set, a bit each.
    permitted: u64,
    /// What programs that it starts can gain at most, without `no_new_privs`.
    bounding: u64,
    /// Those of the asked paths that it may write to.
    writable: Vec<PathBuf>,
    /// Whether it has the user of the box's supervisor.
    pub(super) is_supervisors_user: bool,
    /// Whether it can read the environment of the box's supervisor.
    pub(super) reads_supervisor: bool,
}

impl Seen {
    pub(super) fn may_write(&self, path: &Path) -> bool {
        self.writable.iter().any(|writable| writable == path)
    }

    pub(super) const fn can_gain_privileges(&self) -> bool {
        self.permitted != 0 || !self.no_new_privileges && self.bounding != 0
    }
}

/// `doctor-probe PATHS...`: prints what this process finds.
pub(in super::super) fn run(paths: &[OsString], out: &mut impl Write) -> Result<ExitCode, Failure> {
    let own = Status::of("self");
    let supervisor = healthcheck::supervisor();
    let may_write = |path: &&OsString| access(path.as_os_str(), AccessFlags::W_OK).is_ok();
    let seen = Seen {
        no_new_privileges: own.field("NoNewPrivs:") == "1",
        permitted: own.set("CapPrm:"),
        bounding: own.set("CapBnd:"),
        writable: paths.iter().filter(may_write).map(PathBuf::from).collect(),
        is_supervisors_user: supervisor
            .is_some_and(|pid| Status::of(&pid.to_string()).field("Uid:") == own.field("Uid:")),
        reads_supervisor: supervisor
            .is_some_and(|pid| fs::read(format!("/proc/{pid}/environ")).is_ok_and(|block| !block.is_empty())),
    };
    let failed = Failure::internal;
    writeln!(out, "{}", serde_json::json!(seen)).map_err(failed)?;
    Ok(ExitCode::Ok)
}

/// What the kernel says of a process.
struct Status(String);

impl Status {
    fn of(process: &str) -> Self {
        Self(fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default())
    }

    fn field(&self, label: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default().trim()
    }

    /// A set of capabilities; all of them where it cannot be read.
    fn set(&self, label: &str) -> u64 {
        u64::from_str_radix(self.field(label), 16).unwrap_or(u64::MAX)
    }
}

/// Starts such a process and asks it about `paths`. An error says why a process of the box's user cannot be had.
pub(super) fn ask(config: &Config, booted: &Booted, paths: &[&Path]) -> io::Result<Seen> {
    let program = own_executable();
    let mut command = vec![program.as_os_str(), OsStr::new(ROLE)];
    command.extend(paths.iter().map(|path| path.as_os_str()));
    let text = output(config, booted, &command, Vec::new())?;
    serde_json::from_str(&text).map_err(|_| io::Error::other("no process can be started as Claude is"))
}

/// Starts a program as Claude is started, and returns what it prints.
pub(super) fn output(
    config: &Config,
    booted: &Booted,
    command: &[&OsStr],
    environment: Vec<(String, Option<OsString>)>,
) -> io::Result<String> {
    let plan = Spawn {
        command: command.iter().map(OsString::from).collect(),
        environment,
        directory: "/".into(),
        credentials: booted.identity.drop.then(|| booted.identity.credentials.clone()),
        kept: Kept::Nothing,
        mode: config.mode,
        group: Group::Session,
        parent_death_signal: None,
        walls: Walls::default(),
    };
    let streams = Streams { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: Stdio::null() };
    let output = spawn(&plan, streams).and_then(Child::wait_with_output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
