//! The folder that holds the servers' workspaces: it is made if nobody mounted one.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown};
use std::path::Path;

use super::ownership::Owner;

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

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
}
