//! The file of jobs: YAML, read whole or not at all.
//!
//! Values that can be wrong are parsed where they stand, so that an error has their line and column.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use serde::de::{self, Deserialize, Deserializer};

use super::schedule::{OnMissed, Schedule};
use crate::claude::arguments::Effort;

/// A job that takes longer is ended, if nothing else is set.
pub const USUAL_TIMEOUT: Duration = Duration::from_hours(6);
const LONGEST_NAME: usize = 100;
const LONGEST_TIMEOUT: Duration = Duration::from_hours(24 * 30);
const MOST_RETRIES: u32 = 20;

/// A job, with the file's defaults where it has nothing of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name, unique in the file.
    pub name: String,
    /// When it is due.
    pub schedule: Schedule,
    /// By the clocks of which zone.
    pub zone: Tz,
    /// What Claude is to do; a template.
    pub instruction: String,
    /// Folder below the workspace folder; `None` is that folder itself.
    pub workspace: Option<String>,
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
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the jobs in {}: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Something in it is wrong.
    #[error("{}{at}: {why}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// `:LINE:COLUMN`, if that is known.
        at: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
}

/// Reads the jobs of a file.
pub fn read(path: &Path) -> Result<Vec<Job>, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| FileError::Unreadable { path: path.to_owned(), why: error.to_string() })?;
    parse(&text).map_err(|(at, why)| FileError::Wrong { path: path.to_owned(), at, why })
}

/// Jobs from YAML, or where in it what is wrong.
fn parse(text: &str) -> Result<Vec<Job>, (String, String)> {
    let file: File = serde_yaml::from_str(text).map_err(|error| explain(&error, text))?;
    let mut names = HashSet::new();
    for (index, job) in file.jobs.iter().enumerate() {
        if !names.insert(job.name.0.to_lowercase()) {
            let at = positions(text).get(index).map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
            let why = format!("two jobs are called {:?}; large and small letters do not make a difference", job.name.0);
            return Err((at, why));
        }
    }
    Ok(file.jobs.iter().map(|job| job.with(&file.defaults)).collect())
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
    model: Option<Text>,
    effort: Option<Effort>,
    system_prompt: Option<String>,
    append_system_prompt: Option<String>,
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
    schedule: Schedule,
    instruction: Text,
    workspace: Option<Folder>,
    enabled: Option<bool>,
    own: Defaults,
}

// Flattened structs take every key and lose its place, so the keys of both are written out.
macro_rules! shared_fields {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $($field: $kind,)*
            timezone: Option<Zone>,
            model: Option<Text>,
            effort: Option<Effort>,
            system_prompt: Option<String>,
            append_system_prompt: Option<String>,
            telegram_chat_id: Option<i64>,
            timeout: Option<Timeout>,
            on_overlap: Option<OnOverlap>,
            on_missed: Option<OnMissed>,
            retries: Option<Retries>,
            max_budget_usd: Option<Dollars>,
            no_continue: Option<bool>,
            webhook: Option<Address>,
            /// The predecessor's; the CLI of this version has `effort` alone.
            #[serde(default, rename = "thinking")]
            _thinking: de::IgnoredAny,
        }

        impl $name {
            fn shared(&mut self) -> Defaults {
                Defaults {
                    zone: self.timezone,
                    model: self.model.take(),
                    effort: self.effort,
                    system_prompt: self.system_prompt.take(),
                    append_system_prompt: self.append_system_prompt.take(),
                    telegram_chat_id: self.telegram_chat_id,
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
        schedule: Schedule,
        instruction: Text,
        workspace: Option<Folder>,
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
    fn with(&self, defaults: &Defaults) -> Job {
        let own = &self.own;
        let text = |own: &Option<String>, default: &Option<String>| own.clone().or_else(|| default.clone());
        Job {
            name: self.name.0.clone(),
            schedule: self.schedule.clone(),
            zone: own.zone.or(defaults.zone).map_or(Tz::UTC, |zone| zone.0),
            instruction: self.instruction.0.clone(),
            workspace: self.workspace.as_ref().map(|folder| folder.0.clone()),
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

/// A value that is parsed from a scalar where it stands.
macro_rules! parsed {
    ($(#[$meta:meta])* $name:ident($inner:ty) from $raw:ty, $parse:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        struct $name($inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn($raw) -> Result<$inner, String> = $parse;
                parse(<$raw>::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
            }
        }
    };
}

parsed!(Name(String) from String, |name| {
    let plain = !name.contains('/') && !name.chars().any(char::is_control) && !name.starts_with('.');
    if (1..=LONGEST_NAME).contains(&name.len()) && plain && name.trim() == name {
        Ok(name)
    } else {
        Err(format!(
            "{name:?} cannot be a job's name: it names folders, so 1 to {LONGEST_NAME} bytes are allowed without slashes, \
             control characters, a dot in front or spaces around it"
        ))
    }
});
parsed!(Text(String) from String, |text| {
    if text.trim().is_empty() { Err("it must not be empty".into()) } else { Ok(text) }
});
parsed!(Folder(String) from String, |name| {
    if !name.starts_with('/') && name.split('/').all(|part| !["", ".", ".."].contains(&part)) {
        Ok(name)
    } else {
        Err(format!("{name:?} cannot be a job's workspace: a folder below the workspace folder is allowed, such as reports/daily"))
    }
});
parsed!(#[derive(Copy)] Zone(Tz) from String, |name| {
    name.parse().map_err(|_| {
        let near = chrono_tz::TZ_VARIANTS.iter().min_by_key(|zone| strsim::damerau_levenshtein(zone.name(), &name));
        let near = near.map_or("UTC", |zone| zone.name());
        format!("there is no time zone {name:?}; names of the time zone database are allowed, such as {near}")
    })
});
parsed!(#[derive(Copy)] Dollars(f64) from f64, |dollars| {
    if dollars.is_finite() && dollars > 0.0 { Ok(dollars) } else { Err("US dollars, a number above 0, such as 2.50".into()) }
});
parsed!(#[derive(Copy)] Retries(u32) from u32, |retries| {
    if retries <= MOST_RETRIES { Ok(retries) } else { Err(format!("a whole number from 0 to {MOST_RETRIES} is allowed")) }
});
parsed!(Address(String) from String, |url| {
    match reqwest::Url::parse(&url) {
        Ok(parsed) if ["http", "https"].contains(&parsed.scheme()) && parsed.has_host() => Ok(url),
        _ => Err(format!("{url:?} is no address: http://... and https://... are allowed")),
    }
});

/// Seconds, or a number with s, m, h or d.
#[derive(Debug, Clone, Copy)]
struct Timeout(Duration);

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timeout;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("seconds, or a number with s, m, h or d, such as 90, 30m or 2h, up to 30d")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Timeout, E> {
                let timeout = Duration::from_secs(seconds);
                if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
                    return Err(E::invalid_value(de::Unexpected::Unsigned(seconds), &self));
                }
                Ok(Timeout(timeout))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timeout, E> {
                let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
                let seconds = units
                    .iter()
                    .find_map(|(unit, seconds)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*seconds))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                self.visit_u64(seconds)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Where an error is, and what it says: the job's name, and a suggestion for a key that is nearly right.
fn explain(error: &serde_yaml::Error, text: &str) -> (String, String) {
    let place = error.location();
    let at = place.as_ref().map_or_else(String::new, |place| format!(":{}:{}", place.line(), place.column()));
    let said = error.to_string();
    // The place is said already.
    let said = said.split(" at line ").next().unwrap_or(&said).replace('`', "'");
    let suggestion = said.split_once("unknown field '").and_then(|(_, rest)| {
        let (unknown, rest) = rest.split_once('\'')?;
        let known = rest.split('\'').skip(1).step_by(2);
        let near = known.map(|name| (strsim::damerau_levenshtein(unknown, name), name)).min()?;
        (near.0 <= 2.max(unknown.len() / 3)).then(|| format!("; did you mean '{}'?", near.1))
    });
    let job = said.strip_prefix("jobs[").and_then(|rest| rest.split(']').next()?.parse().ok());
    let job = job.and_then(|index: usize| name_of(text, index)).map(|name| format!("job {name:?}: "));
    (at, format!("{}{said}{}", job.unwrap_or_default(), suggestion.unwrap_or_default()))
}

/// The name of a job in a file that may be wrong elsewhere.
fn name_of(text: &str, index: usize) -> Option<String> {
    let file: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    file.get("jobs")?.get(index)?.get("name")?.as_str().map(str::to_owned)
}

/// Line and column of each job's name.
fn positions(text: &str) -> Vec<(usize, usize)> {
    let jobs = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with("jobs:"));
    let names = jobs.filter_map(|(number, line)| {
        let key = line.trim_start().trim_start_matches("- ").trim_start();
        key.starts_with("name:").then(|| (number + 1, line.len() - key.len() + 1))
    });
    names.collect()
}

#[cfg(test)]
mod tests;
