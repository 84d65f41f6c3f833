//! A folder for the temporary files of one process of the CLI, and of all that it starts.
//!
//! Who made it holds a lock on it. What a killed worker has left is free, and removed by the next one.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

/// What the names of these folders begin with.
pub(super) const BEGIN: &str = "claudebox-run.";

/// The folder. It is removed when this is dropped.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    lock: Flock<File>,
}

impl Scratch {
    /// Makes one in `base`, where everybody may.
    pub(super) fn make(base: &Path) -> io::Result<Self> {
        remove_left_over(base);
        let path = nix::unistd::mkdtemp(&base.join(format!("{BEGIN}XXXXXX")))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        let lock = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        Ok(Self { path, lock })
    }

    /// Keeps it for as long as the program that this process becomes.
    pub(super) fn outlive_exec(self) -> io::Result<()> {
        fcntl(&*self.lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("{} was not removed: {error}", self.path.display());
        }
    }
}

/// What those that were killed have left. Whoever has just made one has not locked it yet: it is empty, and stays.
fn remove_left_over(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(BEGIN));
        let is_empty = || fs::read_dir(entry.path()).is_ok_and(|mut all| all.next().is_none());
        if !is_one || !entry.file_type().is_ok_and(|kind| kind.is_dir()) || is_empty() {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if let Ok(_lock) = Flock::lock(folder, FlockArg::LockExclusiveNonblock)
            && let Err(error) = remove(&entry.path())
        {
            tracing::debug!("{} was not removed: {error}", entry.path().display());
        }
    }
}

/// Removes the folder with all in it. Whoever worked in it may have closed folders in it to themselves.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(folder);
            fs::remove_dir_all(folder)
        }
        done => done,
    }
}

fn open_folders(folder: &Path) {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir());
    if is_folder && fs::set_permissions(folder, Permissions::from_mode(0o700)).is_ok() {
        fs::read_dir(folder).into_iter().flatten().flatten().for_each(|entry| open_folders(&entry.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_in_it() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(base.path()).unwrap();
        let closed = scratch.path.join("a/closed");
        fs::create_dir_all(closed.join("b")).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        assert_eq!(fs::metadata(&scratch.path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(scratch);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_left_over_goes_and_what_is_in_use_stays() {
        let base = tempfile::tempdir().unwrap();
        let used = Scratch::make(base.path()).unwrap();
        fs::write(used.path.join("file"), "").unwrap();
        let left = base.path().join(format!("{BEGIN}gone"));
        fs::create_dir_all(left.join("folder")).unwrap();
        let other = base.path().join("other");
        fs::create_dir_all(other.join("folder")).unwrap();
        let _next = Scratch::make(base.path()).unwrap();
        assert!(used.path.join("file").exists() && !left.exists() && other.exists());
    }
}
