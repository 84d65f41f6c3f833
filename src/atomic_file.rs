//! Replacing a file whole: a reader, or a machine that loses power, sees the old file or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// Replaces the contents of `path`: temporary file, fsync, rename, fsync of the folder.
///
/// Mode and owner stay; a new file gets `mode`. A link is followed: replacing the link itself would cut it.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::Builder::new().prefix(".claudebox-").tempfile_in(folder)?;
    temporary.write_all(contents)?;
    let (mode, owner) = match fs::metadata(path) {
        Ok(existing) => (existing.mode() & 0o7777, Some((existing.uid(), existing.gid()))),
        Err(_) => (mode, None),
    };
    if let Some((uid, gid)) = owner {
        let new = temporary.as_file().metadata()?;
        if (new.uid(), new.gid()) != (uid, gid) {
            // Only root can give a file away; anybody else's replacement is their own, as with any editor.
            let _ = fchown(temporary.as_file(), Some(uid), Some(gid));
        }
    }
    // After the owner: giving a file away clears its set-id bits.
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Makes the file `path`, whole from its first moment. If something of that name is there, it stays: `AlreadyExists`.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::Builder::new().prefix(".claudebox-").tempfile_in(folder)?;
    temporary.write_all(contents)?;
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_gets_the_mode_and_an_old_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        replace(&file, b"one", 0o600).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode()), (b"one".to_vec(), 0o600));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&file, b"two", 0o600).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode()), (b"two".to_vec(), 0o640));
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new", 0o600).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn creating_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        create(&file, b"one", 0o640).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(create(&file, b"two", 0o640).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_temporary_is_left() {
        let folder = tempfile::tempdir().unwrap();
        replace(&folder.path().join("file"), b"x", 0o600).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
