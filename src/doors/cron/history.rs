//! What is kept of each tick for people: a folder of files, as the predecessor had it.
//!
//! Names of folders have the time in UTC, so that they sort. `meta.json` is replaced whole. All of it could be made
//! again from the ledger: a server that takes a tick up writes its folder anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::summary;
use super::tick::Tick;
use crate::atomic_file;
use crate::claude::outcome::Outcome;
use crate::store::record::Run;

const RUNS: &str = "history";
/// `YYYYMMDD-HHMMSS-`.
const STAMP_LENGTH: usize = 16;
/// What Claude answered is its owner's alone.
const MODE: u32 = 0o600;

/// The cron door's folder. Clones are the same one.
#[derive(Debug, Clone)]
pub struct History {
    root: PathBuf,
    keep: Duration,
    /// Held by whoever changes a file of lines.
    lines: Arc<Mutex<()>>,
}

/// A tick's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    workspace: PathBuf,
}

/// A tick's events, as they come.
#[derive(Debug)]
pub struct Activity {
    file: Option<tokio::fs::File>,
    path: PathBuf,
}

impl History {
    /// The history in `root`, kept for so long.
    #[must_use]
    pub fn new(root: PathBuf, keep: Duration) -> Self {
        Self { root, keep, lines: Arc::default() }
    }

    /// The folder of `tick`, which works in `workspace`; made if it is not there.
    pub fn folder(&self, tick: &Tick, workspace: &Path) -> io::Result<Folder> {
        let path = self.runs_in(workspace).join(format!("{}{}", stamp(tick.scheduled), tick.job));
        atomic_file::private_folder(&path)?;
        Ok(Folder { path, workspace: workspace.to_owned() })
    }

    /// The folder of the same job's tick before this one.
    pub fn before(&self, tick: &Tick, workspace: &Path) -> Option<PathBuf> {
        let own = stamp(tick.scheduled);
        let folders = fs::read_dir(self.runs_in(workspace)).ok()?.flatten();
        // The whole of what follows the time: `report` is not `daily-report`.
        let of_job = |name: &str| name.get(STAMP_LENGTH..) == Some(tick.job.as_str()) && name[..STAMP_LENGTH] < *own;
        let names = folders.filter_map(|folder| folder.file_name().into_string().ok()).filter(|name| of_job(name));
        names.max().map(|name| self.runs_in(workspace).join(name))
    }

    /// Writes down how a tick ended, in its folder and in its job's file of lines.
    pub fn finish(&self, folder: &Folder, tick: &Tick, run: Option<&Run>, error: Option<&str>) -> io::Result<()> {
        let (answer, complaint) = folder.finish(tick, run, error)?;
        let meta = folder.meta(tick, run, error);
        let mut line =
            json!({"job": tick.job, "text": answer, "stderr": complaint.trim_end(), "history_dir": folder.path});
        for same in [
            "scheduled_at",
            "fired_at",
            "finished_at",
            "schedule",
            "state",
            "outcome",
            "exit_code",
            "run_id",
            "cost_usd",
        ] {
            line[same] = meta[same].clone();
        }
        let _one = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        summary::append(&summary::path(&self.root, &tick.job), &line)
    }

    /// Removes the folders that are older than they are kept, and the lines about them.
    pub fn prune(&self, now: SystemTime) -> io::Result<usize> {
        let Some(oldest) = now.checked_sub(self.keep) else { return Ok(0) };
        {
            let _one = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            summary::prune(&self.root, oldest.into())?;
        }
        let before = stamp(i64::try_from(seconds(oldest)).unwrap_or(i64::MAX));
        let mut removed = 0;
        for workspace in folders(&self.root.join(RUNS))? {
            for run in folders(&workspace)? {
                let name = run.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let old = name.get(..STAMP_LENGTH).is_some_and(|stamp| is_stamp(stamp) && *stamp < *before);
                // One that was waiting for a limit all that time is still written to.
                if old && fs::metadata(&run)?.modified()? < oldest {
                    fs::remove_dir_all(&run)?;
                    removed += 1;
                }
            }
            // Not while something is in it.
            let _ = fs::remove_dir(&workspace);
        }
        Ok(removed)
    }

    fn runs_in(&self, workspace: &Path) -> PathBuf {
        self.root.join(RUNS).join(slug(workspace))
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins the file of events anew.
    pub async fn activity(&self) -> Activity {
        let path = self.path.join("activity.jsonl");
        let file = tokio::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&path).await;
        let file = file.inspect_err(|error| tracing::error!("cannot write {}: {error}", path.display())).ok();
        Activity { file, path }
    }

    /// Writes down where the tick stands. `run`: its last try, if there was one; `error`: why there was none.
    pub fn write_meta(&self, tick: &Tick, run: Option<&Run>, error: Option<&str>) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.meta(tick, run, error))?;
        text.push(b'\n');
        atomic_file::replace(&self.path.join("meta.json"), &text, MODE)
    }

    /// Writes down how it ended: the answer, and what went wrong.
    fn finish(&self, tick: &Tick, run: Option<&Run>, error: Option<&str>) -> io::Result<(String, String)> {
        let end = run.and_then(|run| run.end.as_ref());
        let answer = end.and_then(|end| end.result["result"].as_str()).unwrap_or_default().trim();
        let mut complaint = error.or_else(|| end?.error.as_deref()).unwrap_or_default().to_owned();
        let errors = end.and_then(|end| end.result["errors"].as_array()).into_iter().flatten();
        for text in errors.filter_map(Value::as_str).filter(|text| !text.is_empty()) {
            if !complaint.contains(text) {
                complaint.push('\n');
                complaint.push_str(text);
            }
        }
        if !complaint.is_empty() {
            complaint.push('\n');
        }
        atomic_file::replace(&self.path.join("result.txt"), answer.as_bytes(), MODE)?;
        atomic_file::replace(&self.path.join("stderr.log"), complaint.as_bytes(), MODE)?;
        // Last: who sees that it has finished finds the others.
        self.write_meta(tick, run, error)?;
        Ok((answer.to_owned(), complaint))
    }

    fn meta(&self, tick: &Tick, run: Option<&Run>, error: Option<&str>) -> Value {
        let options = &tick.request.options;
        let end = run.and_then(|run| run.end.as_ref());
        let outcome = end.and_then(|end| end.outcome);
        let exit_code = outcome.map(|outcome| outcome.exit_code().code());
        json!({
            "name": tick.job,
            "schedule": tick.schedule,
            "timezone": tick.zone,
            "scheduled_at": time(tick, tick.scheduled.saturating_mul(1000)),
            "fired_at": time(tick, tick.fired),
            "started_at": run.and_then(|run| run.started_at).map(|at| time(tick, at)),
            "finished_at": end.map(|end| time(tick, end.at)),
            "waits_until": tick.not_before.filter(|_| run.is_none_or(|run| run.state.is_final())).map(|at| time(tick, at)),
            "run_id": run.map(|run| run.id),
            "state": run.map(|run| run.state.name()),
            "outcome": outcome.map(Outcome::name),
            "exit_code": exit_code,
            "error": error.or_else(|| end?.error.as_deref()),
            "cost_usd": end.and_then(|end| end.cost_usd),
            "session_id": end.and_then(|end| end.session_id.as_deref()),
            "workspace": self.workspace,
            "workspace_slug": slug(&self.workspace),
            "model": options.model,
            "effort": options.effort,
            "instruction": tick.request.prompt,
            "system_prompt": options.system_prompt,
            "append_system_prompt": options.append_system_prompt,
            "telegram_chat_id": tick.chat,
            "earlier_attempts": tick.attempts,
        })
    }
}

impl Activity {
    /// Adds whole lines. One that cannot be written is said once, and the run goes on.
    pub async fn append(&mut self, lines: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = async {
                file.write_all(lines).await?;
                file.flush().await
            }
            .await
        {
            tracing::error!("{} ends here: {error}", self.path.display());
            self.file = None;
        }
    }
}

/// A moment as the job's clocks show it, with its difference to UTC.
fn time(tick: &Tick, at: i64) -> String {
    let at = chrono::DateTime::from_timestamp_millis(at).unwrap_or_default();
    at.with_timezone(&tick.zone()).to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
}

/// Seconds since 1970 as folders' names have them.
fn stamp(at: i64) -> String {
    chrono::DateTime::from_timestamp(at, 0).unwrap_or_default().format("%Y%m%d-%H%M%S-").to_string()
}

fn is_stamp(text: &str) -> bool {
    chrono::NaiveDateTime::parse_from_str(text, "%Y%m%d-%H%M%S-").is_ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The folders in `folder`; links are none.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.flatten().filter(is_folder).map(|entry| entry.path()).collect())
}

/// A workspace's name among the folders of history: the predecessor's.
fn slug(workspace: &Path) -> String {
    let text = workspace.to_string_lossy();
    let words: Vec<&str> =
        text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "workspace".to_owned() } else { words.join("_") }
}

#[cfg(test)]
mod tests;
