//! The file of jobs: YAML, read whole or not at all.
//!
//! Values that can be wrong are parsed where they stand, so that an error has their line and column.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use serde::de::{Deserialize, Deserializer};

use super::schedule::{CronExpression, OnMissed};
use super::values::{
    Address, Chat, Dollars, Folder, Level, Model, Name, Prompt, Retries, SystemPrompt, Timeout, When, Zone,
};
use crate::claude::arguments::Effort;
use crate::config::yaml;
use crate::policy;

/// A job that takes longer is ended, if nothing else is set.
pub const USUAL_TIMEOUT: Duration = Duration::from_hours(6);

/// A job, with the file's defaults where it has nothing of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name, unique in the file.
    pub name: String,
    /// When it is due.
    pub schedule: CronExpression,
    /// By the clocks of which zone.
    pub zone: Tz,
    /// What Claude is to do; a template.
    pub instruction: String,
    /// Folder below the workspace folder; empty: that folder itself.
    pub workspace: String,
    /// Model alias or name.
    pub model: Option<String>,
    /// How hard the model thinks.
    pub effort: Option<Effort>,
    /// Replaces the system prompt; a template.
    pub system_prompt: Option<String>,
    /// Is added to the system prompt; a template.
    pub append_system_prompt: Option<String>,
    /// The chat that is told of results.
    pub chat: Option<i64>,
    /// Longest it may take.
    pub timeout: Duration,
    /// What happens to a tick while the run before it is not over.
    pub on_overlap: OnOverlap,
    /// What happens to ticks that nobody was there for.
    pub on_missed: OnMissed,
    /// How often a run that failed is tried again.
    pub retries: u32,
    /// Most a run may cost, US dollars.
    pub max_budget_usd: Option<f64>,
    /// Whether each run has a session of its own, or goes on with the job's last one.
    pub no_continue: bool,
    /// Whether it runs at all.
    pub enabled: bool,
    /// Where a run's result is posted to.
    pub webhook: Option<String>,
}

/// What happens to a tick while the job's run before it is not over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOverlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits for the end of that run.
    Queue,
    /// That run is cancelled.
    Replace,
}

/// Why a file of jobs cannot be used: where, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error("cannot read the jobs in {}: {why}", .path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}{at}: {why}", .path.display())]
    Wrong {
        path: PathBuf,
        /// `:LINE:COLUMN`, if that is known.
        at: String,
        why: String,
    },
}

/// Reads the jobs of a file.
///
/// `zone`: by whose clocks, where the file does not say.
pub fn read(path: &Path, zone: Tz) -> Result<Vec<Job>, FileError> {
    let text = policy::read(path, policy::CRON)
        .map_err(|error| FileError::Unreadable { path: path.to_owned(), why: error.to_string() })?;
    parse(&text, zone).map_err(|(at, why)| FileError::Wrong { path: path.to_owned(), at, why })
}

/// Jobs from YAML, or where in it what is wrong.
fn parse(text: &str, zone: Tz) -> Result<Vec<Job>, (String, String)> {
    let text = yaml::without_mark(text);
    let file: File = serde_yaml::from_str(text).map_err(|error| explain(&error, text))?;
    if file.jobs.is_empty() {
        return Err((String::new(), "there is no job in it: 'jobs' is a list of at least one".into()));
    }
    let mut names = HashSet::new();
    for (index, job) in file.jobs.iter().enumerate() {
        if !names.insert(job.name.0.as_str()) {
            let at = yaml::position(text, &["jobs", index.to_string().as_str(), "name"]);
            let why = format!("two jobs are called {:?}: each needs a name of its own", job.name.0);
            return Err((at, why));
        }
    }
    Ok(file.jobs.iter().map(|job| job.with(&file.defaults, zone)).collect())
}

/// The file as it stands.
#[derive(Debug)]
struct File {
    defaults: Defaults,
    jobs: Vec<Entry>,
}

/// What may stand at the top and in a job.
#[derive(Debug, Clone, Default)]
struct Defaults {
    zone: Option<Zone>,
    model: Option<Model>,
    effort: Option<Effort>,
    system_prompt: Option<SystemPrompt>,
    append_system_prompt: Option<SystemPrompt>,
    telegram_chat_id: Option<i64>,
    timeout: Option<Timeout>,
    on_overlap: Option<OnOverlap>,
    on_missed: Option<OnMissed>,
    retries: Option<Retries>,
    max_budget_usd: Option<Dollars>,
    no_continue: Option<bool>,
    webhook: Option<Address>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    schedule: When,
    instruction: Prompt,
    workspace: Option<Folder>,
    enabled: Option<bool>,
    own: Defaults,
}

// Flattened structs take every key and lose its place, so the keys of both are written out.
macro_rules! shared_fields {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $($(#[$about])* $field: $kind,)*
            timezone: Option<Zone>,
            model: Option<Model>,
            effort: Option<Effort>,
            system_prompt: Option<SystemPrompt>,
            append_system_prompt: Option<SystemPrompt>,
            telegram_chat_id: Option<Chat>,
            timeout: Option<Timeout>,
            on_overlap: Option<OnOverlap>,
            on_missed: Option<OnMissed>,
            retries: Option<Retries>,
            max_budget_usd: Option<Dollars>,
            #[serde(default, deserialize_with = "yaml::switch")]
            no_continue: Option<bool>,
            webhook: Option<Address>,
            /// The predecessor's other name of `effort`, which won.
            thinking: Option<Level>,
        }

        impl $name {
            fn shared(&mut self) -> Defaults {
                Defaults {
                    zone: self.timezone,
                    model: self.model.take(),
                    effort: self.thinking.and_then(|level| level.0).or(self.effort),
                    system_prompt: self.system_prompt.take(),
                    append_system_prompt: self.append_system_prompt.take(),
                    telegram_chat_id: self.telegram_chat_id.map(|chat| chat.0),
                    timeout: self.timeout,
                    on_overlap: self.on_overlap,
                    on_missed: self.on_missed,
                    retries: self.retries,
                    max_budget_usd: self.max_budget_usd,
                    no_continue: self.no_continue,
                    webhook: self.webhook.take(),
                }
            }
        }
    };
}

shared_fields! {
    struct FileKeys { jobs: Vec<Entry>, }
}

shared_fields! {
    struct JobKeys {
        name: Name,
        schedule: When,
        instruction: Prompt,
        workspace: Option<Folder>,
        #[serde(default, deserialize_with = "yaml::switch")]
        enabled: Option<bool>,
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = FileKeys::deserialize(deserializer)?;
        Ok(Self { defaults: keys.shared(), jobs: keys.jobs })
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = JobKeys::deserialize(deserializer)?;
        let own = keys.shared();
        let JobKeys { name, schedule, instruction, workspace, enabled, .. } = keys;
        Ok(Self { name, schedule, instruction, workspace, enabled, own })
    }
}

impl Entry {
    fn with(&self, defaults: &Defaults, zone: Tz) -> Job {
        let own = &self.own;
        let text = |own: &Option<SystemPrompt>, default: &Option<SystemPrompt>| {
            // An empty one takes an inherited one away.
            own.as_ref().or(default.as_ref()).map(|text| text.0.clone()).filter(|text| !text.is_empty())
        };
        Job {
            name: self.name.0.clone(),
            schedule: self.schedule.0.clone(),
            zone: own.zone.or(defaults.zone).map_or(zone, |zone| zone.0),
            instruction: self.instruction.0.clone(),
            workspace: self.workspace.as_ref().map(|folder| folder.0.clone()).unwrap_or_default(),
            model: own.model.as_ref().or(defaults.model.as_ref()).map(|model| model.0.clone()),
            effort: own.effort.or(defaults.effort),
            system_prompt: text(&own.system_prompt, &defaults.system_prompt),
            append_system_prompt: text(&own.append_system_prompt, &defaults.append_system_prompt),
            // 0 takes an inherited chat away.
            chat: own.telegram_chat_id.or(defaults.telegram_chat_id).filter(|chat| *chat != 0),
            timeout: own.timeout.or(defaults.timeout).map_or(USUAL_TIMEOUT, |timeout| timeout.0),
            on_overlap: own.on_overlap.or(defaults.on_overlap).unwrap_or_default(),
            on_missed: own.on_missed.or(defaults.on_missed).unwrap_or_default(),
            retries: own.retries.or(defaults.retries).map_or(0, |retries| retries.0),
            max_budget_usd: own.max_budget_usd.or(defaults.max_budget_usd).map(|dollars| dollars.0),
            no_continue: own.no_continue.or(defaults.no_continue).unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            webhook: own.webhook.as_ref().or(defaults.webhook.as_ref()).map(|url| url.0.clone()),
        }
    }
}

/// Where an error is, and what it says: the job's name, and a suggestion for a key that is nearly right.
fn explain(error: &serde_yaml::Error, text: &str) -> (String, String) {
    let (at, said) = yaml::explain(error, text);
    let (job, said) = match in_job(&said) {
        Some((index, rest)) => {
            let job = name_of(text, index).map_or_else(|| format!("job {}", index + 1), |name| format!("job {name:?}"));
            (format!("{job}: "), rest)
        }
        None => (String::new(), said.as_str()),
    };
    (at, format!("{job}{said}"))
}

/// The job that a message is about, by its place, and what it says of it.
fn in_job(said: &str) -> Option<(usize, &str)> {
    let (index, rest) = said.strip_prefix("jobs[")?.split_once(']')?;
    let rest = rest.strip_prefix(": ").or_else(|| rest.strip_prefix('.'))?;
    Some((index.parse().ok()?, rest))
}

/// The name of a job in a file that may be wrong elsewhere.
fn name_of(text: &str, index: usize) -> Option<String> {
    let file: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    file.get("jobs")?.get(index)?.get("name")?.as_str().map(str::to_owned)
}

/// So many jobs, in words.
pub fn counted(count: usize) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

#[cfg(test)]
mod tests;
