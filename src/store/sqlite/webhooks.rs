//! Results that are still to be posted somewhere, in the database.

use rusqlite::params;
use uuid::Uuid;

use super::{Sqlite, rows};
use crate::store::{Answer, Due, Outbox};

impl Outbox for Sqlite {
    fn due(&self, after: Option<(i64, Uuid)>, most: usize) -> Answer<'_, Vec<Due>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT run_id, url, attempts, due_at, requester, kind
                       FROM webhooks LEFT JOIN runs ON runs.id = run_id
                       WHERE webhooks.state = 'due' AND (?1 IS NULL OR (due_at, run_id) > (?1, ?2))
                       ORDER BY due_at, run_id LIMIT ?3";
            let (at, id) = after.map(|(at, id)| (at, id.to_string())).unzip();
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            connection
                .prepare_cached(sql)?
                .query_map(params![at, id, most], |row| {
                    Ok(Due {
                        run_id: rows::uuid(row, 0)?,
                        url: row.get(1)?,
                        attempts: row.get(2)?,
                        due_at: row.get(3)?,
                        requester: row.get::<_, Option<String>>(4)?.map(|_| rows::requester(row, 4, 5)).transpose()?,
                    })
                })?
                .collect()
        }))
    }

    fn tried(&self, run: Uuid, next: Option<i64>, error: Option<String>) -> Answer<'_, ()> {
        Box::pin(self.writer.write("write to", move |connection| {
            let state = match (next, &error) {
                (Some(_), _) => "due",
                (None, Some(_)) => "failed",
                (None, None) => "delivered",
            };
            let sql = "UPDATE webhooks SET attempts = attempts + 1, due_at = ?2, state = ?3, last_error = ?4
                       WHERE run_id = ?1";
            connection.execute(sql, params![run.to_string(), next, state, error]).map(drop)
        }))
    }
}
