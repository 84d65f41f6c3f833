//! When a job is due: a cron expression in a time zone, and what the clock's moves make of it.
//!
//! All pure: the time is handed in. What was handled up to which moment is remembered by the caller, over restarts too.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

/// A tick that is noticed no later than this is on time: a loaded machine, a server that is started again.
pub const PUNCTUAL: TimeDelta = TimeDelta::seconds(60);
/// A clock that was put back by more than this had been wrong before. By less: what was run is not run again.
pub const STEP_BACK: TimeDelta = TimeDelta::hours(3);

/// More times of the day than that are an interval.
const MOST_TIMES: usize = 24;

/// The fields, what each may hold, and how many values those are: the longest step that means something.
const FIELDS: [(&str, &str, u32); 6] = [
    ("second", "0 to 59", 60),
    ("minute", "0 to 59", 60),
    ("hour", "0 to 23", 24),
    ("day of the month", "1 to 31 and L", 31),
    ("month", "1 to 12 and JAN to DEC", 12),
    ("weekday", "0 to 7 and SUN to SAT", 7),
];

/// A cron expression of five fields (minute, hour, day of month, month, day of week), or six with the seconds first.
#[derive(Clone)]
pub struct CronExpression {
    text: String,
    /// One, or one for each of the times of the day that it names.
    crons: Vec<Cron>,
}

impl CronExpression {
    /// The first time after `after`, as the clocks of `zone` show it.
    ///
    /// `None`: there is none. Times in the hour that a zone leaves out when its clocks go forward, and times in the one
    /// that comes twice, are `croner`'s: a fixed time that is left out runs at the first moment after the gap, one that
    /// comes twice runs once; an interval runs by the real time that passes.
    pub fn next(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let after = after.with_timezone(&zone);
        let times = self.crons.iter().filter_map(|cron| cron.find_next_occurrence(&after, false).ok());
        times.map(|time| time.with_timezone(&Utc)).min()
    }

    /// The last time after `after` and not after `now`.
    ///
    /// Recent ones are found forwards, as [`CronExpression::next`] finds them; of those before it does not matter which is
    /// named.
    fn last(&self, after: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let recent = after.max(now - PUNCTUAL);
        let found = std::iter::successors(self.next(recent, zone), |time| self.next(*time, zone));
        found.take_while(|time| *time <= now).last().or_else(|| {
            let now = now.with_timezone(&zone);
            let times = self.crons.iter().filter_map(|cron| cron.find_previous_occurrence(&now, true).ok());
            times.map(|time| time.with_timezone(&Utc)).max().filter(|time| *time > after)
        })
    }
}

impl FromStr for CronExpression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let fields = text.split_whitespace().count();
        if !text.starts_with('@') && !(5..=6).contains(&fields) {
            let fields = format!("{text:?} has {fields} fields");
            return Err(format!(
                "{fields}; five are allowed (minute hour day month weekday), or six (second minute hour day month weekday)"
            ));
        }
        if let Some(wrong) = misleading_field(text) {
            return Err(format!("{text:?} is no cron expression: {wrong}"));
        }
        // The predecessor took 5/15 for 5-59/15, and knew one word more.
        let known = if text.eq_ignore_ascii_case("@midnight") { "@daily" } else { text };
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).sloppy_ranges(true).build();
        let known = &with_stars(parser, known);
        let cron = parser.parse(known).map_err(|error| {
            let wrong = wrong_field(parser, text).unwrap_or_else(|| error.to_string());
            format!("{text:?} is no cron expression: {wrong}")
        })?;
        let schedule = Self { text: text.to_owned(), crons: fixed_times(parser, known).unwrap_or_else(|| vec![cron]) };
        if schedule.next(DateTime::UNIX_EPOCH, Tz::UTC).is_none() {
            return Err(format!("{text:?} never comes: no month it names has such a day"));
        }
        Ok(schedule)
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for CronExpression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Schedule({:?})", self.text)
    }
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The same expression with a star for a day or a weekday that is any, such as `*/1` or `0-6`, beside one with a star in
/// it: of two restrictions either may hold, and one that restricts nothing would make the other mean nothing.
///
/// Beside one without a star it stays: so the predecessor's library had it, and it is what its users' files mean.
fn with_stars(parser: CronParser, text: &str) -> String {
    let mut fields: Vec<&str> = text.split_whitespace().collect();
    let Some(day) = fields.len().checked_sub(3).filter(|_| fields.len() >= 5) else { return text.to_owned() };
    let is_any = |pattern: String, days: u32| {
        let Ok(cron) = parser.parse(&pattern) else { return false };
        // January 2023 begins with a Sunday.
        (1..=days).all(|day| {
            let time = Utc.with_ymd_and_hms(2023, 1, day, 0, 0, 0).single();
            time.is_some_and(|time| cron.is_time_matching(&time).unwrap_or(false))
        })
    };
    let (of_month, of_week) = (fields[day], fields[day + 2]);
    if of_week.contains('*') && is_any(format!("0 0 {of_month} * *"), 31) {
        fields[day] = "*";
    }
    if of_month.contains('*') && is_any(format!("0 0 * * {of_week}"), 7) {
        fields[day + 2] = "*";
    }
    fields.join(" ")
}

/// An expression for each time of the day, if it names some: `30 2,14 * * *` is at half past two and at half past
/// fourteen. Each is a fixed time then, which `croner` takes a list of them not for.
fn fixed_times(parser: CronParser, text: &str) -> Option<Vec<Cron>> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let (times, days) = fields.split_at_checked(fields.len().checked_sub(3)?)?;
    let mut found = vec![String::new()];
    for field in times {
        let values: Vec<&str> = field.split(',').collect();
        if !values.iter().all(|value| value.bytes().all(|byte| byte.is_ascii_digit())) {
            return None;
        }
        found = found.iter().flat_map(|before| values.iter().map(move |value| format!("{before}{value} "))).collect();
        if found.len() > MOST_TIMES {
            return None;
        }
    }
    found.iter().map(|time| parser.parse(&format!("{time}{}", days.join(" "))).ok()).collect()
}

/// The field of an expression that could be read and would mean something else than it says.
///
/// A step beyond the field's values is its first value alone: `*/90` would be every hour. With empty items a stray space
/// makes a sixth field: `0, 3 * * * *` would be
/// in seconds 0 of the third minute of each hour, in place of a time of the day.
fn misleading_field(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let first = FIELDS.len().checked_sub(fields.len()).filter(|first| *first <= 1)?;
    fields
        .iter()
        .zip(&FIELDS[first..])
        .flat_map(|(field, about)| field.split(',').map(move |item| (field, about, item)))
        .find_map(|(field, (name, _, values), item)| {
            if item.is_empty() {
                return Some(format!("the {name} {field:?} has nothing before, after or between its commas"));
            }
            let (_, step) = item.split_once('/')?;
            // Longer than any number that fits is too long as well.
            let too_long = step.bytes().all(|byte| byte.is_ascii_digit())
                && step.parse().map_or(!step.is_empty(), |step: u32| step > *values);
            too_long.then(|| {
                format!("the {name} {field:?} cannot be; a step is at most {values}, the number of its values")
            })
        })
}

/// The field of an expression that cannot be read, and what is allowed there.
fn wrong_field(parser: CronParser, text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let first = FIELDS.len().checked_sub(fields.len())?;
    (0..fields.len()).find_map(|index| {
        let alone: Vec<&str> =
            (0..fields.len()).map(|other| if other == index { fields[index] } else { "*" }).collect();
        parser.parse(&alone.join(" ")).err()?;
        let (name, allowed, _) = FIELDS[first + index];
        Some(format!("the {name} {:?} cannot be; {allowed} are allowed, with , - * and /", fields[index]))
    })
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
pub enum TickDecision {
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
pub fn decide(
    schedule: &CronExpression,
    zone: Tz,
    on_missed: OnMissed,
    handled: DateTime<Utc>,
    now: DateTime<Utc>,
) -> TickDecision {
    if handled - now > STEP_BACK {
        return TickDecision::CountAnew;
    }
    // After a small step back `handled` lies ahead, and what comes before it has run already.
    match schedule.next(handled, zone) {
        None => TickDecision::Wait(None),
        Some(next) if next > now => TickDecision::Wait(Some(next)),
        // One after the other: a moment's delay loses none of a job that is due each second.
        Some(next) if now - next <= PUNCTUAL => TickDecision::Run(next),
        Some(next) => {
            let last = schedule.last(handled, now, zone).unwrap_or(next);
            match on_missed {
                // A run that is on time makes up for those before it.
                _ if now - last <= PUNCTUAL => TickDecision::Run(last),
                OnMissed::RunOnce => TickDecision::MakeUp(last),
                OnMissed::Skip => TickDecision::LeaveOut(last),
            }
        }
    }
}

#[cfg(test)]
mod tests;
