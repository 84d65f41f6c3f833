//! The broker as PID 1 keeps it: where it listens, and what its clients' environments are.
//!
//! PID 1 makes the socket at which runs are opened and hands it over as standard input. It stays when a broker ends: whoever
//! asks meanwhile waits for the next one.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown};

use super::plan::Changes;
use crate::boot::Booted;
use crate::boot::guard::Guard;
use crate::broker::protocol::{self, CredentialKind, Door, SECRETS};
use crate::broker::{self, EnvironmentError, RulesError};
use crate::config::environment::Environment;
use crate::config::mode::Mode;
use crate::config::{Config, name, offline};
use crate::privilege::helper::Group;
use crate::privilege::plan::{Credentials, Kept};
use crate::privilege::walls::Walls;
use crate::process::spawn::{Spawn, own_executable};

/// The role, and how it is called in the log.
const ROLE: &str = "broker";
pub(super) const NAME: &str = "the broker";
/// Folders of which one can be made in each box. The second is writable even where the root is not.
const FOLDERS: [&str; 2] = ["/run", "/tmp"];
/// Tries to find a name that nobody has.
const MOST_TRIES: usize = 8;

/// Why a box that is to have a broker cannot have one.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BrokerError {
    #[error(
        "{on} is on, and {why}: Claude could read the credential; {what}",
        on = .asked, why = .why.text(), what = .why.advice()
    )]
    Impossible { asked: &'static str, why: Why },
    #[error("{0}; or set {broker}=0, which leaves the credential with Claude", broker = name::BROKER)]
    Environment(#[from] EnvironmentError),
    #[error("the broker's socket cannot be made in {}: {source}", .folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{by} is on, and {no_guard}: nothing would keep Claude to the list; {what}",
        by = name::EGRESS, no_guard = Why::NoGuard.text(), what = Why::NoGuard.advice())]
    NoGuard,
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// Why a box has no broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The offline model answers, and takes no credential.
    Offline,
    /// It was turned off.
    Off,
    /// Whoever looks after Claude has Claude's user.
    NoGuard,
    /// This variable leads to an API that takes other credentials.
    AnotherApi(&'static str),
    /// Somebody has signed in: this file is the CLI's own.
    SignedIn(PathBuf),
    /// There is no credential.
    NoCredential,
}

impl Why {
    /// For a person.
    pub fn text(&self) -> String {
        match self {
            Self::Offline => format!("{} is on", name::OFFLINE),
            Self::Off => format!("{} is off", name::BROKER),
            Self::NoGuard => "the box has one user for all (it was not started as root?)".to_owned(),
            Self::AnotherApi(variable) => format!("{variable} is set"),
            Self::SignedIn(file) => format!("Claude is signed in by {}", file.display()),
            Self::NoCredential => "the box has no credential".to_owned(),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::NoGuard => "start the box as root, with the capabilities that docs/security.md names",
            Self::AnotherApi(_) => "leave one of the two out",
            _ => "set ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or CLAUDE_CODE_OAUTH_TOKEN (or the same with _FILE)",
        }
    }
}

/// Why the box has no broker; `None`: it is to have one. One that was asked for and cannot be is an error.
pub fn why_none(config: &Config, booted: &Booted, env: &impl Environment) -> Result<Option<Why>, BrokerError> {
    let why = find_why(config, booted, env);
    let asked = match (config.broker, config.mode) {
        (Some(true), _) => name::BROKER,
        (None, Mode::Hardened) => name::HARDENED,
        _ => return Ok(why),
    };
    match why {
        Some(why @ (Why::NoGuard | Why::AnotherApi(_) | Why::SignedIn(_))) => {
            Err(BrokerError::Impossible { asked, why })
        }
        Some(Why::NoCredential) if asked == name::BROKER => {
            Err(BrokerError::Impossible { asked, why: Why::NoCredential })
        }
        why => Ok(why),
    }
}

fn find_why(config: &Config, booted: &Booted, env: &impl Environment) -> Option<Why> {
    let is_set = |name: &&'static str| booted.variable(name, env).is_some();
    if config.offline {
        return Some(Why::Offline);
    }
    if config.broker == Some(false) {
        return Some(Why::Off);
    }
    if let Some(provider) = offline::PROVIDERS.into_iter().find(is_set) {
        return Some(Why::AnotherApi(provider));
    }
    match booted.credentials(env) {
        Some(place) if place.starts_with('/') => Some(Why::SignedIn(place.into())),
        None => Some(Why::NoCredential),
        Some(_) => booted.guard.is_none().then_some(Why::NoGuard),
    }
}

/// What the broker of a box is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duties {
    /// It holds the credential.
    credential: bool,
    /// It is the way to the hosts of the allow-list.
    egress: bool,
}

/// What there is for a broker to do in this box; `None`: nothing. What was asked for and cannot be is an error.
pub(super) fn duties(config: &Config, booted: &Booted, env: &impl Environment) -> Result<Option<Duties>, BrokerError> {
    let (credential, egress) = (why_none(config, booted, env)?.is_none(), config.has_egress_list());
    if egress && booted.guard.is_none() {
        return Err(BrokerError::NoGuard);
    }
    Ok((credential || egress).then_some(Duties { credential, egress }))
}

/// The place of a broker. Dropped, it is gone.
pub(super) struct Broker {
    plan: Spawn,
    /// For whoever opens runs and for the CLI.
    folder: PathBuf,
    /// The kind of credential that it holds, and the door that is always there for it.
    standing: Option<(CredentialKind, Door)>,
    /// The port of the way out.
    proxy: Option<u16>,
}

impl Broker {
    /// Makes the place of a broker in `guard`'s name, and what it gets as standard input and output. `is_standing`: there is a
    /// CLI whose run nobody opens.
    pub(super) fn prepare(
        duties: Duties,
        is_standing: bool,
        config: &Config,
        booted: &Booted,
        guard: &Guard,
        env: &impl Environment,
    ) -> Result<(Self, [Option<OwnedFd>; 2]), BrokerError> {
        let seen = protocol::VARIABLES.iter().filter_map(|&name| Some((name.to_owned(), booted.variable(name, env)?)));
        let kind = || broker::check(&seen.collect::<HashMap<_, _>>());
        let kind = duties.credential.then(kind).transpose()?;
        let (folder, listener) = place(guard)?;
        let failed = |source| BrokerError::Folder { folder: folder.clone(), source };
        let mut command = vec![own_executable().into_os_string(), ROLE.into()];
        command.extend(["--sockets".into(), folder.clone().into()]);
        let standing = match kind {
            Some(kind) => Some((kind, Door::new().map_err(failed)?)),
            None => None,
        };
        if guard.state_dir.is_dir() {
            command.extend(["--audit".into(), guard.state_dir.join(AUDIT).into()]);
        }
        let mut output = None;
        let mut proxy = None;
        if duties.egress {
            let list = list(config, &folder, guard.uid)?;
            command.extend(["--egress".into(), "stdout".into(), "--allow".into(), list.into()]);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            proxy = Some(listener.local_addr().map_err(failed)?.port());
            output = Some(listener.into());
        }
        let mut environment = booted.environment.clone();
        if let Some((_, door)) = standing.as_ref().filter(|_| is_standing) {
            let door = format!("{}:{}", door.socket, door.stand_in);
            environment.push((name::BROKER_STANDING.to_owned(), Some(door.into())));
        }
        if !duties.credential {
            // It has none to hold.
            environment.extend(SECRETS.map(|name| (name.to_owned(), None)));
        }
        let plan = Spawn {
            command,
            environment,
            directory: "/".into(),
            credentials: Some(Credentials { uid: guard.uid, gid: guard.gid, groups: Vec::new() }),
            kept: Kept::Nothing,
            mode: config.mode,
            group: Group::Session,
            parent_death_signal: Some(libc::SIGTERM),
            walls: Walls::default(),
        };
        Ok((Self { plan, folder, standing, proxy }, [Some(listener.into()), output]))
    }

    /// How it is started.
    pub(super) fn plan(&self) -> Spawn {
        self.plan.clone()
    }

    /// For a CLI whose run nobody opens. `open`: further ports that it may connect to.
    pub(super) fn environment_of_cli(&self, open: Option<u16>) -> Changes {
        let standing = self.standing.as_ref();
        let changes =
            standing.map(|(kind, door)| protocol::environment(&self.folder.join(&door.socket), *kind, &door.stand_in));
        let changes = changes.into_iter().flatten().map(|(name, value)| (name.to_owned(), value));
        changes.chain(self.way_out(open)).collect()
    }

    /// For who starts a CLI and opens its run.
    pub(super) fn environment_of_worker(&self, open: Option<u16>) -> Changes {
        let mut changes = self.way_out(open);
        if self.standing.is_some() {
            changes.extend(SECRETS.map(|name| (name.to_owned(), None)));
            changes.push((name::BROKER_CONTROL.to_owned(), Some(self.folder.join(CONTROL).into())));
        }
        changes
    }

    /// What leads to the proxy, where there is one.
    fn way_out(&self, open: Option<u16>) -> Changes {
        let Some(port) = self.proxy else { return Vec::new() };
        let proxy = format!("http://127.0.0.1:{port}");
        let ports: Vec<String> = [port].into_iter().chain(open).map(|port| port.to_string()).collect();
        let mut changes: Changes = vec![(name::EGRESS_PORTS.to_owned(), Some(ports.join(",").into()))];
        changes.extend(LEADING.map(|name| (name.to_owned(), Some(proxy.clone().into()))));
        changes.extend(PAST_IT.map(|name| (name.to_owned(), Some("127.0.0.1,localhost".into()))));
        // Node goes its own way otherwise.
        changes.push(("NODE_USE_ENV_PROXY".to_owned(), Some("1".into())));
        changes
    }
}

/// Variables that name a proxy, and those that name who is not asked by it.
const LEADING: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const PAST_IT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The log of verdicts, in the servers' state.
const AUDIT: &str = "audit.jsonl";
/// The allow-list of a box whose settings have none. It may be changed while the box runs.
const LIST: &str = "/etc/claudebox/egress";

/// The file with the allow-list. `folder`: where that of the settings is written to.
fn list(config: &Config, folder: &Path, uid: u32) -> Result<PathBuf, BrokerError> {
    let named = Path::new(LIST);
    let file = if config.egress_allow.is_none() && named.exists() { named.to_owned() } else { folder.join("allow") };
    if file != named {
        let rules = config.egress_allow.iter().flat_map(|rules| rules.split([',', ' ', '\t', '\n']));
        let text = rules.collect::<Vec<_>>().join("\n");
        let failed = |source| BrokerError::Folder { folder: folder.to_owned(), source };
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&file)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failed)?;
    }
    broker::check_list(&file, uid)?;
    Ok(file)
}

/// The socket's name in the broker's folder.
const CONTROL: &str = "control";

/// A folder of the guard's that all may pass, with a socket in it that the guard alone may connect to.
fn place(guard: &Guard) -> Result<(PathBuf, UnixListener), BrokerError> {
    let mut failed = None;
    for above in FOLDERS.map(Path::new) {
        match make(above, guard) {
            Ok(made) => return Ok(made),
            Err(source) => failed = failed.or(Some(BrokerError::Folder { folder: above.into(), source })),
        }
    }
    Err(failed.unwrap_or_else(|| BrokerError::Folder { folder: "/".into(), source: io::Error::other("no folder") }))
}

fn make(above: &Path, guard: &Guard) -> io::Result<(PathBuf, UnixListener)> {
    let mut tries = 0;
    let folder = loop {
        let folder = above.join(format!("claudebox-{}", &protocol::random_name()?[..16]));
        // Nobody but root has anything in it until it is ready.
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => break folder,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < MOST_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    };
    let socket = folder.join(CONTROL);
    let (uid, gid) = (Some(Uid::from_raw(guard.uid)), Some(Gid::from_raw(guard.gid)));
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    chown(&socket, uid, gid)?;
    // In this order: what has another owner is not root's to change without FOWNER.
    fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
    chown(&folder, uid, gid)?;
    Ok((folder, listener))
}

/// What somebody who has the folder has left there is gone with it.
impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!("{}: {error}", self.folder.display());
        }
    }
}
