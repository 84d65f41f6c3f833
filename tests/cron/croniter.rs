//! Next times as a second implementation has them: Python's croniter, which `tests/cron/croniter` asks beforehand.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use claudebox::doors::cron::schedule::CronExpression;
use serde_json::Value;

/// Why the two differ, and whether they differ for that reason.
type Difference = (&'static str, fn(&Case) -> bool);

/// Where the two differ, and why we do as we do.
const DIFFERENCES: [Difference; 1] = [(
    "Times in the hour that is left out when the clocks go forward: croniter moves every one of them to the end of that \
     hour. We do so for a job at fixed times of the day; one at intervals goes on with its next time.",
    |case| {
        let moved: Vec<i64> = case.theirs.iter().copied().filter(|time| !ends_a_gap(*time, case.zone)).collect();
        moved.len() < case.theirs.len() && case.ours.starts_with(&moved)
    },
)];

struct Case {
    expression: String,
    zone: Tz,
    start: i64,
    theirs: Vec<i64>,
    ours: Vec<i64>,
}

impl Case {
    fn read(line: &str) -> Self {
        let case: Value = serde_json::from_str(line).unwrap();
        let expression = case["expression"].as_str().unwrap().to_owned();
        let zone: Tz = case["zone"].as_str().unwrap().parse().unwrap();
        let start = case["start"].as_i64().unwrap();
        let theirs: Vec<i64> = case["times"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap()).collect();
        let schedule: CronExpression = expression.parse().unwrap_or_else(|error| panic!("{error}"));
        let times = std::iter::successors(schedule.next(at(start), zone), |time| schedule.next(*time, zone));
        let ours = times.take(theirs.len()).map(|time| time.timestamp()).collect();
        Self { expression, zone, start, theirs, ours }
    }

    fn tell(&self) -> String {
        let tell = |times: &[i64]| {
            let told = times.iter().map(|time| at(*time).with_timezone(&self.zone).to_rfc3339());
            told.collect::<Vec<_>>().join(" ")
        };
        let Self { expression, zone, start, .. } = self;
        let (ours, theirs) = (tell(&self.ours), tell(&self.theirs));
        format!("{expression} in {zone} after {}\n  ours   {ours}\n  theirs {theirs}", tell(&[*start]))
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// Whether clocks were put forward in the minute before.
fn ends_a_gap(seconds: i64, zone: Tz) -> bool {
    let local = |seconds: i64| at(seconds).with_timezone(&zone).naive_local().and_utc().timestamp();
    local(seconds) - local(seconds - 60) > 60
}

#[test]
fn next_times_are_those_of_croniter() {
    let Ok(path) = std::env::var("CLAUDEBOX_TEST_CRONITER") else {
        eprintln!("skipped: CLAUDEBOX_TEST_CRONITER does not name croniter's answers (tests/cron/croniter)");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let cases: Vec<Case> = text.lines().map(Case::read).collect();
    assert!(cases.len() >= 2000, "only {} expressions", cases.len());
    let mut explained = [0; DIFFERENCES.len()];
    let mut unexplained = Vec::new();
    for case in cases.iter().filter(|case| case.ours != case.theirs) {
        match DIFFERENCES.iter().position(|(_, is_this)| is_this(case)) {
            Some(index) => explained[index] += 1,
            None => unexplained.push(case.tell()),
        }
    }
    assert!(unexplained.is_empty(), "{} are not explained:\n{}", unexplained.len(), unexplained.join("\n"));
    for ((why, _), count) in DIFFERENCES.iter().zip(explained) {
        eprintln!("{count} of {}: {why}", cases.len());
        // One that does not come up any more explains nothing, and one that comes up often is none.
        assert!(count >= 1 && count * 100 <= cases.len(), "{count}: {why}");
    }
}
