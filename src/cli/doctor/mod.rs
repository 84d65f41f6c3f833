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
use crate::config::secret_files::{Both, WithFiles};
use crate::exit_code::ExitCode;

/// Checks the box and prints what was found, as lines for a person or as one JSON object. Exit code 0 if nothing is
/// wrong, otherwise 1.
pub(super) fn run(
    json: bool,
    env: &impl Environment,
    out: &mut (impl Write + IsTerminal),
) -> Result<ExitCode, Failure> {
    // Of a box that is up, whoever asks may bring a value along.
    let both = if std::process::id() == 1 { Both::Refused } else { Both::ValueWins };
    let checked = WithFiles::read(env, both).and_then(|env| {
        let (mut config, servers) = Config::read_with_servers(&env)?;
        find_root(&mut config);
        Ok(checks::all(&config, servers.as_ref(), &env))
    });
    let checks = checked.unwrap_or_else(|errors| errors.iter().map(checks::setting).collect());
    let healthy = checks.iter().all(|check| check.state != CheckState::Wrong);
    let text = if json { report::as_json(&checks, healthy) } else { report::as_lines(&checks, out.is_terminal()) };
    out.write_all(text.as_bytes()).map_err(Failure::internal)?;
    Ok(if healthy { ExitCode::Ok } else { ExitCode::Failure })
}
