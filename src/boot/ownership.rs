//! The home's owner. Only files with a wrong owner are changed; a home that is right costs one look.
//!
//! A home whose own folder has the right owner is taken to be right below. It gets its owner last, so that a walk that
//! was cut off, or that could not give everything, is done again at the next start. Nothing follows links, enters what is mounted in the home (by its mount
//! point: it may come from the home's own file system) or touches a workspace.

use std::ffi::{CStr, CString, OsStr};
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
    let mut failed = Failed::default();
    if (own.uid(), own.gid()) != (owner.uid, owner.gid) && !is_in_a_workspace(home) {
        let folder = Dir::open(home, FOLDER, Mode::empty())?;
        let mut walk = Walk { owner, device: own.dev(), mounts, workspaces: &workspaces, changed: 0, failed };
        walk.settle_below(folder, home)?;
        changed += walk.changed;
        failed = walk.failed;
        // Its user gets it in any case. The group tells the next start that this one did not get through.
        let gid = if failed.is_empty() { owner.gid } else { another_than(owner.gid, own.gid()) };
        lchown(home, Some(owner.uid), Some(gid))?;
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
    failed.into_error(owner).map_or(Ok(changed), Err)
}

const fn another_than(gid: u32, current: u32) -> u32 {
    if current == gid { 0 } else { current }
}

/// A folder itself, and not where a link leads.
pub(super) const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What could not be given.
#[derive(Debug, Default)]
struct Failed {
    count: usize,
    first: Option<(PathBuf, Errno)>,
}

impl Failed {
    const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, path: &Path, errno: Errno) {
        self.count += 1;
        self.first.get_or_insert_with(|| (path.to_owned(), errno));
    }

    fn into_error(self, owner: Owner) -> Option<io::Error> {
        let (path, errno) = self.first?;
        let (count, path, source) = (self.count, path.display(), io::Error::from(errno));
        let text = format!(
            "{count} files or folders cannot be given to {}:{}, the first is {path} ({source}); the next start tries again",
            owner.uid, owner.gid
        );
        Some(io::Error::new(source.kind(), text))
    }
}

/// What a walk gives to whom, what it leaves out, and how it went.
///
/// It holds one folder open, however deep it is, and goes back up by `..`, which has to be the folder that it came from.
struct Walk<'bounds> {
    owner: Owner,
    device: u64,
    mounts: &'bounds Mounts,
    workspaces: &'bounds [PathBuf],
    changed: usize,
    failed: Failed,
}

/// A folder that the walk is in, or has to go back to.
struct Level {
    /// What is in it and was not looked at yet.
    left: Vec<CString>,
    /// Device and inode: what names it for good.
    identity: (u64, u64),
    /// Its own name and what was found under it; it is given when what is in it has been.
    own: Option<(CString, FileStat)>,
}

impl Walk<'_> {
    /// Gives everything in `folder`, which is at `path`, and below it, without `folder` itself.
    fn settle_below(&mut self, mut folder: Dir, path: &Path) -> io::Result<()> {
        let mut path = path.to_owned();
        let mut levels = vec![Level::read(&mut folder, None)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.left.pop() {
                path.push(OsStr::from_bytes(name.to_bytes()));
                if let Some((entered, below)) = self.settle_one(&folder, name, &path) {
                    folder = entered;
                    levels.push(below);
                } else {
                    path.pop();
                }
                continue;
            }
            let done = levels.pop();
            if let Some((name, found)) = done.and_then(|level| level.own) {
                let Some(parent) = levels.last().and_then(|level| level.parent_of(&folder)) else {
                    // Moved while the box boots: everything else would be given to whoever moved it.
                    self.failed.add(&path, Errno::ESTALE);
                    return Ok(());
                };
                folder = parent;
                self.give(&folder, &name, &found, &path);
                path.pop();
            }
        }
        Ok(())
    }

    /// Gives what is called `name` in `folder`; a folder is entered first, and given when the walk comes back.
    fn settle_one(&mut self, folder: &Dir, name: CString, path: &Path) -> Option<(Dir, Level)> {
        // It may be gone by now.
        let found = fstatat(folder.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let is_left_out = self.mounts.has(path) || self.workspaces.iter().any(|workspace| workspace == path);
        if found.st_dev != self.device || is_left_out {
            return None;
        }
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
            match enter(folder, &name, &found) {
                Ok(Some(mut entered)) => match Level::read(&mut entered, Some((name, found))) {
                    Ok(level) => return Some((entered, level)),
                    Err(errno) => self.failed.add(path, errno),
                },
                Ok(None) => {}
                Err(errno) => {
                    self.failed.add(path, errno);
                    self.give(folder, &name, &found, path);
                }
            }
            return None;
        }
        self.give(folder, &name, &found, path);
        None
    }

    fn give(&mut self, folder: &Dir, name: &CStr, found: &FileStat, path: &Path) {
        match give(folder, name, found, self.owner) {
            Ok(given) => self.changed += usize::from(given),
            Err(errno) => self.failed.add(path, errno),
        }
    }
}

impl Level {
    fn read(folder: &mut Dir, own: Option<(CString, FileStat)>) -> Result<Self, Errno> {
        let entries: Vec<_> = folder.iter().collect::<Result<_, Errno>>()?;
        let names = entries.iter().map(|entry| entry.file_name().to_owned());
        let left = names.filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect();
        let opened = fstat(folder.as_fd())?;
        Ok(Self { left, identity: (opened.st_dev, opened.st_ino), own })
    }

    /// The folder that `child` is in, if it is this one.
    fn parent_of(&self, child: &Dir) -> Option<Dir> {
        let parent = Dir::openat(child.as_fd(), "..", FOLDER, Mode::empty()).ok()?;
        let found = fstat(parent.as_fd()).ok()?;
        ((found.st_dev, found.st_ino) == self.identity).then_some(parent)
    }
}

/// Opens a folder that was looked at; `None` if it is gone, or another has taken its place.
fn enter(parent: &Dir, name: &CStr, found: &FileStat) -> Result<Option<Dir>, Errno> {
    let folder = match Dir::openat(parent.as_fd(), name, FOLDER, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let opened = fstat(folder.as_fd())?;
    Ok(((opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)).then_some(folder))
}

fn give(folder: &Dir, name: &CStr, found: &FileStat, owner: Owner) -> Result<bool, Errno> {
    if (found.st_uid, found.st_gid) == (owner.uid, owner.gid) {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    match fchownat(folder.as_fd(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
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

    /// Deeper than descriptors and a stack last, and than the longest path.
    #[test]
    fn depth_costs_no_descriptors_and_no_stack() {
        const DEPTH: usize = 3_000;
        let Some(home) = home() else { return };
        let mut folder = Dir::open(home.path(), FOLDER, Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            nix::sys::stat::mkdirat(folder.as_fd(), "d", Mode::S_IRWXU).unwrap();
            folder = Dir::openat(folder.as_fd(), "d", FOLDER, Mode::empty()).unwrap();
        }
        // Its stack is small, as that of a box with `ulimit -s`.
        let path = home.path().to_owned();
        let walk = std::thread::Builder::new().stack_size(256 << 10);
        let settled = walk.spawn(move || settle(&path, OWNER, &Mounts::default(), &[])).unwrap().join().unwrap();
        assert_eq!(settled.unwrap(), DEPTH + 4);
        assert_eq!(fstat(folder.as_fd()).unwrap().st_uid, OWNER.uid);
        // `remove_dir_all` holds a descriptor a level.
        std::process::Command::new("rm").arg("-rf").arg(home.path()).status().unwrap();
    }

    #[test]
    fn a_walk_that_was_cut_off_is_done_again() {
        let Some(home) = home() else { return };
        lchown(home.path().join("a"), Some(OWNER.uid), Some(OWNER.gid)).unwrap();
        assert_eq!(settle(home.path(), OWNER, &Mounts::default(), &[]).unwrap(), 3);
    }
}
