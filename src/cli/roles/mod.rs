//! The roles that run something: what each puts together from the layers below.

pub(super) mod broker;
pub(super) mod launch;
pub(super) mod supervise;
mod surroundings;
pub(super) mod turn;
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
use crate::exit_code::ExitCode;
use crate::manifest;
use crate::offline_model;

/// `clear-session`: deletes what the workspace would go on with, as the user that this is called as.
pub(super) fn clear_session(env: &impl Environment) -> Result<usize, Failure> {
    let config = configure(env)?;
    let config_dir = boot::config_dir(&config, env).map_err(Failure::config)?;
    let sessions = Sessions { state_dir: config.state_folder(&config_dir), config_dir };
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
    match offline_model::serve(&offline_model::Options { listen }) {
        Ok(()) => Ok(ExitCode::Ok),
        Err(error) => Err(Failure::config(error)),
    }
}
