//! Keeps a CLAUDE.md that is ours out of what `git status` shows as untracked: a line in the repository's own `info/exclude`, which is
//! no file of the project's and is never committed.
//!
//! Git is not run: a repository's settings can name programs that it would start. One that a person has added to the
//! repository is not concerned, since an exclusion is about untracked files alone; one that holds words of theirs is theirs, and
//! the line goes again.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{atomic_file, plain_file};

/// The line before ours, by which ours is found again.
const MARK: &str = "# claudebox: its own CLAUDE.md, until there is something of yours in it";
/// Longest exclude file that is read, bytes.
const LONGEST_BYTES: u64 = 1024 * 1024;

/// Sees to the line for CLAUDE.md of `workspace`: it is there if the file `is_ours`, and is not otherwise.
pub(super) fn settle(workspace: &Path, is_ours: bool) -> io::Result<()> {
    let Some((root, info)) = find(workspace) else { return Ok(()) };
    let Some(pattern) = workspace.strip_prefix(&root).ok().and_then(pattern) else { return Ok(()) };
    let file = info.join("exclude");
    let text = match fs::symlink_metadata(&file) {
        Ok(found) if found.is_file() && found.len() <= LONGEST_BYTES => plain_file::read(&file, LONGEST_BYTES)?,
        // A link leads to somebody's file for several repositories.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let Some(text) = settled(&text, &pattern, is_ours) else { return Ok(()) };
    match fs::create_dir(&info) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    atomic_file::replace_for_all_names(&file, &text, 0o644)
}

/// The text with the line for `pattern`, or without it. `None`: it is so already.
fn settled(text: &[u8], pattern: &[u8], is_ours: bool) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let is_pair = |at: usize| {
        lines[at].trim_ascii_end() == MARK.as_bytes()
            && lines.get(at + 1).is_some_and(|line| line.trim_ascii_end() == pattern)
    };
    let found = (0..lines.len()).find(|&at| is_pair(at));
    match (found, is_ours) {
        (Some(at), false) => Some([lines[..at].concat(), lines[at + 2..].concat()].concat()),
        (None, true) => {
            let end: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
            Some([text, end, MARK.as_bytes(), b"\n", pattern, b"\n"].concat())
        }
        _ => None,
    }
}

/// The folder whose repository `workspace` belongs to, and that repository's folder `info`: of a work tree that of its
/// repository, of a submodule its own.
fn find(workspace: &Path) -> Option<(PathBuf, PathBuf)> {
    let root = workspace.ancestors().find(|folder| fs::symlink_metadata(folder.join(".git")).is_ok())?;
    let mut store = root.join(".git");
    if store.is_file() {
        let text = plain_file::read(&store, LONGEST_BYTES).ok()?;
        store = root.join(path(text.strip_prefix(b"gitdir: ")?));
        if let Ok(text) = plain_file::read(&store.join("commondir"), LONGEST_BYTES) {
            store = store.join(path(&text));
        }
    }
    // What is no repository gets no file.
    store.join("HEAD").is_file().then(|| (root.to_owned(), store.join("info")))
}

fn path(text: &[u8]) -> &Path {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    Path::new(std::ffi::OsStr::from_bytes(&text[..end]))
}

/// Git's pattern for CLAUDE.md in this folder of a repository. `None`: no pattern can say it.
fn pattern(folder: &Path) -> Option<Vec<u8>> {
    let mut pattern = vec![b'/'];
    for &byte in folder.join("CLAUDE.md").as_os_str().as_bytes() {
        match byte {
            b'\n' => return None,
            b'\\' | b'*' | b'?' | b'[' => pattern.extend([b'\\', byte]),
            _ => pattern.push(byte),
        }
    }
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x", "-c", "protocol.file.allow=always"])
            .args(args)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn repository(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        git(folder, &["init", "-q"]);
        git(folder, &["commit", "-q", "--allow-empty", "-m", "first"]);
    }

    /// Whether git shows the file, before and after.
    fn check(workspace: &Path) {
        fs::write(workspace.join("CLAUDE.md"), "ours").unwrap();
        let status = || git(workspace, &["status", "--porcelain", "--untracked-files=all", "."]);
        assert!(status().contains("CLAUDE.md"), "{}", workspace.display());
        settle(workspace, true).unwrap();
        assert!(!status().contains("CLAUDE.md"), "{}: {}", workspace.display(), status());
        settle(workspace, true).unwrap();
        settle(workspace, false).unwrap();
        assert!(status().contains("CLAUDE.md"), "{}", workspace.display());
    }

    #[test]
    fn git_does_not_show_it_in_any_kind_of_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        repository(&path.join("plain"));
        let exclude = path.join("plain/.git/info/exclude");
        fs::write(&exclude, "mine").unwrap();
        check(&path.join("plain"));
        assert_eq!(fs::read_to_string(exclude).unwrap(), "mine\n");
        fs::create_dir_all(path.join("plain/odd [x]*? \\ name/b")).unwrap();
        check(&path.join("plain/odd [x]*? \\ name/b"));
        fs::remove_dir_all(path.join("plain/odd [x]*? \\ name")).unwrap();
        fs::remove_dir_all(path.join("plain/.git/info")).unwrap();
        check(&path.join("plain"));
        git(&path.join("plain"), &["worktree", "add", "-q", "../tree"]);
        check(&path.join("tree"));
        repository(&path.join("other"));
        git(&path.join("plain"), &["submodule", "--quiet", "add", "../other", "module"]);
        check(&path.join("plain/module"));
    }

    #[test]
    fn what_is_no_repository_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        settle(folder.path(), true).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for text in ["gitdir: /nowhere", "gitdir: ", "", "x"] {
            fs::write(folder.path().join(".git"), text).unwrap();
            settle(folder.path(), true).unwrap();
        }
        fs::remove_file(folder.path().join(".git")).unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        settle(folder.path(), true).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(".git")).unwrap().count(), 0);
    }
}
