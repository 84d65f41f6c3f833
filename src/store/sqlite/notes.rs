//! Doors' notes in the database.

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::Sqlite;
use crate::store::record::DoorName;
use crate::store::{Answer, Note, Notes};

impl Notes for Sqlite {
    fn put_note(&self, door: DoorName, note: Note, expires_at: Option<i64>) -> Answer<'_, ()> {
        Box::pin(self.writer.write("write to", move |connection| {
            let sql = "INSERT INTO notes (door, key, value, expires_at) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (door, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
            connection.execute(sql, params![door.name(), note.key, note.value.to_string(), expires_at]).map(drop)
        }))
    }

    fn note<'call>(&'call self, door: DoorName, key: &'call str) -> Answer<'call, Option<Value>> {
        let key = key.to_owned();
        Box::pin(self.read(move |connection| {
            let sql = "SELECT value FROM notes WHERE door = ?1 AND key = ?2";
            let text: Option<String> =
                connection.prepare_cached(sql)?.query_row(params![door.name(), key], |row| row.get(0)).optional()?;
            Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
        }))
    }

    fn notes<'call>(&'call self, door: DoorName, prefix: &'call str) -> Answer<'call, Vec<Note>> {
        let prefix = prefix.to_owned();
        Box::pin(self.read(move |connection| {
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
        }))
    }

    fn remove_note<'call>(&'call self, door: DoorName, key: &'call str) -> Answer<'call, ()> {
        let key = key.to_owned();
        Box::pin(self.writer.write("write to", move |connection| {
            connection.execute("DELETE FROM notes WHERE door = ?1 AND key = ?2", params![door.name(), key]).map(drop)
        }))
    }
}
