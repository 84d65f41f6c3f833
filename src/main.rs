//! The `claudebox` binary: one Result to one exit code.

#![warn(clippy::print_stderr)]

use std::process::ExitCode;

use claudebox::config::environment::ProcessEnvironment;

fn main() -> ExitCode {
    let code = claudebox::cli::run(std::env::args_os()).unwrap_or_else(|failure| {
        claudebox::cli::log::failed(&failure, &ProcessEnvironment);
        failure.code
    });
    claudebox::cli::end(code)
}
