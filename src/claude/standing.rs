//! Standing instructions: what goes into every invocation in every mode, before what a run adds for itself.
//!
//! The box's system hint, and every `SKILL.md` below `~/.claude/.always-skills`. They reach the CLI as a file
//! (`--append-system-prompt-file`), because one argument holds 131,071 bytes and is there for everybody to read. The
//! folder is read for every run, so a change needs no restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::envelope;
use crate::atomic_file;

/// Folder of the always-active skills, in the CLI's folder.
const SKILLS: &str = ".always-skills";
const SKILL_FILE: &str = "SKILL.md";
/// No set of skills is nested deeper; a link to a folder above itself is.
const DEEPEST: usize = 16;

/// The file with the standing instructions, in `state_dir`; `None` if there are none.
///
/// Its name is that of its contents, so that a run that has begun keeps what it began with.
pub fn write(config_dir: &Path, state_dir: &Path, hint: Option<&str>) -> io::Result<Option<PathBuf>> {
    let skills = skills(&config_dir.join(SKILLS));
    let parts: Vec<String> = hint.map(str::to_owned).into_iter().chain(skills).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    let text = parts.join("\n\n");
    let digest = Sha256::digest(text.as_bytes());
    let file = state_dir.join(format!("standing-{}.md", envelope::hex(&digest[..16])));
    if !file.exists() {
        fs::create_dir_all(state_dir)?;
        atomic_file::replace(&file, text.as_bytes(), 0o600)?;
    }
    Ok(Some(file))
}

/// Every skill below `folder`, in the order of their paths, each with its path so that files beside it can be found.
fn skills(folder: &Path) -> Vec<String> {
    let Ok(root) = fs::canonicalize(folder) else { return Vec::new() };
    let mut files = Vec::new();
    collect(folder, &root, 0, &mut files);
    files.sort();
    files.iter().filter_map(|file| read(file)).collect()
}

fn collect(folder: &Path, root: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        // What a link stands for; a broken one is nothing.
        let Ok(real) = fs::canonicalize(&path) else { continue };
        if !real.starts_with(root) {
            tracing::warn!("{} leads out of {}: it is left out", path.display(), root.display());
        } else if real.is_dir() && depth < DEEPEST {
            collect(&path, root, depth + 1, files);
        } else if real.is_file() && path.file_name().is_some_and(|name| name == SKILL_FILE) {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> Option<String> {
    match fs::read_to_string(file) {
        Ok(text) => Some(format!("[Skill file: {}]\n\n{}", file.display(), text.trim_end())),
        Err(error) => {
            tracing::warn!("the skill {} cannot be read and is left out: {error}", file.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skill(config: &Path, name: &str, text: &str) {
        let folder = config.join(SKILLS).join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(SKILL_FILE), text).unwrap();
    }

    fn text_of(config: &Path, hint: Option<&str>) -> Option<String> {
        let file = write(config, &config.join("state"), hint).unwrap()?;
        Some(fs::read_to_string(file).unwrap())
    }

    #[test]
    fn nothing_standing_is_no_file() {
        let config = tempfile::tempdir().unwrap();
        assert_eq!(text_of(config.path(), None), None);
    }

    #[test]
    fn the_hint_then_every_skill_by_path() {
        let config = tempfile::tempdir().unwrap();
        skill(config.path(), "b", "second\n");
        skill(config.path(), "a/deep", "first");
        fs::write(config.path().join(SKILLS).join("README.md"), "no skill").unwrap();
        let root = config.path().join(SKILLS);
        let expected = format!(
            "be kind\n\n[Skill file: {0}/a/deep/SKILL.md]\n\nfirst\n\n[Skill file: {0}/b/SKILL.md]\n\nsecond",
            root.display()
        );
        assert_eq!(text_of(config.path(), Some("be kind")), Some(expected));
    }

    #[test]
    fn a_change_is_seen_and_an_earlier_file_stays() {
        let config = tempfile::tempdir().unwrap();
        skill(config.path(), "a", "one");
        let state = config.path().join("state");
        let first = write(config.path(), &state, None).unwrap().unwrap();
        skill(config.path(), "a", "two");
        let second = write(config.path(), &state, None).unwrap().unwrap();
        assert!(
            fs::read_to_string(first).unwrap().ends_with("one") && fs::read_to_string(second).unwrap().ends_with("two")
        );
    }

    #[test]
    fn a_link_inside_counts_and_one_that_leaves_does_not() {
        let config = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join(SKILL_FILE), "secret").unwrap();
        skill(config.path(), "a", "inside");
        let root = config.path().join(SKILLS);
        std::os::unix::fs::symlink(outside.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink(outside.path().join(SKILL_FILE), root.join(SKILL_FILE)).unwrap();
        std::os::unix::fs::symlink(root.join("a"), root.join("again")).unwrap();
        let text = text_of(config.path(), None).unwrap();
        assert!(!text.contains("secret") && text.matches("inside").count() == 2, "{text}");
    }

    #[test]
    fn a_link_to_a_folder_above_itself_ends() {
        let config = tempfile::tempdir().unwrap();
        skill(config.path(), "a", "x");
        let root = config.path().join(SKILLS);
        std::os::unix::fs::symlink(&root, root.join("a/up")).unwrap();
        assert!(text_of(config.path(), None).unwrap().contains("/a/SKILL.md"));
    }
}
