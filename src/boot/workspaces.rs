//! The folder that Claude works in, or that holds the servers' workspaces: whose it is, and whether it can be written in.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use crate::privilege::files;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{AccessFlags, Gid, Uid, fchown};

use super::ownership::{FOLDER, Owner};

const MODE: u32 = 0o755;

/// Makes the folder for `owner` if there is nothing. What is there stays as it is: it may be somebody's mount.
pub(super) fn settle(path: &Path, owner: Owner) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(MODE).create(parent)?;
    }
    match DirBuilder::new().mode(MODE).create(path) {
        Ok(()) => {
            // Whatever the umask is.
            fs::set_permissions(path, Permissions::from_mode(MODE))?;
            lchown(path, Some(owner.uid), Some(owner.gid))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives `owner` a folder that an engine has made: it makes what is to be mounted and is not there, empty, as root, and with
/// this mode. Another mode is somebody's will.
pub(super) fn take_over_new(path: &Path, owner: Owner) -> io::Result<bool> {
    // What was looked at is what is given: its name may be another's by then, where Claude can write beside it.
    let mut folder = Dir::open(path, FOLDER, Mode::empty())?;
    let found = fstat(&folder)?;
    if (found.st_uid, found.st_gid, found.st_mode & 0o7777) != (0, 0, MODE) || owner.uid == 0 {
        return Ok(false);
    }
    for entry in folder.iter() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    fchown(&folder, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    Ok(true)
}

/// Why the user of this process cannot write in `folder`, and what to do; `None`: they can, or it is mounted read-only,
/// which is somebody's will.
pub fn why_not_writable(folder: &Path) -> Option<String> {
    let errno =
        files::check(folder, AccessFlags::W_OK | AccessFlags::X_OK).err().filter(|errno| *errno != Errno::EROFS)?;
    let (path, uid, gid) = (folder.display(), files::uid(), files::gid());
    Some(match fs::metadata(folder) {
        Ok(found) => format!(
            "{path} belongs to {}:{} and {uid}:{gid}, who Claude is here, cannot write there: on the host, give it away \
             (chown -R {uid}:{gid} FOLDER) or mount another",
            found.uid(),
            found.gid()
        ),
        Err(_) => format!("{path} cannot be looked at ({errno})"),
    })
}

/// Why no workspace below `root` can be written in, nor another be made; `None`: one can.
pub fn why_none_is_writable(root: &Path) -> Option<String> {
    let why = why_not_writable(root)?;
    let mut folders = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    // A folder that workspaces are mounted in needs to be nobody's.
    folders.all(|path| !path.is_dir() || why_not_writable(&path).is_some()).then_some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 1234, gid: 2345 };

    #[test]
    fn a_missing_folder_is_made_for_the_user_and_its_parents_are_not() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/workspaces");
        settle(&path, OWNER).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1234, 2345, MODE));
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().uid(), 0);
    }

    #[test]
    fn a_folder_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let before = fs::metadata(folder.path()).unwrap();
        settle(folder.path(), OWNER).unwrap();
        let after = fs::metadata(folder.path()).unwrap();
        assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
    }

    #[test]
    fn what_an_engine_has_made_is_given_away_and_nothing_else() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let [new, full, foreign, closed] = ["new", "full", "foreign", "closed"].map(|name| folder.path().join(name));
        for (path, mode) in [(&new, MODE), (&full, MODE), (&full.join("a"), MODE), (&foreign, MODE), (&closed, 0o700)] {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        lchown(&foreign, Some(77), Some(77)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(full.join("a"), &link).unwrap();
        let given = [&new, &full, &foreign, &closed, &new].map(|path| take_over_new(path, OWNER).unwrap());
        assert_eq!(given, [true, false, false, false, false]);
        assert!(take_over_new(&link, OWNER).is_err());
        let owners = [&new, &full, &foreign, &closed, &full.join("a")].map(|path| fs::metadata(path).unwrap().uid());
        assert_eq!(owners, [1234, 0, 77, 0, 0]);
        // Root has no need of it.
        assert!(!take_over_new(&full.join("a"), Owner { uid: 0, gid: 0 }).unwrap());
    }

    #[test]
    fn a_folder_that_can_be_written_in_has_no_complaint() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(why_not_writable(folder.path()), None);
        let missing = why_not_writable(&folder.path().join("missing")).unwrap();
        assert!(missing.contains("missing cannot be looked at"), "{missing}");
    }
}
