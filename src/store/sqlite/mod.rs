//! The store of one box: `SQLite` in one file of its state folder.
//!
//! Write-ahead log where the file system allows it, `synchronous=FULL`: what a method returned for is on the disk. One
//! thread writes and commits what has piled up in one transaction, so a hundred clients at once cost one `fsync`, not a
//! hundred. Reads have a connection of their own and wait for no write.

mod error;
mod notes;
mod rows;
mod runs;
mod schema;
#[cfg(test)]
mod tests;
mod webhooks;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

pub use self::error::OpenError;
use self::error::{failed, unusable};
use self::writer::Writer;
use super::{Answer, Store, StoreError};

/// The database's file in the state folder.
/// Its name in the state folder.
pub const FILE: &str = "runs.sqlite3";

/// A store in a file. Clones are the same one.
#[derive(Clone)]
pub struct Sqlite {
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
}

impl Sqlite {
    /// Opens the store in `state_dir`, or makes one. The folder must be there, and nobody else may write in it.
    pub fn open(state_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join(FILE);
        let connection = schema::open(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(unusable(&path))?;
        reader.pragma_update(None, "cache_size", -256).map_err(unusable(&path))?;
        let writer = Writer::start(connection)
            .map_err(|error| OpenError::Unusable { path: path.clone(), why: error.to_string() })?;
        Ok(Self { writer, reader: Arc::new(Mutex::new(reader)) })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Arc::clone(&self.reader);
        let task = tokio::task::spawn_blocking(move || query(&reader.lock().unwrap_or_else(PoisonError::into_inner)));
        match task.await {
            Ok(result) => result.map_err(failed("read")),
            Err(error) => Err(StoreError::Failed { operation: "read", why: error.to_string() }),
        }
    }
}

impl Store for Sqlite {
    fn prune(&self, before: i64) -> Answer<'_, Vec<Uuid>> {
        Box::pin(self.writer.write("prune", move |connection| rows::prune(connection, before)))
    }

    fn prune_notes(&self, now: i64) -> Answer<'_, ()> {
        Box::pin(self.writer.write("prune", move |connection| {
            connection.execute("DELETE FROM notes WHERE expires_at < ?1", [now]).map(drop)
        }))
    }
}
