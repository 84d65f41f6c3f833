//! The settings of a process, and its logs by them.

use super::failure::Failure;
use super::log;
use crate::boot::mounts;
use crate::config::Config;
use crate::config::environment::Environment;
use crate::config::server::ServerConfig;

/// Reads the settings of a process that somebody has called for an answer.
pub(super) fn configure(env: &impl Environment) -> Result<Config, Failure> {
    read(env).map(|config| begin(config, false))
}

/// Reads the settings of a process whose standard error is the box's log.
pub(super) fn configure_box(env: &impl Environment) -> Result<Config, Failure> {
    read(env).map(|config| begin(config, true))
}

/// Reads the settings of a box and of its servers, if it has some.
pub(super) fn configure_servers(env: &impl Environment) -> Result<(Config, Option<ServerConfig>), Failure> {
    let (config, server) = Config::read_with_servers(env).map_err(|errors| Failure::of_settings(&errors))?;
    Ok((begin(config, true), server))
}

fn read(env: &impl Environment) -> Result<Config, Failure> {
    Config::read(env).map_err(|errors| Failure::of_settings(&errors))
}

fn begin(mut config: Config, of_box: bool) -> Config {
    find_root(&mut config);
    log::start(config.debug, log::Style::of(&config, of_box));
    config
}

/// Lets the servers work in what is mounted.
pub(super) fn find_root(config: &mut Config) {
    let mounts = mounts::from_outside();
    config.find_root(|folder| mounts.iter().any(|mount| mount.path.starts_with(folder)));
}
