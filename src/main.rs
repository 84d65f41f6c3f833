//! The `claudebox` binary: one Result to one exit code.

#![warn(clippy::print_stderr)]

use std::process::ExitCode;

use claudebox::config::environment::ProcessEnvironment;

fn main() -> ExitCode {
    match claudebox::cli::run(std::env::args_os()) {
        Ok(code) => code.into(),
        Err(failure) => {
            claudebox::cli::log::failed(&failure, &ProcessEnvironment);
            failure.code.into()
        }
    }
}
