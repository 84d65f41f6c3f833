//! Which session a workspace was last in, and a door's conversation: one file in the state folder.
//!
//! A session is noted when it is chosen, before the CLI is there, and the one before it is kept beside it until the CLI has
//! been in the new one. So a kill at any moment loses neither: the new one counts as soon as there is a conversation in its
//! file, and until then the old one.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::file::is_resumable;
use super::files::Sessions;
use crate::atomic_file;
use crate::json_file::{self, JsonFileError};

/// The workspaces in which prompts and the terminal have gone separate ways.
const SEPARATE: &str = "separate.json";
const FILE: &str = "sessions.json";
const LOCK: &str = ".lock";
/// The session that counts, and the one that counts while there is no conversation in that.
const SESSION: &str = "sessionId";
const BEFORE: &str = "before";

/// Notes that were replaced: their keys, and what they were.
pub(super) type Replaced = Vec<(String, Option<Value>)>;

/// Whose last session is noted: the workspace's, and the conversation's if there is one. Absolute paths are workspaces.
pub(super) fn keys(workspace: &Path, conversation: Option<&str>) -> Vec<String> {
    conversation.map(of_conversation).into_iter().chain([of_workspace(workspace)]).collect()
}

fn of_workspace(workspace: &Path) -> String {
    workspace.to_string_lossy().into_owned()
}

pub(super) fn of_conversation(conversation: &str) -> String {
    format!("conversation:{conversation}")
}

impl Sessions {
    /// Whether this is the first time since prompts and terminals have sessions of their own, in this workspace.
    pub(super) fn first_separation(&self, workspace: &Path) -> bool {
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

    /// The last session of `key` that there still is a conversation in.
    pub(super) fn remembered(&self, key: &str) -> Option<String> {
        let notes: Value = serde_json::from_slice(&fs::read(self.state_dir.join(FILE)).ok()?).ok()?;
        self.last(notes.get(key)?)
    }

    /// Notes that all of `keys` are to be in the session `id`; what was noted before, where that was another one.
    pub(super) fn intend(&self, keys: &[String], id: &str) -> Result<Replaced, JsonFileError> {
        let mut replaced = Vec::new();
        if keys.is_empty() {
            return Ok(replaced);
        }
        self.change(|notes| {
            for key in keys {
                let found = notes.get(key);
                if found.is_some_and(|note| note[SESSION] == id) {
                    continue;
                }
                let before = found.and_then(|note| self.last(note)).filter(|before| before != id);
                let note = before.map_or_else(|| json!({SESSION: id}), |before| json!({SESSION: id, BEFORE: before}));
                replaced.push((key.clone(), notes.insert(key.clone(), note)));
            }
        })?;
        Ok(replaced)
    }

    /// Notes that all of `keys` have been in the session `id`. Should its file go, none before it comes back.
    pub(super) fn confirm(&self, keys: &[String], id: &str) -> Result<(), JsonFileError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.change(|notes| {
            for key in keys {
                notes.insert(key.clone(), json!({SESSION: id}));
            }
        })
    }

    /// Puts back what was noted before the session `id`, as far as that is still what is noted.
    pub(super) fn put_back(&self, replaced: Replaced, id: &str) -> Result<(), JsonFileError> {
        if replaced.is_empty() {
            return Ok(());
        }
        self.change(|notes| {
            for (key, before) in replaced {
                match before {
                    _ if notes.get(&key).is_none_or(|note| note[SESSION] != id) => {}
                    Some(before) => drop(notes.insert(key, before)),
                    None => drop(notes.remove(&key)),
                }
            }
        })
    }

    /// Forgets in the state folder `state_dir`, of any box, what `workspace` was last in.
    pub(super) fn forget(state_dir: &Path, workspace: &Path) -> Result<(), JsonFileError> {
        let file = state_dir.join(FILE);
        if !file.is_file() {
            return Ok(());
        }
        json_file::update(&file, &state_dir.join(LOCK), |notes| drop(notes.remove(&of_workspace(workspace))))
    }

    fn change(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), JsonFileError> {
        // A missing folder shows in the write's own error.
        let _ = atomic_file::private_folder(&self.state_dir);
        json_file::update(&self.state_dir.join(FILE), &self.state_dir.join(LOCK), change)
    }

    fn last(&self, note: &Value) -> Option<String> {
        let ids = [SESSION, BEFORE].into_iter().filter_map(|field| note[field].as_str());
        ids.into_iter().find(|id| self.find(id).is_some_and(|path| is_resumable(&path))).map(str::to_owned)
    }
}
