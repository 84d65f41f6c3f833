//! The user that Claude runs as.

use std::path::PathBuf;

use nix::unistd::{getegid, geteuid};

use super::accounts::Accounts;
use crate::config::environment::Environment;
use crate::config::{Config, name};
use crate::privilege::plan::Credentials;

/// A user of this box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Login name.
    pub name: String,
    /// Ids.
    pub credentials: Credentials,
    /// Home folder.
    pub home: PathBuf,
    /// Whether a child has to drop from root to these ids. Without root the box runs as whoever started it.
    pub drop: bool,
}

/// Why there is no user to run Claude as.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not in the user database.
    #[error("there is no user {0:?} in this box: create it (useradd --create-home {0}) or set {var} to one that exists", var = name::USER)]
    NoSuchUser(String),
    /// The CLI refuses to skip permissions as root.
    #[error("{var} is {0:?}, which is root, and Claude does not run as root: set it to an ordinary user", var = name::USER)]
    IsRoot(String),
    /// Started with `--user` under an id without a home.
    #[error(
        "user id {0} has no entry in /etc/passwd and HOME is not set: start with -e HOME=/some/folder, or without --user"
    )]
    NoHome(u32),
}

impl Identity {
    /// The configured user when this process is root, otherwise whoever it runs as.
    pub fn resolve(config: &Config, env: &impl Environment, accounts: &Accounts) -> Result<Self, IdentityError> {
        let own = geteuid();
        if !own.is_root() {
            return Self::of_this_process(own.as_raw(), env, accounts);
        }
        let user = accounts.user(&config.user).ok_or_else(|| IdentityError::NoSuchUser(config.user.clone()))?;
        if user.uid == 0 {
            return Err(IdentityError::IsRoot(user.name));
        }
        let credentials = Credentials { uid: user.uid, gid: user.gid, groups: accounts.groups_of(&user) };
        Ok(Self { name: user.name, credentials, home: user.home, drop: true })
    }

    fn of_this_process(uid: u32, env: &impl Environment, accounts: &Accounts) -> Result<Self, IdentityError> {
        let user = accounts.user_with_id(uid);
        // Docker sets HOME=/ for an id that is not in the user database; nothing can be kept there.
        let from_env = env.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && home.parent().is_some());
        let home =
            from_env.or_else(|| user.as_ref().map(|user| user.home.clone())).ok_or(IdentityError::NoHome(uid))?;
        let name = user.map_or_else(|| uid.to_string(), |user| user.name);
        let credentials = Credentials { uid, gid: getegid().as_raw(), groups: Vec::new() };
        Ok(Self { name, credentials, home, drop: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsString;
    use std::path::Path;

    fn env(home: &str) -> HashMap<String, OsString> {
        HashMap::from([("HOME".to_owned(), home.into())])
    }

    fn nobody() -> Accounts {
        Accounts::read(Path::new("/nonexistent"))
    }

    #[test]
    fn an_unknown_id_uses_its_home_variable() {
        let identity = Identity::of_this_process(1_885_580_785, &env("/data/home"), &nobody()).unwrap();
        assert_eq!(identity.name, "1885580785");
        assert_eq!(identity.home, PathBuf::from("/data/home"));
        assert!(!identity.drop);
    }

    #[test]
    fn an_unknown_id_without_a_home_is_one_clear_error() {
        let error = Identity::of_this_process(1_885_580_785, &env("/"), &nobody()).unwrap_err();
        assert!(error.to_string().contains("1885580785"), "{error}");
    }
}
