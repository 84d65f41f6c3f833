//! The roles that run something: what each puts together from the layers below.

mod configure;
mod launch;
mod supervise;
mod surroundings;
mod turn;
mod worker;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use super::intent::{Intent, classify};
use super::{Failure, log};
use crate::atomic_file;
use crate::boot;
use crate::claude::arguments::Options;
use crate::claude::sessions::{OpenError, Sessions};
use crate::claude::settings;
use crate::config::Config;
use crate::config::environment::{Environment, ProcessEnvironment};
use crate::exit_code::ExitCode;
use crate::manifest;
use crate::offline_model;

pub(super) use configure::{configure, configure_box, configure_servers, find_root};
pub(super) use launch::launch;
pub(super) use supervise::{init, supervised_run};
pub(super) use turn::turn;
pub(super) use worker::{collect_prompt, is_watched, worker};

/// Hidden role: prepares the CLI's files and becomes the interactive CLI.
pub(super) const LAUNCH: &str = "launch";
/// Hidden role: carries out one run.
pub(super) const WORKER: &str = "worker";

/// `clear-session`: deletes what the workspace would go on with, as the user that this is called as.
pub(super) fn clear_session(env: &impl Environment) -> Result<usize, Failure> {
    let config = configure(env)?;
    let config_dir = boot::config_dir(&config, env).map_err(|error| Failure::new(ExitCode::Config, error))?;
    let sessions = Sessions { state_dir: config.state_folder(&config_dir), config_dir };
    sessions.clear(&config.workspace).map_err(|error| Failure::new(ExitCode::Internal, error))
}

/// `manifest`: its JSON.
pub(super) fn manifest(env: &(impl Environment + Sync)) -> Result<Vec<u8>, Failure> {
    let config = configure(env)?;
    let manifest = manifest::survey(&config, env).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    tracing::info!("{} tools found", manifest.tools.len());
    manifest.to_json().map_err(|error| Failure::new(ExitCode::Internal, error))
}

/// Writes what `manifest` found to a file that everybody may read.
pub(super) fn save(file: &Path, text: &[u8]) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::new(ExitCode::Config, format!("cannot write {}: {error}", file.display()));
    // A bare name is one of this folder.
    let file = std::path::absolute(file).map_err(failed)?;
    atomic_file::replace(&file, text, 0o644).map_err(failed)?;
    Ok(ExitCode::Ok)
}

/// `offline-model`.
pub(super) fn offline_model(listen: SocketAddr) -> Result<ExitCode, Failure> {
    log::start(false, log::Style::of_box(&ProcessEnvironment));
    match offline_model::serve(&offline_model::Options { listen }) {
        Ok(()) => Ok(ExitCode::Ok),
        Err(error) => Err(Failure::new(ExitCode::Config, error)),
    }
}

fn parse(args: &[OsString]) -> Result<Intent, Failure> {
    classify(args, io::stdin().is_terminal()).map_err(|error| Failure::new(ExitCode::Usage, error))
}

/// The exit code of a session that cannot be had.
pub(super) fn not_opened(error: OpenError) -> Failure {
    let code = match error {
        OpenError::InUse { .. } => ExitCode::RateLimited,
        OpenError::Unknown(_) | OpenError::None { .. } => ExitCode::SessionNotFound,
    };
    Failure::new(code, error)
}

fn not_a_run() -> Failure {
    Failure::new(ExitCode::Usage, "this role is internal")
}

/// What `--settings` of the CLI gets.
fn settings_of(options: &Options, config: &Config, env: &impl Environment) -> Result<String, Failure> {
    settings::of_command_line(config.offline, env, options.settings.as_deref())
        .map_err(|error| Failure::new(ExitCode::Usage, error))
}

/// The options of a run that began then: what it has taken to prepare counts as its time.
fn time_left(options: Options, began: Instant) -> Options {
    Options { timeout: options.timeout.map(|timeout| timeout.saturating_sub(began.elapsed())), ..options }
}
