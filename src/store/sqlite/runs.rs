//! Runs in the database.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::{Sqlite, rows};
use crate::store::record::{Requester, Run};
use crate::store::{Accepted, Answer, Filter, Finish, LedgerEntry, Runs};

impl Runs for Sqlite {
    fn accept(&self, entry: LedgerEntry) -> Answer<'_, Accepted> {
        Box::pin(self.writer.write("add to", move |connection| rows::insert(connection, &entry)))
    }

    fn start(&self, id: Uuid, at: i64) -> Answer<'_, ()> {
        Box::pin(self.writer.write("write to", move |connection| {
            let sql = "UPDATE runs SET state = 'running', started_at = ?2 WHERE id = ?1 AND state = 'queued'";
            connection.execute(sql, params![id.to_string(), at]).map(drop)
        }))
    }

    fn finish(&self, finish: Arc<Finish>) -> Answer<'_, Option<f64>> {
        Box::pin(self.writer.write("write to", move |connection| rows::finish(connection, &finish)))
    }

    fn get(&self, id: Uuid) -> Answer<'_, Option<Run>> {
        Box::pin(self.read(move |connection| {
            let sql = format!("SELECT {} FROM runs WHERE id = ?1", rows::COLUMNS);
            connection.query_row(&sql, [id.to_string()], rows::run).optional()
        }))
    }

    fn by_key<'call>(
        &'call self,
        requester: &'call Requester,
        key: &'call str,
    ) -> Answer<'call, Option<(Uuid, String)>> {
        let (requester, key) = (requester.clone(), key.to_owned());
        Box::pin(self.read(move |connection| {
            let sql = "SELECT id, idempotency_digest FROM runs
                       WHERE kind = ?1 AND requester = ?2 AND idempotency_key = ?3";
            let by = params![requester.kind(), requester.name(), key];
            connection.query_row(sql, by, |row| Ok((rows::uuid(row, 0)?, row.get(1)?))).optional()
        }))
    }

    fn session_workspace<'call>(&'call self, session: &'call str) -> Answer<'call, Option<PathBuf>> {
        let session = session.to_owned();
        Box::pin(self.read(move |connection| rows::session_workspace(connection, &session)))
    }

    fn list(&self, filter: Filter) -> Answer<'_, Vec<Run>> {
        Box::pin(self.read(move |connection| rows::list(connection, &filter)))
    }

    fn unfinished(&self) -> Answer<'_, Vec<Run>> {
        Box::pin(self.read(|connection| {
            let columns = rows::COLUMNS;
            let sql = format!("SELECT {columns} FROM runs WHERE state IN ('queued', 'running') ORDER BY id");
            connection.prepare(&sql)?.query_map([], rows::run)?.collect()
        }))
    }

    fn cost_since(&self, since: i64) -> Answer<'_, Vec<(Requester, f64)>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT kind, requester, SUM(cost_usd) FROM runs
                       WHERE finished_at >= ?1 AND cost_usd IS NOT NULL GROUP BY kind, requester";
            let who = |row: &Row<'_>| Ok((rows::requester(row, 1, 0)?, row.get(2)?));
            connection.prepare(sql)?.query_map([since], who)?.collect()
        }))
    }
}
