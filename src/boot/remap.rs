//! The ids Claude runs under: those of the workspace's owner, so that what it writes belongs to the person outside, or those
//! that person names, who may write in somebody else's folder.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::accounts::Accounts;
use super::mounts::Mounts;
use super::ownership::{self, Owner};
use crate::config::mode::Mode;
use crate::config::{Config, name};

/// Where a mounted Docker socket is.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// The group that may use it, unless its id belongs to another already.
const DOCKER_GROUP: &str = "docker";

/// Gives the box's user the ids it is to have (the workspace's owner's unless others are set), its home, and the Docker socket's group. As root.
///
/// The accounts are returned as they should be even where they cannot be written (a read-only root): the drop needs the
/// numbers, not the file.
pub fn settle(config: &Config, folder: &Path, accounts: &Accounts) -> Accounts {
    // Root stays root, and root's home root's: that this user cannot be used is the identity's to say.
    let Some(user) = accounts.user(&config.user).filter(|user| user.uid != 0) else { return accounts.clone() };
    let mounts = Mounts::read();
    let ids = match wanted(config, &mounts) {
        // A group of root's would make Claude a member of it.
        Ok(owner) => Owner { uid: owner.uid, gid: if owner.gid == 0 { user.gid } else { owner.gid } },
        Err(why) => {
            tracing::debug!("keeping {} at {}:{}: {why}", user.name, user.uid, user.gid);
            Owner { uid: user.uid, gid: user.gid }
        }
    };
    let mut settled = if (ids.uid, ids.gid) == (user.uid, user.gid) {
        accounts.clone()
    } else {
        accounts.with_ids(&user.name, ids.uid, ids.gid)
    };
    if let (Mode::Sudo, Some(gid)) = (config.mode, docker_socket_group()) {
        settled = settled.with_member(&user.name, DOCKER_GROUP, gid);
    }
    if let Err(error) = settled.write(accounts, folder) {
        let folder = folder.display();
        tracing::warn!(
            "{folder} cannot be changed ({error}): {} has its ids but no entry, so sudo will not know it",
            user.name
        );
    }
    match ownership::settle(&user.home, ids, &mounts, &[&config.workspace, &config.workspaces_dir]) {
        Ok(0) => {}
        Ok(count) => tracing::debug!("{count} files of {} now belong to {}:{}", user.home.display(), ids.uid, ids.gid),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("the home {} is not {}'s: {error}", user.home.display(), user.name),
    }
    settled
}

/// Which ids to take, or why none are taken.
fn wanted(config: &Config, mounts: &Mounts) -> Result<Owner, String> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if let Some((uid, gid)) = config.user_ids {
        if !is_mapped(&map, uid) {
            tracing::warn!("{} names the user {uid}, an id this box does not have", name::USER_IDS);
            return Err(format!("{uid} is an id this box does not have"));
        }
        return Ok(Owner { uid, gid });
    }
    let place = if config.workspace_is_named {
        config.workspace.clone()
    } else {
        // The image has both folders; the one that somebody mounted counts.
        let places = [&config.workspace, &config.workspaces_dir];
        let mounted = places.into_iter().find(|place| mounts.has(place));
        mounted.ok_or("no workspace is mounted")?.clone()
    };
    let found = fs::metadata(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let owner = Owner { uid: found.uid(), gid: found.gid() };
    if owner.uid == 0 {
        if is_rootless(&map) {
            tracing::warn!(
                "the engine is rootless and {} is root's in here, so Claude cannot write to it: start with \
                 --userns=keep-id (podman), or give it to an id of this box",
                place.display()
            );
        }
        return Err(format!("{} belongs to root", place.display()));
    }
    if !is_mapped(&map, owner.uid) {
        return Err(format!("{} belongs to {}, an id this box does not have", place.display(), owner.uid));
    }
    tracing::debug!("{} belongs to {}:{}", place.display(), owner.uid, owner.gid);
    Ok(owner)
}

/// Whether root in here is somebody else outside.
fn is_rootless(uid_map: &str) -> bool {
    ranges(uid_map).any(|(inside, outside, _)| inside == 0 && outside != 0)
}

/// Whether a process in here can have this id. The kernel shows others' files as the overflow id's.
pub(super) fn is_mapped(uid_map: &str, uid: u32) -> bool {
    let mut ranges = ranges(uid_map).peekable();
    ranges.peek().is_none() || ranges.any(|(inside, _, count)| (inside..inside + count).contains(&u64::from(uid)))
}

fn ranges(uid_map: &str) -> impl Iterator<Item = (u64, u64, u64)> {
    uid_map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|number| number.parse().ok());
        Some((numbers.next()?, numbers.next()?, numbers.next()?))
    })
}

/// The group of the mounted Docker socket, if there is one.
pub fn docker_socket_group() -> Option<u32> {
    let found = fs::metadata(DOCKER_SOCKET).ok()?;
    found.file_type().is_socket().then(|| found.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTFUL: &str = "         0          0 4294967295\n";
    const ROOTLESS: &str = "         0       1000          1\n         1     100000      65536\n";

    #[test]
    fn a_rootless_engine_is_known_by_its_map() {
        assert!(is_rootless(ROOTLESS) && !is_rootless(ROOTFUL) && !is_rootless(""));
    }

    #[test]
    fn ids_outside_the_map_cannot_be_taken() {
        assert!(is_mapped(ROOTLESS, 1000) && is_mapped(ROOTLESS, 65536) && !is_mapped(ROOTLESS, 65537));
        assert!(is_mapped(ROOTFUL, 1_885_580_785) && is_mapped("", 1));
    }
}
