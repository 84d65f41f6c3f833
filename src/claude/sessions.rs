//! Which session a run or a terminal goes on with.
//!
//! `--continue` with nothing to continue silently starts a new session, and two workspaces can share one folder of
//! session files. So the last session is found here and resumed by its id.
//!
//! Prompts and the terminal of a workspace each have their own last session. That of prompts is in a ledger of ours, that
//! of the terminal is the newest session file in which a person has spoken. Each can go on with the other's where that is
//! asked for. Whoever cannot have a session for itself goes on in a copy of it: a session has one writer (see [`open`]).

mod file;
mod look;
pub mod open;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use self::file::{is_damaged, is_resumable, modified, recorded_cwd};
use self::look::Look;
use self::open::{Holder, Lock, Registry};
use super::arguments::{Options, Session};
use crate::atomic_file;
use crate::json_file::{self, JsonFileError};

/// The CLI cuts a folder's name at this many UTF-16 units and appends a hash.
const LONGEST_SLUG_UNITS: usize = 200;
const LEDGER: &str = "sessions.json";
/// The workspaces in which prompts and the terminal have gone separate ways.
const SEPARATE: &str = "separate.json";
/// The folder of the locks.
const OPEN: &str = "open";

/// Who goes on with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// A prompt: of a script, or of a door.
    Prompt,
    /// A person on a terminal.
    Terminal,
}

impl Side {
    const fn that_writes(self) -> &'static str {
        match self {
            Self::Prompt => "another run is writing in it",
            Self::Terminal => "it is open on a terminal",
        }
    }
}

/// Why there is no session to go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Somebody else writes in it.
    #[error(
        "the session {id} cannot be resumed now: {}; wait for the end of that, or add --fork-session (forkSession) to go \
         on in a copy of it", .by.that_writes()
    )]
    InUse {
        /// The session.
        id: String,
        /// Whoever has it.
        by: Side,
    },
    /// There is no such session.
    #[error(
        "there is no session {0:?}: leave --resume out to go on with the last one of this workspace; /resume in it lists the \
         others"
    )]
    Unknown(String),
    /// The other side of the workspace has none.
    #[error("there is no session of {} in {} to go on with", .of, .workspace.display())]
    None {
        /// Whose.
        of: &'static str,
        /// The workspace.
        workspace: PathBuf,
    },
}

/// A session to start the CLI with, which nobody else writes in.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Which.
    pub session: Session,
    /// Whether the workspace's next prompt goes on with it.
    pub is_own: bool,
    /// What a person should know about the choice.
    pub note: Option<String>,
    /// Whether the note tells of a loss: a session that was to go on cannot.
    pub tells_of_loss: bool,
    lock: Option<Lock>,
}

impl Opened {
    fn new(session: Session) -> Self {
        Self { session, is_own: true, note: None, tells_of_loss: false, lock: None }
    }

    fn noting(session: Session, note: String) -> Self {
        Self { note: Some(note), ..Self::new(session) }
    }

    /// Gives the session back: the CLI has ended.
    pub fn release(&self) {
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }

    /// Keeps the session for the program that this process becomes.
    pub fn outlive_exec(&self) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), Lock::outlive_exec)
    }
}

/// Finds and remembers sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// The CLI's folder.
    pub config_dir: PathBuf,
    /// claudebox's state folder, where the ledger is.
    pub state_dir: PathBuf,
}

impl Sessions {
    /// The session that whoever starts the CLI with these options goes on with. It is theirs until what is returned is
    /// dropped, or until the CLI ends where it has been handed over.
    ///
    /// `conversation`: a door's name for the conversation that a prompt belongs to.
    pub fn open(
        &self,
        options: &Options,
        conversation: Option<&str>,
        workspace: &Path,
        side: Side,
    ) -> Result<Opened, OpenError> {
        let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned());
        let registry = Registry::lock(self.locks())
            .inspect_err(|error| tracing::warn!("sessions cannot be kept to one writer: {error}"))
            .ok();
        let look = Look { sessions: self, workspace: &workspace, registry: registry.as_ref() };
        let mut opened = match side {
            Side::Prompt => look.for_prompt(options, conversation),
            Side::Terminal => look.for_terminal(options),
        }?;
        if options.fork_session
            && let Session::Continue(id) = &opened.session
        {
            opened.session = Session::fork(id.clone(), false);
        }
        let writes = match &opened.session {
            // Which one, nobody knows before it is chosen. That a terminal is open here is known all the same.
            Session::Picked(_) => Some(Uuid::now_v7().to_string()),
            session => session.writes().filter(|id| Uuid::try_parse(id).is_ok()).map(str::to_ascii_lowercase),
        };
        if let (Some(id), Some(registry)) = (writes, registry) {
            opened.lock = registry
                .take(&id, &Holder { side, workspace: workspace.clone() })
                .inspect_err(|error| tracing::warn!("the session {id} cannot be kept to one writer: {error}"))
                .ok();
        }
        Ok(opened)
    }

    /// Why session `id` cannot be resumed at the moment, if it cannot. [`Sessions::open`] has the last word.
    pub fn check_free(&self, id: &str) -> Result<(), OpenError> {
        Uuid::try_parse(id)
            .ok()
            .and_then(|id| Registry::peek(&self.locks(), &id.to_string()))
            .map_or(Ok(()), |by| Err(OpenError::InUse { id: id.to_owned(), by }))
    }

    fn locks(&self) -> PathBuf {
        self.config_dir.join("claudebox").join(OPEN)
    }

    /// Whether this is the first time since prompts and terminals have sessions of their own, in this workspace.
    fn first_separation(&self, workspace: &Path) -> bool {
        let folder = self.config_dir.join("claudebox");
        let (file, key) = (folder.join(SEPARATE), workspace.to_string_lossy().into_owned());
        let noted = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        // Every prompt asks, and a note that is there stays.
        if noted.is_some_and(|workspaces| workspaces.get(&key).is_some()) {
            return false;
        }
        // A missing folder shows in the write's own error.
        let _ = atomic_file::private_folder(&folder);
        let mut is_first = false;
        let noted = json_file::update(&file, &folder.join(".lock"), |workspaces| {
            is_first = workspaces.insert(key, true.into()).is_none();
        });
        if let Err(error) = noted {
            tracing::debug!("{error}");
        }
        is_first
    }

    /// Remembers that `workspace` was last in the session `id`.
    pub fn remember(&self, workspace: &Path, id: &str) -> Result<(), JsonFileError> {
        let workspace = fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned());
        // A missing folder shows in the write's own error.
        let _ = atomic_file::private_folder(&self.state_dir);
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
        let _ = atomic_file::private_folder(&self.state_dir);
        json_file::update(&self.state_dir.join(LEDGER), &self.state_dir.join(".lock"), |ledger| {
            ledger.insert(key(conversation), json!({"sessionId": id}));
        })
    }

    /// The working directories that the files of session `id` were begun in. Empty: there is no such file, or none of
    /// them says where.
    ///
    /// One id can have files in several folders: a session that was resumed elsewhere.
    #[must_use]
    pub fn begun_in(&self, id: &str) -> Vec<PathBuf> {
        if Uuid::try_parse(id).is_err() {
            return Vec::new();
        }
        let folders = fs::read_dir(self.projects()).into_iter().flatten().flatten();
        folders.filter_map(|folder| recorded_cwd(&folder.path().join(format!("{id}.jsonl")))).collect()
    }

    /// Whether there is a file of session `id`.
    #[must_use]
    pub fn exists(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// The id in the ledger, if there still is a conversation in its file.
    fn remembered(&self, key: &str) -> Option<String> {
        let ledger: Value = serde_json::from_slice(&fs::read(self.state_dir.join(LEDGER)).ok()?).ok()?;
        let id = ledger.get(key)?["sessionId"].as_str()?;
        self.find(id).is_some_and(|path| is_resumable(&path)).then(|| id.to_owned())
    }

    /// The file of session `id`; it may lie in any folder, a session can change its cwd.
    fn find(&self, id: &str) -> Option<PathBuf> {
        Uuid::try_parse(id).ok()?;
        let folders = fs::read_dir(self.projects()).ok()?.flatten();
        let files = folders.map(|folder| folder.path().join(format!("{id}.jsonl")));
        files.filter_map(|path| Some((modified(&path)?, path))).max().map(|(_, path)| path)
    }

    /// The newest session of `workspace` that can be gone on with and is `wanted`.
    fn newest(&self, workspace: &Path, wanted: impl Fn(&Path) -> bool) -> Option<String> {
        let mut files = self.files(workspace);
        files.sort_unstable_by(|a, b| b.cmp(a));
        let is_ours = |path: &Path| recorded_cwd(path).as_deref() == Some(workspace) && is_resumable(path);
        files.into_iter().find(|(_, _, path)| is_ours(path) && wanted(path)).map(|(_, id, _)| id)
    }

    /// A session file that may be the workspace's last one, if nothing in it can be read.
    fn damaged(&self, workspace: &Path) -> Option<PathBuf> {
        self.files(workspace).into_iter().max().map(|(_, _, path)| path).filter(|path| is_damaged(path))
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
