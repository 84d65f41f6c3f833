//! What doors have to remember over a restart: a conversation's session, a message that belongs to a run.

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::{Ledger, LedgerError};
use crate::runs::run::DoorName;

/// A door's note.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What the door calls it; of its own making, unique within the door.
    pub key: String,
    /// What it says.
    pub value: Value,
}

impl Ledger {
    /// Writes a note, in place of one with the same key. It goes at `expires_at` (milliseconds since 1970), if given.
    pub async fn put_note(&self, door: DoorName, note: Note, expires_at: Option<i64>) -> Result<(), LedgerError> {
        self.writer
            .write("write to", move |connection| {
                let sql = "INSERT INTO notes (door, key, value, expires_at) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (door, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
                connection.execute(sql, params![door.name(), note.key, note.value.to_string(), expires_at]).map(drop)
            })
            .await
    }

    /// The note with this key.
    pub async fn note(&self, door: DoorName, key: &str) -> Result<Option<Value>, LedgerError> {
        let key = key.to_owned();
        self.read(move |connection| {
            let sql = "SELECT value FROM notes WHERE door = ?1 AND key = ?2";
            let text: Option<String> =
                connection.prepare_cached(sql)?.query_row(params![door.name(), key], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        })
        .await
    }

    /// The notes whose keys begin with `prefix`, by their keys.
    pub async fn notes(&self, door: DoorName, prefix: &str) -> Result<Vec<Note>, LedgerError> {
        let prefix = prefix.to_owned();
        self.read(move |connection| {
            // Not LIKE: a key may hold its wildcards.
            let sql = "SELECT key, value FROM notes WHERE door = ?1 AND substr(key, 1, length(?2)) = ?2 ORDER BY key";
            let mut statement = connection.prepare_cached(sql)?;
            let rows =
                statement.query_map(params![door.name(), prefix], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            rows.filter_map(|row| match row {
                Ok((key, text)) => serde_json::from_str(&text).ok().map(|value| Ok(Note { key, value })),
                Err(error) => Some(Err(error)),
            })
            .collect()
        })
        .await
    }

    /// Removes the note with this key, if there is one.
    pub async fn remove_note(&self, door: DoorName, key: &str) -> Result<(), LedgerError> {
        let key = key.to_owned();
        self.writer
            .write("write to", move |connection| {
                connection
                    .execute("DELETE FROM notes WHERE door = ?1 AND key = ?2", params![door.name(), key])
                    .map(drop)
            })
            .await
    }

    /// Removes the notes that have expired.
    pub(in crate::runs) async fn prune_notes(&self, now: i64) -> Result<(), LedgerError> {
        self.writer
            .write("prune", move |connection| {
                connection.execute("DELETE FROM notes WHERE expires_at < ?1", [now]).map(drop)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn note(key: &str, value: Value) -> Note {
        Note { key: key.into(), value }
    }

    #[tokio::test]
    async fn a_note_is_one_doors_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        ledger.put_note(DoorName::Cron, note("a", json!(1)), None).await.unwrap();
        ledger.put_note(DoorName::Cron, note("a", json!({"b": [2]})), None).await.unwrap();
        assert_eq!(ledger.note(DoorName::Cron, "a").await.unwrap(), Some(json!({"b": [2]})));
        assert_eq!(ledger.note(DoorName::Mcp, "a").await.unwrap(), None);
        ledger.remove_note(DoorName::Cron, "a").await.unwrap();
        assert_eq!(ledger.note(DoorName::Cron, "a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_prefix_is_text_and_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        for key in ["a%1", "a%2", "ab3", "A%4"] {
            ledger.put_note(DoorName::Cron, note(key, json!(key)), None).await.unwrap();
        }
        let keys: Vec<String> =
            ledger.notes(DoorName::Cron, "a%").await.unwrap().into_iter().map(|note| note.key).collect();
        assert_eq!(keys, ["a%1", "a%2"]);
    }

    #[tokio::test]
    async fn an_expired_note_goes_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        for (key, expires_at) in [("old", Some(99)), ("new", Some(100)), ("for ever", None)] {
            ledger.put_note(DoorName::Cron, note(key, json!(key)), expires_at).await.unwrap();
        }
        ledger.prune_notes(100).await.unwrap();
        let keys: Vec<String> =
            ledger.notes(DoorName::Cron, "").await.unwrap().into_iter().map(|note| note.key).collect();
        assert_eq!(keys, ["for ever", "new"]);
    }
}
