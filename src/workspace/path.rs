//! A path a client gave: checked for what no lookup should ever see.
//!
//! This alone keeps nobody inside: a harmless name can be a link. It makes the answers plain and the same everywhere.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::PathError;
use super::unfinished::is_unfinished;

/// Bytes of a whole path, as Linux takes it.
const LONGEST_PATH: usize = 4096;
/// Bytes of one name, as most file systems take it.
const LONGEST_NAME: usize = 255;
/// Folders inside each other. Deleting a tree holds a descriptor for each.
const DEEPEST: usize = 128;

/// A relative path of ordinary names; the empty one is the workspaces folder itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientPath(PathBuf);

impl ClientPath {
    /// A path given as text, decoded already.
    pub fn parse(given: &str) -> Result<Self, PathError> {
        Self::from_bytes(given.as_bytes())
    }

    /// A path given as bytes, decoded already: names on Linux need not be text.
    ///
    /// Empty and `.` components are dropped, wherever they stand. `..` is refused even where it would stay inside:
    /// what it means depends on links. Backslashes are ordinary characters.
    pub fn from_bytes(given: &[u8]) -> Result<Self, PathError> {
        let shown = Path::new(OsStr::from_bytes(given));
        let invalid = |why| Err(PathError::invalid(shown, why));
        if given.contains(&0) {
            return invalid("a path has no NUL byte");
        }
        if given.len() > LONGEST_PATH {
            return invalid("a path has at most 4096 bytes");
        }
        if given.starts_with(b"/") {
            return Err(PathError::outside(shown));
        }
        let mut path = PathBuf::new();
        let mut depth = 0;
        for name in given.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if name == b".." {
                return Err(PathError::outside(shown));
            }
            if name.len() > LONGEST_NAME {
                return invalid("each name in a path has at most 255 bytes");
            }
            if is_unfinished(OsStr::from_bytes(name)) {
                return invalid("names that begin with '.claudebox-upload-' are claudebox's own");
            }
            depth += 1;
            path.push(OsStr::from_bytes(name));
        }
        if depth > DEEPEST { invalid("a path has at most 128 names") } else { Ok(Self(path)) }
    }

    /// Whether it names the workspaces folder itself.
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    /// The path, relative to the workspaces folder.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Its last name; the workspaces folder has none.
    pub fn name(&self) -> Option<&OsStr> {
        self.0.file_name()
    }

    /// The folder it is in and its last name.
    pub(super) fn split(&self) -> Option<(&Path, &OsStr)> {
        Some((self.0.parent()?, self.0.file_name()?))
    }

    /// This path seen from a folder it is in.
    pub(super) fn below(&self, folder: &Path) -> Option<Self> {
        Some(Self(self.0.strip_prefix(folder).ok()?.to_owned()))
    }
}

impl fmt::Display for ClientPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_string_lossy())
    }
}
