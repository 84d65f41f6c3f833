//! Settings: the environment, read once into types before anything is done.
//!
//! `CLAUDEBOX_X` is the canonical name of a setting; where the predecessor had it as `CLAUDE_X`, that name is accepted
//! too and the canonical one wins. An empty value counts as unset, because compose files write those.

pub mod call;
pub mod environment;
pub mod error;
pub mod fetch_allow;
pub mod logs;
pub mod mode;
pub mod offline;
pub mod places;
mod reader;
pub mod secret;
pub mod secret_files;
pub mod server;
pub mod settings;
pub mod spelling;
pub mod unknown;
pub(crate) mod yaml;
pub mod zone;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use environment::Environment;
use error::{ConfigErrors, wrong};
use logs::{LogFormat, LogTime};
use mode::Mode;
use reader::{Reader, is_on};
use server::ServerConfig;

pub use settings::name;

/// The user that Claude runs as, unless told otherwise.
pub const DEFAULT_USER: &str = "claude";
/// Time between TERM and KILL of the main child at shutdown. With the sweep after it, a stop stays under the 10 s
/// that `docker stop` allows.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(7);
const LONGEST_GRACE_SECONDS: u64 = 3600;
const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";
/// The npm registry, as npm has it: not ours to define, and read where our own setting says nothing.
pub const NPM_CONFIG_REGISTRY: [&str; 2] = ["NPM_CONFIG_REGISTRY", "npm_config_registry"];
const WORKSPACE: &str = "/workspace";
const WORKSPACES: &str = "/workspaces";
const STATE: &str = "/var/lib/claudebox/boxes";
/// Long enough for a quick check or an upload, short enough to wait for behind a server that is left running.
pub const DEFAULT_BACKGROUND: Duration = Duration::from_secs(10);
const LONGEST_BACKGROUND_SECONDS: u64 = 86_400;
const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_mins(10);
const LONGEST_HOOK_SECONDS: u64 = 86_400;
/// Server modes with a door to the outside, each a setting.
pub const DOOR_MODES: [&str; 3] = [name::MODE_API, name::MODE_TELEGRAM, name::MODE_CRON];

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
    /// Whether an engine's socket may be there although nothing is to gain privileges.
    pub docker_socket: bool,
    /// Whether Claude is fenced in with Landlock, if it was said.
    pub landlock: Option<bool>,
    /// Whether Claude's system calls are filtered, if it was said.
    pub seccomp: Option<bool>,
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
    /// Whether the broker is to keep the credential from Claude. `None`: where it can.
    pub broker: Option<bool>,
    /// Which hosts Claude reaches, if it was said.
    pub egress: Option<Egress>,
    /// The list of them, if it was given.
    pub egress_allow: Option<String>,
    /// The ports that Claude may connect to; `None`: all.
    pub egress_ports: Option<Vec<u16>>,
    /// The socket at which runs are opened, if there is a broker.
    pub broker_control: Option<PathBuf>,
    /// How long background shells and wake-ups of a run may go on after the answer.
    pub background: Duration,
    /// Most memory that a run's processes may take together, bytes.
    pub max_memory: Option<u64>,
    /// Whether debug logs are written.
    pub debug: bool,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Whether lines of text in logs begin with their time.
    pub log_time: LogTime,
    /// The server modes that were asked for, by the name of their setting.
    pub server_modes: Vec<&'static str>,
}

/// Which hosts Claude reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// Every one.
    Open,
    /// Those of the allow-list.
    List,
}

impl Egress {
    const ALLOWED: &[(&str, Self)] = &[("open", Self::Open), ("list", Self::List)];
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

impl OnError {
    const ALLOWED: &[(&str, Self)] = &[("stop", Self::Stop), ("continue", Self::Continue)];
}

impl Config {
    /// Whether Claude is fenced in, as far as the kernel can.
    pub fn has_fence(&self) -> bool {
        self.landlock.unwrap_or(self.mode == Mode::Hardened)
    }

    /// Whether Claude's system calls are filtered, if the kernel can.
    pub fn has_filter(&self) -> bool {
        self.seccomp.unwrap_or(self.mode == Mode::Hardened)
    }

    /// Where the servers' state is: one folder for each container. `config_dir` is the CLI's own folder.
    pub fn state_folder(&self, config_dir: &Path) -> PathBuf {
        let sealed = || Some(self.sealed_folder()).filter(|sealed| sealed.join(".").exists());
        self.state_dir.clone().or_else(sealed).unwrap_or_else(|| self.shared_folder(config_dir))
    }

    /// Where that is in a box that root has booted: Claude cannot enter it.
    pub fn sealed_folder(&self) -> PathBuf {
        Path::new(STATE).join(&self.container_name)
    }

    /// Where the notes and files are that Claude's own user works with.
    pub fn notes_folder(&self, config_dir: &Path) -> PathBuf {
        self.state_dir.clone().filter(|named| is_open(named)).unwrap_or_else(|| self.shared_folder(config_dir))
    }

    /// Where both are in boxes without a guard, unless told otherwise.
    pub fn shared_folder(&self, config_dir: &Path) -> PathBuf {
        config_dir.join("claudebox").join(&self.container_name)
    }

    /// Whether Claude reaches the hosts of a list alone.
    pub fn has_egress_list(&self) -> bool {
        let unsaid = || self.mode == Mode::Hardened || self.egress_allow.is_some();
        self.egress.map_or_else(unsaid, |egress| egress == Egress::List)
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

    /// Reads every setting of a box from `env`.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigErrors> {
        Reader::all(env, Self::from)
    }

    fn from(reader: &mut Reader<'_, impl Environment>) -> Self {
        let modes = DOOR_MODES.into_iter().chain([name::MODE_LOCAL]);
        let server_modes = modes.filter(|mode| reader.flag(mode)).collect();
        let workspace = reader.absolute_path(name::WORKSPACE);
        Self {
            user: reader.text(name::USER).unwrap_or_else(|| DEFAULT_USER.into()),
            user_ids: reader.ids(name::USER_IDS),
            claude_bin: reader.text(name::CLAUDE_BIN),
            cli_dir: reader.absolute_path(name::CLI_DIR),
            npm_registry: registry(reader).unwrap_or_else(|| DEFAULT_REGISTRY.into()),
            workspace_is_named: workspace.is_some(),
            workspace: workspace.unwrap_or_else(|| WORKSPACE.into()),
            workspaces_dir: reader.absolute_path(name::WORKSPACES_DIR).unwrap_or_else(|| WORKSPACES.into()),
            config_dir: reader.absolute_path(name::CONFIG_DIR),
            state_dir: reader.absolute_path(name::STATE_DIR),
            container_name: reader.file_name(name::CONTAINER_NAME).unwrap_or_else(|| "default".into()),
            grace: reader.seconds(name::GRACE_SECONDS, LONGEST_GRACE_SECONDS).unwrap_or(DEFAULT_GRACE),
            mode: if reader.flag(name::HARDENED) { Mode::Hardened } else { Mode::Sudo },
            docker_socket: reader.flag(name::DOCKER_SOCKET),
            landlock: reader.switch(name::LANDLOCK),
            seccomp: reader.switch(name::SECCOMP),
            hooks_on_error: reader.choice(name::HOOKS_ON_ERROR, OnError::ALLOWED).unwrap_or_default(),
            hook_timeout: reader
                .seconds(name::HOOK_TIMEOUT, LONGEST_HOOK_SECONDS)
                .map_or(Some(DEFAULT_HOOK_TIMEOUT), |limit| (!limit.is_zero()).then_some(limit)),
            manifest: reader
                .absolute_path(name::MANIFEST)
                .unwrap_or_else(|| "/usr/share/claudebox/manifest.json".into()),
            writes_claude_md: reader.switch(name::CLAUDE_MD).unwrap_or(true),
            image_variant: reader.text(name::IMAGE_VARIANT),
            git: [("user.name", reader.text(name::GIT_NAME)), ("user.email", reader.text(name::GIT_EMAIL))],
            system_hint: reader.text(name::SYSTEM_HINT),
            offline: reader.flag(name::OFFLINE),
            broker: reader.switch(name::BROKER),
            egress: reader.choice(name::EGRESS, Egress::ALLOWED),
            egress_allow: reader.text(name::EGRESS_ALLOW),
            egress_ports: reader.text(name::EGRESS_PORTS).map(|ports| ports.split(',').flat_map(str::parse).collect()),
            broker_control: reader.absolute_path(name::BROKER_CONTROL),
            background: reader
                .seconds(name::BACKGROUND_SECONDS, LONGEST_BACKGROUND_SECONDS)
                .unwrap_or(DEFAULT_BACKGROUND),
            max_memory: reader.size(name::MAX_MEM),
            debug: [name::DEBUG, name::PLAIN_DEBUG].map(|setting| reader.flag(setting)).contains(&true),
            log_format: LogFormat::from(reader),
            log_time: LogTime::from(reader),
            server_modes,
        }
    }

    /// Reads what a box with servers has: its own settings and theirs, and what is wrong with either. `None` where no server
    /// mode is on: the servers' settings then mean nothing, and may be anything.
    pub fn read_with_servers(env: &impl Environment) -> Result<(Self, Option<ServerConfig>), ConfigErrors> {
        let config = Self::read(env);
        let serves = match &config {
            Ok(config) => !config.server_modes.is_empty(),
            // A mode that is neither on nor off counts: whoever corrects it is to hear the rest at once.
            Err(_) => DOOR_MODES.into_iter().chain([name::MODE_LOCAL]).any(|mode| is_on(env, mode) != Some(false)),
        };
        error::both(config, if serves { ServerConfig::read(env).map(Some) } else { Ok(None) })
    }
}

/// Whether this process can enter the folder, or make it.
fn is_open(folder: &Path) -> bool {
    match folder.join(".").metadata() {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(_) => true,
    }
}

/// An address without a slash at its end.
fn registry(reader: &mut Reader<'_, impl Environment>) -> Option<String> {
    let of_npm = |env: &dyn Environment| {
        NPM_CONFIG_REGISTRY.iter().find_map(|&name| {
            let value = env.get(name)?.into_string().ok().filter(|value| !value.is_empty())?;
            Some((name.to_owned(), value))
        })
    };
    let (name, value) = reader.find(name::NPM_REGISTRY).or_else(|| of_npm(reader.env))?;
    let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    if host.is_some_and(|host| !host.starts_with('/') && !host.is_empty() && !host.contains(char::is_whitespace)) {
        return Some(value.trim_end_matches('/').to_owned());
    }
    // It may hold a password.
    reader.refuse(wrong(&name, "(not shown)", "the address of an npm registry, http:// or https://"));
    None
}

#[cfg(test)]
mod tests;
