//! Runs to rows and back.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;
use uuid::Uuid;

use crate::claude::outcome::Outcome;
use crate::store::record::{DoorName, End, Request, Requester, Run, State};
use crate::store::{Accepted, Filter, Finish, LedgerEntry};

/// What [`run`] reads.
pub(super) const COLUMNS: &str = "id, workspace, door, requester, state, request, created_at, started_at, finished_at, \
                                  outcome, resets_at, error, result, cost_usd, session_id, reaped, terms, cost_estimated, kind";

/// The same for a list: the beginning of the prompt, no options, no result. A page of whole runs could be gigabytes.
const LISTED: &str = "id, workspace, door, requester, state, \
                      json_object('prompt', substr(request ->> '$.prompt', 1, 200), 'options', json('{}'), \
                                  'format', request ->> '$.format'), \
                      created_at, started_at, finished_at, outcome, resets_at, error, 'null', cost_usd, session_id, reaped, \
                      terms, cost_estimated, kind";

pub(super) fn insert(connection: &Connection, entry: &LedgerEntry) -> rusqlite::Result<Accepted> {
    let run = &entry.run;
    if let Some((key, _)) = &entry.idempotency {
        let sql = "SELECT id, idempotency_digest FROM runs WHERE kind = ?1 AND requester = ?2 AND idempotency_key = ?3";
        let before = connection
            .query_row(sql, params![run.requester.kind(), run.requester.name(), key], |row| {
                Ok(Accepted::Before(uuid(row, 0)?, row.get(1)?))
            })
            .optional()?;
        if let Some(before) = before {
            return Ok(before);
        }
    }
    connection.execute(
        "INSERT INTO runs (id, workspace, door, requester, state, request, idempotency_key, idempotency_digest,
                           created_at, started_at, terms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            run.id.to_string(),
            bytes(&run.workspace),
            run.door.name(),
            run.requester.name(),
            run.state.name(),
            json(&run.request)?,
            entry.idempotency.as_ref().map(|(key, _)| key),
            entry.idempotency.as_ref().map(|(_, digest)| digest),
            run.created_at,
            run.started_at,
            json(&run.terms)?,
        ],
    )?;
    if let Some(url) = &entry.webhook_url {
        connection.execute("INSERT INTO webhooks (run_id, url) VALUES (?1, ?2)", params![run.id.to_string(), url])?;
    }
    Ok(Accepted::New)
}

pub(super) fn finish(connection: &Connection, finish: &Finish) -> rusqlite::Result<Option<f64>> {
    let Finish { id, state, end } = finish;
    let id = id.to_string();
    let cost = match end.result["costUsd"].as_f64() {
        _ if end.cost_estimated => end.cost_usd,
        Some(own) => Some(own),
        // A CLI that does not say what the run alone has cost.
        None => own_cost(connection, &id, end)?,
    };
    let total = end.cost_usd.filter(|_| !end.cost_estimated);
    let changed = connection.execute(
        "UPDATE runs SET state = ?2, finished_at = ?3, outcome = ?4, resets_at = ?5, error = ?6, result = ?7,
                         cost_usd = ?8, session_id = ?9, reaped = ?10,
                         cost_estimated = ?11
         WHERE id = ?1 AND state IN ('queued', 'running')",
        params![
            id,
            state.name(),
            end.at,
            end.outcome.map(Outcome::name),
            end.outcome.and_then(Outcome::resets_at).and_then(|at| i64::try_from(at).ok()),
            end.error,
            json(&end.result)?,
            cost,
            end.session_id,
            i64::try_from(end.reaped).unwrap_or(i64::MAX),
            end.cost_estimated,
        ],
    )?;
    if changed == 0 {
        return Ok(None);
    }
    if let Some(session) = &end.session_id {
        connection.execute(
            "INSERT INTO sessions (id, workspace, total_cost_usd, last_run, used_at)
             SELECT ?2, workspace, ?3, id, ?4 FROM runs WHERE id = ?1
             ON CONFLICT (id) DO UPDATE SET total_cost_usd = COALESCE(excluded.total_cost_usd, total_cost_usd),
                 workspace = excluded.workspace, last_run = excluded.last_run, used_at = excluded.used_at",
            params![id, session, total, end.at],
        )?;
    }
    let sql = "UPDATE webhooks SET state = 'due', due_at = ?2 WHERE run_id = ?1 AND state = 'waiting'";
    connection.execute(sql, params![id, end.at])?;
    Ok(cost)
}

/// The CLI says what a session has cost so far, in all its runs: what the earlier ones cost is taken off. A forked
/// session begins with what the one it was forked from had cost.
fn own_cost(connection: &Connection, run: &str, end: &End) -> rusqlite::Result<Option<f64>> {
    let (Some(total), Some(session)) = (end.cost_usd, &end.session_id) else { return Ok(end.cost_usd) };
    let cost_of = |session: &str| -> rusqlite::Result<Option<f64>> {
        let sql = "SELECT total_cost_usd FROM sessions WHERE id = ?1 AND last_run <> ?2";
        let found: Option<Option<f64>> =
            connection.query_row(sql, params![session, run], |row| row.get(0)).optional()?;
        Ok(found.flatten())
    };
    let before = match cost_of(session)? {
        None => forked_from(connection, run)?.map(|parent| cost_of(&parent)).transpose()?.flatten(),
        known => known,
    };
    // A total below the last one is no total: a CLI that counts anew.
    Ok(Some(before.filter(|&before| before <= total).map_or(total, |before| total - before)))
}

/// The session that a run was asked to fork.
fn forked_from(connection: &Connection, run: &str) -> rusqlite::Result<Option<String>> {
    let request: Option<Request> =
        connection.query_row("SELECT request FROM runs WHERE id = ?1", [run], |row| parse(row, 0)).optional()?;
    Ok(request.map(|request| request.options).filter(|options| options.fork_session).and_then(|options| options.resume))
}

pub(super) fn session_workspace(connection: &Connection, session: &str) -> rusqlite::Result<Option<PathBuf>> {
    let sql = "SELECT workspace FROM sessions WHERE id = ?1";
    connection.query_row(sql, [session], |row| Ok(path(row.get(0)?))).optional()
}

pub(super) fn list(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Run>> {
    let sql = format!(
        "SELECT {LISTED} FROM runs
         WHERE (?1 IS NULL OR workspace = ?1) AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR id < ?3)
               AND (?4 IS NULL OR (kind = ?4 AND requester = ?5))
         ORDER BY id DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let workspace = filter.workspace.as_deref().map(bytes);
    let before = filter.before.map(|id| id.to_string());
    let (kind, name) = (filter.requester.as_ref().map(Requester::kind), filter.requester.as_ref().map(Requester::name));
    let mut rows = statement.query(params![workspace, filter.state.map(State::name), before, kind, name])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        if runs.len() == filter.limit {
            break;
        }
        let workspace = path(row.get(1)?);
        if filter.visible.as_ref().is_none_or(|visible| visible(&workspace)) {
            runs.push(run(row)?);
        }
    }
    Ok(runs)
}

pub(super) fn prune(connection: &Connection, before: i64) -> rusqlite::Result<Vec<Uuid>> {
    let pending = "SELECT run_id FROM webhooks WHERE state IN ('waiting', 'due')";
    let sql = format!("DELETE FROM runs WHERE finished_at < ?1 AND id NOT IN ({pending}) RETURNING id");
    let ids: Vec<Uuid> =
        connection.prepare(&sql)?.query_map([before], |row| uuid(row, 0))?.collect::<rusqlite::Result<_>>()?;
    connection.execute("DELETE FROM webhooks WHERE run_id NOT IN (SELECT id FROM runs)", [])?;
    connection.execute("DELETE FROM sessions WHERE used_at < ?1", [before])?;
    Ok(ids)
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let finished_at: Option<i64> = row.get(8)?;
    let end = finished_at.map(|at| end(row, at)).transpose()?;
    let state: String = row.get(4)?;
    let door: String = row.get(2)?;
    let door = DoorName::from_name(&door).ok_or_else(|| unreadable(2, format!("{door:?} is no door")))?;
    Ok(Run {
        id: uuid(row, 0)?,
        workspace: path(row.get(1)?),
        door,
        requester: requester(row, 3, 18)?,
        state: State::from_name(&state).ok_or_else(|| unreadable(4, format!("{state:?} is no state")))?,
        request: parse(row, 5)?,
        terms: parse(row, 16)?,
        created_at: row.get(6)?,
        started_at: row.get(7)?,
        end,
    })
}

fn end(row: &Row<'_>, at: i64) -> rusqlite::Result<End> {
    let result: Value = parse(row, 12)?;
    let resets_at = row.get::<_, Option<i64>>(10)?.and_then(|at| u64::try_from(at).ok());
    let outcome = row.get::<_, Option<String>>(9)?.and_then(|name| Outcome::from_envelope(&name, &result));
    let outcome = outcome.map(|outcome| match outcome {
        // Lists have no result.
        Outcome::RateLimited { .. } => Outcome::RateLimited { resets_at },
        outcome => outcome,
    });
    Ok(End {
        at,
        outcome,
        error: row.get(11)?,
        result,
        cost_usd: row.get(13)?,
        cost_estimated: row.get(17)?,
        session_id: row.get(14)?,
        reaped: row.get::<_, Option<i64>>(15)?.and_then(|count| u64::try_from(count).ok()).unwrap_or_default(),
    })
}

/// The requester whose name and kind are in these columns.
pub(super) fn requester(row: &Row<'_>, name: usize, kind: usize) -> rusqlite::Result<Requester> {
    let (name, kind): (String, String) = (row.get(name)?, row.get(kind)?);
    let unknown = format!("{name:?} is no {kind}");
    Requester::of(&kind, name).ok_or_else(|| unreadable(3, unknown))
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    let text: String = row.get(column)?;
    Uuid::try_parse(&text).map_err(|error| unreadable(column, error))
}

fn parse<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}
