//! Where servers keep what outlives them.

use std::path::{Path, PathBuf};

use super::super::failure::Failure;
use crate::boot::guard;
use crate::config::{Config, name};
use crate::privilege::files;
use crate::runs::log::Logs;
use crate::runs::recover::StateLock;
use crate::store::sqlite;

/// Where the ledger is: one folder for each container, because it has one writer.
pub(super) fn state_folder(config: &Config) -> Result<PathBuf, Failure> {
    match &config.state_dir {
        Some(named) => Ok(named.clone()),
        None => config_folder(config).map(|config_dir| config.state_folder(&config_dir)),
    }
}

/// Takes over what an older box has left where Claude can write, if this is one that keeps its state from it.
pub(super) fn take_over_state(config: &Config, state_dir: &Path) -> Result<(), Failure> {
    let old = config.shared_folder(&config_folder(config)?);
    if files::claude().is_none() || old == state_dir {
        return Ok(());
    }
    if !old.join(sqlite::FILE).exists() {
        return Ok(());
    }
    // An older box may work there still.
    let _lock = match StateLock::take(&old) {
        Ok(lock) => lock,
        Err(error) => {
            tracing::warn!("the runs of an older box are left where they are: {error}");
            return Ok(());
        }
    };
    match guard::take_over(&old, state_dir, sqlite::FILE, Logs::FOLDER) {
        Ok(true) => tracing::info!(
            "the runs of an older box were copied from {} to {}, where Claude cannot reach them; give that a volume to keep them",
            old.display(),
            state_dir.display()
        ),
        Ok(false) => {}
        Err(error) => {
            return Err(Failure::internal(format!("the runs in {} cannot be taken over: {error}", old.display())));
        }
    }
    Ok(())
}

/// The CLI's own folder.
pub(super) fn config_folder(config: &Config) -> Result<PathBuf, Failure> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".claude"));
    let nowhere = || Failure::config(format!("there is no place for the state: set {} or HOME", name::STATE_DIR));
    config.config_dir.clone().or_else(home).ok_or_else(nowhere)
}
