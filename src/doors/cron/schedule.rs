//! When a job is due: a cron expression in a time zone, and what the clock's moves make of it.
//!
//! All pure: the time is handed in. What was handled up to which moment is remembered by the caller, over restarts too.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

/// A tick that is noticed no later than this is on time: a loaded machine, a server that is started again.
pub const PUNCTUAL: TimeDelta = TimeDelta::seconds(60);
/// A clock that was put back by more than this had been wrong before. By less: what was run is not run again.
pub const STEP_BACK: TimeDelta = TimeDelta::hours(3);

/// A cron expression of five fields (minute, hour, day of month, month, day of week), or six with the seconds first.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl Schedule {
    /// The first time after `after`, as the clocks of `zone` show it.
    ///
    /// `None`: there is none. Times in the hour that a zone leaves out when its clocks go forward, and times in the one
    /// that comes twice, are `croner`'s: a fixed time that is left out runs at the first moment after the gap, one that
    /// comes twice runs once; an interval runs by the real time that passes.
    #[must_use]
    pub fn next(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        self.cron.find_next_occurrence(&after.with_timezone(&zone), false).ok().map(|time| time.with_timezone(&Utc))
    }

    /// The last time before `before`, or at it.
    fn last(&self, before: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        self.cron.find_previous_occurrence(&before.with_timezone(&zone), true).ok().map(|time| time.with_timezone(&Utc))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields = text.split_whitespace().count();
        if !text.trim_start().starts_with('@') && !(5..=6).contains(&fields) {
            let fields = format!("{text:?} has {fields} fields");
            return Err(format!(
                "{fields}; five are allowed (minute hour day month weekday), or six (second minute hour day month weekday)"
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| format!("{text:?} is no cron expression: {error}"))?;
        Ok(Self { text: text.to_owned(), cron })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Schedule({:?})", self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What happens to ticks that nobody was there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissed {
    /// They are left out.
    #[default]
    Skip,
    /// One run makes up for all of them.
    RunOnce,
}

/// What is to be done about a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before then; `None`: nothing ever.
    Wait(Option<DateTime<Utc>>),
    /// The tick of this time is due.
    Run(DateTime<Utc>),
    /// Ticks were missed, the last at this time; one run makes up for them.
    MakeUp(DateTime<Utc>),
    /// Ticks were missed, the last at this time; they are left out.
    LeaveOut(DateTime<Utc>),
    /// The clock was put back by a lot: it counts from now.
    CountAnew,
}

/// Decides about one job. `handled`: the moment up to which its ticks were decided on.
#[must_use]
pub fn decide(
    schedule: &Schedule,
    zone: Tz,
    on_missed: OnMissed,
    handled: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Decision {
    if handled - now > STEP_BACK {
        return Decision::CountAnew;
    }
    // After a small step back `handled` lies ahead, and what comes before it has run already.
    match schedule.next(handled, zone) {
        None => Decision::Wait(None),
        Some(next) if next > now => Decision::Wait(Some(next)),
        Some(next) => {
            let last = schedule.last(now, zone).filter(|last| *last > handled).unwrap_or(next);
            match on_missed {
                _ if now - last <= PUNCTUAL => Decision::Run(last),
                OnMissed::RunOnce => Decision::MakeUp(last),
                OnMissed::Skip => Decision::LeaveOut(last),
            }
        }
    }
}

#[cfg(test)]
mod tests;
