//! Finding the CLI.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::config::environment::Environment;
use crate::exit_code::ExitCode;

/// Why the CLI cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// It is not there.
    #[error(
        "cannot find the Claude CLI {0:?}: install it (npm install -g @anthropic-ai/claude-code) or set CLAUDEBOX_CLAUDE_BIN to its path"
    )]
    NotFound(String),
    /// It is there, and cannot be run.
    #[error("the Claude CLI {} is not executable: chmod +x it, or set CLAUDEBOX_CLAUDE_BIN to another", .0.display())]
    NotExecutable(PathBuf),
}

impl BinaryError {
    /// 127 or 126, as a shell.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotFound(_) => ExitCode::NotFound,
            Self::NotExecutable(_) => ExitCode::NotExecutable,
        }
    }
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
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
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
