//! `audit verify`: whether an audit log is as the broker has written it.

use std::ffi::OsString;
use std::path::Path;

use super::failure::Failure;
use crate::broker::audit::{self, Verdict};
use crate::exit_code::ExitCode;

/// The first argument.
pub(super) const ROLE: &str = "audit";
const VERIFY: &str = "verify";

/// Whether this is meant, rather than a prompt: `audit this code`.
pub(super) fn is_meant(rest: &[OsString]) -> bool {
    rest.len() == 2 && rest[0] == VERIFY
}

/// The line about the file, if nothing is wrong with it.
pub(super) fn run(rest: &[OsString]) -> Result<String, Failure> {
    let file = rest.get(1).map(Path::new).ok_or_else(|| Failure::usage("audit verify needs FILE"))?;
    match audit::verify(file).map_err(Failure::config)? {
        Verdict::Unbroken(lines) => Ok(format!("{lines} lines, unbroken\n")),
        Verdict::Broken { line, why } => {
            let why = format!("the chain of {} is broken in line {line}: {why}", file.display());
            Err(Failure::new(ExitCode::Failure, why))
        }
    }
}
