//! `claudebox healthcheck`: is there a supervisor in this box, and does it have something to look after?

use std::fs;
use std::io::Write;

use super::Failure;
use crate::exit_code::ExitCode;
use crate::process::table;

/// Prints one line and says whether the box is healthy.
pub(super) fn run(out: &mut impl Write) -> Result<ExitCode, Failure> {
    let supervisor = table::snapshot().into_iter().map(|process| process.pid).find(|&pid| is_supervisor(pid));
    let (code, line) = match supervisor {
        None => (ExitCode::Failure, "unhealthy: no `claudebox init` runs in this box".to_owned()),
        Some(pid) => match table::descendants(pid).len() {
            0 => (ExitCode::Failure, format!("unhealthy: the supervisor (pid {pid}) has no child")),
            count => (ExitCode::Ok, format!("healthy: the supervisor (pid {pid}) looks after {count} processes")),
        },
    };
    writeln!(out, "{line}").map_err(|error| Failure::new(ExitCode::Internal, error))?;
    Ok(code)
}

fn is_supervisor(pid: i32) -> bool {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut args = command.split(|&byte| byte == 0);
    let program = args.next().unwrap_or_default();
    program.ends_with(b"claudebox") && args.next() == Some(b"init")
}
