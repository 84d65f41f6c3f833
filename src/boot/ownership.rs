//! Who owns the home: only what is wrong is changed, and a home that is right costs one look.
//!
//! A home whose own folder has the right owner is taken to be right below. It gets its owner last, so that a walk that
//! was cut off is done again at the next start. Nothing follows links, enters what is mounted in the home (by its mount
//! point: it may come from the home's own file system) or touches a workspace.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchownat};

use super::mounts::Mounts;

/// A user and group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Gives the home to `owner`, as far as it is not theirs; how many files changed hands.
///
/// Folders that the engine made as root on the way to a mount point, and a mount point in the home that is root's
/// itself, are given too, without what is in them.
pub fn settle(home: &Path, owner: Owner, mounts: &Mounts, workspaces: &[&Path]) -> io::Result<usize> {
    let mut changed = 0;
    let own = fs::symlink_metadata(home)?;
    if !own.is_dir() {
        return Err(io::Error::from(Errno::ENOTDIR));
    }
    // The kernel lists mount points by their real paths.
    let home = &fs::canonicalize(home)?;
    let workspaces: Vec<PathBuf> = workspaces.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let is_in_a_workspace = |path: &Path| workspaces.iter().any(|workspace| path.starts_with(workspace));
    if (own.uid(), own.gid()) != (owner.uid, owner.gid) && !is_in_a_workspace(home) {
        let folder = Dir::open(home, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let walk = Walk { owner, device: own.dev(), mounts, workspaces: &workspaces };
        changed += walk.settle_below(folder, home)?;
        lchown(home, Some(owner.uid), Some(owner.gid))?;
        changed += 1;
    }
    let mount_points = [home.join(".claude"), home.join(".ssh")].into_iter().filter(|path| mounts.has(path));
    let ways = mounts.folders_on_the_way(home).into_iter().filter(|way| !is_in_a_workspace(way));
    for folder in ways.chain(mount_points) {
        let is_roots = fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir() && found.uid() == 0);
        // A read-only mount keeps its owner; what needs to be written there will say so.
        if is_roots && owner.uid != 0 && lchown(&folder, Some(owner.uid), Some(owner.gid)).is_ok() {
            changed += 1;
        }
    }
    Ok(changed)
}

/// What a walk gives to whom, and what it leaves out.
struct Walk<'bounds> {
    owner: Owner,
    device: u64,
    mounts: &'bounds Mounts,
    workspaces: &'bounds [PathBuf],
}

impl Walk<'_> {
    /// Gives everything in `folder`, which is at `path`, and below it, without `folder` itself.
    fn settle_below(&self, mut folder: Dir, path: &Path) -> io::Result<usize> {
        let mut changed = 0;
        let names: Vec<_> = folder
            .iter()
            .collect::<Result<Vec<_>, Errno>>()?
            .iter()
            .map(|entry| entry.file_name().to_owned())
            .collect();
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            // It may be gone by now.
            let Ok(found) = fstatat(folder.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            if found.st_dev != self.device || self.mounts.has(&path) || self.workspaces.contains(&path) {
                continue;
            }
            if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
                changed += self.settle_folder(&folder, name, &found, &path)?;
            }
            changed += usize::from(give(&folder, name, &found, self.owner)?);
        }
        Ok(changed)
    }

    fn settle_folder(&self, parent: &Dir, name: &CStr, found: &FileStat, path: &Path) -> io::Result<usize> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(folder) = Dir::openat(parent.as_fd(), name, flags, Mode::empty()) else { return Ok(0) };
        // Swapped for another between the two looks: leave it.
        let is_same =
            fstat(folder.as_fd()).is_ok_and(|opened| (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino));
        if is_same { self.settle_below(folder, path) } else { Ok(0) }
    }
}

fn give(folder: &Dir, name: &CStr, found: &FileStat, owner: Owner) -> io::Result<bool> {
    if (found.st_uid, found.st_gid) == (owner.uid, owner.gid) {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    match fchownat(folder.as_fd(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 1234, gid: 2345 };

    fn owner_of(path: &Path) -> (u32, u32) {
        let found = fs::symlink_metadata(path).unwrap();
        (found.uid(), found.gid())
    }

    /// A home of root's; `None` when this is not root.
    fn home() -> Option<tempfile::TempDir> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("a/b")).unwrap();
        fs::write(home.path().join("a/b/file"), "").unwrap();
        Some(home)
    }

    #[test]
    fn a_wrong_home_is_given_whole_and_then_left_alone() {
        let Some(home) = home() else { return };
        assert_eq!(settle(home.path(), OWNER, &Mounts::default(), &[]).unwrap(), 4);
        for path in ["", "a", "a/b", "a/b/file"] {
            assert_eq!(owner_of(&home.path().join(path)), (1234, 2345), "{path}");
        }
        // A right home is not walked: what is wrong in it now was made so by its owner.
        fs::write(home.path().join("later"), "").unwrap();
        assert_eq!(settle(home.path(), OWNER, &Mounts::default(), &[]).unwrap(), 0);
        assert_eq!(owner_of(&home.path().join("later")), (0, 0));
    }

    #[test]
    fn a_link_is_given_and_what_it_points_to_is_not() {
        let Some(home) = home() else { return };
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("shadow"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path().join("shadow"), home.path().join("file-link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), home.path().join("folder-link")).unwrap();
        settle(home.path(), OWNER, &Mounts::default(), &[]).unwrap();
        assert_eq!(owner_of(&home.path().join("file-link")), (1234, 2345));
        assert_eq!(owner_of(&home.path().join("folder-link")), (1234, 2345));
        assert_eq!(owner_of(outside.path()), (0, 0));
        assert_eq!(owner_of(&outside.path().join("shadow")), (0, 0));
    }

    #[test]
    fn a_walk_that_was_cut_off_is_done_again() {
        let Some(home) = home() else { return };
        lchown(home.path().join("a"), Some(OWNER.uid), Some(OWNER.gid)).unwrap();
        assert_eq!(settle(home.path(), OWNER, &Mounts::default(), &[]).unwrap(), 3);
    }
}
