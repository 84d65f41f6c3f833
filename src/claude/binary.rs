//! Finding the CLI.
//!
//! It is the one that was named (`CLAUDEBOX_CLAUDE_BIN`), or the one on PATH: a person's own, or part of the image. An image
//! without one has a link in that place, which leads into the store; so does a box whose store was named (`CLAUDEBOX_CLI_DIR`),
//! and one that has none at all.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use super::store::pins::Pins;
use super::store::version::Version;
use super::store::{CliStore, DEFAULT_FOLDER, EXECUTABLE};
use crate::config::Config;
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;
use crate::privilege::files;

/// Why the CLI cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BinaryError {
    #[error(
        "cannot find the Claude CLI {0:?}: set CLAUDEBOX_CLAUDE_BIN to its path, or leave it out to have one installed"
    )]
    NotFound(String),
    #[error("the Claude CLI {0} is not installed in {folder}: claudebox cli install, as root", folder = .1.display())]
    NotInstalled(Version, PathBuf),
    #[error("the Claude CLI {} is not executable: chmod +x it, or set CLAUDEBOX_CLAUDE_BIN to another", .0.display())]
    NotExecutable(PathBuf),
}

impl BinaryError {
    /// 127 or 126, as a shell; 69 for one that is to be installed.
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotFound(_) => ExitCode::NotFound,
            Self::NotInstalled(..) => ExitCode::Unavailable,
            Self::NotExecutable(_) => ExitCode::NotExecutable,
        }
    }
}

/// Where a box has its CLI from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CliSource {
    /// It was named, and is not ours to install.
    Named(String),
    /// It is on PATH: part of the image, or a person's own.
    Own(PathBuf),
    /// The store.
    Store(CliStore),
}

impl CliSource {
    /// The source of a box with these settings, whose children have this PATH.
    pub fn of_box(config: &Config, path: Option<&OsStr>, env: &impl Environment) -> Self {
        if let Some(named) = &config.claude_bin {
            return Self::Named(named.clone());
        }
        if config.cli_dir.is_none()
            && let Some(own) = on_path(path.unwrap_or_default())
        {
            return Self::Own(own);
        }
        let root = config.cli_dir.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER));
        match Pins::of_box(env) {
            Some(pins) => Self::Store(CliStore::new(root, pins)),
            None => Self::Named(EXECUTABLE.to_owned()),
        }
    }

    /// The executable.
    pub fn executable(&self, env: &impl Environment) -> Result<PathBuf, BinaryError> {
        match self {
            Self::Named(program) => locate(program, env),
            Self::Own(path) => Ok(path.clone()),
            Self::Store(store) => {
                let version = store.current();
                let path = store.executable(&version);
                if is_executable(&path) { Ok(path) } else { Err(BinaryError::NotInstalled(version, store.folder())) }
            }
        }
    }
}

/// The CLI of a box, for a process of it that has its PATH.
pub fn of_box(config: &Config, env: &impl Environment) -> Result<PathBuf, BinaryError> {
    CliSource::of_box(config, env.get("PATH").as_deref(), env).executable(env)
}

/// The first `claude` on PATH, unless it is a link into the store.
fn on_path(path: &OsStr) -> Option<PathBuf> {
    let candidates = std::env::split_paths(path).map(|folder| folder.join(EXECUTABLE));
    let found = candidates.into_iter().find(|candidate| leads_into_store(candidate) || is_executable(candidate))?;
    (!leads_into_store(&found)).then_some(found)
}

/// Whether this is an image's link in the CLI's place.
pub fn leads_into_store(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.starts_with(DEFAULT_FOLDER))
}

/// The path of `program`: itself if it holds a slash, otherwise the first executable of that name on PATH.
pub fn locate(program: &str, env: &impl Environment) -> Result<PathBuf, BinaryError> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        let path = env.get("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
    };
    let mut unusable = None;
    for candidate in candidates.into_iter().filter(|path| path.exists()) {
        if is_executable(&candidate) {
            return Ok(candidate);
        }
        unusable.get_or_insert(candidate);
    }
    Err(unusable.map_or_else(|| BinaryError::NotFound(program.into()), BinaryError::NotExecutable))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && files::may(path, AccessFlags::X_OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn env(path: &Path) -> HashMap<String, OsString> {
        HashMap::from([("PATH".to_owned(), path.into())])
    }

    #[test]
    fn is_found_on_path_or_by_its_own_path() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("claude");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(locate("claude", &env(folder.path())), Ok(program.clone()));
        assert_eq!(locate(program.to_str().unwrap(), &env(Path::new("/nowhere"))), Ok(program));
    }

    #[test]
    fn the_store_is_asked_where_nothing_was_named_and_path_has_none_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("claude");
        let source = |settings: &[(&str, &str)]| {
            let env: HashMap<String, OsString> =
                settings.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect();
            CliSource::of_box(&Config::read(&env).unwrap(), Some(folder.path().as_os_str()), &env)
        };
        let root = |source: &CliSource| match source {
            CliSource::Store(store) => store.root().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(root(&source(&[])), Path::new(DEFAULT_FOLDER));
        std::os::unix::fs::symlink(Path::new(DEFAULT_FOLDER).join("x/claude"), &program).unwrap();
        assert_eq!(root(&source(&[])), Path::new(DEFAULT_FOLDER));
        fs::remove_file(&program).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(source(&[]), CliSource::Own(program.clone()));
        let own = ("CLAUDEBOX_CLI_DIR", "/store");
        assert_eq!(root(&source(&[own])), Path::new("/store"));
        assert_eq!(source(&[own, ("CLAUDEBOX_CLAUDE_BIN", "x")]), CliSource::Named("x".into()));
        let missing = source(&[own]).executable(&env(folder.path())).unwrap_err();
        assert_eq!(missing.exit_code(), ExitCode::Unavailable);
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let missing = locate("claude", &env(folder.path())).unwrap_err();
        assert_eq!(missing.exit_code(), ExitCode::NotFound);
        fs::write(folder.path().join("claude"), "").unwrap();
        let unusable = locate("claude", &env(folder.path())).unwrap_err();
        assert_eq!(unusable.exit_code(), ExitCode::NotExecutable);
        assert_eq!(locate("/", &env(folder.path())).unwrap_err().exit_code(), ExitCode::NotExecutable);
    }
}
