//! Who Claude runs as.

use std::path::PathBuf;

use users::os::unix::UserExt;

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
    pub fn resolve(config: &Config, env: &impl Environment) -> Result<Self, IdentityError> {
        let own = users::get_effective_uid();
        if own != 0 {
            return Self::of_this_process(own, env);
        }
        let user =
            users::get_user_by_name(&config.user).ok_or_else(|| IdentityError::NoSuchUser(config.user.clone()))?;
        if user.uid() == 0 {
            return Err(IdentityError::IsRoot(config.user.clone()));
        }
        let gid = user.primary_group_id();
        let mut groups: Vec<u32> =
            users::get_user_groups(&config.user, gid).unwrap_or_default().iter().map(users::Group::gid).collect();
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Ok(Self {
            name: config.user.clone(),
            credentials: Credentials { uid: user.uid(), gid, groups },
            home: user.home_dir().into(),
            drop: true,
        })
    }

    fn of_this_process(uid: u32, env: &impl Environment) -> Result<Self, IdentityError> {
        let user = users::get_user_by_uid(uid);
        // Docker sets HOME=/ for an id that is not in the user database; nothing can be kept there.
        let from_env = env.get("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && home.parent().is_some());
        let home =
            from_env.or_else(|| user.as_ref().map(|user| user.home_dir().into())).ok_or(IdentityError::NoHome(uid))?;
        let name = user.map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned());
        let credentials = Credentials { uid, gid: users::get_effective_gid(), groups: Vec::new() };
        Ok(Self { name, credentials, home, drop: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn env(home: &str) -> HashMap<String, OsString> {
        HashMap::from([("HOME".to_owned(), home.into())])
    }

    #[test]
    fn an_unknown_id_uses_its_home_variable() {
        let identity = Identity::of_this_process(1_885_580_785, &env("/data/home")).unwrap();
        assert_eq!(identity.name, "1885580785");
        assert_eq!(identity.home, PathBuf::from("/data/home"));
        assert!(!identity.drop);
    }

    #[test]
    fn an_unknown_id_without_a_home_is_one_clear_error() {
        let error = Identity::of_this_process(1_885_580_785, &env("/")).unwrap_err();
        assert!(error.to_string().contains("1885580785"), "{error}");
    }
}
