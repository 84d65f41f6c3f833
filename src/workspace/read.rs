//! Looking at a path and opening a file to read it.

use cap_std::fs::{File, OpenOptions, OpenOptionsExt};

use super::{ClientPath, Kind, PathError, Stat, Workspaces};

impl Workspaces {
    /// What is at this path, links followed.
    pub fn metadata(&self, path: &ClientPath) -> Result<Stat, PathError> {
        let asked = path.as_path();
        self.check(asked, asked)?;
        let (file, stat) = self.open_at(path, libc::O_PATH)?;
        self.check_open(asked, &file, "".as_ref())?;
        Ok(stat)
    }

    /// Opens a regular file to read it.
    ///
    /// Something else is refused before it is opened, because opening a pipe wakes whoever waits at its other end.
    /// Should it become one in between, nothing blocks.
    pub fn open_read(&self, path: &ClientPath) -> Result<(File, Stat), PathError> {
        let asked = path.as_path();
        readable(path, &self.metadata(path)?)?;
        let (file, stat) = self.open_at(path, libc::O_NONBLOCK | libc::O_NOCTTY)?;
        readable(path, &stat)?;
        self.check_open(asked, &file, "".as_ref())?;
        Ok((file, stat))
    }

    pub(super) fn open_at(&self, path: &ClientPath, flags: i32) -> Result<(File, Stat), PathError> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let opened = self.beneath(path.as_path(), |root, path| {
            let file = root.open_with(path, &options)?;
            let stat = Stat::from(&file.metadata()?);
            Ok((file, stat))
        });
        opened.map_err(|error| PathError::from_io(path.as_path(), error))
    }
}

fn readable(path: &ClientPath, stat: &Stat) -> Result<(), PathError> {
    match stat.kind {
        Kind::File => Ok(()),
        Kind::Folder => Err(PathError::is_a_folder(path.as_path(), "only a file can be read")),
        Kind::Link | Kind::Other => Err(PathError::not_a_file(path.as_path())),
    }
}
