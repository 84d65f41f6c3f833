//! The cron door: jobs from a file, each a run like any other when its time comes.
//!
//! What is due is decided by pure functions (`schedule`, `lane`, `retry`) from the clock, the file and what the ledger
//! remembers; `run` carries it out. This loop wakes for the next tick, and every few seconds anyway: the clock may be
//! put forward or back, the machine may sleep, the file may be written to.

mod context;
pub mod file;
pub mod history;
pub mod lane;
pub mod report;
pub mod retry;
mod run;
mod runner;
pub mod schedule;
mod summary;
pub mod template;
pub mod tick;
mod values;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::context::Context;
use self::file::{FileError, Job, counted};
use self::history::History;
use self::report::Reports;
use self::runner::Runner;
use self::schedule::{TickDecision, decide};
use self::tick::Tick;
use crate::desk::Desk;
use crate::desk::chats::Chats;
use crate::doors::{Door, Serving};
use crate::fetch::Fetcher;
use crate::store::record::DoorName;
use crate::store::{Note, StoreError};

/// What the keys of the notes begin with that say up to when a job's ticks were decided on.
const HANDLED: &str = "last/";
/// Longest it sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How long a file has to lie still before it is read: somebody may be in the middle of writing it.
const SETTLED: Duration = Duration::from_secs(1);
/// How often history is looked through for what is too old.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Where things are, and how long they stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronFiles {
    /// The file of jobs.
    pub file: PathBuf,
    /// By whose clocks, where the file does not say.
    pub zone: Tz,
    /// The door's folder: history.
    pub folder: PathBuf,
    /// How long history is kept.
    pub keep: Duration,
}

/// The door, with its jobs read and none started.
#[derive(Debug)]
pub struct Cron {
    settings: CronFiles,
    jobs: Vec<Job>,
    stamp: Option<Stamp>,
}

/// The door, ready for work.
struct Opened {
    cron: Cron,
    /// Its workspaces are those of the jobs.
    desk: Desk,
    /// Who tells chats, if there are any.
    chats: Option<Arc<dyn Chats>>,
}

impl Door for Opened {
    fn serve(self: Box<Self>, stop: CancellationToken, grace: Duration) -> Serving {
        Box::pin(async move {
            self.cron.serve(self.desk, self.chats, stop, grace).await;
            Ok(())
        })
    }
}

/// What a look at the file has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Nothing.
    None,
    /// It was written to just now.
    Unsettled,
    /// There are new jobs.
    Jobs,
}

/// By what a file that was written to is known.
type Stamp = (u64, u64, i64, i64);

impl Cron {
    /// Reads the jobs.
    pub fn load(settings: CronFiles) -> Result<Self, FileError> {
        let stamp = stamp(&settings.file);
        let jobs = file::read(&settings.file, settings.zone)?;
        Ok(Self { settings, jobs, stamp })
    }

    /// The door in front of `desk`, whose workspaces are those of the jobs. `chats`: who tells chats, if there are any.
    pub fn open(self, desk: Desk, chats: Option<Arc<dyn Chats>>) -> Box<dyn Door> {
        Box::new(Opened { cron: self, desk, chats })
    }

    /// Starts jobs when their time comes, until `stop`; then lets what runs come to its end, for `grace`.
    async fn serve(mut self, desk: Desk, chats: Option<Arc<dyn Chats>>, stop: CancellationToken, grace: Duration) {
        let Desk { engine, workspaces, fetcher } = desk;
        let history = History::new(self.settings.folder.clone(), self.settings.keep);
        let reports = chats.map(Reports::new);
        let runner = Runner::new(Context { engine, workspaces, history, reports, stop: stop.clone() });
        self.describe(&runner, &fetcher);
        let keep = TimeDelta::from_std(self.settings.keep).unwrap_or(TimeDelta::MAX);
        let begin = async {
            loop {
                let oldest = Utc::now().checked_sub_signed(keep).unwrap_or(DateTime::UNIX_EPOCH);
                match self.begin(&runner, oldest).await {
                    Ok(clock) => return clock,
                    Err(error) => tracing::error!("cron: {error}; trying again"),
                }
                tokio::time::sleep(LONGEST_SLEEP).await;
            }
        };
        if let Some(mut clock) = stop.run_until_cancelled(begin).await {
            let reports = async {
                match &runner.context().reports {
                    Some(reports) => reports.work(&runner.context().engine, &stop).await,
                    None => stop.cancelled().await,
                }
            };
            let jobs = stop.run_until_cancelled(self.run(&runner, &mut clock, &fetcher));
            let prune = stop.run_until_cancelled(prune(&runner.context().history));
            tokio::join!(reports, jobs, prune);
        }
        runner.finish(grace).await;
    }

    /// Goes on where an earlier server was.
    async fn begin(&self, runner: &Runner, oldest: DateTime<Utc>) -> Result<Clock, StoreError> {
        let mut clock = Clock::default();
        clock.follow(&self.jobs, runner, Utc::now()).await?;
        for (job, until) in runner.take_up(oldest).await? {
            if let Some(handled) = clock.handled.get_mut(&job) {
                *handled = until.max(*handled);
            }
        }
        Ok(clock)
    }

    async fn run(&mut self, runner: &Runner, clock: &mut Clock, fetcher: &Fetcher) {
        loop {
            let news = self.reload(SystemTime::now());
            if news == News::Jobs {
                self.describe(runner, fetcher);
            }
            let next = match self.start_due(runner, clock).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!("cron: {error}; trying again");
                    None
                }
            };
            let until_next = next.and_then(|next| (next - Utc::now()).to_std().ok());
            // A timer counts whole milliseconds, and must not wake before the time.
            let sleep = until_next.map_or(LONGEST_SLEEP, |time| time + Duration::from_millis(1)).min(LONGEST_SLEEP);
            let sleep = if news == News::Unsettled { sleep.min(SETTLED) } else { sleep };
            tokio::time::sleep(sleep).await;
        }
    }

    /// Starts everything that is due; when the next tick is.
    async fn start_due(&self, runner: &Runner, clock: &mut Clock) -> Result<Option<DateTime<Utc>>, StoreError> {
        clock.follow(&self.jobs, runner, Utc::now()).await?;
        let mut soonest: Option<DateTime<Utc>> = None;
        for job in self.jobs.iter().filter(|job| job.enabled) {
            while let Some(handled) = clock.handled.get_mut(&job.name) {
                let now = Utc::now();
                let told =
                    |time: DateTime<Utc>| time.with_timezone(&job.zone).format("%Y-%m-%d %H:%M:%S %Z").to_string();
                match decide(&job.schedule, job.zone, job.on_missed, *handled, now) {
                    TickDecision::Wait(next) => {
                        soonest = soonest.into_iter().chain(next).min();
                        break;
                    }
                    TickDecision::Run(due) => {
                        runner.accept(job, Tick::new(job, due, now), note(job, due)).await?;
                        *handled = due;
                    }
                    TickDecision::MakeUp(due) => {
                        tracing::warn!(
                            "job {}: ticks were missed, the last at {}; one run makes up for them",
                            job.name,
                            told(due)
                        );
                        runner.accept(job, Tick::new(job, due, now), note(job, due)).await?;
                        *handled = due;
                    }
                    TickDecision::LeaveOut(due) => {
                        tracing::warn!(
                            "job {}: ticks were missed, the last at {}; they are left out",
                            job.name,
                            told(due)
                        );
                        runner.context().engine.ledger().put_note(DoorName::Cron, note(job, due), None).await?;
                        *handled = due;
                    }
                    TickDecision::CountAnew => {
                        tracing::warn!("job {}: the clock was put back a lot, it counts from now", job.name);
                        runner.context().engine.ledger().put_note(DoorName::Cron, note(job, now), None).await?;
                        *handled = now;
                    }
                }
            }
        }
        Ok(soonest)
    }

    /// Reads the file again if it was written to.
    fn reload(&mut self, now: SystemTime) -> News {
        let stamp = stamp(&self.settings.file);
        if stamp == self.stamp {
            return News::None;
        }
        let modified = fs::metadata(&self.settings.file).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age < SETTLED)) {
            return News::Unsettled;
        }
        self.stamp = stamp;
        match file::read(&self.settings.file, self.settings.zone) {
            Ok(jobs) => {
                self.jobs = jobs;
                News::Jobs
            }
            Err(error) => {
                tracing::error!("{error}; the jobs stay as they were");
                News::None
            }
        }
    }

    /// Says in the log what will happen, and what will not.
    fn describe(&self, runner: &Runner, fetcher: &Fetcher) {
        let now = Utc::now();
        tracing::info!("cron: {} of {}", counted(self.jobs.len()), self.settings.file.display());
        for job in &self.jobs {
            let name = &job.name;
            match job.schedule.next(now, job.zone) {
                _ if !job.enabled => tracing::info!("job {name}: not enabled"),
                Some(next) => {
                    let next = next.with_timezone(&job.zone).format("%Y-%m-%d %H:%M:%S %Z");
                    tracing::info!("job {name}: {}, next at {next}", job.schedule);
                }
                None => tracing::warn!("job {name}: {} never comes again", job.schedule),
            }
            if job.chat.is_some() && runner.context().reports.is_none() {
                tracing::warn!(
                    "job {name}: nobody tells its chat (telegram_chat_id), the Telegram door is off: set CLAUDEBOX_MODE_TELEGRAM to 1"
                );
            }
            if let Some(Err(error)) = job.webhook.as_ref().map(|url| fetcher.check(url)) {
                tracing::warn!("job {name}: its webhook will not be called: {error}");
            }
        }
    }
}

/// Up to when each job's ticks were decided on.
#[derive(Debug, Default)]
struct Clock {
    handled: HashMap<String, DateTime<Utc>>,
    /// The jobs this is about: name, schedule, zone.
    known: Option<Vec<(String, String, Tz)>>,
}

impl Clock {
    /// Follows the file: a job that is new to this server goes on where the ledger says, if it had the same schedule;
    /// one that has gone, or is not enabled, is forgotten, so that it misses nothing meanwhile.
    async fn follow(&mut self, jobs: &[Job], runner: &Runner, now: DateTime<Utc>) -> Result<(), StoreError> {
        let enabled = jobs.iter().filter(|job| job.enabled);
        let wanted: Vec<(String, String, Tz)> =
            enabled.clone().map(|job| (job.name.clone(), job.schedule.to_string(), job.zone)).collect();
        if self.known.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let ledger = runner.context().engine.ledger();
        let mut noted: HashMap<String, Value> = HashMap::new();
        for note in ledger.notes(DoorName::Cron, HANDLED).await? {
            let name = note.key.strip_prefix(HANDLED).unwrap_or_default();
            if wanted.iter().any(|(wanted, ..)| wanted == name) {
                noted.insert(name.to_owned(), note.value);
            } else {
                ledger.remove_note(DoorName::Cron, &note.key).await?;
            }
        }
        let mut handled = HashMap::new();
        for job in enabled {
            let before = noted.get(&job.name).and_then(|value| until(job, value));
            if before.is_none() {
                ledger.put_note(DoorName::Cron, note(job, now), None).await?;
            }
            handled.insert(job.name.clone(), before.unwrap_or(now));
        }
        (self.handled, self.known) = (handled, Some(wanted));
        Ok(())
    }
}

/// The note that says that a job's ticks up to `until` were decided on.
fn note(job: &Job, until: DateTime<Utc>) -> Note {
    let value =
        json!({"until": until.timestamp_millis(), "schedule": job.schedule.to_string(), "timezone": job.zone.name()});
    Note { key: format!("{HANDLED}{}", job.name), value }
}

/// What such a note says, if it is about the job as it is now.
fn until(job: &Job, note: &Value) -> Option<DateTime<Utc>> {
    let same = note["schedule"] == job.schedule.to_string() && note["timezone"] == job.zone.name();
    note["until"].as_i64().filter(|_| same).and_then(DateTime::from_timestamp_millis)
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

async fn prune(history: &History) {
    loop {
        let old = history.clone();
        match tokio::task::spawn_blocking(move || old.prune(SystemTime::now())).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => tracing::info!("retention: {count} folders of cron's history removed"),
            Ok(Err(error)) => tracing::warn!("retention: cron's history: {error}"),
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
