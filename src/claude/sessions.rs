//! Which session a workspace was last in.
//!
//! `--continue` with nothing to continue silently starts a new session, and two workspaces can share one folder of
//! session files. So the last session is found here and resumed by its id: from our own ledger, or the newest session
//! file whose recorded working directory is this workspace, whichever was used last.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};
use uuid::Uuid;

use super::arguments::{Options, Session};
use crate::json_file::{self, JsonFileError};

/// The CLI cuts a folder's name at this many UTF-16 units and appends a hash.
const LONGEST_SLUG_UNITS: usize = 200;
/// A session's working directory stands in one of its first lines; no more than this much of a file is read for it.
const LONGEST_HEAD_BYTES: u64 = 4 << 20;
const LEDGER: &str = "sessions.json";

/// Finds and remembers sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// The CLI's folder.
    pub config_dir: PathBuf,
    /// claudebox's state folder, where the ledger is.
    pub state_dir: PathBuf,
}

impl Sessions {
    /// The session that a run with these options belongs to.
    #[must_use]
    pub fn choose(&self, options: &Options, workspace: &Path) -> Session {
        match (&options.resume, options.no_continue, &options.conversation) {
            (Some(id), ..) => Session::Resume(id.clone()),
            (None, true, _) => Session::Fresh,
            (None, false, Some(conversation)) => self
                .remembered(&key(conversation))
                .filter(|id| self.modified(id).is_some())
                .map_or(Session::Fresh, Session::Continue),
            (None, false, None) => self.last(workspace).map_or(Session::Fresh, Session::Continue),
        }
    }

    /// The id of the session that `workspace` was last in, if its file is still there.
    #[must_use]
    pub fn last(&self, workspace: &Path) -> Option<String> {
        let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned());
        let from_ledger =
            workspace.to_str().and_then(|key| self.remembered(key)).and_then(|id| Some((self.modified(&id)?, id)));
        from_ledger.into_iter().chain(self.newest_file(&workspace)).max().map(|(_, id)| id)
    }

    /// Remembers that `workspace` was last in the session `id`.
    pub fn remember(&self, workspace: &Path, id: &str) -> Result<(), JsonFileError> {
        let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned());
        // A missing folder shows in the write's own error.
        let _ = fs::create_dir_all(&self.state_dir);
        json_file::update(&self.state_dir.join(LEDGER), &self.state_dir.join(".lock"), |ledger| {
            ledger.insert(workspace.to_string_lossy().into_owned(), json!({"sessionId": id}));
        })
    }

    /// Deletes every session that was begun in `workspace`, and forgets, in the ledgers of all boxes, which it was last
    /// in. How many sessions there were.
    ///
    /// Two workspaces can share one folder of session files, so each file is looked into.
    pub fn clear(&self, workspace: &Path) -> io::Result<usize> {
        let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned());
        let key = workspace.to_string_lossy().into_owned();
        let boxes = fs::read_dir(self.config_dir.join("claudebox")).into_iter().flatten().flatten();
        for state_dir in boxes.map(|folder| folder.path()).chain([self.state_dir.clone()]) {
            let ledger = state_dir.join(LEDGER);
            if ledger.is_file() {
                json_file::update(&ledger, &state_dir.join(".lock"), |ledger| {
                    ledger.remove(&key);
                })
                .map_err(io::Error::other)?;
            }
        }
        let mut count = 0;
        for (_, _, path) in self.files(&workspace) {
            if recorded_cwd(&path).as_deref() == Some(workspace.as_path()) {
                fs::remove_file(&path)?;
                count += 1;
                // What its subagents and tools left: a folder of the same name, if there is one.
                match fs::remove_dir_all(path.with_extension("")) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(count)
    }

    /// Remembers that a door's conversation was last in the session `id`.
    pub fn remember_conversation(&self, conversation: &str, id: &str) -> Result<(), JsonFileError> {
        let _ = fs::create_dir_all(&self.state_dir);
        json_file::update(&self.state_dir.join(LEDGER), &self.state_dir.join(".lock"), |ledger| {
            ledger.insert(key(conversation), json!({"sessionId": id}));
        })
    }

    fn remembered(&self, key: &str) -> Option<String> {
        let ledger: Value = serde_json::from_slice(&fs::read(self.state_dir.join(LEDGER)).ok()?).ok()?;
        ledger.get(key)?["sessionId"].as_str().map(str::to_owned)
    }

    /// When the file of session `id` was last written to; it may lie in any folder, a session can change its cwd.
    fn modified(&self, id: &str) -> Option<SystemTime> {
        Uuid::try_parse(id).ok()?;
        let folders = fs::read_dir(self.projects()).ok()?.flatten();
        folders.filter_map(|folder| modified(&folder.path().join(format!("{id}.jsonl")))).max()
    }

    /// The newest session file whose recorded working directory is `workspace`.
    fn newest_file(&self, workspace: &Path) -> Option<(SystemTime, String)> {
        let mut files = self.files(workspace);
        files.sort_unstable_by(|a, b| b.cmp(a));
        let found = files.into_iter().find(|(_, _, path)| recorded_cwd(path).as_deref() == Some(workspace))?;
        Some((found.0, found.1))
    }

    /// The session files in folders that may be those of `workspace`: when each was written to, its id, its path.
    fn files(&self, workspace: &Path) -> Vec<(SystemTime, String, PathBuf)> {
        let slug = slug(workspace);
        let is_ours = |name: &str| match name.strip_prefix(slug.text.as_str()) {
            Some("") => !slug.cut,
            Some(rest) => slug.cut && rest.starts_with('-'),
            None => false,
        };
        let folders = fs::read_dir(self.projects()).into_iter().flatten().flatten();
        let folders = folders.filter(|folder| folder.file_name().to_str().is_some_and(is_ours));
        folders
            .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten())
            .filter_map(|file| {
                let path = file.path();
                let id = path.file_name()?.to_str()?.strip_suffix(".jsonl")?.to_owned();
                Uuid::try_parse(&id).ok()?;
                Some((modified(&path)?, id, path))
            })
            .collect()
    }

    fn projects(&self) -> PathBuf {
        self.config_dir.join("projects")
    }
}

/// A conversation in the ledger, where absolute paths are workspaces.
fn key(conversation: &str) -> String {
    format!("conversation:{conversation}")
}

struct Slug {
    text: String,
    cut: bool,
}

/// The CLI's name for the folder of a working directory's sessions.
fn slug(workspace: &Path) -> Slug {
    let path = workspace.to_string_lossy();
    let plain = |unit: u16| u8::try_from(unit).is_ok_and(|byte| byte.is_ascii_alphanumeric());
    let units = path.encode_utf16().map(|unit| if plain(unit) { unit } else { u16::from(b'-') });
    let text = String::from_utf16_lossy(&units.take(LONGEST_SLUG_UNITS).collect::<Vec<u16>>());
    Slug { cut: path.encode_utf16().count() > LONGEST_SLUG_UNITS, text }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn recorded_cwd(path: &Path) -> Option<PathBuf> {
    let head = BufReader::new(File::open(path).ok()?.take(LONGEST_HEAD_BYTES));
    let lines = head.split(b'\n').map_while(Result::ok);
    let mut cwds = lines.filter_map(|line| {
        let event: Value = serde_json::from_slice(&line).ok()?;
        event["cwd"].as_str().map(PathBuf::from)
    });
    cwds.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Fixture {
        _folder: tempfile::TempDir,
        sessions: Sessions,
        workspace: PathBuf,
        sibling: PathBuf,
    }

    const OLD: &str = "11111111-1111-4111-8111-111111111111";
    const NEW: &str = "22222222-2222-4222-8222-222222222222";

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let (workspace, sibling) = (root.join("a.b"), root.join("a_b"));
        fs::create_dir(&workspace).unwrap();
        fs::create_dir(&sibling).unwrap();
        let sessions = Sessions { config_dir: root.join("config"), state_dir: root.join("state") };
        Fixture { _folder: folder, sessions, workspace, sibling }
    }

    impl Fixture {
        /// A session file of `cwd` in the folder of `workspace`, written `age` seconds ago.
        fn write(&self, id: &str, cwd: &Path, age: u64) {
            let folder = self.sessions.projects().join(slug(&self.workspace).text);
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join(format!("{id}.jsonl"));
            let cwd = json!({"type": "user", "cwd": cwd}).to_string();
            fs::write(&path, format!("{{\"type\":\"summary\"}}\nnot json\n{cwd}\n")).unwrap();
            let at = SystemTime::now() - Duration::from_secs(age);
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }

        fn last(&self) -> Option<String> {
            self.sessions.last(&self.workspace)
        }
    }

    #[test]
    fn nothing_to_continue() {
        assert_eq!(fixture().last(), None);
    }

    #[test]
    fn the_newest_file_of_this_workspace() {
        let fixture = fixture();
        fixture.write(OLD, &fixture.workspace, 100);
        fixture.write(NEW, &fixture.workspace, 10);
        assert_eq!(fixture.last().as_deref(), Some(NEW));
    }

    #[test]
    fn a_neighbour_in_the_same_folder_is_not_ours() {
        let fixture = fixture();
        assert_eq!(slug(&fixture.workspace).text, slug(&fixture.sibling).text);
        fixture.write(OLD, &fixture.workspace, 100);
        fixture.write(NEW, &fixture.sibling, 10);
        assert_eq!(fixture.last().as_deref(), Some(OLD));
    }

    #[test]
    fn the_ledger_counts_while_its_session_is_the_one_used_last() {
        let fixture = fixture();
        fixture.write(OLD, &fixture.workspace, 100);
        // It was resumed from another folder, so its file does not say this workspace.
        fixture.write(NEW, Path::new("/elsewhere"), 10);
        fixture.sessions.remember(&fixture.workspace, NEW).unwrap();
        assert_eq!(fixture.last().as_deref(), Some(NEW));
        fixture.write(OLD, &fixture.workspace, 1);
        assert_eq!(fixture.last().as_deref(), Some(OLD));
    }

    #[test]
    fn a_remembered_session_without_a_file_is_gone() {
        let fixture = fixture();
        fixture.sessions.remember(&fixture.workspace, NEW).unwrap();
        assert_eq!(fixture.last(), None);
    }

    #[test]
    fn clearing_takes_this_workspaces_sessions_and_nobody_elses() {
        let fixture = fixture();
        fixture.write(OLD, &fixture.workspace, 100);
        fixture.write(NEW, &fixture.sibling, 10);
        let folder = fixture.sessions.projects().join(slug(&fixture.workspace).text);
        for kept in ["memory", NEW] {
            fs::create_dir(folder.join(kept)).unwrap();
        }
        fs::create_dir_all(folder.join(OLD).join("subagents")).unwrap();
        let other_box =
            Sessions { state_dir: fixture.sessions.config_dir.join("claudebox/other"), ..fixture.sessions.clone() };
        for sessions in [&fixture.sessions, &other_box] {
            // A session of the neighbour's that was gone on with here: forgotten, not deleted.
            sessions.remember(&fixture.workspace, NEW).unwrap();
            sessions.remember(&fixture.sibling, NEW).unwrap();
        }
        assert_eq!(fixture.sessions.clear(&fixture.workspace).unwrap(), 1);
        let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort_unstable();
        assert_eq!(left, [NEW, &format!("{NEW}.jsonl"), "memory"]);
        for sessions in [&fixture.sessions, &other_box] {
            assert_eq!(sessions.last(&fixture.workspace), None);
            assert_eq!(sessions.last(&fixture.sibling).as_deref(), Some(NEW));
        }
        assert_eq!(fixture.sessions.clear(&fixture.workspace).unwrap(), 0);
    }

    #[test]
    fn a_conversation_has_its_own_session_whatever_the_workspace_was_last_in() {
        let fixture = fixture();
        let of = |conversation: &str| Options { conversation: Some(conversation.into()), ..Options::default() };
        let choose = |options: &Options| fixture.sessions.choose(options, &fixture.workspace);
        fixture.write(OLD, &fixture.workspace, 100);
        fixture.write(NEW, &fixture.workspace, 10);
        assert_eq!(choose(&of("a")), Session::Fresh);
        fixture.sessions.remember_conversation("a", OLD).unwrap();
        fixture.sessions.remember(&fixture.workspace, NEW).unwrap();
        assert_eq!(choose(&of("a")), Session::Continue(OLD.into()));
        assert_eq!(choose(&of("b")), Session::Fresh);
        assert_eq!(choose(&Options { no_continue: true, ..of("a") }), Session::Fresh);
        assert_eq!(choose(&Options { resume: Some(NEW.into()), ..of("a") }), Session::Resume(NEW.into()));
        // One whose file is gone cannot be continued.
        fixture.sessions.remember_conversation("a", "33333333-3333-4333-8333-333333333333").unwrap();
        assert_eq!(choose(&of("a")), Session::Fresh);
    }

    #[test]
    fn slugs_are_the_clis() {
        assert_eq!(slug(Path::new("/home/me/a.b_c")).text, "-home-me-a-b-c");
        // Two UTF-16 units, two dashes.
        assert_eq!(slug(Path::new("/\u{1f600}")).text, "---");
        let long = slug(Path::new(&format!("/{}", "x".repeat(300))));
        assert!(long.cut && long.text.len() == LONGEST_SLUG_UNITS);
    }
}
