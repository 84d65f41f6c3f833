//! What holds in each chat: the settings file, and what chats have changed for themselves.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::task::spawn_blocking;

use super::settings::{Chat, Overrides, SettingsError, SettingsFile};
use crate::atomic_file;

/// The file beside the settings file.
const OVERRIDES: &str = "telegram_overrides.json";

/// The settings file as it was last read, and what chats have changed. Clones are the same one.
#[derive(Clone)]
pub(super) struct ChatSettings {
    path: PathBuf,
    file: Arc<RwLock<Arc<SettingsFile>>>,
    overrides: Arc<OverridesFile>,
}

impl ChatSettings {
    /// Reads the settings file, and the one beside it. Blocks.
    pub(super) fn open(path: PathBuf) -> Result<Self, SettingsError> {
        let file = Arc::new(RwLock::new(Arc::new(SettingsFile::read(&path)?)));
        let overrides = Arc::new(OverridesFile::open(path.with_file_name(OVERRIDES)));
        Ok(Self { path, file, overrides })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> Arc<SettingsFile> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn overrides(&self, chat: i64) -> Overrides {
        self.overrides.of(chat)
    }

    /// What holds for a chat.
    pub(super) fn of(&self, chat: i64) -> Chat {
        self.file().chat(chat, &self.overrides.of(chat))
    }

    /// Reads the settings file again. An error: the old settings stay.
    pub(super) async fn reload(&self) -> Result<Arc<SettingsFile>, String> {
        let path = self.path.clone();
        let read = spawn_blocking(move || SettingsFile::read(&path)).await.map_err(|error| error.to_string())?;
        let read = Arc::new(read.map_err(|error| error.to_string())?);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read);
        tracing::info!("the Telegram settings were read again");
        Ok(read)
    }

    /// Changes a setting for a chat; when this returns, that lasts. An error: why it is not changed, for a person.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        chat: i64,
        field: fn(&mut Overrides) -> &mut Option<T>,
        value: Option<T>,
    ) -> Result<(), String> {
        let overrides = Arc::clone(&self.overrides);
        let changed = spawn_blocking(move || overrides.change(chat, |all| *field(all) = value)).await;
        let changed = changed.map_err(|error| error.to_string())?;
        changed.map_err(|error| format!("It cannot be kept, and is not changed: {error}"))
    }
}

/// What chats have changed, by their ids: a JSON file, replaced whole with each change.
struct OverridesFile {
    path: PathBuf,
    chats: Mutex<BTreeMap<i64, Overrides>>,
}

impl OverridesFile {
    /// Reads the file. One that cannot be read is kept aside, and said.
    fn open(path: PathBuf) -> Self {
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

    fn of(&self, chat: i64) -> Overrides {
        self.chats().get(&chat).cloned().unwrap_or_default()
    }

    /// Changes something for a chat; when this returns, it lasts. Blocks.
    fn change(&self, chat: i64, change: impl FnOnce(&mut Overrides)) -> io::Result<()> {
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
