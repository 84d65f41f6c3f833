//! Settings: the environment, read once into types before anything is done.
//!
//! `CLAUDEBOX_X` is the canonical name of a setting; where the predecessor had it as `CLAUDE_X`, that name is accepted
//! too and the canonical one wins. An empty value counts as unset, because compose files write those.

pub mod environment;

use std::path::PathBuf;
use std::time::Duration;

use environment::Environment;

/// Seconds between TERM and KILL of the main child at shutdown. With the sweep after it, a stop stays under the 10 s
/// that `docker stop` allows.
pub const DEFAULT_GRACE_SECONDS: u64 = 7;
const LONGEST_GRACE_SECONDS: u64 = 3600;

/// Names of the settings.
pub mod name {
    /// User that Claude runs as.
    pub const USER: &str = "CLAUDEBOX_USER";
    /// The claude executable: a path, or a name on PATH.
    pub const CLAUDE_BIN: &str = "CLAUDEBOX_CLAUDE_BIN";
    /// Workspace folder.
    pub const WORKSPACE: &str = "CLAUDEBOX_WORKSPACE";
    /// The CLI's own folder; its name is the CLI's.
    pub const CONFIG_DIR: &str = "CLAUDE_CONFIG_DIR";
    /// Folder for claudebox's own state.
    pub const STATE_DIR: &str = "CLAUDEBOX_STATE_DIR";
    /// This container's name, part of the default state folder.
    pub const CONTAINER_NAME: &str = "CLAUDEBOX_CONTAINER_NAME";
    /// Seconds between TERM and KILL at shutdown.
    pub const GRACE_SECONDS: &str = "CLAUDEBOX_GRACE_SECONDS";
    /// Whether the built-in offline model answers.
    pub const OFFLINE: &str = "CLAUDEBOX_OFFLINE";
    /// Debug logs.
    pub const DEBUG: &str = "CLAUDEBOX_DEBUG";
    /// Server modes.
    pub const MODES: [&str; 3] = ["CLAUDEBOX_MODE_API", "CLAUDEBOX_MODE_TELEGRAM", "CLAUDEBOX_MODE_CRON"];
    /// Secrets of claudebox's own doors: Claude and its tools never see them.
    pub const DOOR_SECRETS: [&str; 2] = ["CLAUDEBOX_MODE_API_TOKEN", "CLAUDEBOX_TELEGRAM_BOT_TOKEN"];
    /// The run a process belongs to; set on Claude and so on everything it starts.
    pub const RUN_ID: &str = "CLAUDEBOX_RUN_ID";
}

/// A setting with a value that cannot be used. Values shown here are never secrets: no secret is parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} is not usable: {allowed}")]
pub struct ConfigError {
    /// The setting, as it was spelled.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// User that Claude runs as.
    pub user: String,
    /// The claude executable: a path, or a name on PATH.
    pub claude_bin: String,
    /// Workspace folder.
    pub workspace: PathBuf,
    /// The CLI's own folder; by default `.claude` in the user's home.
    pub config_dir: Option<PathBuf>,
    /// claudebox's state; by default `claudebox/NAME` in the CLI's folder.
    pub state_dir: Option<PathBuf>,
    /// This container's name, `default` if it has none.
    pub container_name: String,
    /// Time between TERM and KILL of the main child.
    pub grace: Duration,
    /// Whether the built-in offline model answers.
    pub offline: bool,
    /// Whether debug logs are written.
    pub debug: bool,
    /// The server modes that were asked for, by the name of their setting.
    pub server_modes: Vec<&'static str>,
}

impl Config {
    /// Reads every setting from `env`.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigError> {
        let settings = Settings { env };
        let mut server_modes = Vec::new();
        for mode in name::MODES {
            if settings.flag(mode)? {
                server_modes.push(mode);
            }
        }
        Ok(Self {
            user: settings.text(name::USER)?.unwrap_or_else(|| "claude".into()),
            claude_bin: settings.text(name::CLAUDE_BIN)?.unwrap_or_else(|| "claude".into()),
            workspace: settings.absolute_path(name::WORKSPACE)?.unwrap_or_else(|| "/workspace".into()),
            config_dir: settings.absolute_path(name::CONFIG_DIR)?,
            state_dir: settings.absolute_path(name::STATE_DIR)?,
            container_name: settings.file_name(name::CONTAINER_NAME)?.unwrap_or_else(|| "default".into()),
            grace: settings.grace()?,
            offline: settings.flag(name::OFFLINE)?,
            debug: settings.flag(name::DEBUG)? || settings.flag("DEBUG")?,
            server_modes,
        })
    }
}

/// Reads one kind of value each, under both spellings of a setting's name.
struct Settings<'env, E> {
    env: &'env E,
}

impl<E: Environment> Settings<'_, E> {
    /// The spelling that is set, and its value.
    fn find(&self, canonical: &str) -> Result<Option<(String, String)>, ConfigError> {
        let Some((name, value)) = environment::lookup(self.env, canonical) else { return Ok(None) };
        match value.into_string() {
            Ok(value) => Ok(Some((name, value))),
            Err(value) => Err(wrong(&name, &value.to_string_lossy(), "it must be UTF-8 text")),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.find(name)?.map(|(_, value)| value))
    }

    fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(false) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(wrong(&name, &value, "allowed are 1, true, yes, on and 0, false, no, off")),
        }
    }

    fn absolute_path(&self, name: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        if value.starts_with('/') {
            Ok(Some(value.into()))
        } else {
            Err(wrong(&name, &value, "it must be an absolute path"))
        }
    }

    fn file_name(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        if value == "." || value == ".." || value.contains('/') {
            return Err(wrong(&name, &value, "it names a folder, so it may not hold a slash"));
        }
        Ok(Some(value))
    }

    fn grace(&self) -> Result<Duration, ConfigError> {
        let Some((name, value)) = self.find(name::GRACE_SECONDS)? else {
            return Ok(Duration::from_secs(DEFAULT_GRACE_SECONDS));
        };
        match value.parse() {
            Ok(seconds) if seconds <= LONGEST_GRACE_SECONDS => Ok(Duration::from_secs(seconds)),
            _ => Err(wrong(&name, &value, &format!("whole seconds from 0 to {LONGEST_GRACE_SECONDS}"))),
        }
    }
}

fn wrong(name: &str, value: &str, allowed: &str) -> ConfigError {
    ConfigError { name: name.into(), value: value.into(), allowed: allowed.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn env(pairs: &[(&str, &str)]) -> HashMap<String, OsString> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        let config = Config::read(&env(&[])).unwrap();
        assert_eq!(config.user, "claude");
        assert_eq!(config.claude_bin, "claude");
        assert_eq!(config.workspace, PathBuf::from("/workspace"));
        assert_eq!(config.grace, Duration::from_secs(DEFAULT_GRACE_SECONDS));
        assert!(!config.offline && !config.debug && config.server_modes.is_empty());
    }

    #[test]
    fn the_predecessors_names_work_and_the_canonical_one_wins() {
        let old = env(&[("CLAUDE_WORKSPACE", "/old"), ("CLAUDE_MODE_API", "1"), ("DEBUG", "true")]);
        let config = Config::read(&old).unwrap();
        assert_eq!(config.workspace, PathBuf::from("/old"));
        assert_eq!(config.server_modes, ["CLAUDEBOX_MODE_API"]);
        assert!(config.debug);
        let both = env(&[("CLAUDE_WORKSPACE", "/old"), ("CLAUDEBOX_WORKSPACE", "/new")]);
        assert_eq!(Config::read(&both).unwrap().workspace, PathBuf::from("/new"));
    }

    #[test]
    fn an_empty_value_is_unset() {
        let config = Config::read(&env(&[("CLAUDEBOX_WORKSPACE", ""), ("CLAUDE_WORKSPACE", "/w")])).unwrap();
        assert_eq!(config.workspace, PathBuf::from("/w"));
    }

    #[rstest]
    #[case(
        "CLAUDEBOX_OFFLINE",
        "maybe",
        "CLAUDEBOX_OFFLINE=\"maybe\" is not usable: allowed are 1, true, yes, on and 0, false, no, off"
    )]
    #[case(
        "CLAUDE_MODE_API",
        "2",
        "CLAUDE_MODE_API=\"2\" is not usable: allowed are 1, true, yes, on and 0, false, no, off"
    )]
    #[case("CLAUDEBOX_WORKSPACE", "here", "CLAUDEBOX_WORKSPACE=\"here\" is not usable: it must be an absolute path")]
    #[case(
        "CLAUDEBOX_GRACE_SECONDS",
        "-1",
        "CLAUDEBOX_GRACE_SECONDS=\"-1\" is not usable: whole seconds from 0 to 3600"
    )]
    #[case(
        "CLAUDEBOX_GRACE_SECONDS",
        "3601",
        "CLAUDEBOX_GRACE_SECONDS=\"3601\" is not usable: whole seconds from 0 to 3600"
    )]
    #[case(
        "CLAUDEBOX_CONTAINER_NAME",
        "../x",
        "CLAUDEBOX_CONTAINER_NAME=\"../x\" is not usable: it names a folder, so it may not hold a slash"
    )]
    fn a_bad_value_is_named_with_what_is_allowed(#[case] name: &str, #[case] value: &str, #[case] message: &str) {
        assert_eq!(Config::read(&env(&[(name, value)])).unwrap_err().to_string(), message);
    }
}
