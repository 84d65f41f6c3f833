//! Init hooks: what they are, and which of them this container has run already.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::{Booted, DEFAULT_PATH};
use crate::atomic_file;

/// A script or program to run once, as root, before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its file name.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Whether it is executed itself; otherwise `bash` reads it.
    pub is_executable: bool,
}

/// The hooks in `folder`: `*.sh`, and executables of any name, in the byte order of their names.
#[must_use]
pub fn find(folder: &Path) -> Vec<Hook> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    let hook = |path: PathBuf| {
        let is_executable = access(&path, AccessFlags::X_OK).is_ok();
        let is_script = path.extension().is_some_and(|extension| extension == "sh");
        let name = path.file_name()?.to_string_lossy().into_owned();
        (is_executable || is_script).then_some(Hook { name, path, is_executable })
    };
    paths.into_iter().filter_map(hook).collect()
}

/// The PATH of a hook: the system's folders, then what else is on the box's PATH. What the box's user can write to is left
/// out: root must not run a program of Claude's because it has a name that a hook uses.
#[must_use]
pub fn path_of_root(booted: &Booted) -> OsString {
    let own = booted.environment.iter().rev().find(|(name, _)| name == "PATH").and_then(|(_, value)| value.clone());
    let own: Vec<PathBuf> = std::env::split_paths(&own.unwrap_or_default()).collect();
    let system = std::env::split_paths(DEFAULT_PATH).collect::<Vec<_>>();
    let is_users =
        |folder: &&PathBuf| folder.starts_with(&booted.config_dir) || folder.starts_with(&booted.identity.home);
    let others = own.iter().filter(|folder| folder.is_absolute() && !is_users(folder) && !system.contains(folder));
    let others = others.filter(|folder| is_roots(folder));
    std::env::join_paths(system.iter().chain(others)).unwrap_or_else(|_| DEFAULT_PATH.into())
}

/// Whether `folder` and all folders that it is in are root's alone to write to.
fn is_roots(folder: &Path) -> bool {
    let is_roots = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.uid() == 0 && found.mode() & 0o022 == 0 && found.is_dir())
    };
    fs::canonicalize(folder).is_ok_and(|real| real.ancestors().all(is_roots))
}

/// Which hooks have succeeded in this container. It is kept in the container's own layer: a restart finds it, a new
/// container does not.
#[derive(Debug)]
pub struct Done {
    file: PathBuf,
    names: BTreeSet<String>,
}

impl Done {
    /// Reads the record at `file`.
    #[must_use]
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        Self { file: file.to_owned(), names: text.lines().map(str::to_owned).collect() }
    }

    /// Whether `hook` has succeeded before.
    #[must_use]
    pub fn has(&self, hook: &Hook) -> bool {
        self.names.contains(&hook.name)
    }

    /// Records that `hook` has succeeded.
    pub fn add(&mut self, hook: &Hook) -> io::Result<()> {
        self.names.insert(hook.name.clone());
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text: String = self.names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
        atomic_file::replace(&self.file, text.as_bytes(), 0o644)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn scripts_and_executables_in_byte_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("b.sh", 0o644), ("B.sh", 0o755), ("10-x.sh", 0o644), ("9-y", 0o755), ("notes.txt", 0o644)]
        {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folder.path().join("sub.sh")).unwrap();
        let found: Vec<(String, bool)> =
            find(folder.path()).into_iter().map(|hook| (hook.name, hook.is_executable)).collect();
        let expected = [("10-x.sh", false), ("9-y", true), ("B.sh", true), ("b.sh", false)];
        assert_eq!(found, expected.map(|(name, executable)| (name.to_owned(), executable)));
    }

    #[test]
    fn no_folder_is_no_hooks() {
        assert!(find(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn the_record_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/hooks");
        let hook = |name: &str| Hook { name: name.into(), path: name.into(), is_executable: true };
        Done::read(&file).add(&hook("a")).unwrap();
        let mut done = Done::read(&file);
        assert!(done.has(&hook("a")) && !done.has(&hook("b")));
        done.add(&hook("b")).unwrap();
        assert!(Done::read(&file).has(&hook("a")) && Done::read(&file).has(&hook("b")));
    }
}
