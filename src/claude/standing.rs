//! Standing instructions: what goes into every invocation in every mode, before what a run adds for itself.
//!
//! The box's system hint, and every `SKILL.md` below `~/.claude/.always-skills`. They reach the CLI as a file
//! (`--append-system-prompt-file`), because one argument holds 131,071 bytes and is there for everybody to read. The
//! folder is read for every run, so a change needs no restart.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::envelope;
use crate::atomic_file;

/// Folder of the always-active skills, in the CLI's folder.
const SKILLS: &str = ".always-skills";
const SKILL_FILE: &str = "SKILL.md";
/// So many entries of folders are looked at, before each run.
const MOST_ENTRIES: usize = 10_000;
/// No model has a context that holds more.
const MOST_BYTES: u64 = 4 << 20;

/// The file with the standing instructions, in `state_dir`; `None` if there are none.
///
/// Its name is that of its contents, so that a run that has begun keeps what it began with.
pub fn write(config_dir: &Path, state_dir: &Path, hint: Option<&str>) -> io::Result<Option<PathBuf>> {
    let skills = skills(config_dir);
    let parts: Vec<String> = hint.map(str::to_owned).into_iter().chain(skills).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    let text = parts.join("\n\n");
    let digest = Sha256::digest(text.as_bytes());
    let file = state_dir.join(format!("standing-{}.md", envelope::hex(&digest[..16])));
    if !file.exists() {
        atomic_file::private_folder(state_dir)?;
        atomic_file::replace(&file, text.as_bytes(), 0o600)?;
    }
    Ok(Some(file))
}

/// Every skill below `folder`, in the order of their paths, each with its path so that files beside it can be found.
///
/// A link counts if it leads to something in `folder` or in `config_dir`. Each skill is there once, however many ways
/// lead to it: packages that link each other would multiply it without end.
fn skills(config_dir: &Path) -> Vec<String> {
    let folder = config_dir.join(SKILLS);
    let roots: Vec<PathBuf> =
        [&folder, config_dir].into_iter().filter_map(|root| fs::canonicalize(root).ok()).collect();
    if !folder.is_dir() {
        return Vec::new();
    }
    let mut files = Walk { roots, seen: HashSet::new(), left: MOST_ENTRIES }.files(folder);
    files.sort();
    let mut left = MOST_BYTES;
    files.iter().filter_map(|file| read(file, &mut left)).collect()
}

struct Walk {
    /// Where a link may lead.
    roots: Vec<PathBuf>,
    /// The real paths of the folders that were looked into and of the skills that were found.
    seen: HashSet<PathBuf>,
    /// How many more entries are looked at.
    left: usize,
}

impl Walk {
    fn files(mut self, folder: PathBuf) -> Vec<PathBuf> {
        let (mut found, mut folders, mut links) = (Vec::new(), vec![folder], VecDeque::new());
        loop {
            // What is there itself comes first: it is named by its own path and not by a link's.
            if let Some(folder) = folders.pop() {
                self.look_into(&folder, &mut folders, &mut links, &mut found);
            } else if let Some(link) = links.pop_front() {
                self.follow(link, &mut folders, &mut found);
            } else {
                return found;
            }
        }
    }

    fn look_into(
        &mut self,
        folder: &Path,
        folders: &mut Vec<PathBuf>,
        links: &mut VecDeque<PathBuf>,
        found: &mut Vec<PathBuf>,
    ) {
        let Ok(real) = fs::canonicalize(folder) else { return };
        if !self.seen.insert(real) {
            return;
        }
        let Ok(entries) = fs::read_dir(folder) else { return };
        // One more than are looked at, to know that there are more.
        let mut entries: Vec<_> = entries.flatten().take(self.left + 1).collect();
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        let mut inside = Vec::new();
        for entry in entries {
            let path = entry.path();
            let Some(left) = self.left.checked_sub(1) else {
                tracing::warn!("more than {MOST_ENTRIES} entries: {} and what follows is left out", path.display());
                folders.clear();
                links.clear();
                return;
            };
            self.left = left;
            match entry.file_type() {
                Ok(kind) if kind.is_symlink() => links.push_back(path),
                Ok(kind) if kind.is_dir() => inside.push(path),
                Ok(kind) if kind.is_file() && is_skill(&path) => self.add(path, found),
                _ => {}
            }
        }
        // The last one is taken first.
        folders.extend(inside.into_iter().rev());
    }

    fn follow(&mut self, link: PathBuf, folders: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) {
        // A broken one is nothing.
        let Ok(real) = fs::canonicalize(&link) else { return };
        if !self.roots.iter().any(|root| real.starts_with(root)) {
            tracing::warn!("{} leads out of {}: it is left out", link.display(), self.roots[0].display());
        } else if real.is_dir() {
            folders.push(link);
        } else if real.is_file() && is_skill(&link) {
            self.add(link, found);
        }
    }

    fn add(&mut self, file: PathBuf, found: &mut Vec<PathBuf>) {
        if fs::canonicalize(&file).is_ok_and(|real| self.seen.insert(real)) {
            found.push(file);
        }
    }
}

fn is_skill(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == SKILL_FILE)
}

/// A skill's text. `left`: how many more bytes there may be of all of them.
fn read(file: &Path, left: &mut u64) -> Option<String> {
    let mut text = String::new();
    let opened = File::open(file).and_then(|opened| opened.take(*left + 1).read_to_string(&mut text));
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    match opened {
        Ok(_) if length > *left => {
            tracing::warn!("the skill {} is left out: all of them may have {MOST_BYTES} bytes", file.display());
            None
        }
        Ok(_) => {
            *left -= length;
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            Some(format!("[Skill file: {}]\n\n{}", file.display(), text.trim_end()))
        }
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
        assert!(!text.contains("secret") && text.matches("inside").count() == 1, "{text}");
    }

    #[test]
    fn a_skill_is_there_once_by_its_own_path() {
        let config = tempfile::tempdir().unwrap();
        skill(config.path(), "z", "x");
        let root = config.path().join(SKILLS);
        for (name, to) in [("z/up", ".."), ("z/self", "."), ("again", "z"), ("l1", "."), ("l2", ".")] {
            std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        }
        let expected = format!("[Skill file: {}/z/SKILL.md]\n\nx", root.display());
        assert_eq!(text_of(config.path(), None), Some(expected));
    }

    /// As a package manager lays out packages that depend on each other.
    #[test]
    fn packages_that_link_each_other_are_there_once() {
        let config = tempfile::tempdir().unwrap();
        let names = ["a", "b", "c", "d", "e"];
        for name in names {
            skill(config.path(), name, "text");
            let modules = config.path().join(SKILLS).join(name).join("node_modules");
            fs::create_dir(&modules).unwrap();
            for other in names {
                std::os::unix::fs::symlink(format!("../../{other}"), modules.join(other)).unwrap();
            }
        }
        assert_eq!(text_of(config.path(), None).unwrap().matches("text").count(), names.len());
    }

    #[test]
    fn a_link_to_a_skill_of_the_cli_counts() {
        let config = tempfile::tempdir().unwrap();
        let skills = config.path().join("skills");
        for name in ["x", "y"] {
            fs::create_dir_all(skills.join(name)).unwrap();
            fs::write(skills.join(name).join(SKILL_FILE), format!("skill {name}")).unwrap();
        }
        let root = config.path().join(SKILLS);
        fs::create_dir_all(root.join("c")).unwrap();
        std::os::unix::fs::symlink("../../skills/x/SKILL.md", root.join("c").join(SKILL_FILE)).unwrap();
        std::os::unix::fs::symlink("../skills/y", root.join("d")).unwrap();
        let text = text_of(config.path(), None).unwrap();
        assert!(text.contains("/c/SKILL.md]\n\nskill x") && text.contains("/d/SKILL.md]\n\nskill y"), "{text}");
    }

    #[test]
    fn there_is_an_end_to_entries_and_to_bytes() {
        let config = tempfile::tempdir().unwrap();
        skill(config.path(), "a", "first");
        skill(config.path(), "b", &"x".repeat(usize::try_from(MOST_BYTES).unwrap()));
        skill(config.path(), "c", "\u{feff}third");
        let text = text_of(config.path(), None).unwrap();
        assert!(text.contains("\n\nfirst") && text.contains("\n\nthird") && text.len() < 1000);
        let many = config.path().join(SKILLS).join("b");
        for number in 0..MOST_ENTRIES {
            fs::write(many.join(number.to_string()), "").unwrap();
        }
        skill(config.path(), "z", "last");
        assert!(!text_of(config.path(), None).unwrap().contains("third"));
    }
}
