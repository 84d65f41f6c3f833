//! Deleting. A link is deleted itself, never what it leads to; nothing follows one on the way down.

use std::io;

use super::{ClientPath, Kind, PathError, Precondition, Stat, Workspaces};

/// How often a tree is gone through that others write into meanwhile.
const ATTEMPTS: usize = 3;

impl Workspaces {
    /// Deletes what is at this path; a folder only with `recursive`, and then with all that is in it.
    pub fn delete(&self, path: &ClientPath, recursive: bool, condition: &Precondition) -> Result<(), PathError> {
        let asked = path.as_path();
        let failed = |error| PathError::from_io(asked, error);
        let Some((parent, name)) = path.split() else { return Err(PathError::Root) };
        self.check(asked, asked)?;
        let folder = self.folder(parent).map_err(failed)?;
        self.check_open(asked, &folder, name.as_ref())?;
        let one_at_a_time = self.committing();
        let there = folder.symlink_metadata(name).map(|metadata| Stat::from(&metadata)).map_err(failed)?;
        if !condition.holds(Some(&there)) {
            return Err(PathError::changed(asked));
        }
        if there.kind != Kind::Folder {
            return folder.remove_file(name).map_err(failed);
        }
        if !recursive {
            return Err(PathError::is_a_folder(asked, "it is deleted, with all in it, only with recursive=true"));
        }
        // A tree takes a while, and a folder has no tag anyone could wait for.
        drop(one_at_a_time);
        let mut attempts = 1;
        loop {
            match folder.remove_dir_all(name) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempts < ATTEMPTS => attempts += 1,
                // Something in it was deleted by another: only what is still there counts.
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {
                    if folder.symlink_metadata(name).is_err() {
                        return Ok(());
                    }
                    attempts += 1;
                }
                done => return done.map_err(failed),
            }
        }
    }
}
