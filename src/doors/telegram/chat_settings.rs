//! What holds in each chat: the settings file, and what chats have changed for themselves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::task::spawn_blocking;

use super::overrides::{self, OverridesFile};
use super::settings::{Chat, Overrides, SettingsError, SettingsFile};

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
        let overrides = Arc::new(OverridesFile::open(path.with_file_name(overrides::FILE)));
        Ok(Self { path, file, overrides })
    }

    /// Where the settings file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The settings file as it was last read.
    pub(super) fn file(&self) -> Arc<SettingsFile> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a chat has changed.
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
