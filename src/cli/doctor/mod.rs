//! `claudebox doctor`: what this box is, what is wrong with it, and the way out.

mod checks;
pub(super) mod probe;

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::{Failure, roles};
use crate::config::Config;
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at; stable, for programs.
    name: &'static str,
    /// How it is.
    state: State,
    /// What was found.
    found: String,
    /// What to do about it, if something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// It works, and may surprise.
    Note,
    /// It does not work.
    Wrong,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), remedy: None }
    }

    fn note(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Note, found: found.into(), remedy: None }
    }

    fn wrong(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Wrong, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Checks the box and prints what was found, as lines for a person or as one JSON object. Exit code 0 if nothing is
/// wrong, otherwise 1.
pub(super) fn run(
    json: bool,
    env: &impl Environment,
    out: &mut (impl Write + IsTerminal),
) -> Result<ExitCode, Failure> {
    let checks = match Config::read_with_servers(env) {
        Ok((mut config, _)) => {
            roles::find_root(&mut config);
            checks::all(&config, env)
        }
        Err(errors) => errors.iter().map(checks::setting).collect(),
    };
    let healthy = checks.iter().all(|check| check.state != State::Wrong);
    let text = if json { as_json(&checks, healthy) } else { as_lines(&checks, out.is_terminal()) };
    out.write_all(text.as_bytes()).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    Ok(if healthy { ExitCode::Ok } else { ExitCode::Failure })
}

fn as_json(checks: &[Check], healthy: bool) -> String {
    format!("{}\n", serde_json::json!({"healthy": healthy, "checks": checks}))
}

fn as_lines(checks: &[Check], colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut lines = Vec::new();
    for Check { name, state, found, remedy } in checks {
        let mark = match state {
            State::Ok => paint("32", "ok   "),
            State::Note => paint("33", "note "),
            State::Wrong => paint("1;31", "WRONG"),
        };
        lines.push(format!("{mark}  {name:<12}  {found}"));
        lines.extend(remedy.iter().map(|remedy| format!("                     -> {remedy}")));
    }
    lines.push(match checks.iter().filter(|check| check.state == State::Wrong).count() {
        0 => "This box is healthy.".to_owned(),
        1 => "One thing is wrong with this box.".to_owned(),
        count => format!("{count} things are wrong with this box."),
    });
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![Check::ok("user", "claude"), Check::note("docker", "not mounted"), Check::wrong("disk", "full", "tidy up")]
    }

    #[test]
    fn lines_name_the_fault_and_the_way_out() {
        let expected = "ok     user          claude\nnote   docker        not mounted\nWRONG  disk          full\n                     \
                        -> tidy up\nOne thing is wrong with this box.\n";
        assert_eq!(as_lines(&checks(), false), expected);
    }

    #[test]
    fn json_has_stable_names() {
        let json: serde_json::Value = serde_json::from_str(&as_json(&checks(), false)).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(
            json["checks"][2],
            serde_json::json!({"name": "disk", "state": "wrong", "found": "full", "remedy": "tidy up"})
        );
    }
}
