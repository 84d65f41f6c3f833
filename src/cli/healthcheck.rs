//! `claudebox healthcheck`: is there a supervisor in this box, and does it have something to look after?
//!
//! In a box with servers: are they ready? The supervisor has that in its process's name, which everybody can read in
//! every box, whoever they are and whether or not there is a place to write a file to.

use std::ffi::CStr;
use std::fs;
use std::io::Write;

use super::failure::Failure;
use crate::exit_code::ExitCode;
use crate::init::serving::{NAME_READY, NAME_STARTING, NAME_STOPPING};
use crate::process::table;

/// Prints one line and says whether the box is healthy.
pub(super) fn run(out: &mut impl Write) -> Result<ExitCode, Failure> {
    let (code, line) = match supervisor() {
        None => (ExitCode::Failure, "unhealthy: no `claudebox init` runs in this box".to_owned()),
        Some(pid) if is_named(pid, NAME_READY) => (ExitCode::Ok, "healthy: the servers are ready".to_owned()),
        Some(pid) if is_named(pid, NAME_STARTING) => {
            (ExitCode::Failure, "unhealthy: the servers are not ready".to_owned())
        }
        Some(pid) if is_named(pid, NAME_STOPPING) => (ExitCode::Failure, "unhealthy: the box ends".to_owned()),
        Some(pid) => match table::descendants(pid).len() {
            0 => (ExitCode::Failure, format!("unhealthy: the supervisor (pid {pid}) has no child")),
            count => (ExitCode::Ok, format!("healthy: the supervisor (pid {pid}) looks after {count} processes")),
        },
    };
    writeln!(out, "{line}").map_err(Failure::internal)?;
    Ok(code)
}

/// The supervisor's process id, if one runs.
pub(super) fn supervisor() -> Option<i32> {
    table::snapshot().into_iter().map(|process| process.pid).find(|&pid| is_supervisor(pid))
}

pub(super) fn is_named(pid: i32, name: &CStr) -> bool {
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim_ascii_end() == name.to_bytes())
}

fn is_supervisor(pid: i32) -> bool {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut args = command.split(|&byte| byte == 0);
    let program = args.next().unwrap_or_default();
    program.ends_with(b"claudebox") && args.next() == Some(b"init")
}
