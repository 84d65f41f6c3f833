//! The CLI's own state, so that it opens at its prompt: onboarding, trust and key approval count as settled. The user's own
//! keys stay.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::PINNED_VERSION;
use crate::json_file::{self, JsonFileError};

/// How much of an API key the CLI remembers when it has been approved.
const KEY_TAIL_CHARS: usize = 20;

/// Why the files could not be prepared. The CLI still starts, and asks.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FirstRunError {
    #[error("cannot create {}: {source}", .path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    File(#[from] JsonFileError),
}

/// Settles the CLI's first-run questions in `config_dir` for `workspace`, as the user the CLI runs as.
pub fn settle(config_dir: &Path, workspace: &Path, api_key: Option<&str>) -> Result<(), FirstRunError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(config_dir)
        .map_err(|source| FirstRunError::Folder { path: config_dir.into(), source })?;
    let lock = config_dir.join(".claudebox.lock");
    json_file::edit(&config_dir.join(".claude.json"), &lock, |state| settle_state(state, workspace, api_key))?;
    Ok(())
}

fn settle_state(state: &mut Map<String, Value>, workspace: &Path, api_key: Option<&str>) {
    state.insert("hasCompletedOnboarding".into(), true.into());
    // Where the CLI may not write this file, it would ask about its news each time.
    state.entry("firstStartVersion").or_insert_with(|| PINNED_VERSION.into());
    let projects = object_in(state, "projects");
    // Trust in a folder covers those below it, and the user has put the CLI into this box to work anywhere in it.
    for folder in ["/", &workspace.to_string_lossy()] {
        object_in(projects, folder).insert("hasTrustDialogAccepted".into(), true.into());
    }
    if let Some(key) = api_key {
        approve(object_in(state, "customApiKeyResponses"), key);
    }
}

fn approve(responses: &mut Map<String, Value>, key: &str) {
    let chars: Vec<char> = key.chars().collect();
    let tail = json!(chars[chars.len().saturating_sub(KEY_TAIL_CHARS)..].iter().collect::<String>());
    for (list, wanted) in [("approved", true), ("rejected", false)] {
        let entry = responses.entry(list).or_insert_with(|| json!([]));
        if !entry.is_array() {
            *entry = json!([]);
        }
        let Some(keys) = entry.as_array_mut() else { continue };
        if !wanted {
            keys.retain(|known| *known != tail);
        } else if !keys.contains(&tail) {
            keys.push(tail.clone());
        }
    }
}

/// The object under `key`, made if it is missing or something else.
fn object_in<'map>(map: &'map mut Map<String, Value>, key: &str) -> &'map mut Map<String, Value> {
    let entry = map.entry(key).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    match entry {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object just above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-ant-test-0123456789-abcdefghij";

    fn state(folder: &Path) -> Value {
        serde_json::from_slice(&fs::read(folder.join(".claude.json")).unwrap()).unwrap()
    }

    #[test]
    fn answers_every_first_run_question() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("new/.claude");
        settle(&config, Path::new("/work"), Some(KEY)).unwrap();
        let expected = json!({
            "hasCompletedOnboarding": true,
            "firstStartVersion": PINNED_VERSION,
            "projects": {"/": {"hasTrustDialogAccepted": true}, "/work": {"hasTrustDialogAccepted": true}},
            "customApiKeyResponses": {"approved": ["3456789-abcdefghij".to_owned()], "rejected": []},
        });
        let mut found = state(&config);
        assert!(KEY.ends_with(found["customApiKeyResponses"]["approved"][0].as_str().unwrap()));
        assert_eq!(found["customApiKeyResponses"]["approved"][0].as_str().unwrap().chars().count(), KEY_TAIL_CHARS);
        found["customApiKeyResponses"] = expected["customApiKeyResponses"].clone();
        assert_eq!(found, expected);
        // The user's settings file is the host's too, where this folder is mounted.
        assert!(!config.join("settings.json").exists());
    }

    #[test]
    fn the_users_own_keys_stay() {
        let folder = tempfile::tempdir().unwrap();
        let before = json!({"theme": "dark", "projects": {"/work": {"history": [1]}}, "customApiKeyResponses": 3});
        fs::write(folder.path().join(".claude.json"), before.to_string()).unwrap();
        settle(folder.path(), Path::new("/work"), None).unwrap();
        let after = state(folder.path());
        assert_eq!(after["theme"], "dark");
        assert_eq!(after["projects"]["/work"], json!({"history": [1], "hasTrustDialogAccepted": true}));
        assert_eq!(after["customApiKeyResponses"], 3);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join(".claude.json");
        std::os::unix::fs::symlink("/nonexistent/.claude.json", &link).unwrap();
        let error = settle(folder.path(), Path::new("/work"), None).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/.claude.json"), "{error}");
        assert!(fs::read_link(&link).is_ok());
    }

    #[test]
    fn doing_it_twice_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        settle(folder.path(), Path::new("/"), Some(KEY)).unwrap();
        let before = state(folder.path());
        settle(folder.path(), Path::new("/"), Some(KEY)).unwrap();
        assert_eq!(state(folder.path()), before);
    }
}
