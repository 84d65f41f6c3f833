//! Carrying ticks out: each is in the ledger before its run is, and until that run's end has been told.
//!
//! | killed | the next server finds | and |
//! |---|---|---|
//! | before the tick's note | nothing | the tick is due, or missed |
//! | before the run is accepted | the note | asks for the run |
//! | before its end | the note, a run of that key | follows that run: one key is one run |
//! | before the end was told | the same, ended | tells it, perhaps again |

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::context::Context;
use super::history::Folder;
use super::report::{self, Report};
use super::retry::{Then, Why, then};
use super::tick::{Attempt, Tick};
use crate::claude::outcome::Outcome;
use crate::desk::ask::Ask;
use crate::runs::submission::{Busy, Origin, SubmitError};
use crate::store::record::{Cancel, DoorName, Requester, Run, State, now};
use crate::store::{Note, StoreError};

const SESSIONS: &str = "session/";
/// How long a session is remembered, milliseconds: until the next run of a job that comes once a year.
const SESSION_KEPT: i64 = 400 * 86_400_000;
/// How long after a refusal that passes it is asked again.
const PAUSE: Duration = Duration::from_secs(5);
/// A wait for a time of the clock looks at it this often: it may be put forward, and the machine may sleep.
const GLANCE: Duration = Duration::from_secs(5);

/// What became of a tick, as far as this server is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is over.
    Over,
    /// It is the next server's.
    Left,
}

/// How one try ended.
enum Tried {
    Ended(Box<Run>),
    /// There was no run.
    Failed(String),
    /// The job's next tick takes its place.
    Replaced,
    Left,
}

/// A tick at work.
pub(super) struct Work<'runner> {
    context: &'runner Context,
    tick: Tick,
    give_up: CancellationToken,
    folder: Option<Folder>,
}

impl<'runner> Work<'runner> {
    /// `give_up`: cancelled when the job's next tick is to take its place.
    pub(super) const fn new(context: &'runner Context, tick: Tick, give_up: CancellationToken) -> Self {
        Self { context, tick, give_up, folder: None }
    }

    /// Everything from its first try until it has been told how it ended.
    pub(super) async fn carry_out(mut self) -> Fate {
        loop {
            if let Some(at) = self.tick.not_before
                && let Some(tried) = self.wait_until(at).await
            {
                return self.over(tried).await;
            }
            self.tick.not_before = None;
            let run = match self.attempt().await {
                Tried::Ended(run) => run,
                other => return self.over(other).await,
            };
            self.remember_session(&run).await;
            let (at, why) = match then(&self.tick, &run, now()) {
                Then::Over => return self.over(Tried::Ended(run)).await,
                Then::Again { at, why } => (at, why),
            };
            self.tick.attempts.push(Attempt::of(&run));
            self.tick.not_before = Some(at);
            if !self.say_again(&run, at, why).await {
                return Fate::Left;
            }
        }
    }

    /// Says why it is tried again and when, and remembers it. `false`: the server ends.
    async fn say_again(&self, run: &Run, at: i64, why: Why) -> bool {
        let (job, when) = (&self.tick.job, self.tick.tell(at));
        let said = run.end.as_ref().and_then(|end| end.error.as_deref()).unwrap_or_default();
        match why {
            Why::RateLimited => tracing::warn!("job {job}: rate limited, waits until {when}: {said}"),
            Why::Failed => tracing::warn!("job {job}: run {} failed, tried again at {when}: {said}", run.id),
            Why::SessionGone => tracing::info!("job {job}: its session is no more, it begins a new one"),
        }
        if let Some(folder) = self.folder.clone() {
            let (tick, run) = (self.tick.clone(), run.clone());
            on_disk(&self.tick.job, move || folder.write_meta(&tick, Some(&run), None)).await;
        }
        if why == Why::RateLimited
            && !self.report(Report { run: Some(run), text: report::waiting(&self.tick, at), is_last: false }).await
        {
            return false;
        }
        let ledger = self.context.engine.ledger();
        self.write(|| ledger.put_note(DoorName::Cron, self.tick.note(), None)).await
    }

    /// Waits for a time of the clock. `Some`: it was not to be.
    async fn wait_until(&self, at: i64) -> Option<Tried> {
        loop {
            let left = at.saturating_sub(now());
            if left <= 0 {
                return None;
            }
            let pause = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX)).min(GLANCE);
            if let Some(tried) = self.pause(pause).await {
                return Some(tried);
            }
        }
    }

    /// Lets time pass. `Some`: it was not to be.
    async fn pause(&self, time: Duration) -> Option<Tried> {
        tokio::select! {
            () = tokio::time::sleep(time) => None,
            () = self.context.stop.cancelled() => Some(Tried::Left),
            () = self.give_up.cancelled() => Some(Tried::Replaced),
        }
    }

    /// One try: asks for its run and follows it to its end.
    async fn attempt(&mut self) -> Tried {
        let (workspaces, name) = (self.context.workspaces.clone(), self.tick.workspace.clone());
        let found = tokio::task::spawn_blocking(move || workspaces.create(&name)).await;
        let workspace =
            match found.map_err(|error| error.to_string()).and_then(|found| found.map_err(|error| error.to_string())) {
                Ok(workspace) => workspace.path,
                Err(error) => return Tried::Failed(format!("its workspace cannot be used: {error}")),
            };
        let (history, tick, path) = (self.context.history.clone(), self.tick.clone(), workspace.clone());
        let look = move || history.folder(&tick, &path).map(|folder| (folder, history.before(&tick, &path)));
        let (folder, before) = on_disk(&self.tick.job, look).await.unzip();
        self.folder = folder;
        let run = match self.submit(workspace, before.flatten()).await {
            Ok(run) => run,
            Err(tried) => return tried,
        };
        if !self.follow(run).await {
            return Tried::Left;
        }
        loop {
            let error = match self.context.engine.wait(run).await {
                // The server's own end did it.
                Ok(Some(run)) if run.state == State::Interrupted && self.context.stop.is_cancelled() => {
                    return Tried::Left;
                }
                Ok(Some(run)) => return Tried::Ended(Box::new(run)),
                Ok(None) => return Tried::Failed(format!("its run {run} is not in the ledger any more")),
                Err(error) => error,
            };
            tracing::error!("job {}: {error}; trying again", self.tick.job);
            if let Some(tried) = self.pause(PAUSE).await {
                return tried;
            }
        }
    }

    /// Asks for the run of this try until it is accepted, or was before.
    async fn submit(&self, workspace: PathBuf, before: Option<PathBuf>) -> Result<Uuid, Tried> {
        let mut request = self.tick.request.clone();
        if let Some(before) = before {
            let hint = earlier_runs(&self.tick.job, &before);
            let own = request.options.append_system_prompt.take();
            request.options.append_system_prompt =
                Some(own.map_or_else(|| hint.clone(), |own| format!("{own}\n\n{hint}")));
        }
        if self.tick.continues {
            request.options.resume = self.session(&workspace).await;
        }
        let origin = Origin::unlimited(DoorName::Cron, Requester::Job(self.tick.job.clone()));
        let ask = Ask::new(origin, workspace, request).key(Some(self.tick.idempotency_key())).stays(true);
        // Whether the job itself is busy was judged before; this is about others in its workspace.
        let ask = ask.webhook(self.tick.webhook.clone()).busy(Busy::Queue);
        let mut told = false;
        loop {
            let (why, pause) = match ask.clone().submit(&self.context.engine).await {
                Ok(submitted) => return Ok(submitted.id),
                // What is asked may have changed since: another session, another run before.
                Err(SubmitError::KeyReused { before }) => return Ok(before),
                Err(SubmitError::Closed) => return Err(Tried::Left),
                Err(SubmitError::OverBudget(over)) => (over.to_string(), Duration::from_secs(over.retry_after.max(1))),
                Err(error) => (error.to_string(), PAUSE),
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!("job {}: it waits: {why}", self.tick.job);
            }
            let until = now().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            if let Some(tried) = self.wait_until(until).await {
                return Err(tried);
            }
        }
    }

    /// Writes the run's events down as they come, after those of earlier tries. `false`: the run is the next server's.
    async fn follow(&self, run: Uuid) -> bool {
        let engine = &self.context.engine;
        let mut activity = None;
        if let Some(folder) = &self.folder {
            let mut file = folder.activity().await;
            for earlier in &self.tick.attempts {
                if let Ok(Some(mut events)) = engine.events(earlier.run, 0).await {
                    while let Ok(Some(chunk)) = events.next().await {
                        file.append(&chunk.lines).await;
                    }
                }
            }
            // What is said of one that has ended already is up to what follows from that.
            if let Some(run) = engine.get(run).await.ok().flatten().filter(|run| !run.state.is_final()) {
                let (folder, tick) = (folder.clone(), self.tick.clone());
                on_disk(&self.tick.job, move || folder.write_meta(&tick, Some(&run), None)).await;
            }
            activity = Some(file);
        }
        let Ok(Some(mut events)) = engine.events(run, 0).await else { return true };
        let (mut replaced, mut stopped) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = self.give_up.cancelled(), if !replaced => {
                    replaced = true;
                    if let Err(error) = engine.cancel(run, Cancel::Replaced).await {
                        tracing::error!("run {run}: it cannot be cancelled: {error}");
                    }
                }
                () = self.context.stop.cancelled(), if !stopped => {
                    stopped = true;
                    // One that waits would go on waiting, for the next server.
                    if events.is_waiting() {
                        return false;
                    }
                }
                chunk = events.next() => match chunk {
                    Ok(Some(chunk)) => {
                        if let Some(activity) = &mut activity {
                            activity.append(&chunk.lines).await;
                        }
                    }
                    Ok(None) => return true,
                    Err(error) => {
                        // Its result is in the ledger, and comes all the same.
                        tracing::error!("run {run}: its event log cannot be read: {error}");
                        return true;
                    }
                },
            }
        }
    }

    /// The session of the job's last run, if that was in this workspace.
    async fn session(&self, workspace: &Path) -> Option<String> {
        let key = format!("{SESSIONS}{}", self.tick.job);
        let note = self.context.engine.ledger().note(DoorName::Cron, &key).await;
        let note = note.inspect_err(|error| tracing::error!("job {}: {error}", self.tick.job)).ok().flatten()?;
        let is_here = note["workspace"].as_str().is_some_and(|known| Path::new(known) == workspace);
        note["session"].as_str().filter(|_| is_here).map(str::to_owned)
    }

    async fn remember_session(&self, run: &Run) {
        let key = format!("{SESSIONS}{}", self.tick.job);
        let ledger = self.context.engine.ledger();
        let outcome = run.end.as_ref().and_then(|end| end.outcome);
        match run.end.as_ref().and_then(|end| end.session_id.as_ref()) {
            Some(session) if self.tick.continues && run.state == State::Succeeded => {
                let expires_at = Some(now() + SESSION_KEPT);
                let value = json!({"session": session, "workspace": run.workspace.to_string_lossy()});
                self.write(|| {
                    ledger.put_note(DoorName::Cron, Note { key: key.clone(), value: value.clone() }, expires_at)
                })
                .await;
            }
            _ if outcome == Some(Outcome::SessionNotFound) => {
                self.write(|| ledger.remove_note(DoorName::Cron, &key)).await;
            }
            _ => {}
        }
    }

    /// Whoever is to know of its end is told, or will be; after that it is forgotten.
    async fn over(self, tried: Tried) -> Fate {
        let job = &self.tick.job;
        let (run, error) = match tried {
            Tried::Left => return Fate::Left,
            Tried::Ended(run) => (Some(*run), None),
            Tried::Failed(why) => (None, Some(why)),
            Tried::Replaced => (None, Some("its next tick took its place".to_owned())),
        };
        let replaced = run.is_none() && self.give_up.is_cancelled();
        match (&run, &error) {
            (Some(run), _) if run.state == State::Succeeded => tracing::info!(run = %run.id, "job {job}: done"),
            (Some(run), _) => {
                let why = run.end.as_ref().and_then(|end| end.error.as_deref()).unwrap_or_default();
                tracing::warn!(run = %run.id, "job {job}: {}: {why}", run.state.name());
            }
            (None, why) if replaced => tracing::info!("job {job}: {}", why.as_deref().unwrap_or_default()),
            (None, why) => tracing::error!("job {job}: {}", why.as_deref().unwrap_or_default()),
        }
        if let Some(folder) = self.folder.clone() {
            let (history, tick) = (self.context.history.clone(), self.tick.clone());
            let (run, error) = (run.clone(), error.clone());
            on_disk(job, move || history.finish(&folder, &tick, run.as_ref(), error.as_deref())).await;
        }
        let said = match &run {
            Some(run) => Ok(run),
            None => Err(error.as_deref().unwrap_or_default()),
        };
        if let Some(text) = report::text(&self.tick, said).filter(|_| !replaced)
            && !self.report(Report { run: run.as_ref(), text, is_last: true }).await
        {
            return Fate::Left;
        }
        let (ledger, key) = (self.context.engine.ledger(), self.tick.key());
        if self.write(|| ledger.remove_note(DoorName::Cron, &key)).await { Fate::Over } else { Fate::Left }
    }

    /// `false`: the server ends before it is written down.
    async fn report(&self, report: Report<'_>) -> bool {
        let Some(reports) = &self.context.reports else { return true };
        let ledger = self.context.engine.ledger();
        self.write(|| reports.accept(ledger, &self.tick, &report)).await
    }

    /// Writes to the ledger until it takes it. `false`: the server ends first.
    async fn write<F: Future<Output = Result<(), StoreError>>>(&self, mut write: impl FnMut() -> F) -> bool {
        loop {
            let Err(error) = write().await else { return true };
            tracing::error!("job {}: {error}; trying again", self.tick.job);
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.context.stop.cancelled() => return false,
            }
        }
    }
}

/// Does something with files. What fails is said, and the job goes on: the ledger has it all.
async fn on_disk<T: Send + 'static>(
    job: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other).flatten();
    done.inspect_err(|error| tracing::error!("job {job}: its history is incomplete: {error}")).ok()
}

/// Tells Claude of the job's earlier runs, as the predecessor did.
fn earlier_runs(job: &str, before: &Path) -> String {
    let parent = before.parent().unwrap_or(before).display();
    format!(
        "This is the scheduled job {job:?}. Its run before this one is recorded in {before} (result.txt: the answer, \
         meta.json: what was asked and how it ended, activity.jsonl: everything that happened). Older ones are in {parent}, \
         in the folders that are named by a time (UTC) followed by -{job}. Read them only if what they say matters for this run.",
        before = before.display()
    )
}
