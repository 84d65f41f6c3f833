//! The roles that run something: what each puts together from the layers below.

pub(super) mod broker;
pub(super) mod launch;
mod scratch;
pub(super) mod supervise;
mod surroundings;
pub(super) mod turn;
mod walls;
pub(super) mod worker;

use std::net::SocketAddr;
use std::path::Path;

use super::configure::configure;
use super::failure::Failure;
use super::log;
use crate::atomic_file;
use crate::boot;
use crate::claude::sessions::Sessions;
use crate::config::environment::{Environment, ProcessEnvironment};
use crate::config::name;
use crate::exit_code::ExitCode;
use crate::manifest;
use crate::offline_model;
use crate::privilege::files;
use crate::privilege::plan::Kept;

/// Takes Claude's place with files, where PID 1 has started this process as somebody else, and goes on with `kept` of what it
/// was given for that.
pub(super) fn take_place(kept: Kept, env: &impl Environment) -> Result<(), Failure> {
    let Some(claude) = env.get(name::CLAUDE_IDS) else { return Ok(()) };
    let claude = claude.to_string_lossy().parse().map_err(|_| Failure::of_hidden_role())?;
    files::take_place_of(claude, kept).map_err(Failure::internal)
}

/// `clear-session`: deletes what the workspace would go on with, as the user that this is called as.
pub(super) fn clear_session(env: &impl Environment) -> Result<usize, Failure> {
    let config = configure(env)?;
    let config_dir = boot::config_dir(&config, env).map_err(Failure::config)?;
    let state_dir = config.notes_folder(&config_dir);
    let sessions = Sessions { config_dir, state_dir };
    sessions.clear(&config.workspace).map_err(Failure::internal)
}

/// `manifest`: its JSON.
pub(super) fn manifest(env: &(impl Environment + Sync)) -> Result<Vec<u8>, Failure> {
    let config = configure(env)?;
    let manifest = manifest::survey(&config, env).map_err(Failure::internal)?;
    tracing::info!("{} tools found", manifest.tools.len());
    manifest.to_json().map_err(Failure::internal)
}

/// Writes what `manifest` found to a file that everybody may read.
pub(super) fn save(file: &Path, text: &[u8]) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::config(format!("cannot write {}: {error}", file.display()));
    // A bare name is one of this folder.
    let file = std::path::absolute(file).map_err(failed)?;
    atomic_file::replace(&file, text, 0o644).map_err(failed)?;
    Ok(ExitCode::Ok)
}

/// `offline-model`.
pub(super) fn offline_model(listen: SocketAddr) -> Result<ExitCode, Failure> {
    log::start(false, log::Style::of_box(&ProcessEnvironment));
    match offline_model::serve(&offline_model::ModelOptions { listen }) {
        Ok(()) => Ok(ExitCode::Ok),
        Err(error) => Err(Failure::config(error)),
    }
}
