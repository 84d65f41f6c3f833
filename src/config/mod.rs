//! Settings: the environment, read once into types before anything is done.
//!
//! `CLAUDEBOX_X` is the canonical name of a setting; where the predecessor had it as `CLAUDE_X`, that name is accepted
//! too and the canonical one wins. An empty value counts as unset, because compose files write those.

pub mod call;
pub mod environment;
pub mod logs;
pub mod mode;
pub mod offline;
pub mod secret;
pub mod server;
pub mod settings;
pub mod unknown;
pub(crate) mod yaml;
pub mod zone;

use std::path::{Path, PathBuf};
use std::time::Duration;

use environment::Environment;
use mode::Mode;

pub use settings::name;

/// The user that Claude runs as, unless told otherwise.
pub const DEFAULT_USER: &str = "claude";
/// Time between TERM and KILL of the main child at shutdown. With the sweep after it, a stop stays under the 10 s
/// that `docker stop` allows.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(7);
const LONGEST_GRACE_SECONDS: u64 = 3600;
const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";
const WORKSPACE: &str = "/workspace";
const WORKSPACES: &str = "/workspaces";
/// Long enough for a quick check or an upload, short enough to wait for behind a server that is left running.
pub const DEFAULT_BACKGROUND: Duration = Duration::from_secs(10);
const LONGEST_BACKGROUND_SECONDS: u64 = 86_400;
/// The CLI alone takes 200 MB.
const SMALLEST_MEMORY: u64 = 256 << 20;
const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_mins(10);
const LONGEST_HOOK_SECONDS: u64 = 86_400;

/// The npm registry, as npm has it: not ours to define, and read where our own setting says nothing.
pub const NPM_CONFIG_REGISTRY: [&str; 2] = ["NPM_CONFIG_REGISTRY", "npm_config_registry"];
/// Server modes with a door to the outside, each a setting.
pub const DOOR_MODES: [&str; 3] = [name::MODE_API, name::MODE_TELEGRAM, name::MODE_CRON];

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
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    /// User that Claude runs as.
    pub user: String,
    /// The user and group id it is to have; `None` are those of the workspace's owner.
    pub user_ids: Option<(u32, u32)>,
    /// The claude executable, if one was named: a path, or a name on PATH.
    pub claude_bin: Option<String>,
    /// Folder of the Claude CLIs that are installed, if one was named.
    pub cli_dir: Option<PathBuf>,
    /// The npm registry that they are installed from.
    pub npm_registry: String,
    /// Workspace folder.
    pub workspace: PathBuf,
    /// Whether the workspace folder was named, or is the default one.
    pub workspace_is_named: bool,
    /// Root of the workspaces that server modes work in.
    pub workspaces_dir: PathBuf,
    /// The CLI's own folder; by default `.claude` in the user's home.
    pub config_dir: Option<PathBuf>,
    /// claudebox's state; by default `claudebox/NAME` in the CLI's folder.
    pub state_dir: Option<PathBuf>,
    /// This container's name, `default` if it has none.
    pub container_name: String,
    /// Time between TERM and KILL of the main child.
    pub grace: Duration,
    /// How much a process in the box can gain.
    pub mode: Mode,
    /// What a failing init hook does to the start.
    pub hooks_on_error: OnError,
    /// Longest an init hook may take; `None` is for ever.
    pub hook_timeout: Option<Duration>,
    /// The image's tool manifest. If there is no such file, CLAUDE.md is not written.
    pub manifest: PathBuf,
    /// Whether CLAUDE.md is written at all.
    pub writes_claude_md: bool,
    /// Which image this is, `minimal` for one.
    pub image_variant: Option<String>,
    /// Git's `user.name` and `user.email`.
    pub git: [(&'static str, Option<String>); 2],
    /// Text that goes into the system prompt of every invocation.
    pub system_hint: Option<String>,
    /// Whether the built-in offline model answers.
    pub offline: bool,
    /// How long background shells and wake-ups of a run may go on after the answer.
    pub background: Duration,
    /// Most memory that a run's processes may take together, bytes.
    pub max_memory: Option<u64>,
    /// Whether debug logs are written.
    pub debug: bool,
    /// The server modes that were asked for, by the name of their setting.
    pub server_modes: Vec<&'static str>,
}

/// What a failing init hook does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// The box does not start.
    #[default]
    Stop,
    /// The next hook runs.
    Continue,
}

impl Config {
    /// Where claudebox's state is: one folder for each container. `config_dir` is the CLI's own folder.
    #[must_use]
    pub fn state_folder(&self, config_dir: &Path) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| config_dir.join("claudebox").join(&self.container_name))
    }

    /// Lets the servers work below `/workspace` where something is mounted there and nothing at `/workspaces`: later versions
    /// of the predecessor had that one folder. `is_mounted` says whether something is mounted at a folder or below it.
    pub fn find_root(&mut self, is_mounted: impl Fn(&Path) -> bool) {
        let (several, single) = (Path::new(WORKSPACES), Path::new(WORKSPACE));
        let serves = self.server_modes.iter().any(|mode| DOOR_MODES.contains(mode));
        if serves && self.workspaces_dir == several && !is_mounted(several) && is_mounted(single) {
            single.clone_into(&mut self.workspaces_dir);
        }
    }

    /// Reads every setting from `env`.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigError> {
        let settings = Settings { env };
        let mut server_modes = Vec::new();
        for mode in DOOR_MODES.into_iter().chain([name::MODE_LOCAL]) {
            if settings.flag(mode)? {
                server_modes.push(mode);
            }
        }
        let workspace = settings.absolute_path(name::WORKSPACE)?;
        Ok(Self {
            user: settings.text(name::USER)?.unwrap_or_else(|| DEFAULT_USER.into()),
            user_ids: settings.ids(name::USER_IDS)?,
            claude_bin: settings.text(name::CLAUDE_BIN)?,
            cli_dir: settings.absolute_path(name::CLI_DIR)?,
            npm_registry: settings.registry()?,
            workspace_is_named: workspace.is_some(),
            workspace: workspace.unwrap_or_else(|| WORKSPACE.into()),
            workspaces_dir: settings.absolute_path(name::WORKSPACES_DIR)?.unwrap_or_else(|| WORKSPACES.into()),
            config_dir: settings.absolute_path(name::CONFIG_DIR)?,
            state_dir: settings.absolute_path(name::STATE_DIR)?,
            container_name: settings.file_name(name::CONTAINER_NAME)?.unwrap_or_else(|| "default".into()),
            grace: settings.seconds(name::GRACE_SECONDS, LONGEST_GRACE_SECONDS)?.unwrap_or(DEFAULT_GRACE),
            mode: if settings.flag(name::HARDENED)? { Mode::Hardened } else { Mode::Sudo },
            hooks_on_error: settings.on_error()?,
            hook_timeout: settings
                .seconds(name::HOOK_TIMEOUT, LONGEST_HOOK_SECONDS)?
                .map_or(Some(DEFAULT_HOOK_TIMEOUT), |limit| (!limit.is_zero()).then_some(limit)),
            manifest: settings
                .absolute_path(name::MANIFEST)?
                .unwrap_or_else(|| "/usr/share/claudebox/manifest.json".into()),
            writes_claude_md: settings.switch(name::CLAUDE_MD)?.unwrap_or(true),
            image_variant: settings.text(name::IMAGE_VARIANT)?,
            git: [("user.name", settings.text(name::GIT_NAME)?), ("user.email", settings.text(name::GIT_EMAIL)?)],
            system_hint: settings.text(name::SYSTEM_HINT)?,
            offline: settings.flag(name::OFFLINE)?,
            background: settings
                .seconds(name::BACKGROUND_SECONDS, LONGEST_BACKGROUND_SECONDS)?
                .unwrap_or(DEFAULT_BACKGROUND),
            max_memory: settings.size(name::MAX_MEM)?,
            debug: settings.flag(name::DEBUG)? || settings.flag(name::PLAIN_DEBUG)?,
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
        if let Some((name, other)) = environment::conflict(self.env, canonical) {
            let why = format!("{other} is the same setting and has another value; set one of the two");
            return Err(wrong(&name, "(not shown)", &why));
        }
        let Some((name, value)) = environment::lookup(self.env, canonical) else { return Ok(None) };
        match value.into_string() {
            Ok(value) => Ok(Some((name, value))),
            Err(value) => Err(wrong(&name, &value.to_string_lossy(), "it must be UTF-8 text")),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.find(name)?.map(|(_, value)| value))
    }

    /// An address without a slash at its end.
    fn registry(&self) -> Result<String, ConfigError> {
        let of_npm = || {
            NPM_CONFIG_REGISTRY.iter().find_map(|&name| {
                let value = self.env.get(name)?.into_string().ok().filter(|value| !value.is_empty())?;
                Some((name.to_owned(), value))
            })
        };
        let Some((name, value)) = self.find(name::NPM_REGISTRY)?.or_else(of_npm) else {
            return Ok(DEFAULT_REGISTRY.into());
        };
        let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        if host.is_some_and(|host| !host.starts_with('/') && !host.is_empty() && !host.contains(char::is_whitespace)) {
            Ok(value.trim_end_matches('/').to_owned())
        } else {
            // It may hold a password.
            Err(wrong(&name, "(not shown)", "the address of an npm registry, http:// or https://"))
        }
    }

    fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        Ok(self.switch(name)?.unwrap_or(false))
    }

    /// A flag that may be unset.
    fn switch(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Some(true)),
            "0" | "false" | "no" | "off" => Ok(Some(false)),
            _ => Err(wrong(&name, &value, "allowed are 1, true, yes, on and 0, false, no, off")),
        }
    }

    /// A user and a group, neither of them root's.
    fn ids(&self, name: &str) -> Result<Option<(u32, u32)>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        // The largest number stands for "leave it as it is" where owners are changed.
        let id = |text: &str| text.parse().ok().filter(|id| (1..u32::MAX).contains(id));
        match value.split_once(':').and_then(|(uid, gid)| id(uid).zip(id(gid))) {
            Some(ids) => Ok(Some(ids)),
            None => Err(wrong(&name, &value, "a user id and a group id, such as 1000:1000, neither of them 0")),
        }
    }

    /// Bytes, as container engines take them: a whole number, and b, k, m or g.
    fn size(&self, name: &str) -> Result<Option<u64>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        let lower = value.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
        let unit = match &lower[digits.len()..] {
            "" | "b" => Some(1),
            "k" | "kb" => Some(1 << 10),
            "m" | "mb" => Some(1 << 20),
            "g" | "gb" => Some(1_u64 << 30),
            _ => None,
        };
        let size = digits.parse::<u64>().ok().zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
        match size {
            Some(size) if size >= SMALLEST_MEMORY => Ok(Some(size)),
            _ => Err(wrong(&name, &value, "a size of at least 256m, such as 512m or 4g")),
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

    fn seconds(&self, name: &str, longest: u64) -> Result<Option<Duration>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        match value.parse() {
            Ok(seconds) if seconds <= longest => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(wrong(&name, &value, &format!("whole seconds from 0 to {longest}"))),
        }
    }

    fn on_error(&self) -> Result<OnError, ConfigError> {
        let Some((name, value)) = self.find(name::HOOKS_ON_ERROR)? else { return Ok(OnError::default()) };
        match value.as_str() {
            "stop" => Ok(OnError::Stop),
            "continue" => Ok(OnError::Continue),
            _ => Err(wrong(&name, &value, "allowed are stop and continue")),
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
    fn servers_work_in_the_one_folder_that_is_mounted() {
        let root = |settings: &[(&str, &str)], mounted: &[&str]| {
            let mut config = Config::read(&env(settings)).unwrap();
            config.find_root(|folder| mounted.iter().any(|mount| Path::new(mount).starts_with(folder)));
            config.workspaces_dir
        };
        let api = [("CLAUDEBOX_MODE_API", "1")];
        assert_eq!(root(&api, &["/workspace"]), PathBuf::from("/workspace"));
        assert_eq!(root(&api, &["/workspace", "/workspaces/a"]), PathBuf::from("/workspaces"));
        assert_eq!(root(&api, &[]), PathBuf::from("/workspaces"));
        assert_eq!(root(&[("CLAUDEBOX_MODE_LOCAL", "1")], &["/workspace"]), PathBuf::from("/workspaces"));
        let named = [api[0], ("CLAUDEBOX_WORKSPACES_DIR", "/srv")];
        assert_eq!(root(&named, &["/workspace"]), PathBuf::from("/srv"));
    }

    #[test]
    fn two_spellings_that_differ_are_an_error_that_names_both_and_shows_neither_value() {
        for (one, other) in [
            ("CLAUDEBOX_MODE_API_PORT", "CLAUDEBOX_API_MODE_PORT"),
            ("CLAUDEBOX_MODE_API_TOKEN", "CLAUDEBOX_API_TOKEN"),
            ("CLAUDEBOX_TELEGRAM_BOT_TOKEN", "CLAUDEBOX_TELEGRAM_MODE_TOKEN"),
            ("CLAUDEBOX_API_MODE_TOKEN", "AICODEBOX_API_MODE_TOKEN"),
        ] {
            let modes = [("CLAUDEBOX_MODE_API", "1"), ("CLAUDEBOX_API_MODE", "1"), ("CLAUDEBOX_MODE_TELEGRAM", "1")];
            let telegram = ("CLAUDE_TELEGRAM_BOT_TOKEN", "81");
            let all = |value| [modes.as_slice(), &[telegram, (one, "81"), (other, value)]].concat();
            assert!(server::ServerConfig::read(&env(&all("81"))).is_ok(), "{one} {other}");
            let error = server::ServerConfig::read(&env(&all("82"))).unwrap_err().to_string();
            assert!(error.contains(one) && error.contains(other) && !error.contains('8'), "{error}");
        }
    }

    #[test]
    fn the_registry_is_ours_or_npms_and_a_wrong_one_is_not_shown() {
        let registry = |pairs: &[(&str, &str)]| Config::read(&env(pairs)).map(|config| config.npm_registry);
        let npm = ("npm_config_registry", "http://npm.example/");
        assert_eq!(registry(&[npm]).unwrap(), "http://npm.example");
        assert_eq!(registry(&[npm, ("NPM_CONFIG_REGISTRY", "https://n/a")]).unwrap(), "https://n/a");
        assert_eq!(registry(&[npm, ("CLAUDEBOX_NPM_REGISTRY", "https://ours/")]).unwrap(), "https://ours");
        for wrong in ["npm.example", "ftp://user:secret@x", "https://", "https:///x", "http://a b"] {
            let error = registry(&[("CLAUDEBOX_NPM_REGISTRY", wrong)]).unwrap_err().to_string();
            assert!(error.starts_with("CLAUDEBOX_NPM_REGISTRY=\"(not shown)\" is not usable: "), "{error}");
        }
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        let config = Config::read(&env(&[])).unwrap();
        assert_eq!(config.user, "claude");
        assert_eq!((config.claude_bin, config.cli_dir), (None, None));
        assert_eq!(config.npm_registry, "https://registry.npmjs.org");
        assert_eq!(config.workspace, PathBuf::from("/workspace"));
        assert_eq!((config.grace, config.hook_timeout), (DEFAULT_GRACE, Some(DEFAULT_HOOK_TIMEOUT)));
        assert_eq!((config.mode, config.hooks_on_error), (Mode::Sudo, OnError::Stop));
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
    #[case(
        "CLAUDEBOX_MAX_MEM",
        "4x",
        "CLAUDEBOX_MAX_MEM=\"4x\" is not usable: a size of at least 256m, such as 512m or 4g"
    )]
    #[case(
        "CLAUDEBOX_USER_IDS",
        "1000",
        "CLAUDEBOX_USER_IDS=\"1000\" is not usable: a user id and a group id, such as 1000:1000, neither of them 0"
    )]
    #[case(
        "CLAUDEBOX_USER_IDS",
        "1000:0",
        "CLAUDEBOX_USER_IDS=\"1000:0\" is not usable: a user id and a group id, such as 1000:1000, neither of them 0"
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
