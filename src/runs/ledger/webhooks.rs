//! Results that are still to be posted somewhere.

use rusqlite::params;
use uuid::Uuid;

use super::{Ledger, LedgerError, rows};
use crate::runs::run::Requester;

/// A result to post now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose result.
    pub run_id: Uuid,
    /// Where to.
    pub url: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is due, milliseconds since 1970.
    pub due_at: i64,
    /// Whose run it was; `None` if the run is gone.
    pub requester: Option<Requester>,
}

impl Ledger {
    /// Results to post, soonest due first: `choose` reads as many of them as it needs.
    pub async fn due_webhooks<T: Send + 'static>(
        &self,
        choose: impl FnOnce(&mut dyn Iterator<Item = rusqlite::Result<Due>>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.read(move |connection| {
            let sql = "SELECT run_id, url, attempts, due_at, requester, kind
                       FROM webhooks LEFT JOIN runs ON runs.id = run_id WHERE webhooks.state = 'due' ORDER BY due_at";
            let mut statement = connection.prepare_cached(sql)?;
            let mut waiting = statement.query_map([], |row| {
                Ok(Due {
                    run_id: rows::uuid(row, 0)?,
                    url: row.get(1)?,
                    attempts: row.get(2)?,
                    due_at: row.get(3)?,
                    requester: row.get::<_, Option<String>>(4)?.map(|_| rows::requester(row, 4, 5)).transpose()?,
                })
            })?;
            choose(&mut waiting)
        })
        .await
    }

    /// Notes an attempt: when the next one is due (`None`: there is none), and what went wrong, if it did.
    pub async fn webhook_tried(&self, run: Uuid, next: Option<i64>, error: Option<String>) -> Result<(), LedgerError> {
        self.writer
            .write("write to", move |connection| {
                let state = match (next, &error) {
                    (Some(_), _) => "due",
                    (None, Some(_)) => "failed",
                    (None, None) => "delivered",
                };
                let sql = "UPDATE webhooks SET attempts = attempts + 1, due_at = ?2, state = ?3, last_error = ?4
                           WHERE run_id = ?1";
                connection.execute(sql, params![run.to_string(), next, state, error]).map(drop)
            })
            .await
    }
}
