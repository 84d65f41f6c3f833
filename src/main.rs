//! The `claudebox` binary: one Result to one exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match claudebox::cli::run(std::env::args_os()) {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("claudebox: {failure}");
            failure.code.into()
        }
    }
}
