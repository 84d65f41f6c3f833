//! `claudebox doctor`: what this box is, and what is wrong with it.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::Failure;
use crate::boot::{self, Booted};
use crate::claude::{PINNED_VERSION, binary};
use crate::config::environment::Environment;
use crate::config::{Config, name};
use crate::exit_code::ExitCode;
use crate::privilege::helper::Group;
use crate::process::spawn::{Spawn, Streams, spawn};

/// One thing that was looked at.
struct Check {
    what: &'static str,
    /// What was found, or what is wrong and the way out.
    found: Result<String, String>,
}

/// Checks the box. Exit code 0 if every check passed, otherwise 1.
pub(super) fn run(env: &impl Environment, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let checks = match Config::read(env) {
        Ok(config) => check(&config, env),
        Err(error) => vec![Check { what: "settings", found: Err(error.to_string()) }],
    };
    let wrong = checks.iter().filter(|check| check.found.is_err()).count();
    print(&checks, wrong, out).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    Ok(if wrong == 0 { ExitCode::Ok } else { ExitCode::Failure })
}

fn print(checks: &[Check], wrong: usize, out: &mut impl Write) -> std::io::Result<()> {
    for Check { what, found } in checks {
        match found {
            Ok(found) => writeln!(out, "  ok     {what:<12} {found}")?,
            Err(wrong) => writeln!(out, "  WRONG  {what:<12} {wrong}")?,
        }
    }
    match wrong {
        0 => writeln!(out, "This box is healthy."),
        1 => writeln!(out, "1 check failed."),
        _ => writeln!(out, "{wrong} checks failed."),
    }
}

fn check(config: &Config, env: &impl Environment) -> Vec<Check> {
    let mut checks = vec![Check { what: "settings", found: Ok("readable".into()) }];
    let booted = match boot::resolve(config, env) {
        Ok(booted) => booted,
        Err(error) => {
            checks.push(Check { what: "box", found: Err(error.to_string()) });
            return checks;
        }
    };
    let ids = &booted.identity.credentials;
    checks.push(Check { what: "user", found: Ok(format!("{} ({}:{})", booted.identity.name, ids.uid, ids.gid)) });
    checks.push(Check { what: "workspace", found: Ok(booted.workspace.display().to_string()) });
    checks.push(Check { what: "Claude CLI", found: cli_version(config, &booted, env) });
    checks.push(Check { what: "credentials", found: credentials(config, &booted, env) });
    checks
}

fn cli_version(config: &Config, booted: &Booted, env: &impl Environment) -> Result<String, String> {
    let path = binary::locate(&config.claude_bin, env).map_err(|error| error.to_string())?;
    let plan = Spawn {
        command: vec![path.clone().into(), "--version".into()],
        environment: booted.environment.clone(),
        directory: booted.workspace.clone(),
        credentials: booted.identity.drop.then(|| booted.identity.credentials.clone()),
        mode: config.mode,
        group: Group::Session,
        parent_death_signal: None,
    };
    let streams = Streams { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: Stdio::null() };
    let output = spawn(&plan, streams).and_then(std::process::Child::wait_with_output);
    let output = output.map_err(|error| format!("{} does not start: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().next().unwrap_or_default().to_owned();
    if version == PINNED_VERSION {
        Ok(format!("{version} at {}", path.display()))
    } else {
        Err(format!("{} is version {version:?}, this claudebox was tested with {PINNED_VERSION}", path.display()))
    }
}

/// Whether there are credentials, and of which kind; never what they are.
fn credentials(config: &Config, booted: &Booted, env: &impl Environment) -> Result<String, String> {
    let variables = ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"];
    let set = variables.iter().find(|variable| env.get(variable).is_some_and(|value| !value.is_empty()));
    let stored: &Path = &booted.config_dir.join(".credentials.json");
    match set {
        _ if config.offline => Ok(format!("not needed: {} is on, the offline model answers", name::OFFLINE)),
        Some(variable) => Ok(format!("{variable} is set")),
        None if stored.exists() => Ok(format!("signed in ({})", stored.display())),
        None => Err("none: set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, sign in with `claudebox setup-token`, \
                     or try the offline model with CLAUDEBOX_OFFLINE=1"
            .into()),
    }
}
