//! The boot stage: who Claude runs as, where, and with which environment. Decided as root, before anything starts.

pub mod accounts;
pub mod identity;
pub mod mounts;
pub mod ownership;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::environment::{Environment, lookup, spellings};
use crate::config::{Config, name};
use accounts::Accounts;
use identity::Identity;

/// Everything a child of claudebox needs to know.
#[derive(Debug, Clone)]
pub struct Booted {
    /// The user Claude runs as.
    pub identity: Identity,
    /// The folder Claude works in.
    pub workspace: PathBuf,
    /// The CLI's own folder.
    pub config_dir: PathBuf,
    /// What a child's environment has on top of this process's: a value sets, `None` removes.
    pub environment: Vec<(String, Option<OsString>)>,
}

/// Why the box cannot start. Each message is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The user is missing or unusable.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
    /// The workspace is missing.
    #[error("the workspace {} does not exist: mount one (-v \"$PWD:/workspace\") or set {}", .0.display(), name::WORKSPACE)]
    NoWorkspace(PathBuf),
    /// The workspace is something else.
    #[error("the workspace {} is not a folder: set {} to one", .0.display(), name::WORKSPACE)]
    NotAFolder(PathBuf),
}

/// Resolves the user and the workspace.
pub fn boot(config: &Config, env: &impl Environment) -> Result<Booted, BootError> {
    let identity = Identity::resolve(config, env, &Accounts::read(Path::new(ACCOUNTS)))?;
    let workspace = config.workspace.clone();
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
        Ok(_) => return Err(BootError::NotAFolder(workspace)),
        Err(_) => return Err(BootError::NoWorkspace(workspace)),
    }
    let config_dir = config.config_dir.clone().unwrap_or_else(|| identity.home.join(".claude"));
    let environment = child_environment(&identity, &workspace, &config_dir, env);
    Ok(Booted { identity, workspace, config_dir, environment })
}

fn child_environment(
    identity: &Identity,
    workspace: &Path,
    config_dir: &Path,
    env: &impl Environment,
) -> Vec<(String, Option<OsString>)> {
    let mut path = config_dir.join("bin").into_os_string();
    path.push(":");
    path.push(env.get("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into()));
    let mut changes: Vec<(String, Option<OsString>)> = vec![
        ("HOME".into(), Some(identity.home.clone().into())),
        ("USER".into(), Some(identity.name.clone().into())),
        ("LOGNAME".into(), Some(identity.name.clone().into())),
        ("PWD".into(), Some(workspace.into())),
        ("PATH".into(), Some(path)),
        (name::CONFIG_DIR.into(), Some(config_dir.into())),
    ];
    // The image pins the CLI's version; a box that updates itself is no longer the one that was tested.
    if lookup(env, "DISABLE_AUTOUPDATER").is_none() {
        changes.push(("DISABLE_AUTOUPDATER".into(), Some("1".into())));
    }
    let secrets = name::DOOR_SECRETS.iter().flat_map(|secret| spellings(secret));
    changes.extend(secrets.map(|secret| (secret, None)));
    changes
}

/// Where the user database is.
const ACCOUNTS: &str = "/etc";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
