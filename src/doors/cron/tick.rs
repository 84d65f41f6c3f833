//! One tick of a job: all that has to be known to carry it out, also by the next server.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::file::Job;
use super::template::Values;
use crate::claude::arguments::{Options, OutputFormat};
use crate::claude::outcome::{Outcome, by_name};
use crate::store::Note;
use crate::store::record::{Request, Run, State};

/// What the keys of the notes of ticks begin with.
pub use crate::desk::chats::TICKS as NOTES;

/// A tick that is to be carried out. Kept in the ledger as JSON, so a field that is added needs a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The job's name.
    pub job: String,
    /// Its cron expression.
    pub schedule: String,
    /// By the clocks of which zone.
    pub zone: String,
    /// When it was due, seconds since 1970.
    pub scheduled: i64,
    /// When it was started, milliseconds since 1970.
    pub fired: i64,
    /// The workspace, as the file names it.
    pub workspace: String,
    /// What is asked, templates filled in.
    pub request: Request,
    /// Whether it goes on with the session of the job's last run.
    pub continues: bool,
    /// The chat that is told.
    pub chat: Option<i64>,
    /// Where the result is posted to.
    pub webhook: Option<String>,
    /// How often it is tried again.
    pub retries: u32,
    /// The tries so far that did not do.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// When it may be tried again, milliseconds since 1970.
    #[serde(default)]
    pub not_before: Option<i64>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its run.
    pub run: Uuid,
    /// Where that stood in the end.
    pub state: State,
    /// And how it ended.
    #[serde(default, with = "by_name")]
    pub outcome: Option<Outcome>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Attempt {
    /// What is remembered of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let end = run.end.as_ref();
        Self {
            run: run.id,
            state: run.state,
            outcome: end.and_then(|end| end.outcome),
            error: end.and_then(|end| end.error.clone()),
        }
    }
}

impl Tick {
    /// The tick of a job that was due at `scheduled` and is started at `fired`.
    #[must_use]
    pub fn new(job: &Job, scheduled: DateTime<Utc>, fired: DateTime<Utc>) -> Self {
        let values = Values { fired, zone: job.zone, job: &job.name };
        let expanded = |text: &Option<String>| text.as_ref().map(|text| values.expand(text));
        let options = Options {
            model: job.model.clone(),
            effort: job.effort,
            system_prompt: expanded(&job.system_prompt),
            append_system_prompt: expanded(&job.append_system_prompt),
            max_budget_usd: job.max_budget_usd,
            timeout: Some(job.timeout),
            // Not the workspace's last session: that is somebody else's. The job's own is resumed by its id.
            no_continue: true,
            ..Options::default()
        };
        Self {
            job: job.name.clone(),
            schedule: job.schedule.to_string(),
            zone: job.zone.name().to_owned(),
            scheduled: scheduled.timestamp(),
            fired: fired.timestamp_millis(),
            workspace: job.workspace.clone(),
            request: Request { options, ..Request::new(values.expand(&job.instruction), OutputFormat::Json) },
            continues: !job.no_continue,
            chat: job.chat,
            webhook: job.webhook.clone(),
            retries: job.retries,
            attempts: Vec::new(),
            not_before: None,
        }
    }

    /// The key of its note. Keys of one job sort by time.
    pub fn key(&self) -> String {
        format!("{NOTES}{}/{:012}", self.job, self.scheduled)
    }

    /// Its note.
    pub fn note(&self) -> Note {
        // A struct of plain values has a JSON form.
        Note { key: self.key(), value: serde_json::to_value(self).unwrap_or_default() }
    }

    /// The key under which its next try is one run, however often it is asked for.
    ///
    /// With line feeds, which no header of HTTP holds: no client can have used it, whatever its token is called.
    pub fn idempotency_key(&self) -> String {
        format!("cron\n{}\n{}", self.scheduled, self.attempts.len())
    }

    /// The zone its times are told in.
    pub fn zone(&self) -> Tz {
        self.zone.parse().unwrap_or(Tz::UTC)
    }

    /// When it was due.
    pub fn scheduled(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.scheduled, 0).unwrap_or_default()
    }

    /// A moment (milliseconds since 1970) as its zone's clocks show it, with the zone.
    pub fn tell(&self, at: i64) -> String {
        let at = DateTime::from_timestamp_millis(at).unwrap_or_default();
        at.with_timezone(&self.zone()).format("%Y-%m-%d %H:%M:%S %Z").to_string()
    }
}
