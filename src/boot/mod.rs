//! The boot stage: who Claude runs as, where, and with which environment. Decided as root, before anything starts.

pub mod accounts;
pub mod engines;
pub mod guard;
pub mod hooks;
pub mod identity;
pub mod mounts;
pub mod ownership;
pub mod person;
pub mod remap;
mod secrets;
pub mod setuid;
pub mod workspaces;

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::environment::{Environment, FromFile};
use crate::config::mode::Mode;
use crate::config::secret_files;
use crate::config::settings::Secrecy;
use crate::config::spelling::{door_secrets, spellings};
use crate::config::{Config, DEFAULT_USER, name};
use crate::policy::hold::Agent;
use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use accounts::Accounts;
use guard::Guard;
use identity::Identity;
use ownership::Owner;

/// Everything a child of claudebox needs to know.
#[derive(Debug, Clone)]
pub struct Booted {
    /// The user Claude runs as.
    pub identity: Identity,
    /// The folder Claude works in, or the one that holds its workspaces.
    pub workspace: PathBuf,
    /// The CLI's own folder.
    pub config_dir: PathBuf,
    /// Who looks after Claude; `None` where that is Claude's own user.
    pub guard: Option<Guard>,
    /// What a child's environment has on top of this process's: a value sets, `None` removes.
    pub environment: Vec<(String, Option<OsString>)>,
    /// Secrets of the doors that are from files: for the servers alone.
    pub door_secrets: Vec<(String, OsString)>,
}

impl Booted {
    /// The environment of the servers: they alone get the secrets of their doors.
    pub fn server_environment(&self) -> Vec<(String, Option<OsString>)> {
        let secrets = door_secrets();
        let mut changes = self.environment.clone();
        changes.retain(|(name, value)| value.is_some() || !secrets.contains(name));
        changes.extend(self.door_secrets.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
        // The folder they start in; each run gets its own.
        changes.push(("PWD".into(), Some("/".into())));
        changes
    }

    /// Whose hands what decides is to be out of: Claude, and the servers, which work on Claude's files.
    pub fn agent(&self) -> Agent {
        let claude = &self.identity.credentials;
        let guard = self.guard.iter();
        Agent {
            uids: std::iter::once(claude.uid).chain(guard.clone().map(|guard| guard.uid)).collect(),
            gids: [claude.gid]
                .into_iter()
                .chain(claude.groups.iter().copied())
                .chain(guard.map(|guard| guard.gid))
                .collect(),
        }
    }

    /// What a child sees under this name, if it is something.
    pub fn variable(&self, name: &str, env: &impl Environment) -> Option<OsString> {
        let change = self.environment.iter().rev().find(|(changed, _)| changed == name);
        change.map_or_else(|| env.get(name), |(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    /// Where the credentials of this box come from: a variable's name, or the file of somebody who signed in.
    pub fn credentials(&self, env: &impl Environment) -> Option<String> {
        let set = CREDENTIALS.into_iter().find(|name| self.variable(name, env).is_some());
        let stored = self.config_dir.join(".credentials.json");
        set.map(str::to_owned).or_else(|| stored.exists().then(|| stored.display().to_string()))
    }
}

/// Which folder the box works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkingFolder {
    /// The workspace: one prompt, or the interactive CLI.
    Workspace,
    /// The root of all workspaces: the servers.
    Workspaces,
}

impl WorkingFolder {
    /// Where a box with these settings works when it is given no prompt.
    #[must_use]
    pub const fn of(config: &Config) -> Self {
        if config.server_modes.is_empty() { Self::Workspace } else { Self::Workspaces }
    }
}

/// Why the box cannot start. Each message is one line and says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BootError {
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    #[error("the workspace {} does not exist: mount one (-v \"$PWD:/workspace\") or set {}", .0.display(), name::WORKSPACE)]
    NoWorkspace(PathBuf),
    #[error("the workspace {} is not a folder: set {} to one", .0.display(), name::WORKSPACE)]
    NotAFolder(PathBuf),
    #[error(
        "the workspaces' folder {path} cannot be used ({source}): mount one (-v \"$PWD:/workspaces\") or set {var}",
        path = .path.display(), var = name::WORKSPACES_DIR
    )]
    NoWorkspaces { path: PathBuf, source: io::Error },
    /// Root without the capabilities of root.
    #[error(
        "this box runs as root without the capability {0} (--cap-drop?), so it cannot become {1}: add SETUID, SETGID, \
         SETPCAP, KILL, CHOWN and DAC_OVERRIDE (--cap-add), or start it as an ordinary user (--user 1000:1000)"
    )]
    NoCapability(Capability, String),
    /// A read-only root without the one place that the CLI cannot do without.
    #[error(
        "the file system of {place} is read-only, and the CLI has to write there: add --tmpfs {place}, and --tmpfs {home} or a \
         volume there for sessions",
        place = .0.display(), home = .1.display()
    )]
    ReadOnly(PathBuf, PathBuf),
    /// The socket gives root on the host, which is what hardened is against.
    #[error(
        "{var} is on and {} is mounted: whoever reaches it is root on the host; leave one of the two out, or set {socket}=1 if \
         Claude is to have it",
        .0.display(), var = name::HARDENED, socket = name::DOCKER_SOCKET
    )]
    HardenedWithSocket(PathBuf),
    #[error(
        "{var} is on, and the box starts as user {0}: only root can start Claude, its servers and PID 1 as three users; leave \
         --user (runAsUser, runAsNonRoot) out, PID 1 alone stays root, or leave {var} out",
        var = name::HARDENED
    )]
    HardenedWithoutRoot(u32),
    #[error(
        "{var} is on, and this box has no {missing}: Claude could not be kept from its servers; add {add} (--cap-add, \
         capabilities.add), or leave {var} out",
        missing = words(.0), add = added(.0), var = name::HARDENED
    )]
    HardenedWithoutCapabilities(Vec<Capability>),
    #[error("{var} is on, and Claude could not be kept from its servers: {0}; mend that, or leave {var} out", var = name::HARDENED)]
    HardenedWithoutGuard(String),
    #[error(
        "Claude can read the secret in {path} ({name}): mount it below /run/secrets, where the folder is closed to Claude, or with \
         another owner and without access for others",
        path = .path.display()
    )]
    ReadableSecret { name: String, path: PathBuf },
}

/// As the kernel names them.
fn words(capabilities: &[Capability]) -> String {
    capabilities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// As engines name them.
fn added(capabilities: &[Capability]) -> String {
    let names = capabilities.iter().map(|capability| capability.to_string().trim_start_matches("CAP_").to_owned());
    names.collect::<Vec<_>>().join(", ")
}

impl BootError {
    const fn no_workspaces(path: PathBuf, source: io::Error) -> Self {
        Self::NoWorkspaces { path, source }
    }
}

/// Prepares the box as root, then resolves the user and the workspace: once per start, by PID 1.
pub fn prepare(config: &Config, env: &impl Environment, place: WorkingFolder) -> Result<Booted, BootError> {
    let hardened = config.mode == Mode::Hardened;
    if hardened
        && !config.docker_socket
        && let Some(socket) = engines::sockets(env).into_iter().next()
    {
        return Err(BootError::HardenedWithSocket(socket));
    }
    if !geteuid().is_root() {
        if hardened {
            return Err(BootError::HardenedWithoutRoot(geteuid().as_raw()));
        }
        return resolve(config, env, place);
    }
    let missing = |needed: &[Capability]| -> Vec<Capability> {
        let is_missing = |&one: &Capability| !caps::has_cap(None, CapSet::Effective, one).unwrap_or(true);
        needed.iter().copied().filter(is_missing).collect()
    };
    if hardened {
        let needs = if place == WorkingFolder::Workspaces { HARDENED_NEEDS } else { &HARDENED_NEEDS[..4] };
        let missing = missing(needs);
        if !missing.is_empty() {
            return Err(BootError::HardenedWithoutCapabilities(missing));
        }
        setuid::take_away();
    }
    if let Some(&first) = missing(&[Capability::CAP_SETUID, Capability::CAP_SETGID]).first() {
        return Err(BootError::NoCapability(first, config.user.clone()));
    }
    let folder = Path::new(ACCOUNTS);
    let accounts = remap::settle(config, folder, &Accounts::read(folder));
    let user = Identity::resolve(config, env, &accounts)?.credentials;
    let owner = Owner { uid: user.uid, gid: user.gid };
    let folder = match place {
        WorkingFolder::Workspace => &config.workspace,
        WorkingFolder::Workspaces => {
            let path = &config.workspaces_dir;
            workspaces::settle(path, owner).map_err(|source| BootError::no_workspaces(path.clone(), source))?;
            path
        }
    };
    match workspaces::take_over_new(folder, owner) {
        Ok(true) => {
            tracing::info!("{} was empty and root's: it is {}:{}'s now", folder.display(), owner.uid, owner.gid);
        }
        Ok(false) => {}
        // What is wrong with it is said below, or by who wants to write there.
        Err(error) => tracing::debug!("{}: {error}", folder.display()),
    }
    let mut booted = resolve_with(config, env, &accounts, place)?;
    let settled = Guard::of_box(config, &accounts, &user).and_then(|guard| match place {
        WorkingFolder::Workspace => Ok(guard),
        WorkingFolder::Workspaces => guard.settle(&user).map(|()| guard),
    });
    if hardened && let Err(why) = settled {
        return Err(BootError::HardenedWithoutGuard(why));
    }
    booted.guard =
        settled.inspect_err(|why| tracing::warn!("what looks after Claude has Claude's own user: {why}")).ok();
    let group = booted.guard.as_ref().map(|guard| guard.gid);
    for FromFile { name, path, .. } in secrets::close(&env.secrets_of_files(), &user, group) {
        let open = BootError::ReadableSecret { name: name.clone(), path: path.clone() };
        if hardened {
            return Err(open);
        }
        tracing::warn!("{open}");
    }
    // A box is no part of the run that may have started it: its runs are told by this variable.
    booted.environment.push((name::RUN_ID.into(), None));
    Ok(booted)
}

/// What the init hooks need to know where the box's user does not exist yet: one of them may make it. They are those of the
/// user that an image has.
pub fn before_its_user(config: &Config, env: &impl Environment, place: WorkingFolder) -> Result<Booted, BootError> {
    let config = Config { user: DEFAULT_USER.to_owned(), ..config.clone() };
    let mut booted = resolve(&config, env, place)?;
    booted.environment.push((name::RUN_ID.into(), None));
    Ok(booted)
}

/// Resolves the user and the workspace of a box that is up.
pub fn resolve(config: &Config, env: &impl Environment, place: WorkingFolder) -> Result<Booted, BootError> {
    let accounts = Accounts::read(Path::new(ACCOUNTS));
    let mut booted = resolve_with(config, env, &accounts, place)?;
    if booted.identity.drop {
        // Who has booted the box has said why, if there is none.
        booted.guard = Guard::of_box(config, &accounts, &booted.identity.credentials).ok();
    }
    Ok(booted)
}

/// The CLI's own folder in a box with these settings.
pub fn config_dir(config: &Config, env: &impl Environment) -> Result<PathBuf, BootError> {
    if let Some(named) = &config.config_dir {
        return Ok(named.clone());
    }
    Ok(Identity::resolve(config, env, &Accounts::read(Path::new(ACCOUNTS)))?.home.join(".claude"))
}

fn resolve_with(
    config: &Config,
    env: &impl Environment,
    accounts: &Accounts,
    place: WorkingFolder,
) -> Result<Booted, BootError> {
    let identity = Identity::resolve(config, env, accounts)?;
    let workspace = match place {
        WorkingFolder::Workspace => config.workspace.clone(),
        WorkingFolder::Workspaces => config.workspaces_dir.clone(),
    };
    match std::fs::metadata(&workspace) {
        Ok(found) if found.is_dir() => tracing::debug!(
            "workspace {} (owner {}:{}), user {} ({}:{})",
            workspace.display(),
            found.uid(),
            found.gid(),
            identity.name,
            identity.credentials.uid,
            identity.credentials.gid
        ),
        Ok(_) if place == WorkingFolder::Workspaces => {
            return Err(BootError::no_workspaces(workspace, Errno::ENOTDIR.into()));
        }
        Err(error) if place == WorkingFolder::Workspaces => return Err(BootError::no_workspaces(workspace, error)),
        Ok(_) => return Err(BootError::NotAFolder(workspace)),
        Err(_) => return Err(BootError::NoWorkspace(workspace)),
    }
    let temporary = env.get(CLI_TEMPORARY).filter(|path| !path.is_empty()).map_or_else(|| "/tmp".into(), PathBuf::from);
    if access(&temporary, AccessFlags::W_OK) == Err(Errno::EROFS) {
        return Err(BootError::ReadOnly(temporary, identity.home));
    }
    let config_dir = config.config_dir.clone().unwrap_or_else(|| identity.home.join(".claude"));
    let environment = child_environment(&identity, &workspace, &config_dir, env);
    let of_doors = env.secrets_of_files().into_iter().filter(|secret| secret.setting.secret == Secrecy::Door);
    let door_secrets = of_doors.map(|secret| (secret.setting.name.to_owned(), secret.value)).collect();
    Ok(Booted { identity, workspace, config_dir, guard: None, environment, door_secrets })
}

fn child_environment(
    identity: &Identity,
    workspace: &Path,
    config_dir: &Path,
    env: &impl Environment,
) -> Vec<(String, Option<OsString>)> {
    let mut changes = forwarded(env);
    let given = |name: &str| changes.iter().find(|(set, _)| set == name).and_then(|(_, value)| value.clone());
    let mut path = config_dir.join("bin").into_os_string();
    path.push(":");
    path.push(given("PATH").or_else(|| env.get("PATH")).filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH.into()));
    // The image pins the CLI's version; a box that updates itself is no longer the one that was tested.
    if given("DISABLE_AUTOUPDATER").or_else(|| env.get("DISABLE_AUTOUPDATER")).is_none() {
        changes.push(("DISABLE_AUTOUPDATER".into(), Some("1".into())));
    }
    let own: [(&str, OsString); 6] = [
        ("HOME", identity.home.clone().into()),
        ("USER", identity.name.clone().into()),
        ("LOGNAME", identity.name.clone().into()),
        ("PWD", workspace.into()),
        ("PATH", path),
        (name::CONFIG_DIR, config_dir.into()),
    ];
    changes.extend(own.map(|(name, value)| (name.to_owned(), Some(value))));
    changes.extend(door_secrets().into_iter().chain(secret_files::all_names()).map(|secret| (secret, None)));
    let of_claude = env.secrets_of_files().into_iter().filter(|secret| secret.setting.secret == Secrecy::Claude);
    changes.extend(of_claude.map(|secret| (secret.setting.name.to_owned(), Some(secret.value))));
    changes
}

/// `CLAUDEBOX_ENV_X` becomes `X`, and is gone itself; of two spellings the canonical one wins.
fn forwarded(env: &impl Environment) -> Vec<(String, Option<OsString>)> {
    let mut changes = Vec::new();
    // The later one wins.
    for prefix in spellings(name::FORWARD_PREFIX).iter().rev() {
        for name in env.names() {
            if let Some(plain) = name.strip_prefix(prefix.as_str()).filter(|plain| !plain.is_empty()) {
                changes.push((plain.to_owned(), env.get(&name)));
                changes.push((name, None));
            }
        }
    }
    changes
}

/// What root needs to start a hardened box: to be two other users, to end their processes, and to take away what they could gain;
/// for servers also to give them their state, and to get to it.
const HARDENED_NEEDS: &[Capability; 6] = &[
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_KILL,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
];
/// Variables that hold credentials of Claude's API.
const CREDENTIALS: [&str; 3] = ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"];
/// The CLI's setting for its temporary files; they are in `/tmp` otherwise.
const CLI_TEMPORARY: &str = "CLAUDE_CODE_TMPDIR";
/// Where the user database is.
const ACCOUNTS: &str = "/etc";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege::plan::Credentials;
    use std::collections::HashMap;

    fn environment_of(pairs: &[(&str, &str)]) -> HashMap<String, Option<OsString>> {
        let env: HashMap<String, OsString> =
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
        let credentials = Credentials { uid: 1, gid: 1, groups: vec![] };
        let identity = Identity { name: "me".into(), credentials, home: "/home/me".into(), drop: true };
        child_environment(&identity, Path::new("/w"), Path::new("/c"), &env).into_iter().collect()
    }

    #[test]
    fn forwarded_variables_lose_their_prefix_and_the_canonical_one_wins() {
        let environment = environment_of(&[("CLAUDE_ENV_A", "old"), ("CLAUDEBOX_ENV_A", "new"), ("CLAUDE_ENV_B", "b")]);
        assert_eq!(environment["A"], Some("new".into()));
        assert_eq!(environment["B"], Some("b".into()));
        assert_eq!((&environment["CLAUDE_ENV_A"], &environment["CLAUDEBOX_ENV_A"]), (&None, &None));
    }

    #[test]
    fn the_users_own_scripts_come_first_on_path() {
        assert_eq!(environment_of(&[("PATH", "/bin")])["PATH"], Some("/c/bin:/bin".into()));
        let forwarded = environment_of(&[("PATH", "/bin"), ("CLAUDEBOX_ENV_PATH", "/opt/bin")]);
        assert_eq!(forwarded["PATH"], Some("/c/bin:/opt/bin".into()));
        assert_eq!(environment_of(&[])["PATH"], Some(format!("/c/bin:{DEFAULT_PATH}").into()));
    }

    #[test]
    fn the_servers_get_their_secrets() {
        let credentials = Credentials { uid: 1, gid: 1, groups: vec![] };
        let identity = Identity { name: "me".into(), credentials, home: "/home/me".into(), drop: true };
        let workspace = PathBuf::from("/w");
        let env: HashMap<String, OsString> = HashMap::new();
        let environment = child_environment(&identity, &workspace, &workspace, &env);
        let booted = Booted {
            identity,
            config_dir: workspace.clone(),
            workspace,
            guard: None,
            environment,
            door_secrets: Vec::new(),
        };
        let changed: HashMap<String, Option<OsString>> = booted.server_environment().into_iter().collect();
        for secret in door_secrets() {
            assert!(booted.environment.contains(&(secret.clone(), None)));
            assert!(!changed.contains_key(&secret), "{secret}");
        }
        assert_eq!((&changed["PWD"], &changed["HOME"]), (&Some("/".into()), &Some("/home/me".into())));
    }

    #[test]
    fn home_and_user_cannot_be_forwarded_and_door_secrets_are_gone() {
        let environment = environment_of(&[("CLAUDEBOX_ENV_HOME", "/root"), ("CLAUDE_MODE_API_TOKEN", "secret")]);
        assert_eq!(environment["HOME"], Some("/home/me".into()));
        assert_eq!(environment["CLAUDE_MODE_API_TOKEN"], None);
    }
}
