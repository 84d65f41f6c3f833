//! Replacing a file whole: a reader, or a machine that loses power, sees the old file or the new one, never a part.
//!
//! Where the system allows no replacement (a single file that is mounted, a folder that is read-only), the file is
//! written in place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Replaces the contents of `path`: temporary file, fsync, rename, fsync of the folder.
///
/// Mode and owner stay; a new file gets `mode`. A link is followed: replacing the link itself would cut it. One that
/// leads nowhere is an error and stays: what it leads to may be there outside of this box.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let path = &target(path)?;
    let existing = fs::metadata(path).ok();
    let temporary = match prepare(path, contents) {
        // The folder takes no new file, though this file may be written to.
        Err(error) if existing.is_some() && forbids(&error) => return write_in_place(path, contents),
        temporary => temporary?,
    };
    let file = temporary.as_file();
    let mode = existing.as_ref().map_or(mode, |existing| existing.mode() & 0o7777);
    set_mode(&temporary, mode)?;
    if let Some(existing) = &existing {
        let (new, uid, gid) = (file.metadata()?, existing.uid(), existing.gid());
        // Only root can give a file away; anybody else's replacement is their own, as with any editor.
        if (new.uid(), new.gid()) != (uid, gid) && fchown(file, Some(uid), Some(gid)).is_ok() {
            // Giving a file away clears its set-id bits.
            set_mode(&temporary, mode)?;
        }
    }
    file.sync_all()?;
    match temporary.persist(path) {
        // A file that is mounted by itself cannot be renamed over.
        Err(error) if error.error.kind() == ErrorKind::ResourceBusy => write_in_place(path, contents),
        result => result.map_err(|error| error.error).and_then(|_| sync_folder(path)),
    }
}

/// Replaces the contents of `path` as [`replace`] does, but in place where the file has other names as well (hard
/// links): they stay names of the same file.
pub fn replace_for_all_names(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let real = target(path)?;
    match fs::metadata(&real) {
        Ok(existing) if existing.is_file() && existing.nlink() > 1 => write_in_place(&real, contents),
        _ => replace(path, contents, mode),
    }
}

/// Makes the file `path`, whole from its first moment. If something of that name is there, it stays: `AlreadyExists`.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = prepare(path, contents)?;
    set_mode(&temporary, mode)?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// Makes a folder of ours that only this user may enter, with what is missing above it. One that is there already and
/// that others may enter is closed to them, as far as it is this user's.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & 0o077 != 0 && fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).is_err() {
        tracing::debug!("{} stays open to other users (mode {mode:04o})", path.display());
    }
    Ok(())
}

/// Where `path` leads. An error names a link that leads nowhere.
pub(crate) fn target(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path).or_else(|error| match fs::read_link(path) {
        Ok(to) => Err(io::Error::new(
            error.kind(),
            format!(
                "it is a link to {}, which cannot be reached here ({error}), and it is left as it is: mount what it \
                 leads to at the same path, or put a file in its place",
                to.display()
            ),
        )),
        Err(_) => Ok(path.to_owned()),
    })
}

/// A file beside `path` with these contents. It is readable by its owner only, and gone when it is dropped.
fn prepare(path: &Path, contents: &[u8]) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new().prefix(".claudebox-").tempfile_in(folder(path))?;
    temporary.write_all(contents)?;
    Ok(temporary)
}

/// Sets a mode, where the file system has modes: CIFS, drvfs and some FUSE file systems have one for all of their files.
fn set_mode(temporary: &NamedTempFile, mode: u32) -> io::Result<()> {
    match temporary.as_file().set_permissions(fs::Permissions::from_mode(mode)) {
        Err(error) if !forbids(&error) && error.kind() != ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}

fn forbids(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Writes over the old contents and cuts off what is left of them, so that the file is at no moment empty.
fn write_in_place(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.write_all(contents)?;
    file.set_len(u64::try_from(contents.len()).unwrap_or(u64::MAX))?;
    file.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use rstest::rstest;
    use std::process::Command;

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
    fn a_private_folder_is_closed_to_others_old_or_new() {
        let folder = tempfile::tempdir().unwrap();
        let (above, path) = (folder.path().join("a"), folder.path().join("a/b"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        private_folder(&path).unwrap();
        assert_eq!((mode(&above), mode(&path)), (0o700, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(private_folder(&folder.path().join("file/x")).is_err());
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
    fn a_link_that_leads_nowhere_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        for to in ["missing/file", "/nonexistent/file", "link"] {
            std::os::unix::fs::symlink(to, &link).unwrap();
            for replace in [replace, replace_for_all_names] {
                let error = replace(&link, b"new", 0o600).unwrap_err().to_string();
                assert!(error.contains(&format!("a link to {to}")), "{error}");
            }
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(to));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn all_names_of_a_file_stay_names_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, "a longer text").unwrap();
        fs::hard_link(&one, &other).unwrap();
        replace_for_all_names(&one, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"new");
        replace(&one, b"own", 0o600).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"new");
    }

    /// Runs a command in this thread's namespaces; whether it succeeded.
    fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
        Command::new(program).args(arguments).arg(path).status().is_ok_and(|status| status.success())
    }

    /// Whether this thread has mounts of its own now, which only root can have.
    fn has_own_mounts() -> bool {
        let own = unshare(CloneFlags::CLONE_NEWNS).is_ok() && run("mount", &["--make-rprivate"], Path::new("/"));
        if !own {
            eprintln!("skipped: needs root, for mounts");
        }
        own
    }

    #[test]
    fn a_file_that_is_mounted_by_itself_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mounted) = (folder.path().join("file"), folder.path().join("mounted"));
        fs::write(&file, "a longer text").unwrap();
        fs::write(&mounted, "below").unwrap();
        let own = has_own_mounts();
        if !own {
            return;
        }
        assert!(run("mount", &["--bind", file.to_str().unwrap()], &mounted));
        replace(&mounted, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(run("umount", &[], &mounted));
        assert_eq!((fs::read(&mounted).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (b"below".to_vec(), 2));
    }

    #[test]
    fn a_writable_file_in_a_folder_that_is_read_only_is_written_in_place() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), NamedTempFile::new().unwrap());
        if !has_own_mounts() {
            return;
        }
        let file = folder.path().join("file");
        assert!(run("mount", &["-t", "tmpfs", "tmpfs"], folder.path()));
        fs::write(&file, "").unwrap();
        assert!(run("mount", &["--bind", outside.path().to_str().unwrap()], &file));
        assert!(run("mount", &["-o", "remount,ro"], folder.path()));
        replace(&file, b"new", 0o600).unwrap();
        assert_eq!(fs::read(outside.path()).unwrap(), b"new");
    }

    /// With the Debian package bindfs, and FUSE: what CIFS and drvfs do.
    #[rstest]
    #[case::refused(&["--chmod-deny", "--chown-deny"])]
    #[case::ignored(&["--chmod-ignore", "--chown-ignore"])]
    fn modes_that_cannot_be_set_do_not_matter(#[case] options: &[&str]) {
        let (behind, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if !has_own_mounts() {
            return;
        }
        let arguments = [&["--perms=0777", behind.path().to_str().unwrap()], options].concat();
        if !run("bindfs", &arguments, folder.path()) {
            eprintln!("skipped: bindfs is missing, or there is no FUSE");
            return;
        }
        let (made, file) = (folder.path().join("made"), folder.path().join("file"));
        create(&made, b"one", 0o600).unwrap();
        for text in ["one", "two"] {
            replace(&file, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o777);
        assert!(run("umount", &[], folder.path()));
    }

    #[test]
    fn creating_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        create(&file, b"one", 0o640).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(create(&file, b"two", 0o640).unwrap_err().kind(), ErrorKind::AlreadyExists);
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
