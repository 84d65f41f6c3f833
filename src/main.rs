//! The `claudebox` binary: one Result to one exit code.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match claudebox::cli::run(std::env::args_os()) {
        Ok(code) => code.into(),
        Err(failure) => {
            // A log that takes nothing more (a full disk, a reader that has gone) changes no exit code.
            let _ = writeln!(std::io::stderr(), "claudebox: {failure}");
            failure.code.into()
        }
    }
}
