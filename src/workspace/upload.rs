//! Writing a file whole: it appears under its name when all of it is on the disk, or not at all.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use super::unfinished::new_name;
use super::{ClientPath, Kind, NewFolders, PathError, Precondition, Stat, Workspaces};
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};

/// How often a lookup is repeated whose folders change under it.
const ATTEMPTS: usize = 4;

/// Mode of a file that was not there.
const NEW_FILE: u32 = 0o644;

/// A file on its way. Dropped, it leaves nothing, not even folders made for it.
pub struct Upload {
    workspaces: Workspaces,
    asked: PathBuf,
    folder: Dir,
    name: OsString,
    temporary: Temporary,
    new_folders: NewFolders,
    mode: u32,
}

/// The unfinished file beside the target: only there can it be renamed in one step.
struct Temporary {
    folder: Dir,
    name: OsString,
    file: File,
    renamed: bool,
}

/// Where a file is written to.
struct Target {
    folder: Dir,
    name: OsString,
    mode: u32,
    new_folders: NewFolders,
}

impl Workspaces {
    /// Begins to write a file. Folders above it are made; a link inside the workspaces folder is followed.
    pub fn begin_write(&self, path: &ClientPath) -> Result<Upload, PathError> {
        let asked = path.as_path();
        self.check(asked, asked)?;
        let mut attempts = 1;
        loop {
            let target = self.target(path)?;
            match Temporary::beside(&target.folder) {
                Ok(temporary) => {
                    let Target { folder, name, mode, new_folders } = target;
                    let workspaces = self.clone();
                    return Ok(Upload {
                        workspaces,
                        asked: asked.to_owned(),
                        folder,
                        name,
                        temporary,
                        new_folders,
                        mode,
                    });
                }
                // The folder was removed, perhaps by an upload that was the first to need it and failed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(PathError::from_io(asked, error)),
            }
        }
    }

    fn target(&self, path: &ClientPath) -> Result<Target, PathError> {
        let asked = path.as_path();
        let Some((parent, name)) = path.split() else {
            return Err(PathError::is_a_folder(asked, "only a file can be written"));
        };
        let (folder, new_folders) = self.make_folders(parent)?;
        self.check_open(asked, &folder, name.as_ref())?;
        let there = stat_of(&folder, name).map_err(|error| PathError::from_io(asked, error))?;
        match there {
            Some(there) if there.kind == Kind::Link => self.behind_link(path),
            there => {
                let mode = writable(path, there.as_ref())?;
                Ok(Target { folder, name: name.to_owned(), mode, new_folders })
            }
        }
    }

    /// The file a link leads to. It is opened to learn where it is, then found there again by its inode: between the
    /// two it may have moved.
    fn behind_link(&self, path: &ClientPath) -> Result<Target, PathError> {
        let asked = path.as_path();
        for _ in 0..ATTEMPTS {
            let (file, there) = self.open_at(path, libc::O_PATH)?;
            let mode = writable(path, Some(&there))?;
            let place = self.place(asked, &file)?;
            self.check(asked, &place)?;
            let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { continue };
            let Ok(folder) = self.folder(parent) else { continue };
            self.check_open(asked, &folder, name.as_ref())?;
            let found = stat_of(&folder, name).ok().flatten();
            if found.is_some_and(|found| found.inode == there.inode && found.kind == Kind::File) {
                let new_folders = NewFolders { root: self.root.clone(), paths: Vec::new() };
                return Ok(Target { folder, name: name.to_owned(), mode, new_folders });
            }
        }
        Err(PathError::busy(asked))
    }

    /// Held while a condition is checked and the change made.
    pub(super) fn committing(&self) -> MutexGuard<'_, ()> {
        self.root.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PathError> {
        self.temporary.file.write_all(bytes).map_err(|error| PathError::from_io(&self.asked, error))
    }

    /// Whether the file is as the request demands, as far as can be told before its body is here.
    pub fn check(&self, condition: &Precondition) -> Result<(), PathError> {
        let there = stat_of(&self.folder, &self.name).map_err(|error| PathError::from_io(&self.asked, error))?;
        if condition.holds(there.as_ref()) { Ok(()) } else { Err(PathError::changed(&self.asked)) }
    }

    /// Puts the file under its name, on the disk before it is seen.
    pub fn commit(mut self, condition: &Precondition) -> Result<Stat, PathError> {
        let asked = self.asked.clone();
        let failed = |error| PathError::from_io(&asked, error);
        // A file system without modes is no reason to refuse.
        let _ = self.temporary.file.set_permissions(Permissions::from_mode(self.mode));
        self.temporary.file.sync_all().map_err(failed)?;
        {
            let _one_at_a_time = self.workspaces.committing();
            self.check(condition)?;
            self.temporary.rename_to(&self.name, condition.demands_absence()).map_err(|error| {
                if error.kind() == io::ErrorKind::AlreadyExists { PathError::changed(&asked) } else { failed(error) }
            })?;
        }
        self.new_folders.keep();
        match self.folder.open(".").and_then(|folder| folder.sync_all()) {
            // Not every file system can sync a folder.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(failed(error)),
            _ => {}
        }
        let metadata = self.temporary.file.metadata().map_err(failed)?;
        Ok(Stat::from(&metadata))
    }
}

impl Temporary {
    fn beside(folder: &Dir) -> io::Result<Self> {
        let name = new_name();
        let mut options = OpenOptions::new();
        // Other readers must not see half of it.
        options.write(true).create_new(true).mode(0o600);
        let file = folder.open_with(&name, &options)?;
        let folder = folder.try_clone()?;
        Ok(Self { folder, name, file, renamed: false })
    }

    fn rename_to(&mut self, name: &OsStr, only_if_absent: bool) -> io::Result<()> {
        if only_if_absent {
            let renamed =
                renameat2(&self.folder, self.name.as_os_str(), &self.folder, name, RenameFlags::RENAME_NOREPLACE);
            match renamed {
                // A file system that does not know the flag; absence was checked a moment ago.
                Err(Errno::EINVAL | Errno::ENOSYS) => {}
                done => {
                    self.renamed = done.is_ok();
                    return done.map_err(io::Error::from);
                }
            }
        }
        self.folder.rename(&self.name, &self.folder, name)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Were it to stay, a listing of the folder removes it a day later.
            let _ = self.folder.remove_file(&self.name);
        }
    }
}

fn stat_of(folder: &Dir, name: &OsStr) -> io::Result<Option<Stat>> {
    match folder.symlink_metadata(name) {
        Ok(metadata) => Ok(Some(Stat::from(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The mode the written file gets, if what is there can be replaced by one. Set-user-ID does not outlive its content.
fn writable(path: &ClientPath, there: Option<&Stat>) -> Result<u32, PathError> {
    match there.map(|there| (there.kind, there.mode)) {
        None => Ok(NEW_FILE),
        Some((Kind::File, mode)) => Ok(mode & 0o777),
        Some((Kind::Folder, _)) => Err(PathError::is_a_folder(path.as_path(), "only a file can be written")),
        Some(_) => Err(PathError::not_a_file(path.as_path())),
    }
}
