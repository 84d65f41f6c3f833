//! Init hooks: what they are, and which of them this container has run already.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
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

/// The hooks in `folder`, in the byte order of their names: `*.sh`, and executables whose names are letters, digits, `-` and
/// `_`, as `run-parts` has it. What editors, copies and other systems leave has other names, also where every file is
/// executable.
pub fn find(folder: &Path) -> Vec<Hook> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    paths.into_iter().filter_map(hook_at).collect()
}

fn hook_at(path: PathBuf) -> Option<Hook> {
    let may_execute = access(&path, AccessFlags::X_OK).is_ok();
    let name = path.file_name()?.to_string_lossy().into_owned();
    match kind(&name) {
        // What is executable and has no first line for the kernel is a script all the same, if it is text.
        Kind::Script => Some(Hook { is_executable: may_execute && !is_plain_text(&path), name, path }),
        Kind::Program => may_execute.then_some(Hook { name, path, is_executable: true }),
        Kind::Leftover => None,
        Kind::Other => {
            if may_execute {
                tracing::info!(
                    "{} is no init hook: one is named *.sh, or with letters, digits, - and _ alone",
                    path.display()
                );
            }
            None
        }
    }
}

/// What a name says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A hook.
    Script,
    /// A hook, if it is executable.
    Program,
    /// Hidden, or another's copy of a hook: not worth a word.
    Leftover,
    /// No hook.
    Other,
}

fn kind(name: &str) -> Kind {
    const COPIES: [&str; 9] = ["~", "#", ".bak", ".orig", ".swp", ".swo", ".tmp", ".disabled", ".rpmsave"];
    if name.starts_with(['.', '#']) || COPIES.iter().any(|copy| name.ends_with(copy)) || name.contains(".dpkg-") {
        Kind::Leftover
    } else if name.as_bytes().ends_with(b".sh") {
        Kind::Script
    } else if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        Kind::Program
    } else {
        Kind::Other
    }
}

/// Whether a file begins with a line of text that the kernel would not take for a program's.
fn is_plain_text(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    let first = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_text = |line: &str| !line.chars().any(|character| character.is_control() && !"\t\r".contains(character));
    read.is_ok() && !first.starts_with(b"#!") && str::from_utf8(first).is_ok_and(is_text)
}

/// The PATH of a hook: the system's folders, then what else is on the box's PATH. What the box's user can write to is left
/// out: root must not run a program of Claude's because it has a name that a hook uses.
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

    use rstest::rstest;

    #[test]
    fn scripts_and_executables_in_byte_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [
            ("b.sh", 0o644),
            ("B.sh", 0o755),
            ("README.md", 0o755),
            ("._b.sh", 0o755),
            ("10-x.sh", 0o644),
            ("9-y", 0o755),
            ("notes.txt", 0o644),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folder.path().join("sub.sh")).unwrap();
        let found: Vec<(String, bool)> =
            find(folder.path()).into_iter().map(|hook| (hook.name, hook.is_executable)).collect();
        let expected = [("10-x.sh", false), ("9-y", true), ("B.sh", true), ("b.sh", false)];
        assert_eq!(found, expected.map(|(name, executable)| (name.to_owned(), executable)));
    }

    #[rstest]
    #[case("10-x.sh", Kind::Script)]
    #[case("x.y.sh", Kind::Script)]
    #[case("10-x", Kind::Program)]
    #[case("Setup_2", Kind::Program)]
    #[case::apples("._x.sh", Kind::Leftover)]
    #[case::hidden(".x", Kind::Leftover)]
    #[case::editors_lock(".#x.sh", Kind::Leftover)]
    #[case::editors_copy("#x.sh#", Kind::Leftover)]
    #[case::backup("x.sh~", Kind::Leftover)]
    #[case::backup("x.sh.bak", Kind::Leftover)]
    #[case::swap("x.sh.swp", Kind::Leftover)]
    #[case::off("x.sh.disabled", Kind::Leftover)]
    #[case::package("x.sh.dpkg-old", Kind::Leftover)]
    #[case::package("x.dpkg-dist", Kind::Leftover)]
    #[case::text("README.md", Kind::Other)]
    #[case::other("x.py", Kind::Other)]
    #[case::umlaut("\u{e4}", Kind::Other)]
    fn a_name_says_what_a_file_is(#[case] name: &str, #[case] expected: Kind) {
        assert_eq!(kind(name), expected);
    }

    /// As on a mount that has no modes.
    #[rstest]
    #[case::no_first_line(b"echo hello\n", Some(false))]
    #[case::first_line(b"#!/bin/sh\n", Some(true))]
    #[case::program(b"\x7fELF\x02\x01\x01\0\0\n", Some(true))]
    #[case::foreign_program(b"\xcf\xfa\xed\xfe\x07\n touch /tmp/ran\n", Some(true))]
    fn an_executable_script_is_read_by_bash_only_if_it_is_text(#[case] text: &[u8], #[case] executed: Option<bool>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.sh"), text).unwrap();
        fs::set_permissions(folder.path().join("x.sh"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(find(folder.path()).first().map(|hook| hook.is_executable), executed);
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
