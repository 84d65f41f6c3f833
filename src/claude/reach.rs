//! What a process of the CLI has to reach of the CLI's folder: measured, each time with the rest of it closed.
//!
//! Written is what this session alone is made of. Never what a later one, or root, runs or goes by: settings, hooks, skills,
//! plugins, `bin`, `init.d`, and the snapshots of shells, which every Bash tool would read. The CLI does without.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::arguments::Session;
use super::sessions::Sessions;

/// Lists of tasks, in folders by the session's id.
const OF_EVERYBODY: [&str; 2] = ["tasks", "todos"];
/// What the CLI keeps for a person at a terminal: earlier states of files, plans, what was pasted.
const OF_A_PERSON: [&str; 4] = ["file-history", "plans", "paste-cache", "image-cache"];
/// The same: what was typed.
const TYPED: &str = "history.jsonl";
/// A sign-in, which the CLI renews.
pub const SIGN_IN: &str = ".credentials.json";
/// Everybody's sessions.
const TRANSCRIPTS: &str = "projects";
/// Ours: notes, locks, in some boxes the servers' state.
const OURS: &str = "claudebox";

/// What there is to reach in the CLI's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Written to.
    pub write: Vec<PathBuf>,
    /// Not even read.
    pub hidden: Vec<PathBuf>,
}

/// Who the CLI works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A prompt: a door's, or somebody's who waits for the answer alone.
    APrompt,
    /// A person at a terminal.
    APerson,
}

/// What a process with this session in `workspace` reaches of the folder `sessions.config_dir`, which has no links on its way.
/// What it could not make itself is made, as the user whose files they are.
pub fn of(sessions: &Sessions, workspace: &Path, session: &Session, whom: For) -> Reach {
    let root = &sessions.config_dir;
    let in_root = |name: &&str| root.join(name);
    let mut folders: Vec<PathBuf> = OF_EVERYBODY.iter().map(in_root).collect();
    let mut write = vec![root.join(SIGN_IN)];
    let mut hidden = vec![root.join(TRANSCRIPTS), root.join(OURS)];
    let personal = OF_A_PERSON.iter().map(in_root);
    match whom {
        For::APerson => {
            folders.extend(personal);
            let typed = root.join(TYPED);
            let mut options = OpenOptions::new();
            let made = options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&typed);
            say(&typed, made);
            write.push(typed);
        }
        For::APrompt => hidden.extend(personal.chain([root.join(TYPED)])),
    }
    let (own, others) = sessions.transcripts(workspace, session);
    folders.extend(own);
    for folder in &folders {
        say(folder, DirBuilder::new().recursive(true).mode(0o700).create(folder));
    }
    write.extend(folders);
    write.extend(others);
    // A link would lead the permission somewhere else.
    write.retain(|path| fs::canonicalize(path).is_ok_and(|real| real == *path));
    Reach { write, hidden }
}

/// The CLI works all the same, and loses what it would have kept.
fn say<T>(path: &Path, made: io::Result<T>) {
    if let Err(error) = made {
        tracing::warn!("{}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn folder() -> (tempfile::TempDir, Sessions) {
        let folder = tempfile::tempdir().unwrap();
        let config_dir = fs::canonicalize(folder.path()).unwrap();
        let state_dir = config_dir.join("claudebox/default");
        (folder, Sessions { config_dir, state_dir })
    }

    fn names(sessions: &Sessions, paths: &[PathBuf]) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(&sessions.config_dir).unwrap().display().to_string();
        let mut names: Vec<String> = paths.iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_prompt_writes_to_its_own_session_and_reads_no_other() {
        let (_folder, sessions) = folder();
        for name in ["settings.json", "init.d", "bin", "projects/-w-b"] {
            fs::create_dir_all(sessions.config_dir.join(name)).unwrap();
        }
        let reach = of(&sessions, Path::new("/w/a"), &Session::Fresh, For::APrompt);
        assert_eq!(names(&sessions, &reach.write), ["projects/-w-a", "tasks", "todos"]);
        let hidden = ["claudebox", "file-history", "history.jsonl", "image-cache", "paste-cache", "plans", "projects"];
        assert_eq!(names(&sessions, &reach.hidden), hidden);
    }

    #[test]
    fn a_person_has_a_history() {
        let (_folder, sessions) = folder();
        let reach = of(&sessions, Path::new("/w/a"), &Session::Fresh, For::APerson);
        let written = names(&sessions, &reach.write);
        assert!(["file-history", "history.jsonl", "plans"].iter().all(|name| written.iter().any(|one| one == name)));
    }

    #[test]
    fn a_session_that_was_begun_elsewhere_can_be_gone_on_with() {
        let (_folder, sessions) = folder();
        let elsewhere = sessions.config_dir.join("projects/-w-b");
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(elsewhere.join(format!("{ID}.jsonl")), "{}").unwrap();
        let reach = of(&sessions, Path::new("/w/a"), &Session::Resume(ID.into()), For::APrompt);
        assert!(reach.write.contains(&elsewhere.join(format!("{ID}.jsonl"))), "{reach:?}");
        assert!(!reach.write.contains(&elsewhere), "{reach:?}");
    }

    #[test]
    fn a_link_is_no_folder_to_write_to() {
        let (_folder, sessions) = folder();
        fs::create_dir(sessions.config_dir.join("init.d")).unwrap();
        symlink("init.d", sessions.config_dir.join("todos")).unwrap();
        let reach = of(&sessions, Path::new("/w/a"), &Session::Fresh, For::APrompt);
        assert_eq!(names(&sessions, &reach.write), ["projects/-w-a", "tasks"]);
    }
}
