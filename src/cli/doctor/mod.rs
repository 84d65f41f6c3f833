//! `claudebox doctor`: what this box is, what is wrong with it, and the way out.

mod checks;
pub(super) mod probe;
mod report;

use std::io::{IsTerminal, Write};

use self::report::CheckState;
use super::configure::find_root;
use super::failure::Failure;
use crate::config::Config;
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;

/// Checks the box and prints what was found, as lines for a person or as one JSON object. Exit code 0 if nothing is
/// wrong, otherwise 1.
pub(super) fn run(
    json: bool,
    env: &impl Environment,
    out: &mut (impl Write + IsTerminal),
) -> Result<ExitCode, Failure> {
    let checks = match Config::read_with_servers(env) {
        Ok((mut config, _)) => {
            find_root(&mut config);
            checks::all(&config, env)
        }
        Err(errors) => errors.iter().map(checks::setting).collect(),
    };
    let healthy = checks.iter().all(|check| check.state != CheckState::Wrong);
    let text = if json { report::as_json(&checks, healthy) } else { report::as_lines(&checks, out.is_terminal()) };
    out.write_all(text.as_bytes()).map_err(Failure::internal)?;
    Ok(if healthy { ExitCode::Ok } else { ExitCode::Failure })
}
