//! Where servers keep what outlives them.

use std::path::PathBuf;

use super::super::failure::Failure;
use crate::config::{Config, name};

/// Where the ledger is: one folder for each container, because it has one writer.
pub(super) fn state_folder(config: &Config) -> Result<PathBuf, Failure> {
    match &config.state_dir {
        Some(named) => Ok(named.clone()),
        None => config_folder(config).map(|config_dir| config.state_folder(&config_dir)),
    }
}

/// The CLI's own folder.
pub(super) fn config_folder(config: &Config) -> Result<PathBuf, Failure> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".claude"));
    let nowhere = || Failure::config(format!("there is no place for the state: set {} or HOME", name::STATE_DIR));
    config.config_dir.clone().or_else(home).ok_or_else(nowhere)
}
