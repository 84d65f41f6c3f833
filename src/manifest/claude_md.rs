//! CLAUDE.md in the workspace: made when there is none, and otherwise only our own block in it is renewed.

use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::AccessFlags;

use super::markers::{Renewed, is_block_alone, renew};
use crate::atomic_file;
use crate::privilege::files;

const NAME: &str = "CLAUDE.md";
/// Longest CLAUDE.md that is read, bytes. A longer one gets no block of ours.
const LONGEST_BYTES: u64 = 4 * 1024 * 1024;

/// What has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There was none, now there is.
    Created,
    /// Its block is a new one.
    Renewed,
    /// Its block was right already.
    Unchanged,
    /// It is the user's own, has no block of ours and stays as it is.
    NotOurs,
    /// It is no file that may be replaced: a link, a folder, somebody else's.
    NotReplaceable,
    /// The markers in it are no pair.
    Broken,
}

/// Writes `block` to CLAUDE.md in `workspace`, as the user Claude runs as.
pub fn write_claude_md(workspace: &Path, block: &str) -> io::Result<Written> {
    let path = workspace.join(NAME);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match atomic_file::create(&path, format!("{block}\n").as_bytes(), 0o644) {
                Ok(()) => Ok(Written::Created),
                // Another box was faster, or the user.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Written::NotOurs),
                Err(error) => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    // A link may lead to a file that other programs read too, and a fifo has no end.
    if !found.is_file() || found.len() > LONGEST_BYTES {
        return Ok(Written::NotReplaceable);
    }
    match renew(&fs::read(&path)?, block) {
        Renewed::NotOurs => Ok(Written::NotOurs),
        Renewed::Broken => Ok(Written::Broken),
        Renewed::Same => Ok(Written::Unchanged),
        // A user who may write to the folder could replace a file that is read-only on purpose.
        Renewed::Changed(_) if !files::may(&path, AccessFlags::W_OK) => Ok(Written::NotReplaceable),
        // It may be AGENTS.md by another name.
        Renewed::Changed(text) => atomic_file::replace_for_all_names(&path, &text, 0o644).map(|()| Written::Renewed),
    }
}

/// Whether CLAUDE.md in `workspace` is our block and nothing else.
pub fn is_ours_alone(workspace: &Path) -> bool {
    let path = workspace.join(NAME);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= LONGEST_BYTES);
    is_file && fs::read(&path).is_ok_and(|text| is_block_alone(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const BLOCK: &str = "<!-- claudebox:begin -->\nnew\n<!-- claudebox:end -->";

    fn workspace(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), text).unwrap();
        folder
    }

    fn text(folder: &tempfile::TempDir) -> String {
        fs::read_to_string(folder.path().join(NAME)).unwrap()
    }

    #[test]
    fn it_is_made_once_and_then_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), Written::Created);
        assert_eq!(text(&folder), format!("{BLOCK}\n"));
        assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), Written::Unchanged);
        assert!(is_ours_alone(folder.path()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_our_block_is_renewed() {
        let folder = workspace("# Mine\n<!-- claudebox:begin -->\nold\n<!-- claudebox:end -->\nmine too");
        assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), Written::Renewed);
        assert_eq!(text(&folder), format!("# Mine\n{BLOCK}\nmine too"));
        assert!(!is_ours_alone(folder.path()));
    }

    #[test]
    fn a_file_with_another_name_keeps_it() {
        let folder = workspace("<!-- claudebox:begin -->\nold\n<!-- claudebox:end -->\n");
        let other = folder.path().join("AGENTS.md");
        fs::hard_link(folder.path().join(NAME), &other).unwrap();
        assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), Written::Renewed);
        assert_eq!(fs::read_to_string(other).unwrap(), format!("{BLOCK}\n"));
        assert_eq!(text(&folder), format!("{BLOCK}\n"));
    }

    #[test]
    fn the_users_own_stays_as_it_is() {
        for (mine, written) in
            [("# Mine\n", Written::NotOurs), ("", Written::NotOurs), ("<!-- claudebox:end -->\n", Written::Broken)]
        {
            let folder = workspace(mine);
            assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), written);
            assert_eq!(text(&folder), mine);
        }
    }

    #[test]
    fn links_and_folders_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        symlink("AGENTS.md", &path).unwrap();
        assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), Written::NotReplaceable);
        assert!(!folder.path().join("AGENTS.md").exists());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(write_claude_md(folder.path(), BLOCK).unwrap(), Written::NotReplaceable);
    }

    #[test]
    fn a_missing_workspace_is_an_error() {
        assert!(write_claude_md(Path::new("/nonexistent"), BLOCK).is_err());
    }
}
