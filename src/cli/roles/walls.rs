//! Which walls stand around the CLI in this box, from its settings and folders.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::scratch::{BEGIN, Scratch};
use crate::claude::arguments::Session;
use crate::claude::reach::{self, For};
use crate::claude::sessions::Sessions;
use crate::config::environment::Environment;
use crate::config::mode::Mode;
use crate::config::{Config, name, server};
use crate::privilege::files;
use crate::privilege::walls::Walls;
use crate::privilege::walls::fence::Fence;

/// The folder of the box's policy.
const POLICY: &str = "/etc/claudebox";
/// The CLI's setting for its temporary files.
const CLI_TEMPORARY: &str = "CLAUDE_CODE_TMPDIR";
const TEMPORARY: &str = "TMPDIR";
/// Caches that would be in the user's home: what is in them is run.
const CACHES: [(&str, &str); 2] = [("XDG_CACHE_HOME", "cache"), ("npm_config_cache", "npm")];
/// Has the C library ask for names over TCP: there is no UDP behind the filter.
const RESOLVER: (&str, &str) = ("RES_OPTIONS", "use-vc");

/// The walls around one process of the CLI, and what its environment has for them.
pub(super) struct Enclosure {
    pub(super) walls: Walls,
    pub(super) environment: Vec<(String, Option<OsString>)>,
    /// The folder of its temporary files; removed with this.
    pub(super) scratch: Option<Scratch>,
}

/// Around the CLI with this session in `workspace`, for whom it works. As the user that it will have, or in that one's place.
/// An error says why a hardened box cannot have that.
pub(super) fn around_claude(
    config: &Config,
    sessions: &Sessions,
    workspace: &Path,
    session: &Session,
    whom: For,
    env: &impl Environment,
) -> Result<Enclosure, String> {
    let mut around = filtered(config, env);
    if !config.has_fence() {
        return Ok(around);
    }
    let config_dir = real(&sessions.config_dir);
    let sessions = Sessions { config_dir: config_dir.clone(), ..sessions.clone() };
    let reach = reach::of(&sessions, &real(workspace), session, whom);
    let fence = around.fence(config, workspace, &sessions, env)?;
    fence.write.extend(reach.write);
    fence.hidden.extend(reach.hidden);
    if config.broker_control.is_some() || env.get("ANTHROPIC_UNIX_SOCKET").is_some() {
        // A login that nobody needs.
        let sign_in = config_dir.join(reach::SIGN_IN);
        fence.write.retain(|path| *path != sign_in);
        fence.hidden.push(sign_in);
    }
    around.check(workspace, &[&config_dir, &config.sealed_folder(), Path::new(POLICY)])?;
    Ok(around)
}

/// Around a command in `workspace` that is not the CLI.
pub(super) fn around_command(
    config: &Config,
    sessions: &Sessions,
    workspace: &Path,
    env: &impl Environment,
) -> Result<Enclosure, String> {
    let mut around = filtered(config, env);
    if config.has_fence() {
        let config_dir = real(&sessions.config_dir);
        let fence = around.fence(config, workspace, sessions, env)?;
        fence.hidden.push(config_dir.join("projects"));
        fence.hidden.push(config_dir.join("claudebox"));
        around.check(workspace, &[&config_dir, &config.sealed_folder(), Path::new(POLICY)])?;
    }
    Ok(around)
}

/// Around one of the CLI's own commands, which a person has typed: it may change the CLI's settings.
pub(super) fn around_settings(config: &Config, workspace: &Path, config_dir: &Path, env: &impl Environment) -> Walls {
    let Enclosure { mut walls, .. } = filtered(config, env);
    walls.fence = config.has_fence().then(|| Fence {
        write: vec![real(workspace), real(config_dir), base(env)],
        hidden: hidden(config, workspace),
        ..Fence::default()
    });
    walls
}

/// The filter alone.
fn filtered(config: &Config, env: &impl Environment) -> Enclosure {
    let walls = Walls { fence: None, filter: config.has_filter(), strict: config.mode == Mode::Hardened };
    let mut environment = Vec::new();
    if walls.filter {
        let (name, mut value) = (RESOLVER.0, env.get(RESOLVER.0).unwrap_or_default());
        value.push(if value.is_empty() { "" } else { " " });
        value.push(RESOLVER.1);
        environment.push((name.into(), Some(value)));
    }
    Enclosure { walls, environment, scratch: None }
}

impl Enclosure {
    /// Adds a fence, with a folder for temporary files in it.
    fn fence(
        &mut self,
        config: &Config,
        workspace: &Path,
        sessions: &Sessions,
        env: &impl Environment,
    ) -> Result<&mut Fence, String> {
        let base = base(env);
        let scratch = Scratch::make(&base).map_err(|error| format!("no folder for temporary files: {error}"))?;
        let mut set = |name: &str, value: PathBuf| self.environment.push((name.into(), Some(value.into())));
        set(TEMPORARY, scratch.path.clone());
        set(CLI_TEMPORARY, scratch.path.clone());
        for (name, folder) in CACHES {
            if env.get(name).is_none() {
                set(name, scratch.path.join(folder));
            }
        }
        let mut hidden = hidden(config, workspace);
        hidden.push(real(&sessions.state_dir));
        // The first of these is nowhere: what is in the folder is to be looked at one by one.
        hidden.extend([base.join(BEGIN), base.join(format!("claude-{}", files::uid()))]);
        let others = fs::read_dir(&base).into_iter().flatten().flatten();
        let is_one = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(BEGIN));
        hidden.extend(others.map(|entry| entry.path()).filter(is_one));
        let doors = config.server_modes.contains(&name::MODE_API).then(|| server::port(env));
        let fence = Fence {
            write: vec![real(workspace), scratch.path.clone()],
            hidden,
            shown: Vec::new(),
            closed_ports: doors.into_iter().collect(),
            connect_ports: config.egress_ports.clone(),
        };
        self.scratch = Some(scratch);
        Ok(self.walls.fence.insert(fence))
    }

    /// What lies in the workspace can be written there.
    fn check(&self, workspace: &Path, protected: &[&Path]) -> Result<(), String> {
        let workspace = real(workspace);
        let inside = protected.iter().map(|path| real(path)).find(|path| path.starts_with(&workspace));
        let Some(inside) = inside else { return Ok(()) };
        let why =
            format!("the workspace {} holds {}, which Claude is not to write", workspace.display(), inside.display());
        if self.walls.strict {
            return Err(format!("{} is on and {why}: use another folder as workspace", name::HARDENED));
        }
        tracing::warn!("{why}: {} does not keep it from that", name::LANDLOCK);
        Ok(())
    }
}

/// What nobody of Claude's sees, apart from the workspace.
fn hidden(config: &Config, workspace: &Path) -> Vec<PathBuf> {
    let mut hidden = vec![real(&config.workspaces_dir), real(Path::new(POLICY))];
    let state = config.sealed_folder();
    hidden.push(real(state.parent().unwrap_or(&state)));
    hidden.extend(config.state_dir.as_deref().map(real));
    // One that is the workspace itself, or above the file system's root of it, hides nothing.
    hidden.retain(|path| path.parent().is_some() && *path != real(workspace));
    hidden
}

/// Where temporary files are.
fn base(env: &impl Environment) -> PathBuf {
    let named = [CLI_TEMPORARY, TEMPORARY].into_iter().find_map(|name| env.get(name).filter(|path| !path.is_empty()));
    real(&named.map_or_else(|| "/tmp".into(), PathBuf::from))
}

/// The path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
