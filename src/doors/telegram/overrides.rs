//! What chats have changed for themselves: a JSON file beside the settings, replaced whole with each change.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::settings::Overrides;
use crate::atomic_file;

/// The file's name.
pub(super) const FILE: &str = "telegram_overrides.json";

/// What chats have changed, by their ids.
pub(super) struct OverridesFile {
    path: PathBuf,
    chats: Mutex<BTreeMap<i64, Overrides>>,
}

impl OverridesFile {
    /// Reads the file. One that cannot be read is kept aside, and said.
    pub(super) fn open(path: PathBuf) -> Self {
        let chats = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}; what chats had changed is left out", path.display());
                BTreeMap::new()
            }
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                let aside = path.with_extension("json.corrupt");
                let kept =
                    std::fs::rename(&path, &aside).map_or("", |()| "; it is kept as telegram_overrides.json.corrupt");
                tracing::warn!("{} cannot be understood: {error}{kept}", path.display());
                BTreeMap::new()
            }),
        };
        Self { path, chats: Mutex::new(chats) }
    }

    /// What a chat has changed.
    pub(super) fn of(&self, chat: i64) -> Overrides {
        self.chats().get(&chat).cloned().unwrap_or_default()
    }

    /// Changes something for a chat; when this returns, it lasts. Blocks.
    pub(super) fn change(&self, chat: i64, change: impl FnOnce(&mut Overrides)) -> io::Result<()> {
        let mut chats = self.chats();
        let mut after = chats.clone();
        change(after.entry(chat).or_default());
        after.retain(|_, overrides| *overrides != Overrides::default());
        let mut text = serde_json::to_vec_pretty(&after)?;
        text.push(b'\n');
        atomic_file::replace(&self.path, &text, 0o600)?;
        *chats = after;
        Ok(())
    }

    fn chats(&self) -> MutexGuard<'_, BTreeMap<i64, Overrides>> {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
