//! `cron check`: what a file of jobs would do, before it does it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::failure::Failure;
use crate::config::environment::Environment;
use crate::config::spelling::lookup;
use crate::config::{name, places, zone};
use crate::doors::cron::file::{self, Job};

/// How many of a job's next times are listed.
const NEXT: usize = 5;

/// What is done with a file of jobs.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Check a file of jobs, and list the next five times of each
    ///
    /// A mistake is named with its line, its column and its job, and the exit code is 78.
    Check {
        /// The file; without one, what `CLAUDEBOX_MODE_CRON_FILE` names, or `/etc/claudebox/cron.yaml`
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// `cron check`: the listing.
pub(super) fn check(file: Option<PathBuf>, env: &impl Environment) -> Result<String, Failure> {
    let (file, jobs) = jobs(file, env)?;
    Ok(listing(&file, &jobs, Utc::now()))
}

/// The jobs of this file, or of the one that the settings name.
pub(super) fn jobs(file: Option<PathBuf>, env: &impl Environment) -> Result<(PathBuf, Vec<Job>), Failure> {
    let named = || lookup(env, name::MODE_CRON_FILE).map(|(_, file)| PathBuf::from(file));
    let file = file
        .or_else(named)
        .or_else(|| Some(PathBuf::from(places::CRON)).filter(|own| own.exists()))
        .ok_or_else(|| Failure::usage(format!("which file? name one, or set {}", name::MODE_CRON_FILE)))?;
    let zone = zone::of_box(env).map_err(Failure::config)?;
    let jobs = file::read(&file, zone).map_err(Failure::config)?;
    Ok((file, jobs))
}

fn listing(file: &Path, jobs: &[Job], now: DateTime<Utc>) -> String {
    let mut text = String::new();
    for job in jobs {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {} ({})", job.name, job.schedule, job.zone);
        if !job.enabled {
            text.push_str("  not enabled\n");
            continue;
        }
        let times = std::iter::successors(job.schedule.next(now, job.zone), |time| job.schedule.next(*time, job.zone));
        let mut told = times.take(NEXT).map(|time| tell(time, job.zone)).peekable();
        if told.peek().is_none() {
            text.push_str("  never again\n");
        }
        for time in told {
            let _ = writeln!(text, "  {time}");
        }
    }
    let are = if jobs.len() == 1 { "is" } else { "are" };
    let _ = writeln!(text, "{} {are} fine in {}", file::counted(jobs.len()), file.display());
    text
}

/// A time by the job's clocks, and by UTC where that is another.
fn tell(time: DateTime<Utc>, zone: Tz) -> String {
    let told = time.with_timezone(&zone).format("%a %Y-%m-%d %H:%M:%S %Z").to_string();
    if zone == Tz::UTC { told } else { format!("{told} ({})", time.format("%Y-%m-%d %H:%M:%S UTC")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsString;

    use crate::exit_code::ExitCode;

    fn checked(text: &str) -> Result<String, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cron.yaml");
        std::fs::write(&file, text).unwrap();
        let env = HashMap::from([("CLAUDE_MODE_CRON_FILE".to_owned(), OsString::from(&file))]);
        check(None, &env)
    }

    #[test]
    fn the_next_times_are_told_by_the_jobs_clocks() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cron.yaml");
        let text = "timezone: Europe/Berlin\njobs:\n- {name: a, schedule: 30 2 * * *, instruction: x}\n\
                    - {name: b, schedule: '* * * * * *', instruction: x, enabled: false}\n\
                    - {name: c, schedule: 0 12 1 1 *, instruction: x, timezone: UTC}\n";
        std::fs::write(&file, text).unwrap();
        let jobs = file::read(&file, Tz::UTC).unwrap();
        // The clocks go forward on the 29th, at 2:00.
        let told = listing(Path::new("/c.yaml"), &jobs, "2026-03-28T00:00:00Z".parse().unwrap());
        let expected = "a: 30 2 * * * (Europe/Berlin)\n  \
                        Sat 2026-03-28 02:30:00 CET (2026-03-28 01:30:00 UTC)\n  \
                        Sun 2026-03-29 03:00:00 CEST (2026-03-29 01:00:00 UTC)\n  \
                        Mon 2026-03-30 02:30:00 CEST (2026-03-30 00:30:00 UTC)\n  \
                        Tue 2026-03-31 02:30:00 CEST (2026-03-31 00:30:00 UTC)\n  \
                        Wed 2026-04-01 02:30:00 CEST (2026-04-01 00:30:00 UTC)\n\
                        b: * * * * * * (Europe/Berlin)\n  not enabled\n\
                        c: 0 12 1 1 * (UTC)\n";
        assert!(told.starts_with(expected), "{told}");
        assert!(
            told.ends_with("  Tue 2030-01-01 12:00:00 UTC\n3 jobs are fine in /c.yaml\n")
                || told.contains("2031-01-01"),
            "{told}"
        );
    }

    #[test]
    fn a_mistake_is_an_error_and_so_is_no_file() {
        assert!(checked("jobs: [{name: a, schedule: '* * * * *', instruction: x}]").unwrap().ends_with(".yaml\n"));
        let error = checked("jobs:\n- name: a\n  schedule: 61 * * * *\n  instruction: x\n").unwrap_err();
        assert_eq!(error.code, ExitCode::Config);
        assert!(error.to_string().contains("cron.yaml:3:13: job \"a\": "), "{error}");
        let error = check(None, &HashMap::<String, OsString>::new()).unwrap_err();
        assert_eq!(error.code, ExitCode::Usage);
    }
}
