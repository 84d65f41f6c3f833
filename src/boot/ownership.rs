//! Who owns the home: only what is wrong is changed, and a home that is right costs one look.
//!
//! A home whose own folder has the right owner is taken to be right below. It gets its owner last, so that a walk that
//! was cut off is done again at the next start. Nothing follows links, leaves the home's device (so no mounted folder is
//! walked), or touches the workspace.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

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
pub fn settle(home: &Path, owner: Owner, mounts: &Mounts) -> io::Result<usize> {
    let mut changed = 0;
    let own = fs::symlink_metadata(home)?;
    if !own.is_dir() {
        return Err(io::Error::from(Errno::ENOTDIR));
    }
    if (own.uid(), own.gid()) != (owner.uid, owner.gid) {
        let folder = Dir::open(home, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        changed += settle_below(folder, own.dev(), owner)?;
        lchown(home, Some(owner.uid), Some(owner.gid))?;
        changed += 1;
    }
    let mount_points = [home.join(".claude"), home.join(".ssh")].into_iter().filter(|path| mounts.has(path));
    for folder in mounts.folders_on_the_way(home).into_iter().chain(mount_points) {
        let is_roots = fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir() && found.uid() == 0);
        // A read-only mount keeps its owner; what needs to be written there will say so.
        if is_roots && owner.uid != 0 && lchown(&folder, Some(owner.uid), Some(owner.gid)).is_ok() {
            changed += 1;
        }
    }
    Ok(changed)
}

/// Everything in `folder` and below it on the same device, without `folder` itself.
fn settle_below(mut folder: Dir, device: u64, owner: Owner) -> io::Result<usize> {
    let mut changed = 0;
    let names: Vec<_> =
        folder.iter().collect::<Result<Vec<_>, Errno>>()?.iter().map(|entry| entry.file_name().to_owned()).collect();
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        // It may be gone by now.
        let Ok(found) = fstatat(folder.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        if found.st_dev != device {
            continue;
        }
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
            changed += settle_folder(&folder, name, &found, owner)?;
        }
        changed += usize::from(give(&folder, name, &found, owner)?);
    }
    Ok(changed)
}

fn settle_folder(parent: &Dir, name: &CStr, found: &FileStat, owner: Owner) -> io::Result<usize> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(folder) = Dir::openat(parent.as_fd(), name, flags, Mode::empty()) else { return Ok(0) };
    // Swapped for another between the two looks: leave it.
    let same = fstat(folder.as_fd()).is_ok_and(|opened| (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino));
    if same { settle_below(folder, found.st_dev, owner) } else { Ok(0) }
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
        assert_eq!(settle(home.path(), OWNER, &Mounts::default()).unwrap(), 4);
        for path in ["", "a", "a/b", "a/b/file"] {
            assert_eq!(owner_of(&home.path().join(path)), (1234, 2345), "{path}");
        }
        // A right home is not walked: what is wrong in it now was made so by its owner.
        fs::write(home.path().join("later"), "").unwrap();
        assert_eq!(settle(home.path(), OWNER, &Mounts::default()).unwrap(), 0);
        assert_eq!(owner_of(&home.path().join("later")), (0, 0));
    }

    #[test]
    fn a_link_is_given_and_what_it_points_to_is_not() {
        let Some(home) = home() else { return };
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("shadow"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path().join("shadow"), home.path().join("file-link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), home.path().join("folder-link")).unwrap();
        settle(home.path(), OWNER, &Mounts::default()).unwrap();
        assert_eq!(owner_of(&home.path().join("file-link")), (1234, 2345));
        assert_eq!(owner_of(&home.path().join("folder-link")), (1234, 2345));
        assert_eq!(owner_of(outside.path()), (0, 0));
        assert_eq!(owner_of(&outside.path().join("shadow")), (0, 0));
    }

    #[test]
    fn a_walk_that_was_cut_off_is_done_again() {
        let Some(home) = home() else { return };
        lchown(home.path().join("a"), Some(OWNER.uid), Some(OWNER.gid)).unwrap();
        assert_eq!(settle(home.path(), OWNER, &Mounts::default()).unwrap(), 3);
    }
}
